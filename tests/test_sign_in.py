"""Sign-in of browsers over HTTP, sentence by sentence of the contract."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio

from tests.live import PATIENCE, Live, RawStream, open_live
from tests.signing_in import anonymous, bearer, code_of, problem, sign_in
from trio_logs.api import auth
from trio_logs.api.table import TABLE
from trio_logs.settings import Settings

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]

SECRET = r"[A-Za-z0-9_-]{22}"
"""128 bits, six in each character."""


@pytest.fixture
async def live(open_server: OpenServer) -> AsyncIterator[Live]:
    async with open_server() as opened:
        yield opened


def is_in(moment: str, expected: timedelta) -> bool:
    """Whether a time is so far away, but for what the test takes."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", moment)
    left = datetime.fromisoformat(moment) - datetime.now(UTC)
    return expected - timedelta(seconds=PATIENCE) < left <= expected


async def test_a_code_signs_in_once(live: Live) -> None:
    answer = await live.client.post("/v1/session/codes")
    assert answer.status_code == 201
    made = answer.json()
    assert list(made) == ["code", "expires_at", "url"]
    assert re.fullmatch(SECRET, made["code"])
    assert is_in(made["expires_at"], timedelta(minutes=10))
    assert made["url"] == f"{live.url}/#code={made['code']}"
    location = answer.headers["location"]
    state = await live.client.get(location)
    assert (state.status_code, state.json()) == (200, {"expires_at": made["expires_at"]})
    async with anonymous(live) as client:
        answer = await client.post("/v1/session", json={"code": made["code"]})
        assert answer.status_code == 201
        session = answer.json()
        assert list(session) == ["key", "expires_at", "read_only"]
        assert re.fullmatch(SECRET, session["key"])
        assert is_in(session["expires_at"], timedelta(days=7))
        assert session["read_only"] is False
        assert answer.headers["cache-control"] == "no-store"
        again = await client.post("/v1/session", json={"code": made["code"]})
        assert "was used" in problem(again, 401)
        assert "no such code" in problem(await live.client.get(location), 404)
        client.headers.update(bearer(session["key"]))
        assert (await client.get("/v1/workloads")).status_code == 200
        assert (await client.get("/metrics")).status_code == 200
        submitted = await client.post("/v1/workloads", json={"command": ["true"]})
        assert submitted.status_code == 201
        del session["key"]
        for method in ("GET", "HEAD"):
            answer = await client.request(method, "/v1/session")
            assert answer.status_code == 200
            assert not answer.content or answer.json() == session
        answer = await client.delete("/v1/session")
        assert (answer.status_code, answer.content) == (204, b"")
        for method, path in (("GET", "/v1/workloads"), ("GET", "/v1/session"), ("GET", "/metrics")):
            assert "the session has ended" in problem(await client.request(method, path), 401)
        assert problem(await client.delete("/v1/session"), 401)


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
async def test_the_body_of_a_sign_in_is_short(live: Live, chunked: bool) -> None:
    """It is read before its client has shown anything."""

    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    async with anonymous(live) as client:
        for size, status in ((4097, 413), (4096, 201)):
            code = (await code_of(live))["code"]
            body = b'{"code": "%b"}' % code.encode()
            body = body.ljust(size)
            answer = await client.post("/v1/session", content=pieces(body) if chunked else body)
            if status == 413:
                assert problem(answer, 413) == "a request's body has at most 4096 bytes"
            assert answer.status_code == status, answer.text


async def test_a_code_is_for_any_download_that_is_allowed(live: Live) -> None:
    path = "/v1/workloads/x/logs?download=true&filter="
    path = path.ljust(8192, "x")
    assert (await code_of(live, download=path))["url"].startswith(f"{live.url}{path}")
    answer = await live.client.post("/v1/session/codes", json={"download": path * 2})
    assert problem(answer, 413) == "a request's body has at most 16384 bytes"


async def test_a_token_signs_in_without_a_body(live: Live) -> None:
    for body in (b"", b" ", b"{}"):
        answer = await live.client.post("/v1/session", content=body)
        assert answer.status_code == 201
        assert list(answer.json()) == ["key", "expires_at", "read_only"]
    async with anonymous(live) as client:
        for given, fault in (
            ({}, "missing"),
            (bearer("x"), "wrong"),
            ({"Authorization": "x"}, "missing"),
        ):
            answer = await client.post("/v1/session", headers=given)
            assert f"the token is {fault}" in problem(answer, 401)


async def test_a_code_needs_no_token_and_a_wrong_one_is_401(live: Live) -> None:
    async with anonymous(live) as client:
        code = (await code_of(live))["code"]
        for wrong in ("", "x", code[:-1], code + "x", code.swapcase(), "é", "x" * 4000):
            answer = await client.post("/v1/session", json={"code": wrong})
            assert "the code is wrong" in problem(answer, 401)
        # A header that comes with a code does not matter.
        answer = await client.post("/v1/session", json={"code": code}, headers=bearer("wrong"))
        assert answer.status_code == 201


@pytest.mark.parametrize("path", ["/v1/session", "/v1/session/codes"])
async def test_bodies_that_are_none(live: Live, path: str) -> None:
    for body, status in (
        (b"{", 400),
        (b'{"code": 5, "download": 5}', 422),
        (b'{"code": null, "download": null}', 422),
        (b'{"other": "x"}', 422),
        (b"[]", 422),
    ):
        problem(await live.client.post(path, content=body), status)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    problem(await live.client.post(path, content=b"code=x", headers=form), 415)


async def test_a_token_has_no_session(live: Live) -> None:
    for token in (live.service.token, live.service.tokens.read_only):
        for method in ("GET", "DELETE"):
            answer = await live.client.request(method, "/v1/session", headers=bearer(token))
            assert "no session" in problem(answer, 404)
    for path in ("/v1/session/codes/x", f"/v1/session/codes/{'0' * 64}"):
        problem(await live.client.get(path), 404)


async def test_a_session_makes_neither_codes_nor_sessions(live: Live) -> None:
    for token in (live.service.token, live.service.tokens.read_only):
        key = bearer(await sign_in(live, token))
        for body in (b"", b"{}"):
            answer = await live.client.post("/v1/session/codes", content=body, headers=key)
            assert "for downloads only" in problem(answer, 403)
        answer = await live.client.post("/v1/session", headers=key)
        assert "a session can't make another one" in problem(answer, 403)
        download = {"download": "/v1/workloads/x/logs?download=true"}
        answer = await live.client.post("/v1/session/codes", json=download, headers=key)
        assert answer.status_code == 201


async def test_a_sign_out_ends_the_streams_of_the_session_alone(live: Live) -> None:
    workload = await live.submit("sh", "-c", "echo first; sleep 60")
    path = f"{workload['logs_url']}?follow=true"
    keys = [await sign_in(live) for _ in range(2)]
    kinds = ("text/event-stream", "application/x-ndjson", "text/plain")
    mine, others = [], []
    for secret, streams in ((keys[0], mine), (keys[1], others), (live.service.token, others)):
        for kind in kinds:
            stream = await follow(live, path, secret, f"Accept: {kind}")
            await stream.read_until(b"first")
            streams.append(stream)
    changes = await follow(live, "/v1/events", keys[0])
    await changes.read_until(b"retry")
    mine.append(changes)
    async with await pushing(live, keys[0]) as pushed:
        with trio.fail_after(PATIENCE):
            assert (await live.client.delete("/v1/session", headers=bearer(keys[0]))).is_success
            for stream in mine:
                # Without its terminal chunk: nobody takes a log for complete.
                with pytest.raises(EOFError):
                    await stream.read_all()
                assert not stream.ended
            # Its upload has no answer yet, so it gets one.
            head = await pushed.receive_some()
            assert head.startswith(b"HTTP/1.1 401 ")
            assert b"\r\nContent-Security-Policy: frame-ancestors" in head
        assert len(live.service.sessions._streams) == len(kinds)
        await live.client.post(f"/v1/workloads/{workload['id']}/stop", json={"grace": 0})
        for stream in others:
            await stream.read_all()
            assert stream.ended
    for stream in (*mine, *others):
        await stream.stream.aclose()


async def follow(live: Live, path: str, secret: str, *headers: str) -> RawStream:
    """A stream with another secret than the token."""
    host, _, port = live.url.rpartition("//")[2].rpartition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {secret}", *headers]
    await stream.send_all(("\r\n".join(lines) + "\r\n\r\n").encode())
    raw = RawStream(stream)
    with trio.fail_after(PATIENCE):
        await raw.read_head()
    assert raw.status == 200
    return raw


async def pushing(live: Live, secret: str) -> trio.SocketStream:
    """A connection in the midst of an upload, whose first line has arrived."""
    answer = await live.client.post("/v1/workloads", json={"backend": "push"})
    path = answer.json()["logs_url"]
    host, _, port = live.url.rpartition("//")[2].rpartition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {secret}"]
    head = "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""])
    await stream.send_all(head.encode() + b"4\r\none\n\r\n")
    async with live.client.stream("GET", f"{path}?limit=1") as reading:
        assert b"data: one" in await reading.aread()
    return stream


async def test_sessions_survive_a_restart_with_the_same_tokens_alone(
    open_server: OpenServer,
) -> None:
    async with open_server(token="full", read_only_token="reading") as live:
        keys = [await sign_in(live), await sign_in(live, "reading")]
        codes = [(await code_of(live))["code"] for _ in range(3)]
        reading = (await code_of(live, "reading"))["code"]

    async def statuses(live: Live) -> list[int]:
        answers = [await live.client.get("/v1/session", headers=bearer(key)) for key in keys]
        return [answer.status_code for answer in answers]

    async def tries(live: Live, code: str) -> int:
        return (await live.client.post("/v1/session", json={"code": code})).status_code

    async with open_server(token="full", read_only_token="reading") as live:
        assert await statuses(live) == [200, 200]
        assert await tries(live, codes[0]) == 201
        assert await tries(live, codes[0]) == 401
    async with open_server(token="other", read_only_token="reading") as live:
        assert await statuses(live) == [401, 200]
        assert await tries(live, codes[1]) == 401
    async with open_server(token="full", read_only_token="reading") as live:
        # They have ended, and do not come back.
        assert await statuses(live) == [401, 200]
        assert await tries(live, codes[2]) == 401
        assert await tries(live, reading) == 201
    async with open_server(token="full", read_only_token="another") as live:
        assert await statuses(live) == [401, 401]


async def test_a_code_or_key_of_another_service_is_of_no_use(
    open_server: OpenServer, tmp_path: Path
) -> None:
    """Also where both have the same tokens."""
    tokens = {"token": "full", "read_only_token": "reading"}
    other = Settings(tmp_path / "other", **tokens)
    async with open_server(**tokens) as live, open_live(other) as another:
        code, key = (await code_of(another))["code"], await sign_in(another)
        answer = await live.client.post("/v1/session", json={"code": code})
        assert "the code is wrong" in problem(answer, 401)
        problem(await live.client.get("/v1/version", headers=bearer(key)), 401)
        assert (await another.client.get("/v1/version", headers=bearer(key))).is_success


async def test_a_read_only_token_and_its_sessions_only_read(live: Live) -> None:
    workload = await live.submit("echo", "hello")
    await live.finished(workload["id"])
    token = live.service.tokens.read_only
    code = await live.client.post("/v1/session/codes", headers=bearer(token))
    assert code.status_code == 201
    made = (await live.client.post("/v1/session", json={"code": code.json()["code"]})).json()
    assert made["read_only"] is True
    shown = await live.client.get("/v1/session", headers=bearer(made["key"]))
    assert shown.json()["read_only"] is True
    routes = [row for row in TABLE if not row.is_open]
    for secret in (token, made["key"]):
        for row in routes:
            path = row.path.replace("{workload_id}", workload["id"]).replace("{code_id}", "x")
            if row.path.startswith("/v1/session"):
                continue
            if row.method == "GET":
                for method in ("GET", "HEAD"):
                    # Some answers do not end.
                    async with live.client.stream(
                        method, path, params=NEEDED.get(row.path), headers=bearer(secret)
                    ) as answer:
                        assert answer.status_code == 200, (method, path)
            else:
                answer = await live.client.request(row.method, path, headers=bearer(secret))
                assert "read-only" in problem(answer, 403), (row.method, path)
        for method, path in (
            ("POST", "/v1/nope"),
            ("PUT", "/v1/workloads"),
            ("OPTIONS", "/v1/workloads"),
            ("POST", "/metrics"),
        ):
            answer = await live.client.request(method, path, headers=bearer(secret))
            problem(answer, 403)
    assert (await live.client.get(f"/v1/workloads/{workload['id']}")).status_code == 200
    signed_out = await live.client.delete("/v1/session", headers=bearer(made["key"]))
    assert signed_out.status_code == 204


NEEDED = {
    "/v1/workloads/{workload_id}/matches": {"filter": "x"},
    "/v1/search": {"filter": "x"},
    "/v1/logs": {"events": "true"},
}
"""The parameters that routes require."""


async def test_use_does_not_write_to_the_store(live: Live) -> None:
    key = bearer(await sign_in(live))
    before = sum(live.service.store.statistics().commits.counts)
    for _ in range(20):
        assert (await live.client.get("/v1/version", headers=key)).status_code == 200
    async with anonymous(live) as client:
        for _ in range(20):
            problem(await client.post("/v1/session", json={"code": "guess"}), 401)
            problem(await client.get("/v1/version", headers=bearer("guess")), 401)
            log = await client.get("/v1/workloads/x/logs?download=true&code=guess")
            problem(log, 401)
    assert sum(live.service.store.statistics().commits.counts) == before


async def test_secrets_are_compared_in_constant_time(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each token with what is given, also if the first one fits; keys are looked up by a hash."""
    compared: list[tuple[bytes, bytes]] = []
    compare = auth.hmac.compare_digest

    def watching(given: bytes, right: bytes) -> bool:
        compared.append((given, right))
        return compare(given, right)

    monkeypatch.setattr(auth.hmac, "compare_digest", watching)
    tokens = live.service.tokens
    for secret in (tokens.full, tokens.read_only, "wrong"):
        compared.clear()
        await live.client.get("/v1/version", headers=bearer(secret))
        expected = [tokens.full.encode(), tokens.read_only.encode()]
        assert compared == [(secret.encode(), right) for right in expected]


async def test_no_other_origin_may_read_or_ask(live: Live) -> None:
    key = await sign_in(live)
    origin = {"Origin": "https://evil.example"}
    asked = {
        **origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    for headers in (origin, asked, {**origin, **bearer(key)}):
        for method in ("GET", "POST", "OPTIONS", "DELETE"):
            for path in ("/v1/session", "/v1/session/codes", "/v1/workloads", "/healthz"):
                async with anonymous(live) as client:
                    answer = await client.request(method, path, headers=headers)
                assert not [name for name in answer.headers if name.startswith("access-control")]
                assert "set-cookie" not in answer.headers


async def test_the_public_url(open_server: OpenServer) -> None:
    hosts = frozenset({"127.0.0.1"})
    public = "https://logs.example.com:8443"
    async with open_server(allowed_hosts=hosts, public_url=public) as live:
        made = await code_of(live)
        assert made["url"] == f"{public}/#code={made['code']}"
        for host, status in (
            ("logs.example.com", 200),
            ("LOGS.example.com:8443", 200),
            ("127.0.0.1", 200),
            ("evil.example", 421),
            ("logs.example.com.evil.example", 421),
            ("logs.example.com@evil.example", 421),
        ):
            # A host that is forged is refused before a code is looked at.
            for method, path, body in (
                ("GET", "/v1/session/codes/x", None),
                ("POST", "/v1/session", {"code": "x"}),
            ):
                answer = await live.client.request(method, path, json=body, headers={"Host": host})
                assert (answer.status_code == 421) == (status == 421), host
    # Without the check of hosts, it does not begin with this.
    async with open_server(public_url=public) as live:
        answer = await live.client.get("/healthz", headers={"Host": "other.example"})
        assert answer.status_code == 200


async def test_the_url_is_the_origin_of_the_request(live: Live) -> None:
    for host in ("logs.example.com", "localhost:1", "[::1]:5"):
        answer = await live.client.post("/v1/session/codes", headers={"Host": host})
        assert answer.json()["url"] == f"http://{host}/#code={answer.json()['code']}"
