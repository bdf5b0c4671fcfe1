"""What a reader of a log is owed: the lines of the whole log, filtered one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trio_logs import Batch, Gap
from trio_logs.selection import Selection

__all__ = ["Part", "expected", "is_asked_for", "missing", "parts_of"]


@dataclass(frozen=True)
class Part:
    """A numbered line, or a part of an over-long one. `line` is the same for all parts of one."""

    number: int
    time: int
    stream: str
    text: str
    data: bytes
    line: tuple[str, int]


def parts_of(records: Sequence[Batch | Gap]) -> Iterator[Part]:
    """The parts of a log, in order."""
    lines: dict[str, int] = {}
    for batch in records:
        if isinstance(batch, Gap):
            continue
        rest = batch.data
        for number in range(batch.first, batch.last + 1):
            data, newline, rest = rest.partition(b"\n")
            if not (batch.continues and number == batch.first):
                lines[batch.stream] = number
            line = batch.stream, lines.setdefault(batch.stream, number)
            text = (data.removesuffix(b"\r") if newline else data).decode(errors="replace")
            yield Part(number, batch.time, batch.stream, text, data + newline, line)


def missing(records: Sequence[object]) -> list[int]:
    """The numbers of the lines that gaps stand for."""
    gaps = [record for record in records if isinstance(record, Gap)]
    return [number for gap in gaps for number in range(gap.first, gap.last + 1)]


def is_asked_for(part: Part, selection: Selection) -> bool:
    """Whether the selection admits a line; `tail` and `limit` apart."""
    if not selection.first <= part.number <= (selection.last or 10**9):
        return False
    if not (selection.since or 0) <= part.time <= (selection.until or 10**18):
        return False
    if selection.stream not in (None, part.stream):
        return False
    if (found := selection.filter) is None:
        return True
    pattern = found.text if found.regex else re.escape(found.text)
    # `$` is the very end.
    pattern = pattern.replace("$", r"\Z")
    flags = re.DOTALL if found.case else re.DOTALL | re.IGNORECASE
    # A part may end within an escape, which loses its start only.
    visible = re.sub(r"\x1b\[(31m)?", "", part.text)
    return (re.search(pattern, visible, flags) is not None) != found.invert


def expected(parts: Sequence[Part], selection: Selection, head: int, *, follow: bool) -> list[Part]:
    """The parts that a reader gets who comes when `head` is the last line."""
    asked = [part for part in parts if is_asked_for(part, selection)]
    if not follow:
        asked = [part for part in asked if part.number <= head]
    if selection.tail is not None:
        known = [part for part in asked if part.number <= head]
        # The order of lines is that of their last parts.
        order = sorted({part.line for part in known}, key=lambda line: _last(known, line))
        kept = set(order[len(order) - min(selection.tail, len(order)) :])
        asked = [part for part in asked if part.line in kept or part.number > head]
    if selection.limit is not None:
        order = list(dict.fromkeys(part.line for part in asked))
        asked = [part for part in asked if part.line in order[: selection.limit]]
    return asked


def _last(parts: Sequence[Part], line: tuple[str, int]) -> int:
    return max(part.number for part in parts if part.line == line)
