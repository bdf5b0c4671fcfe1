"""Requests on raw sockets: cheap enough for hundreds of streams, and cut where a test says."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

__all__ = ["Answer", "BrokenError", "Request", "ask", "opened"]

RECEIVE_BYTES = 256 * 1024


class BrokenError(Exception):
    """The connection was refused, cut or silent for too long; a client would try again."""


@dataclass(frozen=True)
class Request:
    """A request to a node; `body` is sent as JSON unless it is bytes."""

    method: str
    path: str
    token: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None

    def head(self) -> bytes:
        headers = {
            "Host": "127.0.0.1",
            "Authorization": f"Bearer {self.token}",
            "Connection": "close",
            **self.headers,
        }
        lines = [f"{self.method} {self.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


@dataclass
class Answer:
    """The head of an answer, and its body as it comes."""

    status: int
    headers: dict[str, str]
    _stream: trio.SocketStream
    _buffer: bytearray
    _silence: float
    is_whole: bool = False
    # Of the chunk that is being read: bytes to come, and whether its line end is due.
    _left: int = 0
    _is_behind: bool = False
    _is_last: bool = False

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """What each read brings. `is_whole` then says whether the answer ended properly. Raises
        BrokenError if it is silent for too long."""
        is_chunked = self.headers.get("transfer-encoding") == "chunked"
        if not is_chunked:
            # As if it was one chunk, and the last one.
            self._left = int(self.headers.get("content-length", 0))
        while True:
            found = self._chunks() if is_chunked else self._plain()
            if found:
                yield found
            if self.is_whole or not await self._more():
                return

    def _plain(self) -> bytes:
        """What is in the buffer of a body whose length is known."""
        found = bytes(self._buffer[: self._left])
        self._left -= len(found)
        self.is_whole = self._left == 0
        self._buffer.clear()
        return found

    def _chunks(self) -> bytes:
        """What is in the buffer of chunks, also of one that has not come to its end."""
        found, place, buffer = [], 0, self._buffer
        while True:
            if self._left:
                found.append(bytes(buffer[place : place + self._left]))
                place += len(found[-1])
                self._left -= len(found[-1])
                if self._left:
                    break
                self._is_behind = True
            if self._is_behind:
                if len(buffer) < place + 2:
                    break
                place += 2
                self._is_behind = False
                if self._is_last:
                    self.is_whole = True
                    break
            if (end := buffer.find(b"\r\n", place)) < 0:
                break
            self._left = int(buffer[place:end], 16)
            self._is_last = self._is_behind = self._left == 0
            place = end + 2
        del buffer[:place]
        return b"".join(found)

    async def _more(self) -> bool:
        data = await _receive(self._stream, self._silence)
        self._buffer += data
        return bool(data)

    async def read(self) -> bytes:
        """All of the body. Raises BrokenError if it is cut."""
        async with aclosing(self.pieces()) as pieces:
            body = b"".join([piece async for piece in pieces])
        if not self.is_whole:
            raise BrokenError("cut")
        return body

    async def json(self) -> Any:
        """The body, decoded."""
        return json.loads(await self.read() or b"null")


async def _receive(stream: trio.SocketStream, silence: float) -> bytes:
    with trio.move_on_after(silence):
        try:
            return bytes(await stream.receive_some(RECEIVE_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise BrokenError(str(error)) from error
    raise BrokenError("silent")


@asynccontextmanager
async def opened(
    address: tuple[str, int], request: Request, *, silence: float = 10
) -> AsyncIterator[Answer]:
    """Send a request and read the head of its answer; the connection is closed on exit.

    `silence`: seconds without a byte after which the answer counts as cut. Raises BrokenError.
    """
    stream = await connect(address)
    try:
        await send_head(stream, request)
        yield await read_head(stream, silence)
    finally:
        await trio.aclose_forcefully(stream)


async def connect(address: tuple[str, int]) -> trio.SocketStream:
    """Raises BrokenError."""
    with trio.move_on_after(5):
        try:
            return await trio.open_tcp_stream(*address)
        except OSError as error:
            raise BrokenError(str(error)) from error
    raise BrokenError("does not accept")


async def send_head(stream: trio.SocketStream, request: Request) -> None:
    """Send a request with its whole body, if it has one. Raises BrokenError."""
    body, more = request.body, {}
    if body is not None:
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        more = {"Content-Length": str(len(body)), "Content-Type": "application/json"}
    head = Request(request.method, request.path, request.token, {**more, **request.headers}).head()
    try:
        await stream.send_all(head + (body or b""))
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise BrokenError(str(error)) from error


async def read_head(stream: trio.SocketStream, silence: float) -> Answer:
    """Raises BrokenError."""
    buffer = bytearray()
    while (end := buffer.find(b"\r\n\r\n")) < 0:
        data = await _receive(stream, silence)
        if not data:
            raise BrokenError("cut before the answer's head")
        buffer += data
    first, *lines = bytes(buffer[:end]).decode().split("\r\n")
    del buffer[: end + 4]
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Answer(int(first.split(" ")[1]), headers, stream, buffer, silence)


async def ask(
    address: tuple[str, int], request: Request, *, silence: float = 10
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and decoded body of one request. Raises BrokenError."""
    async with opened(address, request, silence=silence) as answer:
        if request.method == "HEAD" or answer.status == 204:
            return answer.status, answer.headers, None
        return answer.status, answer.headers, await answer.json()
