"""Bytes to lines, without I/O.

A line is what ends in `\\n`; a `\\r` just before it belongs to the line end. Nothing else splits:
not `\\r` alone, U+2028, NEL, VT or FF. Bytes are never changed, so joining what comes out gives
back what went in.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_BATCH_BYTES", "MAX_BATCH_LINES", "MAX_LINE_BYTES", "LineSplitter", "Lines"]

MAX_LINE_BYTES = 64 * 1024
"""The longest line that stays whole, in bytes, its end not counted."""

MAX_BATCH_BYTES = 64 * 1024 + 2
"""The most bytes in one run: as much as the longest whole line with its end."""

MAX_BATCH_LINES = 1000
"""The most lines in one run."""


@dataclass(frozen=True, slots=True)
class Lines:
    """A run of `count` lines. `partial`: its only line goes on in the next run. `continues`: its
    first line began in the run before. Only `partial` runs and the last of a stream lack a final
    `\\n`."""

    data: bytes
    count: int
    partial: bool = False
    continues: bool = False


class LineSplitter:
    """Cuts one stream of bytes into runs of lines.

    It holds at most `max_line` + 1 bytes: the start of a line whose end has not come yet.
    `continues`: what comes first goes on with a line of which a part was cut before.
    """

    def __init__(
        self,
        max_line: int = MAX_LINE_BYTES,
        max_lines: int = MAX_BATCH_LINES,
        *,
        continues: bool = False,
    ) -> None:
        self._max_line = max_line
        self._max_bytes = max_line + 2
        self._max_lines = max_lines
        self._rest = b""
        self._continues = continues
        # Whether the last run was cut for its number of lines: so is the next one, most likely.
        self._short_lines = False

    def feed(self, *pieces: bytes) -> list[Lines]:
        """Take the next bytes of the stream, in order; return the runs that they complete."""
        runs: list[Lines] = []
        data = b"".join((self._rest, *pieces))
        whole = data.rfind(b"\n") + 1
        start = 0
        while True:
            if self._is_overlong(data, start):
                start = self._fragment(data, start, runs)
            elif start < whole:
                start = self._run(data, start, whole, runs)
            else:
                break
        self._rest = data[start:]
        return runs

    def close(self) -> list[Lines]:
        """The stream has ended; return its last line if that lacks an end."""
        runs: list[Lines] = []
        rest, self._rest = self._rest, b""
        start = 0
        if len(rest) > self._max_line:
            # The `\r` at the limit was waiting for its `\n`.
            start = self._fragment(rest, start, runs)
        if start < len(rest):
            self._append(rest[start:], 1, runs)
        return runs

    def _is_overlong(self, data: bytes, start: int) -> bool:
        """Whether the line at `start` is known to be longer than the limit, its end not counted."""
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
            # For lines of 100 bytes three times as fast as `count`, which looks at each byte:
            # `replace` searches with memchr.
            count = len(run) - len(run.replace(b"\n", b""))
        if count > self._max_lines:
            # Its end is found without a count of all: of lines of a few bytes, that would take ten
            # times as long for each run, and more.
            *lines, rest = run.split(b"\n", self._max_lines)
            count = len(lines)
            stop -= len(rest)
            run = data[start:stop]
            self._short_lines = count == self._max_lines
        self._append(run, count, runs)
        return stop

    def _fragment(self, data: bytes, start: int, runs: list[Lines]) -> int:
        """Append as much of an over-long line as the limit allows; a UTF-8 character stays
        whole."""
        stop = start + self._max_line
        for back in range(min(4, self._max_line)):
            byte = data[stop - back]
            if byte & 0xC0 != 0x80:
                # A character starts here; if it is not valid UTF-8 after all, any cut is as good.
                stop -= back if byte >= 0xC0 else 0
                break
        self._append(data[start:stop], 1, runs, partial=True)
        return stop

    def _append(self, data: bytes, count: int, runs: list[Lines], *, partial: bool = False) -> None:
        runs.append(Lines(data, count, partial, self._continues))
        self._continues = partial
