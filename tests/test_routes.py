"""One table knows each route: the router, auth, the limits of bodies and OpenAPI agree on it."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio
from werkzeug.exceptions import HTTPException

import trio_logs.api
from tests.live import PATIENCE, Live
from trio_logs.api import body_limit, create_app
from trio_logs.api.bodies import WorkloadRecord
from trio_logs.api.routes import Route, RouteTable
from trio_logs.api.slots import SLOT, StreamSlots, with_slots
from trio_logs.api.table import TABLE
from trio_logs.errors import BusyError
from trio_logs.records import Reason, Status, Workload, WorkloadSpec
from trio_logs.settings import Settings

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]

PUSH = "/v1/workloads/x/logs"

OTHER_SPELLINGS = [
    "//v1/workloads",
    "//v1/workloads/x/logs",
    "/v1//workloads",
    "/v1/workloads//x/logs",
    "/v1/workloads/",
    "/v1/workloads/x/logs/",
    "/v1/./workloads",
    "/./v1/workloads",
    "/healthz/../v1/workloads",
    "/%2e%2e/v1/workloads",
    "/%76%31/workloads",
    "/v1%2Fworkloads",
    "/v1/workloads%2Fx%2Flogs",
    "/v1/workloads/x%2Flogs",
    "/%2Fv1/workloads",
    "/V1/workloads",
    "/v1/WORKLOADS",
    "/v1/workloads;a=b",
    "/v1;a=b/workloads",
    "/v1/workloads/x/logs;a=b",
    "/v1\\workloads",
    "/v1/workloads%3Fa=b",
    "/v1/workloads%00",
    "/metrics/",
    "//metrics",
    "/METRICS",
    "/metrics;a=b",
    "/%6Detrics",
]


# Slashes at the start count once, and encoded characters are decoded before the match.
SAME_AS_PUSH = {
    "//v1/workloads/x/logs",
    "/v1/workloads%2Fx%2Flogs",
    "/v1/workloads/x%2Flogs",
}


def in_modules() -> set[Route]:
    """Every row that a module of the API makes."""
    found: set[Route] = set()
    for info in pkgutil.walk_packages(trio_logs.api.__path__, "trio_logs.api."):
        module = importlib.import_module(info.name)
        found |= {value for value in vars(module).values() if isinstance(value, Route)}
    return found


def test_every_row_is_in_the_table() -> None:
    assert set(TABLE) == in_modules()
    assert len({row.name for row in TABLE}) == len(in_modules())


async def test_the_app_has_these_routes_and_no_other(open_server: OpenServer) -> None:
    async with open_server() as live:
        rules = list(create_app(live.service).url_map.iter_rules())
    assert sorted(rule.endpoint for rule in rules) == sorted(row.name for row in TABLE)
    for rule in rules:
        row = TABLE.named(rule.endpoint)
        assert rule.rule == row.rule
        methods = {row.method, *(("HEAD",) if row.method == "GET" else ())}
        assert (rule.methods or set()) - {"OPTIONS"} == methods


async def test_the_table_finds_what_the_router_finds(open_server: OpenServer) -> None:
    async with open_server() as live:
        router = create_app(live.service).url_map.bind("")
    plain = [row.path.replace("{workload_id}", "x") for row in TABLE]
    for path in [*plain, *OTHER_SPELLINGS, "", "*", "/"]:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
            try:
                endpoint, _ = router.match(path, method)
            except HTTPException:
                endpoint = None
            row = TABLE.find(method, path)
            assert (row and row.name) == endpoint, (method, path)


def test_a_record_has_its_reason_and_the_path_of_its_log() -> None:
    spec = WorkloadSpec(("true",))
    workload = Workload("x", spec, 1, Status.LOST, reason=Reason.SERVER_LOST)
    record = WorkloadRecord.of(workload)
    assert (record.status, record.reason) == ("lost", "server_lost")
    row = TABLE.find("GET", record.logs_url)
    assert row is not None
    assert row.takes_slot


def test_a_route_may_be_listed_once() -> None:
    row = next(iter(TABLE))
    with pytest.raises(ValueError, match=row.path):
        RouteTable([row, row])


@pytest.mark.parametrize(
    ("path", "is_open"),
    [
        ("/v1", False),
        ("/v1/", False),
        ("/v1/nope", False),
        ("/v1/workloads", False),
        ("/metrics", False),
        ("/v1x", True),
        ("/nope", True),
        ("/healthz", True),
        ("/docs", True),
    ],
)
def test_openness_where_no_method_matches(path: str, is_open: bool) -> None:
    assert TABLE.find("PATCH", path) is None
    assert TABLE.is_open(path) == is_open


def test_openness_needs_every_route_of_a_path() -> None:
    [shown] = [row for row in TABLE if row.name == "GET /metrics"]
    opened = Route("POST", "/metrics", shown.view, {}, is_open=True)
    assert RouteTable([opened]).is_open("/metrics")
    assert not RouteTable([opened, shown]).is_open("/metrics")


async def raw_status(live: Live, method: str, target: str, *headers: str) -> int:
    """The status of an answer to a request that no client library has rewritten."""
    host, _, port = live.url.rpartition("//")[2].rpartition(":")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    with trio.fail_after(PATIENCE):
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(("\r\n".join(lines) + "\r\n\r\n").encode())
            return int((await stream.receive_some())[9:12])


async def test_no_spelling_walks_around_auth(open_server: OpenServer) -> None:
    async with open_server() as live:
        known = [row.path.replace("{workload_id}", "x") for row in TABLE if not row.is_open]
        for path in known:
            assert await raw_status(live, "PATCH", path) == 401, path
        for path in [*known, *OTHER_SPELLINGS]:
            for method in ("GET", "OPTIONS", "DELETE"):
                status = await raw_status(live, method, path)
                assert status in (401, 404), (method, path, status)
        for path in ("/healthz", "/docs"):
            assert await raw_status(live, "PATCH", path) == 405
        # With the token, none of them is a redirect.
        token = f"Authorization: Bearer {live.service.token}"
        for path in OTHER_SPELLINGS:
            assert await raw_status(live, "GET", path, token) in (200, 404), path


async def test_no_spelling_walks_around_the_limit_of_bodies(open_server: OpenServer) -> None:
    async with open_server(max_body=1000) as live:
        headers = (f"Authorization: Bearer {live.service.token}", "Content-Length: 1001")
        for target in {"/v1/workloads", *OTHER_SPELLINGS} - SAME_AS_PUSH:
            assert await raw_status(live, "POST", target, *headers) == 413, target
        assert await raw_status(live, "PUT", PUSH, *headers) == 413
        # The router takes these for one route, whose body has no limit; its workload is unknown.
        for target in (PUSH, f"{PUSH}?", *SAME_AS_PUSH):
            async with await trio.open_tcp_stream(*address(live)) as stream:
                head = [f"POST {target} HTTP/1.1", "Host: 127.0.0.1", *headers]
                await stream.send_all("\r\n".join(head).encode() + b"\r\n\r\n" + bytes(1001))
                with trio.fail_after(PATIENCE):
                    assert (await stream.receive_some())[9:12] == b"404", target


def address(live: Live) -> tuple[str, int]:
    host, _, port = live.url.rpartition("//")[2].rpartition(":")
    return host, int(port)


def test_the_server_gets_its_limits_from_the_table(tmp_path: Path) -> None:
    limit = body_limit(Settings(tmp_path, max_body=17))
    for row in TABLE:
        path = re.sub("{.*?}", "x", row.path)
        bounded = 17
        assert limit(row.method, path) == (None if row.streams_body else bounded)
    assert limit("POST", "/nope") == limit("GET", "/nope") == 17
    limit = body_limit(Settings(tmp_path))
    assert limit("GET", "/v1/events") == limit("DELETE", "/v1/workloads/x") == 4096
    assert limit("POST", "/v1/session") == 4096
    assert limit("POST", "/v1/session/codes") == 16 * 1024
    assert {row.name for row in TABLE if row.streams_body} == {
        "POST /v1/workloads/{workload_id}/logs"
    }


async def test_requests_that_only_ask_take_a_short_body_at_most(open_server: OpenServer) -> None:
    """Quart would hold it as long as the answer lasts, which may be for days."""
    async with open_server() as live:
        workload = await live.submit("sleep", "100")
        token = f"Authorization: Bearer {live.service.token}"
        chunked = "Transfer-Encoding: chunked"
        for method, path in (
            ("GET", "/v1/events"),
            ("GET", workload["logs_url"]),
            ("HEAD", workload["logs_url"]),
            ("GET", "/readyz"),
            ("DELETE", f"/v1/workloads/{workload['id']}"),
        ):
            allowed = 409 if method == "DELETE" else 200
            assert await raw_status(live, method, path, token, "Content-Length: 4097") == 413
            assert await raw_status(live, method, path, token, "Content-Length: 0") == allowed
            long = f"1001\r\n{'x' * 4097}\r\n0"
            for body, status in ((long, 413), ("2\r\n{}\r\n0", allowed), ("0", allowed)):
                found = await raw_status(live, method, path, token, f"{chunked}\r\n\r\n{body}")
                assert found == status, (method, path, body)


async def test_a_root_path_is_not_part_of_a_route() -> None:
    scope = {"type": "http", "method": "POST", "path": f"/at{PUSH}", "root_path": "/at"}
    row = TABLE.of_scope(scope)
    assert row is not None
    assert row.streams_body
    assert TABLE.of_scope({**scope, "path": PUSH}) is None
    assert TABLE.of_scope({**scope, "type": "websocket"}) is None


@pytest.mark.parametrize("ending", ["returns", "raises", "is cancelled"])
async def test_a_slot_is_free_again_however_its_request_ends(ending: str) -> None:
    slots = StreamSlots(1)
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        slot = scope["extensions"][SLOT]
        slot.take()
        slot.take()
        seen.append(slots.taken)
        other = {**scope, "extensions": {}}

        async def second(scope: Any, receive: Any, send: Any) -> None:
            with pytest.raises(BusyError, match="1 streams are open"):
                scope["extensions"][SLOT].take()

        await with_slots(second, TABLE, slots)(other, receive, send)
        seen.append(slots.taken)
        if ending == "raises":
            raise ValueError
        if ending == "is cancelled":
            cancel.cancel()
            await trio.sleep_forever()

    scope = {"type": "http", "method": "GET", "path": PUSH}
    for _ in range(2):
        with trio.CancelScope() as cancel:
            try:
                await with_slots(app, TABLE, slots)(scope, None, None)
            except ValueError:
                assert ending == "raises"
        assert slots.taken == 0
    assert seen == [1, 1, 1, 1]
