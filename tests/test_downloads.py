"""Links that download a log: a code stands for the token, once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest
import trio

from tests.live import PATIENCE, Live
from tests.signing_in import anonymous, bearer, code_of, problem, sign_in
from trio_logs.records import now

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]


@pytest.fixture
async def live(open_server: OpenServer) -> AsyncIterator[Live]:
    async with open_server() as opened:
        yield opened


@pytest.fixture
async def log(live: Live) -> str:
    """The path of a log of three lines."""
    workload = await live.submit("printf", "a b\nc&d\né\n")
    await live.finished(workload["id"])
    return str(workload["logs_url"])


async def opened(live: Live, url: str, method: str = "GET") -> Any:
    """The answer to a plain link."""
    async with anonymous(live) as client:
        return await client.request(method, url)


async def test_a_link_downloads_once(live: Live, log: str) -> None:
    asked = f"{log}?download=build.log&tail=2"
    for secret in (live.service.token, live.service.tokens.read_only, await sign_in(live)):
        made = await code_of(live, secret, download=asked)
        assert made["url"] == f"{live.url}{asked}&code={made['code']}"
        answer = await opened(live, made["url"])
        assert (answer.status_code, answer.text) == (200, "c&d\né\n")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["content-disposition"] == 'attachment; filename="build.log"'
        assert "the code is wrong, was used" in problem(await opened(live, made["url"]), 401)


async def test_the_code_lives_for_a_minute(live: Live, log: str) -> None:
    made = await live.client.post("/v1/session/codes", json={"download": f"{log}?download=true"})
    code_id = made.headers["location"].rpartition("/")[2]
    [kept] = await live.service.store.codes([bytes.fromhex(code_id)])
    code, session = await code_of(live), await code_of(live, download=f"{log}?download=true")
    # A sign-in has ten.
    assert code["expires_at"][:16] > session["expires_at"][:16]
    assert kept.expires_at - now() <= 60 * 1_000_000


async def test_a_code_opens_that_answer_and_nothing_else(live: Live, log: str) -> None:
    other = (await live.submit("true"))["logs_url"]
    code = (await code_of(live, download=f"{log}?download=true&filter=a+b"))["code"]
    for url in (
        f"{log}?download=true&code={code}",
        f"{log}?download=true&filter=a+b&tail=1&code={code}",
        f"{log}?download=x&filter=a+b&code={code}",
        f"{log}?filter=a+b&download=true&code={code}",
        f"{log}?filter=a+b&code={code}",
        f"{log}?code={code}",
        f"{other}?download=true&filter=a+b&code={code}",
        f"{log.replace('/logs', '/matches')}?download=true&filter=a+b&code={code}",
        f"{log.replace('/logs', '')}?download=true&filter=a+b&code={code}",
        f"/v1/search?download=true&filter=a+b&code={code}",
        f"/metrics?code={code}",
        f"/v1/session?code={code}",
    ):
        problem(await opened(live, url), 401)
    for method, path in (("POST", log), ("POST", "/v1/workloads"), ("DELETE", log)):
        url = f"{path}?download=true&filter=a+b&code={code}"
        assert (await opened(live, url, method)).status_code == 401
    # Not to sign in, either; and not as a key.
    problem(await live.client.post("/v1/session", json={"code": code}), 401)
    problem(await live.client.get(log, headers=bearer(code)), 401)
    # None of these has used it up. What a URL encodes may differ; its place does not matter.
    answer = await opened(live, f"{log}?code={code}&%64ownload=true&filter=a%20b")
    assert (answer.status_code, answer.text) == (200, "a b\n")


async def test_a_code_for_a_sign_in_downloads_nothing(live: Live, log: str) -> None:
    code = (await code_of(live))["code"]
    problem(await opened(live, f"{log}?download=true&code={code}"), 401)
    assert (await live.client.post("/v1/session", json={"code": code})).status_code == 201


async def test_a_request_with_a_token_does_not_use_the_code(live: Live, log: str) -> None:
    made = await code_of(live, download=f"{log}?download=true")
    assert (await live.client.get(made["url"])).status_code == 200
    wrong = await live.client.get(made["url"], headers=bearer("wrong"))
    assert "the token is wrong" in problem(wrong, 401)
    assert (await opened(live, made["url"])).status_code == 200
    # Only with `download`, and once.
    answer = await live.client.get(f"{log}?follow=false&code=x")
    assert "`download`" in problem(answer, 400)
    for params in ("download=true&code=x&code=y", "download=true&code=x&code=x"):
        assert "code: give it once" in problem(await opened(live, f"{log}?{params}"), 400)
        assert "code: give it once" in problem(await live.client.get(f"{log}?{params}"), 400)


async def test_head_is_an_answer_too(live: Live, log: str) -> None:
    made = await code_of(live, download=f"{log}?download=true")
    head = await opened(live, made["url"], "HEAD")
    assert (head.status_code, head.headers["log-lines"]) == (200, "3")
    assert (await opened(live, made["url"])).status_code == 401


@pytest.mark.parametrize(
    "download",
    [
        "",
        "/v1/workloads",
        "/v1/workloads/x/logs",
        "/v1/workloads/x/logs?",
        "/v1/workloads/x/logs?tail=1",
        "/v1/workloads/x/logs?download=false",
        "/v1/workloads/x/logs?download=true&nonsense=1",
        "/v1/workloads/x/logs?download=true&tail=-1",
        "/v1/workloads/x/logs?download=true&code=x",
        "/v1/workloads/x/logs?download=true#part",
        "/v1/workloads/x/logs?download=a/b",
        "/v1/workloads/x/../logs?download=true",
        "/v1/workloads/x/logs\n?download=true",
        "/v1/workloads/x/logs?download=true\n",
        "http://evil.example/v1/workloads/x/logs?download=true",
        "//evil.example/v1/workloads/x/logs?download=true",
        "/v1/workloads/x/matches?filter=x&download=true",
        "/v1/session?download=true",
        "/v1/workloads/x/logs?download=" + "x" * 9000,
    ],
)
async def test_what_is_no_download_gets_no_code(live: Live, download: str) -> None:
    answer = await live.client.post("/v1/session/codes", json={"download": download})
    problem(answer, 422)


async def test_a_download_ends_with_the_session_that_asked_for_it(live: Live) -> None:
    workload = await live.submit("sh", "-c", "echo first; sleep 60")
    key = await sign_in(live)
    asked = f"{workload['logs_url']}?download=true&follow=true"
    begun, waiting = [await code_of(live, key, download=asked) for _ in range(2)]
    async with anonymous(live) as client, client.stream("GET", begun["url"]) as answer:
        assert answer.status_code == 200
        pieces = answer.aiter_bytes()
        with trio.fail_after(PATIENCE):
            assert await anext(pieces) == b"first\n"
            assert (await live.client.delete("/v1/session", headers=bearer(key))).is_success
            # Cut, not ended.
            with pytest.raises(httpx2.RemoteProtocolError):
                await anext(pieces)
        problem(await client.get(waiting["url"]), 401)
