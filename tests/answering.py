"""A server over a real socket that answers as a test tells it: not the service, but what may stand
in its place."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from tests.live import PATIENCE

__all__ = ["Answering", "answer", "answering"]


def answer(content_type: str | None, body: bytes, status: str = "200 OK", *fields: str) -> bytes:
    """A whole answer, after which its connection may be used again."""
    lines = [f"HTTP/1.1 {status}", *fields]
    if not status.startswith("204"):
        lines.append(f"Content-Length: {len(body)}")
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@dataclass
class Answering:
    """`heads` are those of the requests that came; `connected` is how many connections are open."""

    url: str = ""
    heads: list[bytes] = field(default_factory=list)
    connected: int = 0
    changed: trio.Event = field(default_factory=trio.Event)

    def change(self, connected: int) -> None:
        """A connection was opened or closed."""
        self.connected += connected
        self.changed.set()
        self.changed = trio.Event()

    async def settle(self, connected: int) -> None:
        """Wait until at most so many connections are open."""
        with trio.fail_after(PATIENCE):
            while self.connected > connected:
                await self.changed.wait()


@asynccontextmanager
async def answering(
    respond: Callable[[int], bytes], path: Path | None = None
) -> AsyncIterator[Answering]:
    """Answers each request with what `respond` gives for its number, from 0 on. The connection is
    closed after an answer with `Connection: close`. With a `path`, it listens on a unix socket."""
    server = Answering()

    async def handle(stream: trio.SocketStream) -> None:
        server.change(+1)
        try:
            while (head := await _request(stream)) is not None:
                server.heads.append(head)
                found = respond(len(server.heads) - 1)
                await stream.send_all(found)
                if b"\r\nConnection: close\r\n" in found:
                    break
        except trio.BrokenResourceError:
            pass
        finally:
            server.change(-1)

    async with trio.open_nursery() as nursery:
        if path is None:
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            server.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        else:
            bound = trio.socket.socket(socket.AF_UNIX)
            await bound.bind(str(path))
            bound.listen()
            listener = trio.SocketListener(bound)
            server.url = "http://localhost"
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        yield server
        nursery.cancel_scope.cancel()


async def _request(stream: trio.SocketStream) -> bytes | None:
    """The head of the next request, its body read; None if the client has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = await stream.receive_some()
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    size = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length: "):
            size = int(line[16:])
    chunked = b"\r\ntransfer-encoding: chunked" in head.lower()
    while len(body) < size or (chunked and not body.endswith(b"0\r\n\r\n")):
        piece = await stream.receive_some()
        if not piece:
            return None
        body += piece
    return head
