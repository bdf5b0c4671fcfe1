"""The writer of a log, as a workload sees it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import trio

from ..errors import FencedError, LogClosedError
from ..records import now

__all__ = ["MAX_WRITE_BYTES", "Fate", "Flush", "LogWriter", "Written"]

MAX_WRITE_BYTES = 128 * 1024
"""The most bytes in one channel item; a longer write takes several items."""


@dataclass(frozen=True, slots=True)
class Written:
    """Bytes that a workload wrote to one stream, in the channel to the source. `time` is when, in
    microseconds since the Unix epoch."""

    time: int
    stream: str
    data: bytes


@dataclass(slots=True, eq=False)
class Flush:
    """A mark between writes. Once everything before it is durable, or can't be for now, the source
    sets `done`, and either `durable`, the bytes of the log or of one stream of it, or `error`."""

    stream: str | None = None
    done: trio.Event = field(default_factory=trio.Event)
    durable: int = 0
    error: Exception | None = None


@dataclass(slots=True)
class Fate:
    """What became of a source, for its writers. `fenced`: that another writer has the log."""

    fenced: str | None = None

    def check(self) -> None:
        """Raise FencedError if another writer has the log."""
        if self.fenced is not None:
            raise FencedError(self.fenced)

    def closed(self, why: str) -> LogClosedError:
        """The error for a caller that finds the log closed."""
        return LogClosedError(why) if self.fenced is None else FencedError(self.fenced)


class LogWriter:
    """Writes to one log. Use it as a context manager, and give each task a `clone()`.

    When the log's channel is full, a write waits: this is the back-pressure on the workload. A
    stream is a sequence of bytes, as a file is: only a newline ends a line, the end of a write does
    not.
    """

    def __init__(
        self, channel: trio.MemorySendChannel[Written | Flush], fate: Fate | None = None
    ) -> None:
        self._channel = channel
        self._fate = fate or Fate()

    async def write(self, data: bytes | str, stream: str = "stdout") -> None:
        """Add bytes, or text as UTF-8, to a stream.

        A cancelled call has written nothing; past 128 KiB, it may have written a first part. Raises
        LogClosedError if the log was closed, and FencedError if another writer has taken it over.
        """
        # Check in the caller's task: in the source's task, a mistake would end the source.
        if isinstance(data, str):
            data = data.encode()
        elif not isinstance(data, bytes):
            data = bytes(memoryview(data))
        if not isinstance(stream, str) or not stream.isidentifier():
            raise TypeError(f"a stream's name is a word, not {stream!r}")
        time = now()
        try:
            if len(data) <= MAX_WRITE_BYTES:
                await self._channel.send(Written(time, stream, data))
                return
            for start in range(0, len(data), MAX_WRITE_BYTES):
                part = data[start : start + MAX_WRITE_BYTES]
                await self._channel.send(Written(time, stream, part))
        except (trio.ClosedResourceError, trio.BrokenResourceError) as error:
            raise self._fate.closed("the log is closed: write before the workload ends") from error

    async def flush(self, stream: str | None = None) -> int:
        """Wait until all earlier writes are durable; return how many bytes of the log, or of one
        stream of it, are durable.

        The start of a line whose newline was not written yet does not count. Raises StoreError if
        the store fails for longer than the broker's patience. The lines are kept, so flush again
        later. Raises LogClosedError and FencedError as `write` does.
        """
        mark = Flush(stream)
        try:
            await self._channel.send(mark)
        except (trio.ClosedResourceError, trio.BrokenResourceError) as error:
            raise self._fate.closed("the log is closed: flush before the workload ends") from error
        await mark.done.wait()
        if mark.error is not None:
            raise mark.error
        return mark.durable

    @property
    def is_fenced(self) -> bool:
        """Whether another writer has taken the log over, as far as the broker knows."""
        return self._fate.fenced is not None

    async def writelines(self, lines: Iterable[bytes | str], stream: str = "stdout") -> None:
        """Add whole lines; each line that has no newline gets one."""
        await self.write(b"".join(map(as_line, lines)), stream)

    def clone(self) -> LogWriter:
        """Another writer of the same log; close each of them."""
        return LogWriter(self._channel.clone(), self._fate)

    def close(self) -> None:
        """Close this writer. The log itself goes on until the broker's `close`."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def as_line(line: bytes | str) -> bytes:
    """A line as bytes, with its newline."""
    if isinstance(line, str):
        line = line.encode()
    return line if line.endswith(b"\n") else line + b"\n"
