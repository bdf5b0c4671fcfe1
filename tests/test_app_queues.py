"""The queue from a connection to its app, while it is full of pieces of a body."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.failing_parts import FailingStore
from tests.live import PATIENCE, Live, open_live
from tests.pushing import create, open_body
from tests.signing_in import bearer, sign_in
from tests.test_server import REQUEST, connect, read_all, serving, until_gone
from trio_logs.api.auth import STREAM
from trio_logs.api.session_streams import with_session_streams
from trio_logs.api.table import TABLE
from trio_logs.server import Server, finish_cleanly
from trio_logs.server.server import LEAVING_AT_ONCE
from trio_logs.sessions import Sessions
from trio_logs.settings import Settings
from trio_logs.store.memory import MemoryStore
from trio_logs.tokens import Tokens

PIECE = b"1\r\nx\r\n"
ROOM = 10
"""Pieces that a queue holds."""

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def queues(server: Server) -> list[trio.MemoryChannelStatistics]:
    """Of the requests under way."""
    streams = [each.protocol.stream for each in server._open]
    return [each.app_put.__self__.statistics() for each in streams if each is not None]


async def fill(server: Server, stream: trio.SocketStream) -> None:
    """Send a body to the only app that does not take it, one piece after the other."""
    full = sum(each.current_buffer_used for each in queues(server)) + ROOM
    await stream.send_all(HEAD)
    for left in reversed(range(ROOM)):
        await stream.send_all(PIECE)
        while sum(each.current_buffer_used for each in queues(server)) < full - left:
            await trio.sleep(0.001)


@contextmanager
def ending_shielded_sends(server: Server) -> Iterator[None]:
    """If the test fails, end the waits for room that can't be cancelled: it would never end."""
    try:
        yield
    except BaseException:
        for connection in server._open:
            if connection.protocol.stream is not None:
                connection.protocol.stream.app_put.__self__.close()
        raise


@asynccontextmanager
async def live_with_store(path: Path) -> AsyncIterator[tuple[Live, FailingStore]]:
    store = FailingStore(MemoryStore())
    async with open_live(Settings(path), store=store) as live:
        yield live, store


async def test_a_sign_out_ends_a_push_for_which_there_is_no_room(tmp_path: Path) -> None:
    async with live_with_store(tmp_path) as (live, store):
        key = await sign_in(live)
        workload = await create(live)
        connections = live.server.statistics().connections
        body = await open_body(live, workload, key=key)
        store.switch.hang("append")

        async def send() -> None:
            while True:
                try:
                    await body.send(b"x" * 30_000 + b"\n")
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    break

        with ending_shielded_sends(live.server), trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                while not any(each.tasks_waiting_send for each in queues(live.server)):
                    await trio.sleep(0.01)
                await live.client.delete("/v1/session", headers=bearer(key))
                assert (await body.answer()).status == 401
                await body.stream.aclose()
            await until_gone(live.server, connections)
        store.switch.recover()


async def test_the_final_send_of_a_sign_out_waits_for_no_room_on_any_server() -> None:
    """A server may tell of the disconnect by the queue of the body, as Hypercorn does."""
    sessions = Sessions(MemoryStore(), Tokens("full", "reading"))
    begun = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sessions._streams.add(scope["extensions"][STREAM])
        begun.set()
        await trio.sleep_forever()

    put, take = trio.open_memory_channel[dict[str, str]](ROOM)
    for _ in range(ROOM):
        put.send_nowait({"type": "http.request"})
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            with trio.fail_after(PATIENCE):  # within the shield
                await put.send({"type": "http.disconnect"})

    async def sign_out() -> None:
        await begun.wait()
        [stream] = sessions._streams
        stream.scope.cancel()

    scope = {"type": "http", "method": "POST", "path": "/v1/workloads/x/logs"}
    wrapped = finish_cleanly(with_session_streams(app, TABLE, sessions))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sign_out)
        await wrapped(scope, take.receive, send)
    assert [each.get("status") for each in sent] == [401, None]


async def test_clients_that_leave_while_apps_take_nothing_delay_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio_logs.server.connection.LEAVE_SECONDS", 0.2)
    told = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "POST":
            await trio.sleep_forever()
        while (await receive())["type"] != "http.disconnect":
            pass
        told.set()

    server = Server()
    async with serving(server, app=app) as (url, _), AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(await connect(url)) for _ in range(LEAVING_AT_ONCE)
        ]
        for stream in streams:
            await fill(server, stream)
        async with await connect(url) as other:
            await other.send_all(REQUEST)
            while server.statistics().requests < LEAVING_AT_ONCE + 1:
                await trio.sleep(0.001)
            for stream in streams:
                await stream.aclose()
        with trio.fail_after(PATIENCE):
            await told.wait()
        await until_gone(server)
    assert server.statistics().failed == 0


async def test_what_came_before_a_disconnect_reaches_the_app_first() -> None:
    go_on, ended = trio.Event(), trio.Event()
    bodies: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        while (message := await receive())["type"] != "http.disconnect":
            bodies.append(message["body"])
        ended.set()

    server = Server()
    async with serving(server, app=app) as (url, _):
        async with await connect(url) as stream:
            await fill(server, stream)
        while server._open and not all(each.protocol._closed for each in server._open):
            await trio.sleep(0.001)
        go_on.set()
        with trio.fail_after(PATIENCE):
            await ended.wait()
        await until_gone(server)
    assert bodies == [b"x"] * ROOM


@pytest.mark.parametrize("ending", ["answers", "raises"])
async def test_an_app_that_ends_without_the_body_leaves_no_connection_behind(
    ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.server.connection.LINGER_SECONDS", 0.1)
    go_on = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        if ending == "answers":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    server = Server()
    async with serving(server, app=app) as (url, _), await connect(url) as stream:
        await fill(server, stream)
        await stream.send_all(PIECE)
        while not any(each.tasks_waiting_send for each in queues(server)):
            await trio.sleep(0.001)
        go_on.set()
        with trio.fail_after(PATIENCE):
            answer = await read_all(stream)
        assert answer.startswith(b"HTTP/1.1 200 " if ending == "answers" else b"HTTP/1.1 500 ")
        # The client goes on, and does not close.
        await until_gone(server)
    assert server.statistics().failed == 0
