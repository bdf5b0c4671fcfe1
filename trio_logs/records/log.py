"""What a log consists of, and what its readers are told about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from .outcome import Outcome

__all__ = [
    "Batch",
    "Detached",
    "End",
    "Gap",
    "Position",
    "Record",
    "Reset",
    "Run",
    "Stop",
    "Unfinished",
]


@dataclass(frozen=True, slots=True)
class Batch:
    """A run of lines that arrived together on one stream.

    `data` has the bytes as the workload wrote them, line ends included. The lines are numbered
    `first` to `last`. `time` is when they arrived. A line longer than the limit is cut into
    fragments. Each fragment but the last is a batch of its own with `partial` set, and the next
    batch of that stream has `continues` set. Apart from fragments, only the last batch of a stream
    may lack its final line end.

    `rendered` caches the batch's wire forms, so that all subscribers share one computation.
    """

    first: int
    count: int
    time: int
    stream: str
    data: bytes
    partial: bool = False
    continues: bool = False
    rendered: dict[object, bytes] = field(default_factory=dict, compare=False, repr=False)

    @property
    def last(self) -> int:
        """The sequence number of the last line."""
        return self.first + self.count - 1

    @property
    def weight(self) -> int:
        """About how many bytes this batch takes on the wire, where each line is one event."""
        return len(self.data) + 100 * self.count

    @property
    def lines(self) -> list[bytes]:
        """The lines without their ends."""
        lines = self.data.split(b"\n")
        unended = lines.pop()
        lines = [line.removesuffix(b"\r") for line in lines]
        return lines if len(lines) == self.count else [*lines, unended]

    @property
    def text(self) -> bytes:
        """The lines as UTF-8, each ended by `\\n`. U+FFFD replaces what is not valid UTF-8."""
        text = self.data
        if not text.isascii():
            try:
                text.decode()
            except UnicodeDecodeError:
                text = text.decode(errors="replace").encode()
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
        return text if text.endswith(b"\n") else text + b"\n"

    def since(self, first: int) -> Batch:
        """The part of this batch from line `first` on; the batch must hold that line."""
        skip = first - self.first
        if skip == 0:
            return self
        data = self.data.split(b"\n", skip)[skip]
        return Batch(first, self.count - skip, self.time, self.stream, data, self.partial)

    def until(self, last: int) -> Batch:
        """The part of this batch up to line `last`; the batch must hold that line."""
        count = last - self.first + 1
        if count == self.count:
            return self
        rest = self.data.split(b"\n", count)[count]
        data = self.data[: len(self.data) - len(rest)]
        return Batch(self.first, count, self.time, self.stream, data, continues=self.continues)

    def parts(self, numbers: Sequence[int]) -> list[Batch]:
        """The lines with these numbers, ascending, as batches of lines that follow each other."""
        if len(numbers) == self.count:
            return [self]
        if not numbers:
            return []
        pieces = self.data.split(b"\n")
        parts = []
        start = 0
        for stop in range(1, len(numbers) + 1):
            if stop < len(numbers) and numbers[stop] == numbers[stop - 1] + 1:
                continue
            first, last = numbers[start], numbers[stop - 1]
            low, high = first - self.first, last + 1 - self.first
            data = b"\n".join(pieces[low:high])
            # A line end is missing only where the batch itself lacks it.
            if high < len(pieces):
                data += b"\n"
            continues = self.continues and first == self.first
            parts.append(Batch(first, stop - start, self.time, self.stream, data, False, continues))
            start = stop
        return parts


@dataclass(frozen=True, slots=True)
class Run:
    """A batch without its data, as `LogStore.scan` returns it. See `Batch` for the fields."""

    first: int
    count: int
    time: int
    stream: str
    partial: bool = False
    continues: bool = False

    @property
    def last(self) -> int:
        """The sequence number of the last line."""
        return self.first + self.count - 1


@dataclass(frozen=True, slots=True)
class Gap:
    """Lines `first` to `last` are missing. `reason` is a wire value: `retention`, `store`,
    `damaged` or `deleted`.

    A store keeps gaps with reason `store` in the place of their lines; the `time` of such a gap is
    not before that of any of its lines, nor after that of the next line. It is 0 for other gaps.
    """

    first: int
    last: int
    reason: str = "retention"
    time: int = field(default=0, compare=False)

    @property
    def weight(self) -> int:
        """About how many bytes the gap's event takes on the wire."""
        return 100


@dataclass(frozen=True, slots=True)
class End:
    """The last record of a log: the outcome, the number of lines, and their bytes."""

    outcome: Outcome
    lines: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Detached:
    """The last record of a subscription that the server ends although the log may go on. `retry`
    says after how many milliseconds the client is to come back."""

    retry: int = 3000


@dataclass(frozen=True, slots=True)
class Reset:
    """The position to resume from does not exist, so the stream goes on with the first line asked
    for. `reason` is a wire value, `beyond_head` or `not_ended`; `detail` is a sentence for
    people."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Position:
    """The reader has all that it asked for up to line `line`, which a filter may have hidden."""

    line: int


@dataclass(frozen=True, slots=True)
class Stop:
    """The last record of a reading that `to` or `limit` ended before the end of the log. `reason`
    is that word, `next` the first line number that was not looked at."""

    reason: str
    next: int


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The text of a line of `stream` that has not ended; it replaces the one before it. Empty text
    clears it, and so does the next line of the stream. It has no number and is not stored."""

    stream: str
    text: str


Record: TypeAlias = Batch | Gap | End | Detached | Reset
