"""What few clients do, and none may do harm with: odd requests, odd endings, odd moments."""

from __future__ import annotations

import ssl
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
import trio.testing
import trustme

from tests.live import PATIENCE
from tests.test_server import (
    ANY_PORT,
    REQUEST,
    connect,
    hello,
    read_all,
    serving,
    until_gone,
)
from trio_logs.errors import IncompleteAnswerError
from trio_logs.server import PORT, Server, ServerLimits, UnixBind, load_tls
from trio_logs.server.server import LEAVING_AT_ONCE

START = {"type": "http.response.start", "status": 200, "headers": []}
HTTP_1_0 = b"GET / HTTP/1.0\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def statuses(request: bytes) -> list[bytes]:
    """The status codes with which `hello` answers what is sent at once."""
    served = serving(Server(), body_limit=lambda method, path: 1024)
    async with served as (url, _), await connect(url) as stream:
        await stream.send_all(request)
        answers = b""
        with trio.fail_after(PATIENCE), suppress(trio.BrokenResourceError):
            async for data in stream:
                answers += data
    return [line.split()[1] for line in answers.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        # Stray bytes behind a request that is the last one.
        (HTTP_1_0 + b"\r\n", [b"200"]),
        (LAST + b"stray", [b"200"]),
        # An empty line before a request.
        (b"\r\n\r\n" + LAST, [b"200"]),
        # A target with a host in it, in place of the header's.
        (b"GET http://y/path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", [b"200"]),
        (b"GET http://[::1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", [b"200"]),
        # A target that is none.
        (b"GET ?x HTTP/1.1\r\nHost: x\r\n\r\n", [b"400"]),
        # What a proxy in front may take for another request than we would.
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + LAST,
            [b"400"],
        ),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [b"400"]),
        # A method that is none, and refusals of one that has no body.
        (b"head / HTTP/1.1\r\nHost: x\r\n\r\n", [b"400"]),
        (b"HEAD ?x HTTP/1.1\r\nHost: x\r\n\r\n", [b"400"]),
        (b"HEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n", [b"413"]),
    ],
)
async def test_odd_requests(request_: bytes, expected: list[bytes]) -> None:
    assert await statuses(request_) == expected


class Turns(trio.abc.Instrument):
    """Counts the turns of Trio's loop, in each of which all tasks run that are ready."""

    count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


async def test_clients_that_leave_all_at_once_leave_others_their_turns() -> None:
    turns = Turns()
    told: Counter[int] = Counter()

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        told[turns.count] += 1

    server = Server()
    async with serving(server, app=waits) as (url, _), AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(await connect(url)) for _ in range(200)]
        for stream in streams:
            await stream.send_all(REQUEST)
            await stream.receive_some()
        trio.lowlevel.add_instrument(turns)
        for stream in streams:
            stream.socket.close()
        await until_gone(server)
        trio.lowlevel.remove_instrument(turns)
    assert told.total() == len(streams)
    assert max(told.values()) <= LEAVING_AT_ONCE


@pytest.mark.parametrize("place", [5, 14, 16, 17, 25])
async def test_a_head_that_begins_before_the_last_answer_stays_whole(place: int) -> None:
    """Its line ends are not those that some clients send after a body."""
    go_on = trio.Event()

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await hello(scope, receive, send)

    head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with serving(Server(), app=late) as (url, _), await connect(url) as stream:
        await stream.send_all(REQUEST + head[:place])
        await trio.testing.wait_all_tasks_blocked()
        go_on.set()
        answer = b""
        with trio.fail_after(PATIENCE):
            while not answer.endswith(b"hello"):
                answer += await stream.receive_some()
            # The server has done with the first request.
            await trio.testing.wait_all_tasks_blocked()
            await stream.send_all(head[place:])
            answer = await read_all(stream)
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_the_time_for_a_head_runs_while_the_last_answer_has_ended() -> None:
    limits = ServerLimits(header_timeout=0.2, keep_alive_timeout=3600)
    async with serving(Server(limits)) as (url, _), await connect(url) as stream:
        await stream.send_all(REQUEST + b"GET / HT")
        with trio.fail_after(PATIENCE), suppress(trio.BrokenResourceError):
            assert (await read_all(stream)).count(b"HTTP/1.1 200 ") == 1


async def test_a_body_that_goes_on_after_its_end_is_not_in_the_next_answer() -> None:
    raised: list[Exception] = []

    async def talkative(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})
        try:
            await send({"type": "http.response.body", "body": b"late", "more_body": True})
        except Exception as error:
            raised.append(error)

    async with serving(Server(), app=talkative) as (url, _), await connect(url) as stream:
        await stream.send_all(REQUEST + LAST)
        answers = await read_all(stream)
    assert answers.count(b"two") == 2
    assert b"late" not in answers
    assert len(raised) == 2


async def test_a_request_that_ends_leaves_the_next_ones_port_alone() -> None:
    """Pipelined, the second answer begins while the first request's task still ends."""
    taken: list[bool] = []
    ended = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        if scope["path"] == "/first":
            await send({"type": "http.response.body", "body": b""})
            await trio.sleep(0.1)
            ended.set()
            return
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await ended.wait()
        await trio.testing.wait_all_tasks_blocked()
        port = scope["extensions"][PORT]
        taken.append(not port.outlet.send_each([port.number], b"pushed"))
        await send({"type": "http.response.body", "body": b""})

    async with serving(Server(), app=app) as (url, _), await connect(url) as stream:
        await stream.send_all(REQUEST.replace(b"/ ", b"/first ", 1) + LAST)
        assert b"pushed" in await read_all(stream)
    assert taken == [True]


@pytest.mark.parametrize("request_", [HTTP_1_0, REQUEST], ids=["1.0", "1.1"])
async def test_a_part_of_an_answer_does_not_look_whole(request_: bytes) -> None:
    async def breaks_off(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"a part", "more_body": True})
        await trio.sleep(0.05)
        raise IncompleteAnswerError("there is no more")

    async with serving(Server(), app=breaks_off) as (url, _), await connect(url) as stream:
        await stream.send_all(request_)
        answer = b""
        try:
            async for data in stream:
                answer += data
        except trio.BrokenResourceError:
            answer += b"reset"
    # Without chunks, the end of the connection would be that of the answer.
    assert answer.endswith(b"reset" if request_ is HTTP_1_0 else b"6\r\na part\r\n")


@pytest.mark.parametrize("request_", [HTTP_1_0, REQUEST], ids=["1.0", "1.1"])
@pytest.mark.parametrize("grouped", [False, True])
async def test_a_part_of_an_answer_does_not_look_whole_over_tls(
    authority: trustme.CA,
    tls: ssl.SSLContext,
    request_: bytes,
    grouped: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def breaks_off(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"a part", "more_body": True})
        error = IncompleteAnswerError("there is no more")
        raise ExceptionGroup("from a nursery", [error]) if grouped else error

    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    server = Server(tls=tls)
    async with serving(server, app=breaks_off) as (url, _):
        stream = trio.SSLStream(await connect(url), trusting, server_hostname="localhost")
        await stream.send_all(request_)
        answer = b""
        with trio.fail_after(PATIENCE), suppress(trio.BrokenResourceError):
            while data := await stream.receive_some():
                answer += data
            answer += b"closed"
        await trio.aclose_forcefully(stream)
    # Without chunks, the closing alert would be the end of the answer.
    assert answer.endswith(b"a part" if request_ is HTTP_1_0 else b"6\r\na part\r\nclosed")
    assert server.statistics().failed == 0
    assert capfd.readouterr().err == ""


async def test_a_declared_length_shows_that_an_answer_is_cut(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def breaks_off(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"a part", "more_body": True})
        raise IncompleteAnswerError("there is no more")

    server = Server()
    async with serving(server, app=breaks_off) as (url, _), await connect(url) as stream:
        await stream.send_all(REQUEST)
        with trio.fail_after(PATIENCE):
            assert (await read_all(stream)).endswith(b"\r\n\r\na part")
    assert server.statistics().failed == 0
    assert capfd.readouterr().err == ""


async def test_an_answer_that_is_cancelled_as_it_begins_has_one_head(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def cancelled(scope: Any, receive: Any, send: Any) -> None:
        with trio.CancelScope() as ending:
            ending.cancel()
            await send(START)
            await send({"type": "http.response.body", "body": b"a part", "more_body": True})
        raise IncompleteAnswerError("the session has ended")

    server = Server()
    async with serving(server, app=cancelled) as (url, _), await connect(url) as stream:
        await stream.send_all(REQUEST)
        answer = b""
        with trio.fail_after(PATIENCE), suppress(trio.BrokenResourceError):
            async for data in stream:
                answer += data
    # Nothing, if the reset has overtaken it.
    assert answer == b"" or answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") <= 1
    assert server.statistics().failed == 0
    assert capfd.readouterr().err == ""


async def test_nothing_waits_for_a_stuck_client_once_the_server_is_cancelled() -> None:
    """Also in an answer's last send, which is shielded."""

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"x" * 20_000_000})

    server, over = Server(), trio.Event()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            [url] = await nursery.start(server.serve, large, [ANY_PORT], trio.Event())
            stuck = await connect(url)
            await stuck.send_all(REQUEST)
            await stuck.receive_some(1)
            await trio.testing.wait_all_tasks_blocked(0.05)
            # A shielded wait can't be bounded from within: should it last, its client leaves.
            trio.lowlevel.spawn_system_task(close_unless, over, 5, stuck)
            scope.cancel()
    assert stuck.socket.fileno() != -1
    over.set()
    stuck.socket.close()
    assert server.statistics().connections == 0


async def close_unless(over: trio.Event, seconds: float, stream: trio.SocketStream) -> None:
    with trio.move_on_after(seconds):
        await over.wait()
    stream.socket.close()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> ssl.SSLContext:
    path = tmp_path / "cert.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    return load_tls(path)


@pytest.mark.parametrize("request_", [HTTP_1_0, LAST], ids=["1.0", "close"])
async def test_over_tls_the_end_is_said(
    authority: trustme.CA, tls: ssl.SSLContext, request_: bytes
) -> None:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with serving(Server(tls=tls)) as (url, _):
        stream = trio.SSLStream(await connect(url), trusting, server_hostname="localhost")
        await stream.send_all(request_)
        # A client of this kind raises at an end without a word.
        assert (await read_all(stream)).endswith(b"hello")
        await trio.aclose_forcefully(stream)


async def test_a_unix_socket_beside_tls_is_plain(tls: ssl.SSLContext, tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serving(Server(tls=tls), ANY_PORT, UnixBind(path)):
        transport = httpx2.AsyncHTTPTransport(uds=str(path))
        async with httpx2.AsyncClient(transport=transport) as client:
            assert (await client.get("http://x/")).text == "hello"
