"""The buffer of a push: it holds bytes until they are durable on the server."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable
from typing import Self

import anyio
import httpx2

from .answers import check, unexpected
from .errors import ClientError

__all__ = ["BODY_SECONDS", "BUFFER_BYTES", "Body", "Upload"]

BUFFER_BYTES = 2 * 1024 * 1024
"""The most bytes in the buffer; when it is full, the source waits."""

BODY_BYTES = 1024 * 1024
"""The most bytes in one request body. Each response frees that much of the buffer, and common
proxies limit bodies to this size."""

BODY_SECONDS = 10.0
"""The most seconds that a body stays open. So the server answers that often, even without new
bytes, and a proxy that buffers whole bodies passes them on."""

PIECE_BYTES = 64 * 1024

MAX_CONFLICTS = 3
"""Conflicts without progress after which the client stops going back to the server's offset."""


class Upload:
    """A window of one stream of the log, from the bytes that the server has acknowledged to those
    that the source has given. `sent` is the offset of the next piece."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.sent = 0
        self.ended = False
        self._held = bytearray()
        self._failure: Exception | None = None
        self._conflicts = 0
        self._changed = anyio.Event()

    @property
    def end(self) -> int:
        """The number of bytes that the source has given."""
        return self.acknowledged + len(self._held)

    @property
    def all_sent(self) -> bool:
        """Whether the source has ended and all its bytes were sent."""
        return self.ended and self.sent == self.end

    async def fill(self, chunks: AsyncIterable[bytes]) -> None:
        """Take all bytes of the source, no faster than they are sent."""
        try:
            async for chunk in chunks:
                rest = memoryview(chunk)
                while rest:
                    room = BUFFER_BYTES - len(self._held)
                    if room:
                        self._held += rest[:room]
                        rest = rest[room:]
                        self._notify()
                    else:
                        await self._changed.wait()
        except Exception as error:
            self._failure = error
        self.ended = True
        self._notify()

    def check(self) -> None:
        """Raise the source's exception, if it raised one."""
        if self._failure is not None:
            raise self._failure

    async def wait(self, seconds: float) -> None:
        """Return when there may be more to send, or after `seconds`."""
        with anyio.move_on_after(seconds):
            await self._changed.wait()

    def take(self, size: int) -> bytes:
        """The next piece to send, of `size` bytes at most; empty if there is none now."""
        start = self.sent - self.acknowledged
        piece = bytes(self._held[start : start + size])
        self.sent += len(piece)
        return piece

    def go_back(self) -> None:
        """Send again from the last acknowledged byte. The server skips bytes that it has."""
        self.sent = self.acknowledged

    def settle(self, answer: httpx2.Response, address: str, header: str = "Upload-Offset") -> None:
        """Take from a header of an answer how many bytes the server has, and go back if it lacks
        some.

        Raises RefusedError if the server refuses the log, and ClientError if the answer is not the
        service's, or if the server has other bytes than this client sends.
        """
        offset = answer.headers.get(header)
        if offset is None or not (answer.is_success or self._conflicts < MAX_CONFLICTS):
            check(answer, address)
            raise ClientError(
                f"{unexpected(answer, address)} and without {header}, not as trio-logs does;"
                " check the address, and what is in front of the service"
            )
        if not re.fullmatch(r"[0-9]{1,18}", offset):
            raise ClientError(
                f"{unexpected(answer, address)} and {header} {offset[:80]!r}, which is no"
                " number of bytes; check the address, and what is in front of the service"
            )
        if self._acknowledge(int(offset)):
            self._conflicts = 0
        if not answer.is_success:
            self._conflicts += 1
            self.go_back()

    def _acknowledge(self, offset: int) -> bool:
        """Drop bytes that are durable; return whether there were any."""
        if not self.acknowledged <= offset <= self.end:
            raise ClientError(
                f"the server has {offset} bytes of this log, and this client can send bytes"
                f" {self.acknowledged} to {self.end}: the server has lost some, or another client"
                " sends it, too; submit a new workload"
            )
        is_new = offset > self.acknowledged
        del self._held[: offset - self.acknowledged]
        self.acknowledged = offset
        self.sent = max(self.sent, offset)
        self._notify()
        return is_new

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class Body(httpx2.AsyncByteStream):
    """The body of one request: bytes of the upload as they come."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._left = BODY_BYTES
        self._deadline = anyio.current_time() + BODY_SECONDS

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        upload = self._upload
        while self._left:
            if piece := upload.take(min(self._left, PIECE_BYTES)):
                self._left -= len(piece)
                return piece
            seconds = self._deadline - anyio.current_time()
            if upload.ended or seconds <= 0:
                break
            await upload.wait(seconds)
        raise StopAsyncIteration
