"""One request and its answer, which a cancellation may end at any point."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Self

import anyio
import httpx2

__all__ = ["exchange"]

CLOSE_SECONDS = 1.0
"""Seconds that the close of a socket may take."""

_OPENED = {"connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete"}
"""Events of httpcore2 after which a new connection is open and its request is not yet begun."""


async def exchange(
    http: httpx2.AsyncClient, request: httpx2.Request, *, stream: bool = False
) -> httpx2.Response:
    """Send a request; return its answer, with `stream` before its body is read.

    httpcore2 2.16 has two flaws here. A request that is cancelled after its connection is open and
    before it is sent leaves that connection in the pool for ever, neither idle nor closed. A TLS
    handshake that is cancelled on Trio leaves its socket open. The `trace` extension of httpcore2
    tells when a request is at either point.

    Raises httpx2.RequestError.
    """
    opened: Any = None
    with anyio.CancelScope() as scope:

        async def trace(event: str, details: dict[str, Any]) -> None:
            nonlocal opened
            name = event.partition(".")[2]
            # What is shielded takes no time: the next event is the start of the handshake, or of
            # the request, which closes its connection if it is cancelled.
            scope.shield = name in _OPENED
            if name in _OPENED:
                opened = details["return_value"]
            elif name == "start_tls.failed" and opened is not None:
                with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                    await opened.aclose()

        request.extensions["trace"] = trace
        answer = await http.send(request, stream=True)
    assert isinstance(answer.stream, httpx2.AsyncByteStream)
    answer.stream = _Body(answer.stream)
    if not stream:
        try:
            await answer.aread()
        finally:
            await answer.aclose()
    return answer


class _Body(httpx2.AsyncByteStream):
    """The body of an answer. httpx2 reads it through generators within generators. If the reader
    stops early, or the content encoding is broken, httpx2 closes the outer ones only, and Trio
    warns when the innermost is garbage. `aclose` reads on instead: a closed connection ends all."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream
        self._pieces = aiter(stream)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._pieces)

    async def aclose(self) -> None:
        await self._stream.aclose()
        with suppress(httpx2.HTTPError, httpx2.StreamError, anyio.ClosedResourceError):
            async for _ in self._pieces:
                pass
