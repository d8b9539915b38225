"""The one door to Postgres: a pool with every timeout set, and transactions that are retried whole.

Retrying is safe because every write of the store is idempotent: an ambiguous COMMIT is simply done again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, Protocol, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import asyncpg

from store.errors import DatabaseUnavailable, DataRefused
from store.spans import statement_spans

Connection: TypeAlias = asyncpg.pool.PoolConnectionProxy
Result = TypeVar("Result")

OLDEST_POSTGRES = 17
"""The first with `transaction_timeout`."""
CONNECT_TIMEOUT_SECONDS = 5.0
COMMAND_TIMEOUT_SECONDS = 10.0
ACQUIRE_TIMEOUT_SECONDS = 2.0
QUERIES_OF_A_CONNECTION = 50_000
"""After so many queries a connection is replaced, as asyncpg advises."""
TRANSACTION_TRIES = 3
RETRY_REST_SECONDS = 0.1
PLANS_SECONDS = 2.0
"""How long a session keeps its plans. Planning one of the hot statements anew takes some 0.5 ms."""

SERVER_SETTINGS = {
    "application_name": "fetchwork-store",
    "statement_timeout": "8s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "15s",
    "transaction_timeout": "20s",  # a session whose store froze between Parse and Bind is not idle, and would keep its locks
    "timezone": "UTC",
    "jit": "off",
    # Every ledger statement looks rows up by key. Without statistics the planner turns the joins on unnest() into hash
    # joins over whole tables once a plan becomes generic: 0.5 s a set at 40,000 rows. tests/test_plans.py looks at them.
    "plan_cache_mode": "force_generic_plan",  # planning such a statement anew costs more than running it
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    # A bitmap scan has to read all entries that match before the first row, and leaves those of dead rows as they are; an index
    # scan stops where it may, and marks them so that the next one skips them. The queue's indexes have many of both.
    "enable_bitmapscan": "off",
}

# Trying the same transaction again may help: the connection or the moment was at fault, not the data.
TRANSIENT: tuple[type[BaseException], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.SerializationError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.InternalClientError,
    TimeoutError,
    OSError,
)
REFUSED: tuple[type[BaseException], ...] = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,  # a text that is too long for an index
)


class TransactionResult(StrEnum):
    """What a transaction came to. The value is a metric label; `retried` is one try of it that failed and is made again."""

    COMMITTED = "committed"
    RETRIED = "retried"
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"


class PoolObserver(Protocol):
    """Who is told how a pool is used."""

    def waited(self, seconds: float) -> None:
        """A transaction waited so long for a connection, in vain or not."""

    def ended(self, result: TransactionResult) -> None:
        """A transaction, or one try of it, ended. One that our own fault broke off is none of these."""


class Pool(asyncpg.Pool):  # type: ignore[misc]
    """Connections to Postgres, and who is told how they are used."""

    __slots__ = ("observer",)

    def __init__(self, url: str, *, observer: PoolObserver | None, **options: Any) -> None:
        super().__init__(url, loop=None, connection_class=asyncpg.Connection, record_class=asyncpg.Record, **options)
        self.observer = observer


@asynccontextmanager
async def open_pool(
    url: str, *, size: int, plans_seconds: float = PLANS_SECONDS, observer: PoolObserver | None = None
) -> AsyncIterator[Pool]:
    """A pool of at most `size` connections, closed at the end, none of which uses a plan for much longer than `plans_seconds`.

    Raises DatabaseUnavailable when Postgres cannot be reached.
    """
    try:
        pool = await Pool(
            url,
            observer=observer,
            min_size=1,
            max_size=size,
            max_queries=QUERIES_OF_A_CONNECTION,
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
            max_inactive_connection_lifetime=60,
            server_settings=SERVER_SETTINGS,
            reset=_PlanAges(plans_seconds).forget_old,
        )
    except asyncpg.UndefinedObjectError as error:  # of all that could be undefined here there are only our settings
        raise DatabaseUnavailable(f"Postgres {OLDEST_POSTGRES} or newer is needed: {error}") from error
    except (*TRANSIENT, asyncpg.PostgresError) as error:
        raise DatabaseUnavailable(f"cannot connect: {type(error).__name__}") from error
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                await pool.close()
        except TimeoutError:
            pool.terminate()


async def in_transaction(pool: Pool, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Run `work` in one transaction and commit; after a transient failure run it again, from the start, a few times.

    Raises DatabaseUnavailable when it keeps failing and DataRefused when Postgres refuses the data.
    """

    async def transaction(connection: Connection) -> Result:
        async with connection.transaction():
            return await work(connection)

    return await _with_retries(pool, transaction)


async def fetch_rows(pool: Pool, statement: str, *arguments: Any) -> list[asyncpg.Record]:
    """The rows of one statement, which is a transaction by itself, with the promises of `in_transaction`."""
    return await _with_retries(pool, lambda connection: connection.fetch(statement, *arguments))


class _PlanAges:
    """When each session last forgot its plans, which were made for the sizes that tables had then.

    A plan from a quiet hour, when vacuum has found the queue empty, reads a whole index for each fetch of the burst that follows,
    until autovacuum looks at the table: up to a minute, at a tenth of the usual pace or none.
    """

    def __init__(self, plans_seconds: float) -> None:
        self._plans_seconds = plans_seconds
        self._forgotten_at: WeakKeyDictionary[asyncpg.Connection, float] = WeakKeyDictionary()

    async def forget_old(self, connection: asyncpg.Connection) -> None:
        """Called whenever a session comes back. Nothing else is reset, which would be a round trip each time: nobody changes
        a session's settings for longer than a transaction.
        """
        now = asyncio.get_running_loop().time()
        if now - self._forgotten_at.setdefault(connection, now) >= self._plans_seconds:
            await connection.execute("DISCARD PLANS")
            self._forgotten_at[connection] = now


async def _with_retries(pool: Pool, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    for remaining in reversed(range(TRANSACTION_TRIES)):
        try:
            async with _lend(pool) as connection:
                with statement_spans(connection):
                    result = await work(connection)
            _tell(pool, TransactionResult.COMMITTED)
            return result
        except REFUSED as error:
            _tell(pool, TransactionResult.REFUSED)
            raise DataRefused(f"{type(error).__name__}: {getattr(error, 'constraint_name', None) or 'value'}") from error
        except TRANSIENT as error:
            _tell(pool, TransactionResult.RETRIED if remaining else TransactionResult.UNAVAILABLE)
            if not remaining:
                raise DatabaseUnavailable(f"{type(error).__name__}: {error}"[:200]) from error
        await asyncio.sleep(RETRY_REST_SECONDS)
    raise AssertionError("unreachable: the last try returns or raises")


@asynccontextmanager
async def _lend(pool: Pool) -> AsyncIterator[Connection]:
    """A connection, for as long as it takes. Raises TimeoutError when none comes free in time."""
    loop = asyncio.get_running_loop()
    asked_at = loop.time()
    try:
        connection = await pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS)
    finally:
        if pool.observer is not None:
            pool.observer.waited(loop.time() - asked_at)
    try:
        yield connection
    finally:
        await pool.release(connection)


def _tell(pool: Pool, result: TransactionResult) -> None:
    if pool.observer is not None:
        pool.observer.ended(result)
