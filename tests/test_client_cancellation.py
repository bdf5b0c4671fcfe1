"""Calls of the client that are cancelled at each of their steps leave no connection in its pool."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trio

from tests.answering import answer, answering
from tests.live import PATIENCE
from tests.steps import Steps
from trio_logs.client import Client

WORKLOAD = (
    b'{"id":"x","name":null,"backend":"process","command":[],"labels":{},"status":"queued",'
    b'"exit_code":null,"signal":null,"error":null,"created_at":"2026-01-31T12:00:00Z",'
    b'"started_at":null,"finished_at":null,"lines":0,"bytes":0,"logs_url":"/"}'
)

END = (
    b': open\nretry: 2000\n\nevent: end\nid: end\ndata: {"status":"succeeded","exit_code":0,'
    b'"signal":null,"error":null,"lines":0,"bytes":0}\n\n'
)


async def follow(client: Client) -> None:
    assert len([record async for record in client.follow("x")]) == 1


async def push(client: Client) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"line\n"

    await client.push("x", chunks())


async def search(client: Client) -> None:
    assert len([record async for record in client.search("x")]) == 1


async def matches(client: Client) -> None:
    assert len([record async for record in client.matches("x", "x")]) == 1


SEARCHED = b'{"event":"end","count":0,"workloads":0,"complete":true,"next":null}\n'
MATCHED = b'{"event":"end","count":0,"lines":0}\n'

CALLS: dict[str, tuple[Callable[[Client], Awaitable[object]], list[bytes]]] = {
    "submit": (lambda client: client.submit(["true"]), [answer("application/json", WORKLOAD)]),
    "get": (lambda client: client.get("x"), [answer("application/json", WORKLOAD)]),
    "follow": (follow, [answer("text/event-stream; charset=utf-8", END)]),
    "search": (search, [answer("application/x-ndjson", SEARCHED)]),
    "matches": (matches, [answer("application/x-ndjson", MATCHED)]),
    "push": (
        push,
        [answer(None, b"", "204 No", "Upload-Offset: 5"), answer("application/json", WORKLOAD)],
    ),
}


@pytest.mark.parametrize("unix", [True, False], ids=["unix", "tcp"])
@pytest.mark.parametrize("call", CALLS)
async def test_a_cancelled_call_leaves_no_connection(call: str, unix: bool, tmp_path: Path) -> None:
    """At most one stays, for the next call. On a unix socket, a connection opens in one step, in
    which no cancellation arrives; so it arrives before the request is sent."""
    run, answers = CALLS[call]
    left: list[int] = []
    cancel_at, fired = 0, True
    while fired:
        cancel_at += 1
        steps = Steps(cancel_at)
        path = tmp_path / str(cancel_at) if unix else None
        async with (
            answering(lambda number: answers[number % len(answers)], path) as server,
            Client(server.url, "t", uds=str(path) if unix else None) as client,
        ):
            trio.lowlevel.add_instrument(steps)
            with trio.fail_after(PATIENCE), steps.armed():
                await run(client)
            trio.lowlevel.remove_instrument(steps)
            fired = steps.fired
            server.heads.clear()
            # The next call takes the connection that was kept, if the pool knows of one.
            with trio.fail_after(PATIENCE):
                await run(client)
            with trio.move_on_after(0.5):
                await server.settle(1)
            if server.connected > 1:
                left.append(cancel_at)
    assert left == []
    assert cancel_at > 8


async def test_a_cancelled_handshake_closes_its_socket() -> None:
    kept: list[BaseException] = []
    closed = trio.Event()

    async def get(client: Client, scope: trio.CancelScope) -> None:
        with scope:
            try:
                await client.get("x")
            except trio.Cancelled as error:
                # Its traceback holds all that was opened: no garbage collection closes it.
                kept.append(error)
                raise

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def handle(stream: trio.SocketStream) -> None:
            await stream.receive_some()
            scope.cancel()
            async for _ in stream:
                pass
            closed.set()

        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        url = f"https://127.0.0.1:{listener.socket.getsockname()[1]}"
        async with Client(url, "t") as client:
            with trio.fail_after(PATIENCE):
                await get(client, scope)
            with trio.fail_after(2):
                await closed.wait()
        nursery.cancel_scope.cancel()
    assert kept
