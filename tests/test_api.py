"""The wire contract over real HTTP: routes, parameters, representations, errors."""

from __future__ import annotations

import itertools
import json
import select
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from tests.live import PATIENCE, Live, open_live, parse_events
from trio_logs.api.stream import LogStream
from trio_logs.broker import BrokerLimits
from trio_logs.engine import EngineLimits
from trio_logs.errors import StoreError
from trio_logs.formats import TEXT_EVENTS
from trio_logs.selection import Selection
from trio_logs.server import Port, Ports
from trio_logs.settings import Settings
from trio_logs.store import Retention
from trio_logs.store.memory import MemoryStore

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]

FIELDS = [
    "id",
    "name",
    "backend",
    "command",
    "cwd",
    "timeout",
    "pty",
    "labels",
    "status",
    "reason",
    "exit_code",
    "signal",
    "error",
    "created_at",
    "started_at",
    "finished_at",
    "lines",
    "bytes",
    "node",
    "rerun_of",
    "logs_url",
]


@pytest.fixture
async def live(open_server: OpenServer) -> AsyncIterator[Live]:
    async with open_server() as opened:
        yield opened


def problem(answer: httpx2.Response, status: int, reason: str | None = None) -> str:
    """The detail of a problem answer of that status and reason."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    fields = {"type", "title", "status", "detail"}
    assert body.keys() == (fields if reason is None else fields | {"reason"})
    assert body.get("reason") == reason
    return str(body["detail"])


async def test_a_workload_from_start_to_end(live: Live) -> None:
    answer = await live.client.post(
        "/v1/workloads",
        json={"command": ["sh", "-c", "echo hi"], "name": "n", "labels": {"a": "b"}, "cwd": "/"},
    )
    assert answer.status_code == 201
    created = answer.json()
    assert list(created) == FIELDS
    assert answer.headers["location"] == f"/v1/workloads/{created['id']}"
    assert created["logs_url"] == f"/v1/workloads/{created['id']}/logs"
    assert (created["name"], created["labels"], created["backend"]) == ("n", {"a": "b"}, "process")
    assert created["command"] == ["sh", "-c", "echo hi"]
    record = await live.finished(created["id"])
    assert list(record) == FIELDS
    assert record["status"] == "succeeded"
    assert (record["exit_code"], record["signal"], record["error"]) == (0, None, None)
    assert (record["lines"], record["bytes"]) == (1, 3)
    times = [record[name] for name in ("created_at", "started_at", "finished_at")]
    assert times == sorted(times)
    for time in times:
        assert datetime.strptime(time, "%Y-%m-%dT%H:%M:%S.%f%z").tzinfo == UTC
        assert time.endswith("Z")
    deleted = await live.client.delete(f"/v1/workloads/{created['id']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    for path in ("", "/logs"):
        problem(await live.client.get(f"/v1/workloads/{created['id']}{path}"), 404)


async def test_queued_fields_are_null(open_server: OpenServer) -> None:
    async with open_server(engine=EngineLimits(running=1, queued=1)) as live:
        first = await live.submit("sleep", "100")
        queued = await live.submit("sleep", "100")
        assert queued["status"] == "queued"
        for name in ("name", "exit_code", "signal", "error", "started_at", "finished_at"):
            assert queued[name] is None
        refused = await live.client.post("/v1/workloads", json={"command": ["true"]})
        assert "submit again later" in problem(refused, 429)
        assert int(refused.headers["retry-after"]) > 0
        # A log that has not begun can be followed.
        stream = await live.follow(queued["logs_url"])
        async with stream.stream:
            assert await stream.read_chunk() == b": open\nretry: 2000\n\n"
            conflict = await live.client.delete(f"/v1/workloads/{queued['id']}")
            assert "stop it first" in problem(conflict, 409)
            await live.client.post(f"/v1/workloads/{queued['id']}/stop")
            [(name, event_id, data)] = parse_events(await stream.read_all())
            assert (name, event_id, data["status"]) == ("end", "end", "stopped")
        await live.client.post(f"/v1/workloads/{first['id']}/stop", json={"grace": 1})
        assert (await live.finished(first["id"]))["signal"] == "SIGTERM"


async def test_pages(live: Live) -> None:
    ids = [(await live.submit("true", labels={"n": str(number % 2)}))["id"] for number in range(5)]
    for workload_id in ids:
        await live.finished(workload_id)
    newest = ids[::-1]

    async def page(**query: Any) -> tuple[list[str], str | None]:
        answer = await live.client.get("/v1/workloads", params=query)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body.keys() == {"workloads", "next", "position"}
        return [item["id"] for item in body["workloads"]], body["next"]

    assert await page() == (newest, None)
    found, cursor = await page(limit=2)
    assert found == newest[:2]
    found, cursor = await page(limit=2, before=cursor)
    assert found == newest[2:4]
    assert await page(limit=2, before=cursor) == (newest[4:], None)
    assert await page(limit=5) == (newest, None)
    assert await page(label="n=1") == (newest[1::2], None)
    assert await page(status="failed") == ([], None)
    assert (await page(status="succeeded"))[0] == newest
    for query in ("limit=0", "limit=501", "limit=x", "status=x", "label=x", "before=%2f", "x=1"):
        problem(await live.client.get(f"/v1/workloads?{query}"), 400)
    problem(await live.client.get("/v1/workloads?limit=1&limit=2"), 400)


async def test_idempotency_key(live: Live) -> None:
    async def post(body: Any, key: str) -> httpx2.Response:
        headers = {"Idempotency-Key": key}
        return await live.client.post("/v1/workloads", json=body, headers=headers)

    body = {"command": ["true"], "env": {"A": "1", "B": "2"}}
    first = await post(body, "k1")
    same = await post({"env": {"B": "2", "A": "1"}, "command": ["true"]}, "k1")
    assert (first.status_code, same.status_code) == (201, 200)
    assert first.json()["id"] == same.json()["id"]
    assert same.headers["location"] == first.headers["location"]
    assert "Idempotency-Key" in problem(await post({"command": ["false"]}, "k1"), 422)
    assert (await post(body, "k2")).status_code == 201
    problem(await post(body, "x" * 256), 400)


BAD_BODIES = [
    (b"", 400),
    (b"{", 400),
    (b'{"command": ["\xff"]}', 400),
    (b"[]", 422),
    (b"{}", 422),
    (b'{"command": []}', 422),
    (b'{"command": [""]}', 422),
    (b'{"command": "true"}', 422),
    (b'{"command": ["true"], "timeout": 0}', 422),
    (b'{"command": ["true"], "timeout": "1"}', 422),
    (b'{"command": ["true"], "env": {"A": 1}}', 422),
    (b'{"command": ["true"], "env": {"A=B": "c"}}', 422),
    (b'{"command": ["a\\u0000b"]}', 422),
    (b'{"command": ["true"], "backend": "x"}', 422),
    (b'{"command": ["true"], "comand": 1}', 422),
    (b'{"command": ["true"], "labels": {"a=b": "c"}}', 422),
]


async def test_bad_bodies(live: Live) -> None:
    headers = {"Content-Type": "application/json"}
    for body, status in BAD_BODIES:
        answer = await live.client.post("/v1/workloads", content=body, headers=headers)
        assert problem(answer, status), body
    form = await live.client.post("/v1/workloads", data={"command": "true"})
    assert "application/json" in problem(form, 415)
    large = await live.client.post(
        "/v1/workloads", content=b" " * (1024 * 1024 + 1), headers=headers
    )
    problem(large, 413)
    assert (await live.client.get("/v1/workloads")).json()["workloads"] == []


async def send_body(live: Live, size: int, *, chunked: bool) -> httpx2.Response:
    """Submit a workload whose JSON is padded to that many bytes."""
    body = b'{"command": ["true"]}'.ljust(size)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 100_000):
            yield body[start : start + 100_000]

    headers = {"Content-Type": "application/json"}
    content = pieces() if chunked else body
    with trio.fail_after(PATIENCE):
        return await live.client.post("/v1/workloads", content=content, headers=headers)


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
async def test_the_setting_alone_limits_a_body(open_server: OpenServer, chunked: bool) -> None:
    limit = 8 * 1024 * 1024
    async with open_server(max_body=limit) as live:
        assert (await send_body(live, 2 * 1024 * 1024, chunked=chunked)).status_code == 201
        assert (await send_body(live, limit, chunked=chunked)).status_code == 201
        refused = await send_body(live, limit + 1, chunked=chunked)
        assert problem(refused, 413) == f"a request's body has at most {limit} bytes"
    async with open_server(max_body=1000) as live:
        assert (await send_body(live, 1000, chunked=chunked)).status_code == 201
        refused = await send_body(live, 1001, chunked=chunked)
        assert problem(refused, 413) == "a request's body has at most 1000 bytes"


async def test_errors_are_problems(live: Live) -> None:
    problem(await live.client.get("/nope"), 404)
    problem(await live.client.get("/v1/nope"), 404)
    wrong = await live.client.put("/v1/workloads")
    problem(wrong, 405)
    assert set(wrong.headers["allow"].replace(" ", "").split(",")) >= {"GET", "POST"}
    missing = "/v1/workloads/nope"
    for method, path in (("GET", ""), ("GET", "/logs"), ("POST", "/stop"), ("DELETE", "")):
        assert "'nope'" in problem(await live.client.request(method, missing + path), 404)


async def test_auth(live: Live) -> None:
    async with httpx2.AsyncClient(base_url=live.url) as client:
        for path in ("/v1/workloads", "/v1/workloads/x/logs", "/metrics", "/v1/nope"):
            for given, fault in (
                ({}, "missing"),
                ({"Authorization": ""}, "missing"),
                ({"Authorization": "Bearer"}, "missing"),
                ({"Authorization": "Basic x"}, "missing"),
                ({"Authorization": "Bearer wrong"}, "wrong"),
            ):
                answer = await client.get(path, headers=given)
                detail = problem(answer, 401)
                assert f"the token is {fault}" in detail
                assert "Bearer TOKEN" in detail
                assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/metrics/", f"{live.url}//metrics", "/v1//workloads", "/%76%31/workloads"):
            assert (await client.get(path)).status_code in (401, 404)
        for path in ("/healthz", "/readyz"):
            assert (await client.get(path)).json() == {"status": "ok"}
        lower = {"Authorization": f"bearer {live.service.token}"}
        assert (await client.get("/v1/workloads", headers=lower)).status_code == 200


async def test_the_token_is_kept_and_private(open_server: OpenServer, tmp_path: Path) -> None:
    tokens = []
    for _ in range(2):
        async with open_server() as live:
            tokens.append(live.service.token)
    assert tokens[0] == tokens[1]
    path = tmp_path / "data" / "token"
    assert path.read_text().strip() == tokens[0]
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(tokens[0]) >= 32
    async with open_server(token="given") as live:
        assert live.client.headers["authorization"] == "Bearer given"
        assert (await live.client.get("/v1/workloads")).status_code == 200


async def test_wrong_host(open_server: OpenServer) -> None:
    async with open_server(allowed_hosts=frozenset({"127.0.0.1", "[::1]"})) as live:
        assert (await live.client.get("/healthz")).status_code == 200
        assert (await live.client.get("/healthz", headers={"Host": "[::1]:9"})).status_code == 200
        answer = await live.client.get("/healthz", headers={"Host": "evil.example:80"})
        assert "evil.example" in problem(answer, 421)
        # A check as simple load balancers make it, and a target with a host, which wins.
        for request, status in (
            (b"GET /healthz HTTP/1.0", b"200"),
            (b"GET http://127.0.0.1/healthz HTTP/1.1\r\nHost: evil.example", b"200"),
            (b"GET http://evil.example/healthz HTTP/1.1\r\nHost: 127.0.0.1", b"421"),
            (b"GET http://127.0.0.1?x HTTP/1.1\r\nHost: 127.0.0.1", b"200"),
        ):
            stream = await trio.open_tcp_stream("127.0.0.1", int(live.url.rpartition(":")[2]))
            async with stream:
                await stream.send_all(request + b"\r\n\r\n")
                with trio.fail_after(PATIENCE):
                    assert (await stream.receive_some())[9:12] == status


@pytest.mark.parametrize("value", ["1", ""])
async def test_a_header_that_is_no_list_may_be_sent_once(live: Live, log: str, value: str) -> None:
    authorization = live.client.headers["Authorization"]
    json_type = "application/json"
    workload = (await live.client.post("/v1/workloads", json={"backend": "push"})).json()["id"]
    pushed = f"/v1/workloads/{workload}/logs"
    for method, path, name, first in (
        ("GET", log, "Last-Event-ID", value),
        ("HEAD", log, "Last-Event-ID", value),
        ("GET", "/v1/workloads", "Authorization", authorization),
        ("POST", "/v1/workloads", "Idempotency-Key", "k"),
        ("POST", "/v1/workloads", "Content-Type", json_type),
        ("POST", pushed, "Content-Type", json_type),
        ("POST", pushed, "Upload-Offset", "0"),
        ("POST", f"/v1/workloads/{workload}/finish", "Content-Type", json_type),
    ):
        for second in (first, "2"):
            headers = [(name, first), (name, second)]
            if name != "Authorization":
                headers.append(("Authorization", authorization))
            body = b"{}" if method == "POST" else b""
            request = live.client.build_request(method, path, content=body)
            length = ("Content-Length", str(len(body)))
            request.headers = httpx2.Headers([("Host", "x"), length, *headers])
            answer = await live.client.send(request)
            if method == "HEAD":
                assert answer.status_code == 400
            else:
                assert problem(answer, 400) == f"{name}: the request has 2 such headers; send one"
    # The body of a push that was refused is not in the log.
    assert (await live.client.get(f"/v1/workloads/{workload}")).json()["bytes"] == 0


async def test_content_codings_are_a_list(live: Live) -> None:
    workload = (await live.client.post("/v1/workloads", json={"backend": "push"})).json()["id"]
    url = f"/v1/workloads/{workload}/logs"
    for codings, status in (
        (["identity", "gzip"], 415),
        (["identity, gzip"], 415),
        (["Identity"], 204),
    ):
        headers = [("Content-Encoding", coding) for coding in codings]
        answer = await live.client.post(url, content=b"x\n", headers=headers)
        assert answer.status_code == status, codings


async def test_readiness_tells_of_a_store_that_waits(live: Live) -> None:
    for waited, status in ((10.0, 200), (10.1, 503)):
        live.service.store_wait = lambda waited=waited: waited  # type: ignore[method-assign,misc]
        answer = await live.client.get("/readyz")
        assert answer.status_code == status
    assert "10 s for the store" in problem(answer, 503, "store")
    assert int(answer.headers["retry-after"]) > 0
    assert (await live.client.get("/healthz")).status_code == 200
    live.service.drain()
    problem(await live.client.get("/readyz"), 503, "draining")


class Unreadable(MemoryStore):
    """A store that takes all writes, and fails every read once it is `broken`."""

    broken = False

    async def read(self, *arguments: Any) -> Any:
        if self.broken:
            raise StoreError("the store can't read the log: I/O error")
        return await super().read(*arguments)

    async def workload(self, workload_id: str) -> Any:
        if self.broken and workload_id == "lost":
            raise StoreError("the store can't read the record: I/O error")
        return await super().workload(workload_id)


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson", "text/plain"])
async def test_a_store_that_fails_is_a_problem_or_cuts_the_answer(
    tmp_path: Path, accept: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Unreadable()
    # No window: every line comes from the store.
    settings = Settings(data=tmp_path, broker=BrokerLimits(0, 0))
    async with open_live(settings, store=store) as live:
        workload = await live.submit("echo", "one")
        # Without a reader, whose read of the store would be remembered.
        await live.service.engine.finished(workload["id"])
        store.broken = True
        answer = await live.client.get("/v1/workloads/lost")
        assert problem(answer, 503, "store") == "the store can't read the record: I/O error"
        assert int(answer.headers["retry-after"]) > 0
        stream = await live.follow(workload["logs_url"], f"Accept: {accept}")
        async with stream.stream:
            assert stream.status == 200
            with pytest.raises((EOFError, trio.BrokenResourceError)):
                await stream.read_all()
        assert not stream.ended
        assert live.server.statistics().failed == 0
        store.broken = False
        assert (await live.events(workload["id"]))[-1][0] == "end"
    assert "Traceback" not in "".join(capsys.readouterr())


async def test_metrics(live: Live) -> None:
    await live.finished((await live.submit("false"))["id"])
    answer = await live.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'trio_logs_workloads_finished_total{status="failed"} 1.0' in answer.text
    assert "trio_logs_subscriptions 0.0" in answer.text


async def test_draining(live: Live) -> None:
    workload = await live.submit("sleep", "100")
    quiet = await live.follow(workload["logs_url"])
    await quiet.read_until(b": open")
    live.service.drain()
    async with quiet.stream:
        body = await quiet.read_all()
    assert body.endswith(
        b"event: shutdown\nretry: 3000\n"
        b'data: {"reason":"draining",'
        b'"detail":"the server is shutting down: resume after the last id"}\n\n'
    )
    refused = await live.client.post("/v1/workloads", json={"command": ["true"]})
    problem(refused, 503)
    for path in ("/readyz", workload["logs_url"]):
        answer = await live.client.get(path)
        assert "shutting down" in problem(answer, 503, "draining")
        assert "retry-after" in answer.headers
    assert (await live.client.get("/healthz")).status_code == 200


SCRIPT = r"printf 'one\n'; printf 'two\r\n' >&2; sleep 0.3; printf 'three\rx\n\nfive'"
"""Five lines on two streams, the last without an end; the sleep orders the streams."""

JSON_LINES = [
    ("stdout", "one"),
    ("stderr", "two"),
    ("stdout", "three\rx"),
    ("stdout", ""),
    ("stdout", "five"),
]


@pytest.fixture
async def log(live: Live) -> str:
    """The URL of a finished log, the script's."""
    # Written by itself, so that the order of the two streams is certain.
    workload = await live.submit("sh", "-c", SCRIPT)
    await live.finished(workload["id"])
    return str(workload["logs_url"])


async def get(live: Live, url: str, accept: str | None = None, **query: Any) -> httpx2.Response:
    headers = {"Accept": accept} if accept else {}
    with trio.fail_after(30):
        return await live.client.get(url, params=query, headers=headers)


async def texts(live: Live, url: str, **query: Any) -> list[str]:
    """The ids of the lines that a query shows, and names of control events."""
    answer = await get(live, url, **query)
    assert answer.status_code == 200, answer.text
    return [event_id or name for name, event_id, _ in parse_events(answer.content)]


async def order(live: Live, log: str) -> list[int]:
    """The numbers of the lines on stderr: between streams, order is that of arrival."""
    answer = await get(live, log, "application/x-ndjson", stream="stderr")
    return [line["seq"] for line in map(json.loads, answer.text.splitlines()) if "seq" in line]


async def test_representations(live: Live, log: str) -> None:
    [second] = await order(live, log)
    lines = [pair for pair in JSON_LINES if pair[0] == "stdout"]
    lines.insert(second - 1, JSON_LINES[1])
    ndjson = await get(live, log, "application/x-ndjson")
    assert ndjson.headers["content-type"] == "application/x-ndjson"
    objects = [json.loads(line) for line in ndjson.text.split("\n")[:-1]]
    assert [(o["seq"], o["stream"], o["text"]) for o in objects[:-1]] == [
        (number, *pair) for number, pair in enumerate(lines, 1)
    ]
    assert objects[-1] == {
        "event": "end",
        "status": "succeeded",
        "reason": objects[-1]["reason"],
        "exit_code": 0,
        "signal": None,
        "error": None,
        "lines": 5,
        "bytes": 22,
    }
    events = parse_events((await get(live, log, format="json")).content)
    assert [json.loads(data) for _, _, data in events[:-1]] == objects[:-1]
    plain = await get(live, log, "text/plain")
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    assert sorted(plain.content) == sorted(b"one\ntwo\r\nthree\rx\n\nfive")
    stdout = await get(live, log, "text/plain", stream="stdout")
    assert stdout.content == b"one\nthree\rx\n\nfive"
    timed = await get(live, log, "text/plain", timestamps="true", stream="stderr")
    assert timed.content == f"{objects[second - 1]['time']} two\r\n".encode()
    timed_events = parse_events((await get(live, log, timestamps="1", tail="1")).content)
    assert timed_events[0][2] == f"{objects[4]['time']} five"


async def test_the_stream_of_the_service_itself(live: Live) -> None:
    workload = await live.submit("no-such-command")
    await live.finished(workload["id"])
    answer = await get(live, workload["logs_url"], "application/x-ndjson", stream="system")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["stream"] for line in lines[:-1]] == ["system"]
    assert await texts(live, workload["logs_url"], stream="stdout") == ["end"]


async def test_accept(live: Live, log: str) -> None:
    for accept, expected in [
        ("*/*", "text/event-stream; charset=utf-8"),
        ("text/*", "text/event-stream; charset=utf-8"),
        ("text/html, */*;q=0.8", "text/event-stream; charset=utf-8"),
        ("text/plain, text/event-stream;q=0.5", "text/plain; charset=utf-8"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ("text/event-stream;q=0, */*", "application/x-ndjson"),
    ]:
        assert (await get(live, log, accept)).headers["content-type"] == expected
    for accept in ("application/json", "image/png"):
        assert "text/event-stream" in problem(await get(live, log, accept), 406)
    # As Java's own client sends it; and one list may come in several fields.
    java = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"
    found = await get(live, log, java)
    assert found.headers["content-type"] == "text/event-stream; charset=utf-8"
    several = [("Accept", "image/png"), ("Accept", "text/plain")]
    found = await live.client.get(log, headers=several)
    assert found.headers["content-type"] == "text/plain; charset=utf-8"


async def test_where_to_start_and_stop(live: Live, log: str) -> None:
    everything = ["1", "2", "3", "4", "5", "end"]
    assert await texts(live, log) == everything
    assert await texts(live, log, follow="false") == everything
    assert await texts(live, log, tail="all") == everything
    assert await texts(live, log, tail=2) == ["4", "5", "end"]
    assert await texts(live, log, tailLines=2) == ["4", "5", "end"]
    assert await texts(live, log, tail=0) == ["end"]
    assert await texts(live, log, tail=99) == everything
    assert await texts(live, log, since="10m") == everything
    assert await texts(live, log, sinceSeconds=600) == everything
    assert await texts(live, log, until="10m") == ["end"]
    assert await texts(live, log, since="1h", until="2h") == ["end"]
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert await texts(live, log, since=soon) == ["end"]
    assert await texts(live, log, sinceTime=soon) == ["end"]
    assert await texts(live, log, until=soon) == everything
    for late in ("9999-12-31T23:59:59Z", "9999999999", "2100-12-31t23:59:60.5+00:00"):
        assert await texts(live, log, until=late) == everything
    assert await texts(live, log, tail=1, stream="stdout") == ["5", "end"]
    [second] = await order(live, log)
    assert await texts(live, log, tail=3, stream="stderr") == [str(second), "end"]
    shown = (await get(live, log, "application/x-ndjson", tail=3)).text.split("\n")
    assert shown[0] == '{"event":"position","id":"2"}'
    third = json.loads(shown[1])
    assert await texts(live, log, since=third["time"]) == ["3", "4", "5", "end"]


async def test_resume(live: Live, log: str) -> None:
    async def resumed(event_id: str, **query: Any) -> list[str]:
        headers = {"Last-Event-ID": event_id}
        answer = await live.client.get(log, params=query, headers=headers)
        assert answer.status_code == 200
        return [event_id or name for name, event_id, _ in parse_events(answer.content)]

    assert await resumed("3") == ["4", "5", "end"]
    assert await resumed("0") == ["1", "2", "3", "4", "5", "end"]
    # The last line may have come without the end.
    assert await resumed("5") == ["end"]
    assert await texts(live, log, last_event_id="4") == ["5", "end"]
    assert await resumed("4", last_event_id="1") == ["5", "end"]
    # What says where to start does not make a reader that resumes lose lines.
    assert await resumed("1", tail=1) == ["2", "3", "4", "5", "end"]
    for number in ("6", "999", "9" * 40):
        assert await resumed(number) == ["reset", "1", "2", "3", "4", "5", "end"]
    for path in (log, f"{log}?tail=1", f"{log}?last_event_id=end"):
        answer = await live.client.get(path, headers={"Last-Event-ID": "end"})
        assert (answer.status_code, answer.content) == (204, b"")
    answer = await live.client.get(f"{log}?last_event_id=end")
    assert answer.status_code == 204
    for bad in ("x", "-1", "1.5"):
        problem(await live.client.get(log, headers={"Last-Event-ID": bad}), 400)
        url = f"{log}?last_event_id={bad}"
        problem(await live.client.get(url, headers={"Last-Event-ID": "1"}), 400)
    [reset, *_] = await live.events(log.split("/")[3], headers={"Last-Event-ID": "6"})
    assert reset == (
        "reset",
        "",
        {
            "reason": "beyond_head",
            "detail": "this log goes to line 5 only; it follows from its first line",
        },
    )
    running = await live.submit("sleep", "100")
    stream = await live.follow(running["logs_url"], "Last-Event-ID: end")
    async with stream.stream:
        body = await stream.read_until(b"first line")
        assert b'\n\nevent: reset\ndata: {"reason":"not_ended","detail":"' in body


BAD_QUERIES = [
    "x=1",
    "follow=maybe",
    "tail=-1",
    "tail=x",
    "tail=",
    "since=yesterday",
    "since=2026-01-01",
    "since=2026-01-01T00:00:00",
    "since=99999999999999999",
    # What Python would take, and RFC 3339 does not.
    "since=2026-W05-6T12:00:00Z",
    "since=20260131T120000Z",
    "since=2026-01-31T12:00Z",
    "since=2026-01-31T12:00:00,5Z",
    "since=2026-01-31T12:00:00%2B00:00:30",
    "since=2026-01-32T12:00:00Z",
    f"since={'9' * 400}s",
    "until=10x",
    "sinceSeconds=10m",
    "stream=stdin",
    "timestamps=yes",
    "format=xml",
    "last_event_id=x",
    "tail=1&tail=2",
    "tail=1&tailLines=2",
    "since=１２",
    "until=１m",
    "download=a/b",
    "download=a%0Db",
    "download=a%E2%80%AEgpj.exe",
]


async def test_bad_queries(live: Live, log: str) -> None:
    for query in BAD_QUERIES:
        assert problem(await live.client.get(f"{log}?{query}"), 400), query


async def test_download(live: Live, log: str) -> None:
    workload_id = log.split("/")[3]
    for value, expected in [
        ("true", f'attachment; filename="{workload_id}.log"'),
        ("build.log", 'attachment; filename="build.log"'),
        ('a"b é', "attachment; filename*=UTF-8''a%22b%20%C3%A9"),
        # No character of this Python's Unicode, as newer ones are not.
        ("\U000c8951", "attachment; filename*=UTF-8''%F3%88%A5%91"),
    ]:
        answer = await get(live, log, "text/plain", download=value)
        assert answer.headers["content-disposition"] == expected
    assert "content-disposition" not in (await get(live, log, download="false")).headers


async def test_head_has_headers_only(live: Live, log: str) -> None:
    head = await live.client.head(log)
    assert head.status_code == 200
    assert head.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "content-length" not in head.headers
    running = await live.submit("sleep", "100")
    with trio.fail_after(5):
        assert (await live.client.head(running["logs_url"])).status_code == 200
    assert live.service.broker.statistics().subscriptions == 0


async def test_follow_false_ends_at_what_is_known(live: Live) -> None:
    workload = await live.submit("sh", "-c", "echo one; sleep 100")
    stream = await live.follow(workload["logs_url"])
    async with stream.stream:
        await stream.read_until(b"data: one")
    assert await texts(live, workload["logs_url"], follow="false") == ["1"]
    plain = await get(live, workload["logs_url"], "text/plain")
    assert plain.content == b"one\n"
    ndjson = await get(live, workload["logs_url"], "application/x-ndjson", tail=0)
    assert ndjson.content == b'{"event":"position","id":"1"}\n'
    assert await texts(live, workload["logs_url"], until="1s") == []


async def test_until_in_the_future_ends_a_stream(live: Live) -> None:
    workload = await live.submit("sh", "-c", "echo one; exec sleep 100")
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    with trio.fail_after(10):
        assert await texts(live, workload["logs_url"], until=soon) == ["1"]


async def test_live_only(live: Live) -> None:
    script = "echo early; while [ ! -e go ]; do sleep 0.02; done; echo late"
    folder = live.service.settings.data
    workload = await live.submit("sh", "-c", script, cwd=str(folder))
    stream = await live.follow(workload["logs_url"])
    await stream.read_until(b"early")
    newcomer = await live.follow(f"{workload['logs_url']}?tail=0")
    await newcomer.read_until(b": open")
    await trio.testing.wait_all_tasks_blocked(0.05)
    (folder / "go").touch()
    async with stream.stream, newcomer.stream:
        shown = parse_events(await newcomer.read_all())
        assert [event[1] for event in shown] == ["2", "end"]
        assert [event[1] for event in parse_events(await stream.read_all())] == ["1", "2", "end"]


async def test_a_quiet_stream_is_kept_alive(open_server: OpenServer) -> None:
    async with open_server(heartbeat=0.05) as live:
        workload = await live.submit("sleep", "100")
        stream = await live.follow(workload["logs_url"])
        async with stream.stream:
            for _ in range(3):
                chunk = await stream.read_chunk()
                assert chunk in (b": open\nretry: 2000\n\n", b": keep-alive\n\n")
        ndjson = await live.follow(
            workload["logs_url"] + "?follow=1", "Accept: application/x-ndjson"
        )
        async with ndjson.stream:
            with trio.move_on_after(0.3):
                await ndjson.read_chunk()
            assert set(ndjson.body.split(b"\n")) == {b'{"event":"heartbeat"}', b""}


async def test_retention_is_announced_as_a_gap(open_server: OpenServer) -> None:
    # No window, and no reader before the trimming whose reads are remembered: so that readers see
    # what the store has left.
    limits = BrokerLimits(0, 0)
    async with open_server(broker=limits, retention=Retention()) as live:
        script = f"i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo {'x' * 500}$i; sleep 0.001; done"
        workload = record = await live.submit("sh", "-c", script)
        with trio.fail_after(PATIENCE):
            while record["finished_at"] is None:
                await trio.sleep(0.02)
                record = (await live.client.get(f"/v1/workloads/{workload['id']}")).json()
        held = live.service.store.statistics().bytes // 2
        while await live.service.store.trim(Retention(max_bytes=held)):
            pass
        gap, *lines, end = await live.events(workload["id"])
        assert gap[:2] == ("gap", "")
        last = gap[2]["to"]
        assert gap[2] == {"from": 1, "to": last, "reason": "retention"}
        assert 1 <= last <= record["lines"]
        assert [int(line[1]) for line in lines] == list(range(last + 1, record["lines"] + 1))
        assert end[0] == "end"
        # A reader that was overtaken is told so as well; one that was not, is not.
        resumed = await live.events(workload["id"], last_event_id="1")
        assert resumed[0][2]["from"] == 2
        ndjson = await get(live, workload["logs_url"], "application/x-ndjson")
        first = json.loads(ndjson.text.split("\n")[0])
        assert first == {"event": "gap", **gap[2]}
        plain = await get(live, workload["logs_url"], "text/plain")
        assert plain.content.count(b"\n") == len(lines)


async def test_an_over_long_line(live: Live) -> None:
    program = "import sys; sys.stdout.write('é' * 50000 + '\\n' + 'b' * 65536 + '\\r\\n')"
    workload = await live.submit("python3", "-c", program)
    record = await live.finished(workload["id"])
    assert record["lines"] == 3
    ndjson = await get(live, workload["logs_url"], "application/x-ndjson")
    objects = [json.loads(line) for line in ndjson.text.split("\n")[:-2]]
    assert [(len(o["text"]), o.get("partial")) for o in objects] == [
        (32768, True),
        (17232, None),
        (65536, None),
    ]
    assert "partial" not in objects[1]
    plain = await get(live, workload["logs_url"], "text/plain")
    assert plain.content == ("é" * 50000 + "\n" + "b" * 65536 + "\r\n").encode()


async def test_a_tail_has_all_parts_of_an_over_long_line(live: Live) -> None:
    script = "echo before; head -c 150000 /dev/zero | tr '\\0' x; echo"
    workload = await live.submit("sh", "-c", script)
    await live.finished(workload["id"])
    url = workload["logs_url"]
    assert await texts(live, url, tail=1) == ["2", "3", "4", "end"]
    for follow in ("true", "false"):
        plain = await get(live, url, "text/plain", tail=1, follow=follow)
        assert plain.content == b"x" * 150_000 + b"\n"


async def test_a_tail_of_a_busy_log_is_whole(live: Live) -> None:
    workload = await live.submit("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; done")
    stream = await live.follow(workload["logs_url"])
    async with stream.stream:
        await stream.read_until(b"id: 100\n")
        for _ in range(30):
            answer = await get(live, workload["logs_url"], "text/plain", tail=10)
            assert answer.content.count(b"\n") == 10


async def test_until_with_a_slow_reader(open_server: OpenServer) -> None:
    async with open_server(broker=BrokerLimits(0, 0)) as live:
        script = f"i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo {'x' * 20000}; done; sleep 100"
        workload = await live.submit("sh", "-c", script)
        soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
        path = f"{workload['logs_url']}?until={soon}".replace("+", "%2B")
        stream = await live.follow(path)
        async with stream.stream:
            # More than the kernel holds is waiting when the time is up.
            await trio.sleep(4)
            lines = [event[1] for event in parse_events(await stream.read_all())]
        assert lines == [str(number) for number in range(1, 401)]


async def test_a_filtered_stream_is_kept_alive(open_server: OpenServer) -> None:
    async with open_server(heartbeat=0.1) as live:
        workload = await live.submit("sh", "-c", "while :; do echo x; sleep 0.01; done")
        stream = await live.follow(f"{workload['logs_url']}?stream=stderr")
        async with stream.stream:
            # The position moves on, so that a resume does not look at the hidden lines again.
            for _ in range(2):
                await stream.read_until(b": keep-alive\n\nid: ")
            assert b"data:" not in stream.body


async def test_chunks_of_short_lines_are_bounded(live: Live) -> None:
    workload = await live.submit("sh", "-c", "yes '' | head -n 100000")
    await live.finished(workload["id"])
    stream = await live.follow(f"{workload['logs_url']}?format=json", "Connection: close")
    async with stream.stream:
        largest = 0
        while chunk := await stream.read_chunk():
            largest = max(largest, len(chunk))
    assert stream.body.count(b"\ndata: {") == 100_001
    assert largest < 160 * 1024


async def test_who_reads_a_deleted_log_is_told(live: Live) -> None:
    workload = await live.submit("sh", "-c", "yes xxxxxxxxxxxxxxxxxxxx | head -n 2000000")
    await live.finished(workload["id"])
    stream = await live.follow(workload["logs_url"])
    async with stream.stream:
        await stream.read_until(b"id: 1\n")
        assert (await live.client.delete(f"/v1/workloads/{workload['id']}")).status_code == 204
        tail = (await stream.read_all())[-1000:]
    # No end follows: its outcome is gone, too, and a client that returns gets 404.
    gap = parse_events(tail)[-1]
    assert (gap[0], gap[2]["to"], gap[2]["reason"]) == ("gap", 2_000_000, "deleted")
    assert (await live.client.get(workload["logs_url"])).status_code == 404


@pytest.mark.parametrize("selection", [Selection(), Selection(stream="stdout")])
async def test_a_stream_hands_on_only_what_its_port_declines(
    live: Live, selection: Selection
) -> None:
    workload = await live.submit("sh", "-c", "yes 0123456789 | head -n 30000")
    await live.finished(workload["id"])
    sent = b""
    offered: list[bytes] = []

    class Declining(Ports):
        def send_each(self, ports: Sequence[int], chunk: bytes) -> Sequence[int]:
            nonlocal sent
            assert list(ports) == [7]
            offered.append(chunk)
            if len(offered) % 3 == 0:
                return [7]
            sent += chunk
            return []

    reading = live.service.broker.read(workload["id"], selection)
    async with LogStream(reading, TEXT_EVENTS, 15, Port(7, Declining())) as stream:
        async for chunk in stream:
            assert chunk == offered[-1]
            assert len(offered) % 3 == 0
            sent += chunk
    assert len(offered) > 5
    events = parse_events(sent)
    assert [event[1] for event in events] == [*map(str, range(1, 30_001)), "end"]


async def test_a_connection_is_closed_or_used_again_after_a_stream(live: Live, log: str) -> None:
    closing = await live.follow(log, "Connection: close")
    async with closing.stream:
        await closing.read_all()
        with trio.fail_after(3):
            assert await closing.stream.receive_some() == b""
    stream = await live.follow(log)
    async with stream.stream:
        await stream.read_all()
        request = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        await stream.stream.send_all(request.encode())
        with trio.fail_after(3):
            await stream.read_head()
        assert stream.status == 200
        live.stop.set()
        # Nothing waits for the connections' grace.
        with trio.fail_after(3):
            while await stream.stream.receive_some():
                pass


async def test_a_body_that_is_too_large_does_not_lose_its_answer(live: Live) -> None:
    host, _, port = live.url.rpartition("//")[2].rpartition(":")
    for _ in range(10):
        stream = await trio.open_tcp_stream(host, int(port))
        async with stream:
            size = 2 * 1024 * 1024
            await stream.send_all(
                f"POST /v1/workloads HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n"
                f"Authorization: Bearer {live.service.token}\r\n\r\n".encode()
            )
            # All of it, before the answer is looked at.
            for _ in range(size // 65536):
                await stream.send_all(b" " * 65536)
                await trio.sleep(0.0005)
            with trio.fail_after(5):
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("path", ["/v1/workloads", "/v1/session"])
async def test_a_body_that_stalls(
    open_server: OpenServer, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("trio_logs.api.app.BODY_SECONDS", 0.1)
    async with open_server() as live:
        answer = await live.follow(path, "Content-Length: 9", method="POST")
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert answer.headers["content-type"] == "application/problem+json"
        with trio.fail_after(PATIENCE):
            while len(answer.buffer) < int(answer.headers["content-length"]):
                answer.buffer += await answer.stream.receive_some()
        await answer.stream.aclose()
        problem = json.loads(answer.buffer)
        assert problem["status"] == 408
        assert problem["detail"] == "the body did not arrive within 0.1 s: send it again"


async def test_too_many_streams(open_server: OpenServer) -> None:
    async with open_server(max_streams=1) as live:
        workload = await live.submit("sleep", "100")
        stream = await live.follow(workload["logs_url"])
        async with stream.stream:
            await stream.read_until(b": open")
            answer = await live.client.get(workload["logs_url"])
            problem(answer, 429)
            assert "retry-after" in answer.headers


async def test_too_many_streams_at_the_same_moment(open_server: OpenServer) -> None:
    async with open_server(max_streams=3) as live:
        workload = await live.submit("sleep", "100")
        statuses: list[int] = []

        async def come(leave: trio.Event) -> None:
            stream = await live.follow(workload["logs_url"])
            async with stream.stream:
                statuses.append(stream.status)
                await leave.wait()

        # Those who leave make room again, also those that were refused.
        for _ in range(2):
            statuses.clear()
            leave = trio.Event()
            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as nursery:
                    for _ in range(20):
                        nursery.start_soon(come, leave)
                    while len(statuses) < 20:
                        await trio.sleep(0.01)
                    leave.set()
                while live.server.statistics().connections > 1:
                    await trio.sleep(0.01)
            assert sorted(statuses) == [200] * 3 + [429] * 17


async def test_a_client_that_leaves_before_its_answer_leaks_no_slot(
    open_server: OpenServer,
) -> None:
    async with open_server(max_streams=2) as live:
        workload = await live.submit("sleep", "100")
        host, _, port = live.url.rpartition("//")[2].rpartition(":")
        head = (
            f"GET {workload['logs_url']} HTTP/1.1\r\nHost: {host}\r\n"
            f"Authorization: Bearer {live.service.token}\r\n\r\n"
        )
        # A client may leave at each step of its request, up to the first bytes of its answer.
        answers = 0
        for steps in itertools.cycle(range(10)):
            stream = await trio.open_tcp_stream(host, int(port))
            await stream.send_all(head.encode())
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            answers += bool(select.select([stream.socket], [], [], 0)[0])
            await stream.aclose()
            if answers == 10:
                break
        with trio.fail_after(PATIENCE):
            while live.server.statistics().connections > 1:
                await trio.sleep(0.01)
        first = await live.follow(workload["logs_url"])
        second = await live.follow(workload["logs_url"])
        async with first.stream, second.stream:
            assert (first.status, second.status) == (200, 200)
            problem(await live.client.get(workload["logs_url"]), 429)


async def test_a_tail_does_not_grow_when_what_is_before_it_is_trimmed(
    open_server: OpenServer,
) -> None:
    async with open_server(retention=Retention()) as live:
        script = "seq 1 100; echo x >&2; seq 101 150; exec sleep 60"
        workload = await live.submit("sh", "-c", script)
        stream = await live.follow(workload["logs_url"])
        async with stream.stream:
            await stream.read_until(b"data: 150\n")
        # All of it; the window still has it.
        assert await live.service.store.trim(Retention(max_bytes=0))
        for query, count in (
            ({}, 151),
            ({"tail": 5}, 5),
            ({"tail": 5, "since": "1h"}, 5),
            ({"tail": 5, "stream": "stdout"}, 5),
            ({"tail": 120, "stream": "stdout"}, 120),
            ({"tail": 5, "until": "2100-01-01T00:00:00Z"}, 5),
        ):
            found = await get(live, workload["logs_url"], "text/plain", **query)
            assert found.content.count(b"\n") == count, query
        # What nobody has any more is told of where the tail reaches so far, and not beyond.
        await live.client.post(f"/v1/workloads/{workload['id']}/stop", json={"grace": 0})
        await live.finished(workload["id"])
        assert (await live.events(workload["id"], tail=5))[0][2]["from"] == 147


async def test_a_deleted_log_does_not_leave_its_reader_waiting(live: Live) -> None:
    workload = await live.submit("echo", "one")
    await live.finished(workload["id"])
    get_workload = live.service.engine.get

    async def get_then_delete(workload_id: str) -> Any:
        found = await get_workload(workload_id)
        await live.service.store.delete(workload_id)
        return found

    live.service.engine.get = get_then_delete  # type: ignore[method-assign]
    answer = await get(live, workload["logs_url"])
    assert answer.content == b": open\nretry: 2000\n\n"


async def test_bytes_that_a_shutdown_cuts_short_do_not_look_whole(live: Live) -> None:
    """Control events do not show in plain text, so the answer must not come to its proper end."""
    workload = await live.submit("sh", "-c", "echo one; sleep 60")
    stream = await live.follow(f"{workload['logs_url']}?follow=true", "Accept: text/plain")
    async with stream.stream:
        await stream.read_until(b"one\n")
        live.service.drain()
        with pytest.raises((EOFError, trio.BrokenResourceError)):
            await stream.read_all()
