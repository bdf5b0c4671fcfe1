"""The bytes on their way from a source to the server: held until they are durable there."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Self

import anyio
import httpx2

from .errors import ClientError, RefusedError
from .requests import read

__all__ = ["BODY_SECONDS", "BUFFER_BYTES", "Body", "Upload"]

BUFFER_BYTES = 2 * 1024 * 1024
"""What is held at most; when full, the source waits."""

BODY_BYTES = 1024 * 1024
"""One body at most. Its answer lets go of as much; and it is what proxies let through, unless they
are told otherwise."""

BODY_SECONDS = 10.0
"""How long a body stays open at most: so often the server is heard, also if there is nothing to
send, and a proxy that waits for the whole body passes it on."""

PIECE_BYTES = 64 * 1024

MAX_CONFLICTS = 3
"""After so many in a row, going back to where the server is does not help."""


class Upload:
    """A window of the log: what the server has acknowledged is behind it, and what the source has
    not given yet is ahead. `sent` is where the next piece starts, within it."""

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
        """How many bytes the source has given."""
        return self.acknowledged + len(self._held)

    @property
    def all_sent(self) -> bool:
        """Whether the source has ended and all of it was sent."""
        return self.ended and self.sent == self.end

    async def fill(self, chunks: AsyncIterable[bytes]) -> None:
        """Take all that the source has, no faster than it can be sent."""
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
        """Raise what the source has raised."""
        if self._failure is not None:
            raise self._failure

    async def wait(self, seconds: float) -> None:
        """Return when there may be more to send, or after so many seconds."""
        with anyio.move_on_after(seconds):
            await self._changed.wait()

    def take(self, size: int) -> bytes:
        """The next piece to send; empty if there is none at the moment."""
        start = self.sent - self.acknowledged
        piece = bytes(self._held[start : start + size])
        self.sent += len(piece)
        return piece

    def go_back(self) -> None:
        """What was sent may not have arrived. The server skips what has."""
        self.sent = self.acknowledged

    def settle(self, answer: httpx2.Response) -> None:
        """Learn from an answer how much the server has, and go on there if it misses something.

        Raises RefusedError if it does not want any of it.
        """
        offset = answer.headers.get("Upload-Offset")
        if offset is None or not (answer.is_success or self._conflicts < MAX_CONFLICTS):
            read(answer)
            raise RefusedError(answer.status_code, "the answer comes from another service")
        self._acknowledge(int(offset))
        self._conflicts += 1
        if answer.is_success:
            self._conflicts = 0
        else:
            self.go_back()

    def _acknowledge(self, offset: int) -> None:
        if not self.acknowledged <= offset <= self.end:
            raise ClientError(
                f"the server has {offset} bytes of a log of which {self.acknowledged} to {self.end}"
                " can be sent: it has lost some, or another client sends it, too"
            )
        del self._held[: offset - self.acknowledged]
        self.acknowledged = offset
        self.sent = max(self.sent, offset)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class Body(httpx2.AsyncByteStream):
    """One request's part of it, which is sent as it comes."""

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
