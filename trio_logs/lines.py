"""Bytes to lines, without I/O.

A line ends at `\\n`, and a `\\r` just before it belongs to the line end. No other byte ends a line:
not `\\r` alone, U+2028, NEL, VT or FF. Bytes are never changed: the output joined is the input.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_BATCH_BYTES", "MAX_BATCH_LINES", "MAX_LINE_BYTES", "LineSplitter", "Lines"]

MAX_LINE_BYTES = 64 * 1024
"""The longest line that stays whole, in bytes, without its line end."""

MAX_BATCH_BYTES = 64 * 1024 + 2
"""The most bytes in one run: the longest whole line with its line end."""

MAX_BATCH_LINES = 1000
"""The most lines in one run."""


@dataclass(frozen=True, slots=True)
class Lines:
    """A run of `count` lines.

    `partial`: the only line of this run goes on in the next run. `continues`: the first line began
    in the previous run. Every run ends with `\\n`, except `partial` runs and the last of a stream.
    """

    data: bytes
    count: int
    partial: bool = False
    continues: bool = False


class LineSplitter:
    """Cuts one stream of bytes into runs of lines.

    Bound: it holds at most `max_line` + 1 bytes, the start of a line whose newline has not arrived.
    `continues`: the first bytes continue a line whose first part was delivered before. `size`: how
    many bytes of the stream are in runs, those of an earlier splitter included. `rest`: the bytes
    that are in no run.
    """

    def __init__(
        self,
        max_line: int = MAX_LINE_BYTES,
        max_lines: int = MAX_BATCH_LINES,
        *,
        continues: bool = False,
        size: int = 0,
    ) -> None:
        self._max_line = max_line
        self._max_bytes = max_line + 2
        self._max_lines = max_lines
        self.rest = b""
        self.continues = continues
        self.size = size
        # Whether the last run reached the limit of lines; then the next one probably does, too.
        self._short_lines = False

    def feed(self, *pieces: bytes) -> list[Lines]:
        """Take the next bytes of the stream, in order; return the runs that they complete."""
        runs: list[Lines] = []
        data = b"".join((self.rest, *pieces))
        whole = data.rfind(b"\n") + 1
        start = 0
        while True:
            if self._is_overlong(data, start):
                start = self._fragment(data, start, runs)
            elif start < whole:
                start = self._run(data, start, whole, runs)
            else:
                break
        self.rest = data[start:]
        self.size += start
        return runs

    def close(self) -> list[Lines]:
        """The stream has ended: return its last line if that lacks a newline."""
        runs: list[Lines] = []
        rest, self.rest = self.rest, b""
        self.size += len(rest)
        start = 0
        if len(rest) > self._max_line:
            # Only a `\r` at the limit is kept so long: a `\n` could have followed it.
            start = self._fragment(rest, start, runs)
        if start < len(rest):
            self._append(rest[start:], 1, runs)
        return runs

    def _is_overlong(self, data: bytes, start: int) -> bool:
        """Whether the line at `start` is surely longer than the limit, without its line end."""
        limit = start + self._max_line
        if len(data) <= limit or data.find(b"\n", start, limit) >= 0:
            return False
        after = data[limit : limit + 2]
        # `\r` as the very last byte is undecided: the next byte may make it a line end.
        return not after.startswith(b"\n") and after not in (b"\r\n", b"\r")

    def _run(self, data: bytes, start: int, whole: int, runs: list[Lines]) -> int:
        """Append the longest allowed run of `data[start:whole]`, whose first line is within the
        limit."""
        stop = whole
        if stop - start > self._max_bytes:
            stop = data.rfind(b"\n", start, start + self._max_bytes) + 1
        run = data[start:stop]
        count = self._max_lines + 1
        if not self._short_lines:
            # `replace` searches with memchr, and `count` compares each byte: with lines of 100
            # bytes, this is three times as fast.
            count = len(run) - len(run.replace(b"\n", b""))
        if count > self._max_lines:
            # Split off only the lines that fit. With lines of a few bytes, counting all lines would
            # take ten times as long for each run.
            *lines, rest = run.split(b"\n", self._max_lines)
            count = len(lines)
            stop -= len(rest)
            run = data[start:stop]
            self._short_lines = count == self._max_lines
        self._append(run, count, runs)
        return stop

    def _fragment(self, data: bytes, start: int, runs: list[Lines]) -> int:
        """Append as much of an over-long line as the limit allows, without cutting a UTF-8
        character."""
        stop = start + self._max_line
        for back in range(min(4, self._max_line)):
            byte = data[stop - back]
            if byte & 0xC0 != 0x80:
                # A character starts here. In invalid UTF-8, any cut is as good as another.
                stop -= back if byte >= 0xC0 else 0
                break
        self._append(data[start:stop], 1, runs, partial=True)
        return stop

    def _append(self, data: bytes, count: int, runs: list[Lines], *, partial: bool = False) -> None:
        runs.append(Lines(data, count, partial, self.continues))
        self.continues = partial
