"""What time Postgres has, as fetchers ask for it."""

from datetime import timedelta

from api_words import open_caller
from common.contracts.clocks import LedgerTime
from redis.asyncio import Redis
from store.database import Pool, fetch_rows


async def test_the_clock_is_that_of_postgres_and_needs_the_token(pool: Pool, events: Redis) -> None:
    async with open_caller(pool, events) as caller:
        answer = await caller.http.get("/internal/v1/clock")
        refused = await caller.http.get("/internal/v1/clock", headers={"Authorization": "Bearer wrong"})
    assert (answer.status_code, refused.status_code) == (200, 401)
    now = (await fetch_rows(pool, "SELECT now() AS now"))[0]["now"]
    assert timedelta(0) <= now - LedgerTime.model_validate_json(answer.content).now < timedelta(seconds=10)
