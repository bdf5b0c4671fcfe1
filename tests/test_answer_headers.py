"""The headers that protect answers from pages of other origins: each kind of answer has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest
import trio

from tests.live import PATIENCE, Live, RawStream
from tests.signing_in import anonymous, bearer, code_of, sign_in

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]

COMMON = {
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
}
INERT = "frame-ancestors 'none'"


@pytest.fixture
async def live(open_server: OpenServer) -> AsyncIterator[Live]:
    async with open_server(allowed_hosts=frozenset({"127.0.0.1"})) as opened:
        yield opened


async def raw(live: Live, request: str) -> RawStream:
    """The head of the answer to these bytes."""
    host, _, port = live.url.rpartition("//")[2].rpartition(":")
    with trio.fail_after(PATIENCE):
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(request.encode())
            answer = RawStream(stream)
            await answer.read_head()
    return answer


async def test_each_kind_of_answer_is_protected(live: Live) -> None:
    workload = await live.submit("echo", "<script>alert(1)</script>")
    await live.finished(workload["id"])
    log = workload["logs_url"]
    reading = bearer(live.service.tokens.read_only)
    download = await code_of(live, download=f"{log}?download=true")
    etag = (await live.client.get("/page/main.js")).headers["etag"]
    requests = [
        ("GET", "/", 200, {}),
        ("GET", f"/w/{workload['id']}", 200, {}),
        ("GET", "/page/main.js", 200, {}),
        ("GET", "/page/main.js", 304, {"If-None-Match": etag}),
        ("GET", "/page/icons/list.svg", 200, {}),
        ("GET", "/page/none.js", 404, {}),
        ("POST", "/", 405, {}),
        ("GET", "/docs", 200, {}),
        ("GET", "/openapi.json", 200, {}),
        ("GET", "/healthz", 200, {}),
        ("GET", "/metrics", 200, {}),
        ("GET", "/nowhere", 404, {}),
        ("GET", "/v1/workloads", 200, {}),
        ("HEAD", "/v1/workloads", 200, {}),
        ("OPTIONS", "/v1/workloads", 200, {}),
        ("POST", "/v1/session", 201, {}),
        ("DELETE", "/v1/session", 204, bearer(await sign_in(live))),
        ("GET", "/v1/workloads", 401, {"Authorization": ""}),
        ("POST", "/v1/workloads", 403, reading),
        ("GET", "/", 421, {"Host": "evil.example"}),
        ("GET", log, 200, {}),
        ("HEAD", log, 200, {}),
        ("GET", log, 200, {"Accept": "application/x-ndjson"}),
        ("GET", log, 200, {"Accept": "text/plain"}),
        ("GET", log, 204, {"Last-Event-ID": "end"}),
        ("GET", download["url"], 200, {"Authorization": ""}),
        ("GET", f"{log.replace('/logs', '/matches')}?filter=script", 200, {}),
        ("GET", "/v1/search?filter=script", 200, {}),
        ("GET", f"/v1/logs?workload={workload['id']}", 200, {}),
    ]
    for method, path, status, headers in requests:
        async with anonymous(live) as client:
            client.headers.update({**bearer(live.service.token), **headers})
            if not client.headers["Authorization"]:
                del client.headers["Authorization"]
            answer = await client.request(method, path)
        assert answer.status_code == status, (method, path)
        for name, value in COMMON.items():
            assert answer.headers[name] == value, (method, path, name)
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy, (method, path)
        # What is no file of the page, and not the page of the API, has nothing to run.
        is_page = status in (200, 304) and path.startswith(("/w/", "/page/", "/docs"))
        assert (policy == INERT) != (is_page or (path, status) == ("/", 200)), (method, path)


async def test_answers_of_the_server_itself_are_protected_too(live: Live) -> None:
    host = "Host: 127.0.0.1"
    token = f"Authorization: Bearer {live.service.token}"
    for request, status in (
        ("NONSENSE\r\n\r\n", 400),
        (f"GET / HTTP/1.1\r\n{host}\r\n{host}\r\n\r\n", 400),
        (f"GET / HTTP/1.1\r\n{host}\r\nX: {'x' * 70_000}\r\n\r\n", 431),
        (
            f"POST /v1/workloads HTTP/1.1\r\n{host}\r\n{token}\r\nContent-Length: 9999999\r\n\r\n",
            413,
        ),
    ):
        answer = await raw(live, request)
        assert answer.status == status
        assert COMMON.items() <= answer.headers.items()
        assert answer.headers["content-security-policy"] == INERT
        assert answer.headers["cache-control"] == "no-store"


async def test_a_host_that_leads_elsewhere_gets_no_link(open_server: OpenServer) -> None:
    """A code in a link is worth as much as the token: `http://a:1@b` leads to b."""
    for allowed in ((), ("127.0.0.1", "::1")):
        async with open_server(allowed_hosts=frozenset(allowed)) as live:
            for host, status in (
                ("127.0.0.1", 201),
                ("127.0.0.1:8000", 201),
                ("[::1]:8000", 201),
                ("127.0.0.1:80@evil.example", 421),
                ("127.0.0.1@evil.example", 421),
                ("[::1]@evil.example", 421),
                ("[::1].evil.example", 421),
                ("127.0.0.1:80/evil", 421),
                ("127.0.0.1:80#", 421),
                ("127.0.0.1:80?", 421),
                ("127.0.0.1\\evil.example", 421),
                ("127.0.0.1:x", 421),
                ("127.0.0.1 evil", 421),
            ):
                answer = await live.client.post("/v1/session/codes", headers={"Host": host})
                assert answer.status_code == status, host
                if status == 201:
                    code = answer.json()
                    assert code["url"] == f"http://{host}/#code={code['code']}"
                else:
                    assert "Host" in answer.json()["detail"] or "host" in answer.json()["detail"]
