"""One request and its answer, which a cancellation may end at any point."""

from __future__ import annotations

from typing import Any

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
        answer = await http.send(request, stream=stream)
    # The body of an answer is read outside of the scope.
    del request.extensions["trace"]
    return answer
