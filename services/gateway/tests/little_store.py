"""The store's internal API, played by a small real server over what a test puts into it.

The store's side of that API is held to the same answers in services/store/tests/.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import zstandard
from aiohttp import web
from common.clock import utc_now
from common.contracts.batches import BatchCounts, BatchView
from common.contracts.dead_letters import DeadLetterPage, DeadLetterView
from common.contracts.fetches import AcceptedFetch, FetchStatus
from common.contracts.hosts import HostPage, HostState, HostView, PaceRule, PaceView
from common.contracts.overview import Overview, TrafficSample
from common.contracts.plans import HostPlan, PlanAnswer
from common.contracts.robots import RobotsFile
from common.contracts.tenants import DEFAULT_TENANT
from common.contracts.views import FetchPage, FetchView, ResponseView
from common.ids import new_fetch_id
from little_keys import LittleKeys
from pydantic import BaseModel

TOKEN = "a-token-of-services"
FOLLOWING = {("GET", "/internal/v1/keys"), ("POST", "/internal/v1/keys/used")}
"""What a gateway asks by itself all the time: in no list of what was asked, and never cut off."""


def host_view(host: str, *, state: HostState = HostState.OPEN) -> HostView:
    """A host that nothing is known about but its name and state."""
    pace = PaceView(rule=PaceRule.DEFAULT, delay_ms=0, max_in_flight=4)
    return HostView(host=host, state=state, pace=pace, backlog=0, in_flight=0, counted_up_to=1000)


def _is_fitting(view: FetchView, asked: dict[str, str]) -> bool:
    facts = {"status": {view.status.value}, "host": {urlsplit(view.url).netloc}, "label": set(view.labels),
             "batch_id": {str(view.batch_id)}}
    return all(value in facts[name] for name, value in asked.items())


def host_plan(host: str) -> HostPlan:
    """What an attempt would meet on a host that nobody met."""
    return HostPlan(host=host, pace=PaceView(rule=PaceRule.DEFAULT, delay_ms=0, max_in_flight=1))


def fresh_overview() -> Overview:
    """A deployment that has never fetched anything and has one worker."""
    counts = dict.fromkeys(TrafficSample.model_fields.keys() - {"at"}, 0)
    now = TrafficSample(at=utc_now(), **counts)
    return Overview(now=now, samples=[], workers=1, worker_slots=16, hosts=[], failures=[])


def _json(view: BaseModel, *, status: int = 200) -> web.Response:
    return web.Response(text=view.model_dump_json(), content_type="application/json", status=status)


@dataclass
class LittleStore:
    """What the store would answer, by fetch id, host, origin and dead letter; and what it was asked.

    Fetches belong to the default tenant unless `tenants` says otherwise. `accepted` is what they were accepted with.
    `ingests_after` says how often a cancellation comes too early, `cancels_with` which status contradicts its fetch; `hangs_up`
    how many requests are cut off without an answer.
    """

    views: dict[UUID, str] = field(default_factory=dict)
    tenants: dict[UUID, str] = field(default_factory=dict)
    accepted: dict[UUID, AcceptedFetch] = field(default_factory=dict)
    contents: dict[UUID, tuple[dict[str, str], bytes | None]] = field(default_factory=dict)
    batches: dict[UUID, BatchView] = field(default_factory=dict)
    hosts: dict[str, HostView] = field(default_factory=dict)
    plans: dict[str, HostPlan] = field(default_factory=dict)
    robots: dict[str, RobotsFile] = field(default_factory=dict)
    robots_omitted: set[str] = field(default_factory=set)
    dead_letters: dict[int, DeadLetterView] = field(default_factory=dict)
    overview: Overview | None = None
    keys: LittleKeys = field(default_factory=LittleKeys)
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    ingests_after: int = 0
    cancels_with: int | None = None
    hangs_up: int = 0
    is_broken: bool = False
    is_without_events: bool = False

    def clear(self) -> None:
        """Forget everything, and answer again."""
        self.keys.clear()
        self.__dict__.update(LittleStore(keys=self.keys).__dict__)

    def keep(
        self,
        body: bytes | None,
        *,
        url: str = "http://a.test/",
        status: FetchStatus = FetchStatus.SUCCEEDED,
        tenant: str = DEFAULT_TENANT,
        **members: Any,
    ) -> UUID:
        """A fetch with this body, or with none, and with other members of its view; its id."""
        fetch_id = members.pop("id", None) or new_fetch_id()
        self.tenants[fetch_id] = tenant
        facts = {"size_bytes": len(body), "digest": f"sha256:{hashlib.sha256(body).hexdigest()}"} if body else {}
        if status is FetchStatus.SUCCEEDED:
            members = {"response": ResponseView(status=200, final_url=url, **facts)} | members
        finished_at = utc_now() if status.is_terminal else None
        view = FetchView(id=fetch_id, url=url, status=status, created_at=utc_now(), finished_at=finished_at, **members)
        self.views[fetch_id] = view.model_dump_json()
        headers = {"x-fetch-status": status.value}  # lower case, as the real store sends them
        if body:
            headers |= {"x-content-digest": str(facts["digest"]), "x-content-size-bytes": str(len(body))}
        self.contents[fetch_id] = (headers, zstandard.compress(body) if body else None)
        return fetch_id

    def application(self) -> web.Application:
        """The routes of the internal API, behind the token."""
        app = web.Application(middlewares=[self._guard])
        app.add_routes(
            [
                web.get("/internal/v1/fetches", self.list_fetches),
                web.get("/internal/v1/fetches/{id}", self.get_fetch),
                web.get("/internal/v1/fetches/{id}/request", self.get_request),
                web.delete("/internal/v1/fetches/{id}", self.cancel_fetch),
                web.get("/internal/v1/fetches/{id}/content", self.get_content),
                web.get("/internal/v1/batches/{id}", self.get_batch),
                web.get("/internal/v1/hosts", self.list_hosts),
                web.get("/internal/v1/hosts/one", self.get_host),
                web.patch("/internal/v1/hosts/one", self.change_host),
                web.post("/internal/v1/plan", self.plan),
                web.get("/internal/v1/dead-letters", self.list_dead_letters),
                web.post("/internal/v1/dead-letters/{id}/redrive", self.redrive),
                web.get("/internal/v1/overview", self.get_overview),
                *self.keys.routes(),
            ]
        )
        return app

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        sent = await request.read()
        if (request.method, request.path) in FOLLOWING:
            return web.Response(status=503) if self.is_broken else await handler(request)
        self.asked.append((request.method, request.path, dict(request.query), json.loads(sent) if sent else None))
        if self.hangs_up:
            self.hangs_up -= 1
            assert request.transport is not None
            request.transport.abort()
        if self.is_broken or request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=503)
        return await handler(request)

    def _asked_id(self, request: web.Request) -> UUID | None:
        """The id in the path, None when it is that of another tenant's fetch."""
        fetch_id = UUID(request.match_info["id"])
        return fetch_id if self._owner(fetch_id) == request.query["tenant"] else None

    def _owner(self, fetch_id: UUID) -> str:
        return self.tenants.get(fetch_id, DEFAULT_TENANT)

    async def list_fetches(self, request: web.Request) -> web.Response:
        """A page of a tenant's fetches that fit the filters, the newest first."""
        asked = dict(request.query)
        limit, after, tenant = int(asked.pop("limit")), asked.pop("after", None), asked.pop("tenant")
        known = sorted(map(FetchView.model_validate_json, self.views.values()), key=lambda view: view.id)
        fitting = [
            view
            for view in reversed(known)
            if self._owner(view.id) == tenant and _is_fitting(view, asked) and (after is None or view.id < UUID(after))
        ]
        page = fitting[:limit]
        return _json(FetchPage(items=page, next_cursor=str(page[-1].id) if len(fitting) > limit else None))

    async def get_request(self, request: web.Request) -> web.Response:
        """A fetch as it was accepted."""
        fetch_id = self._asked_id(request)
        accepted = self.accepted.get(fetch_id) if fetch_id else None
        return _json(accepted) if accepted else web.Response(status=404)

    async def get_fetch(self, request: web.Request) -> web.Response:
        """The view of a fetch."""
        fetch_id = self._asked_id(request)
        view = self.views.get(fetch_id) if fetch_id else None
        return web.Response(text=view, content_type="application/json") if view else web.Response(status=404)

    async def cancel_fetch(self, request: web.Request) -> web.Response:
        """The view of a fetch that is cancelled from now on, or as it had ended."""
        fetch_id = self._asked_id(request)
        if self.ingests_after or fetch_id not in self.views:
            self.ingests_after = max(0, self.ingests_after - 1)
            return web.Response(status=404)
        view = FetchView.model_validate_json(self.views[fetch_id])
        if self.cancels_with is not None:
            return _json(view, status=self.cancels_with)
        if view.status.is_terminal and view.status is not FetchStatus.CANCELLED:
            return _json(view, status=409)
        view = view.model_copy(update={"status": FetchStatus.CANCELLED, "finished_at": view.finished_at or utc_now()})
        self.views[fetch_id] = view.model_dump_json()
        return _json(view)

    async def get_content(self, request: web.Request) -> web.Response:
        """The stored body of a fetch."""
        fetch_id = self._asked_id(request)
        found = self.contents.get(fetch_id) if fetch_id else None
        if found is None:
            return web.Response(status=404)
        headers, body = found
        return web.Response(status=204, headers=headers) if body is None else web.Response(body=body, headers=headers)

    async def get_batch(self, request: web.Request) -> web.Response:
        """One batch that is in the ledger, as it was put there or as the fetches are that came with it."""
        batch_id = UUID(request.match_info["id"])
        view = self.batches.get(batch_id) or self._counted(batch_id, request.query["tenant"])
        return _json(view) if view else web.Response(status=404)

    def _counted(self, batch_id: UUID, tenant: str) -> BatchView | None:
        views = [FetchView.model_validate_json(view) for id, view in self.views.items() if self._owner(id) == tenant]
        mine = Counter(view.status.value for view in views if view.batch_id == batch_id)
        if not mine:
            return None
        counts = BatchCounts(**mine)
        is_finished = not counts.queued and not counts.running
        created_at = min(view.created_at for view in views if view.batch_id == batch_id)
        return BatchView(id=batch_id, created_at=created_at, total=mine.total(), counts=counts, finished=is_finished)

    async def list_hosts(self, request: web.Request) -> web.Response:
        """A page of hosts in the order of their names."""
        limit, after, state = int(request.query["limit"]), request.query.get("after", ""), request.query.get("state")
        names = sorted(name for name, view in self.hosts.items() if name > after and state in (None, view.state))
        page = [self.hosts[name] for name in names[:limit]]
        return _json(HostPage(items=page, next_cursor=page[-1].host if len(names) > limit else None))

    async def get_host(self, request: web.Request) -> web.Response:
        """One host that somebody asked for."""
        view = self.hosts.get(request.query["host"])
        return _json(view) if view else web.Response(status=404)

    async def change_host(self, request: web.Request) -> web.Response:
        """One host, which is made when it is not there; of the change only the state is played."""
        host, change = request.query["host"], (await request.json())["change"]
        view = self.hosts.get(host) or host_view(host)
        self.hosts[host] = view.model_copy(update={"state": HostState(change.get("state") or view.state)})
        return _json(self.hosts[host])

    async def plan(self, request: web.Request) -> web.Response:
        """Every host that is asked for, and the files that are here."""
        inquiry = await request.json()
        return _json(
            PlanAnswer(
                hosts=[self.plans.get(host) or host_plan(host) for host in inquiry["hosts"]],
                robots=[self.robots[origin] for origin in inquiry["origins"] if origin in self.robots],
                robots_omitted=[origin for origin in inquiry["origins"] if origin in self.robots_omitted],
            )
        )

    async def get_overview(self, request: web.Request) -> web.Response:
        """The deployment at a glance; of one that is empty unless a test said otherwise."""
        return _json(self.overview or fresh_overview())

    async def list_dead_letters(self, request: web.Request) -> web.Response:
        """A page of dead letters, the newest first."""
        limit, after = int(request.query["limit"]), int(request.query.get("after", 2**62))
        ids = sorted((number for number in self.dead_letters if number < after), reverse=True)
        page = [self.dead_letters[number] for number in ids[:limit]]
        return _json(DeadLetterPage(items=page, next_cursor=str(page[-1].id) if len(ids) > limit else None))

    async def redrive(self, request: web.Request) -> web.Response:
        """A dead letter that was put back just now."""
        number = int(request.match_info["id"])
        if self.is_without_events or number not in self.dead_letters:
            return web.Response(status=503 if self.is_without_events else 404)
        self.dead_letters[number] = self.dead_letters[number].model_copy(update={"redriven_at": utc_now()})
        return _json(self.dead_letters[number])
