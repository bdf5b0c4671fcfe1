"""A network that fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

__all__ = ["cutting_proxy"]


@asynccontextmanager
async def cutting_proxy(
    url: str, *, after: int | Callable[[], int], times: int | None = None
) -> AsyncIterator[tuple[str, list[int]]]:
    """A proxy that breaks connections off once it has passed on so many bytes, which may be drawn
    for each connection: each, or the first `times`. Gives its URL, and a list that holds how many
    there were."""
    host, _, port = url.rpartition("//")[2].rpartition(":")
    count = [0]

    async def handle(client: trio.SocketStream) -> None:
        count[0] += 1
        limit: int | None = after() if callable(after) else after
        if times is not None and count[0] > times:
            limit = None
        async with client:
            try:
                server = await trio.open_tcp_stream(host, int(port))
            except OSError:
                return  # it is down: so is what the client sees
            async with server:
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(pass_on, client, server, None, scope)
                        nursery.start_soon(pass_on, server, client, limit, scope)

    async def pass_on(
        source: trio.SocketStream,
        sink: trio.SocketStream,
        left: int | None,
        scope: trio.CancelScope,
    ) -> None:
        try:
            async for data in source:
                piece = data if left is None else data[:left]
                await sink.send_all(piece)
                if left is not None:
                    left -= len(piece)
                    if left == 0:
                        break
        except trio.BrokenResourceError:
            pass
        scope.cancel()

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}", count
        nursery.cancel_scope.cancel()
