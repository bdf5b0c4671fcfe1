"""What decides whether a reader got its log: a transcript in, faults out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Transcript", "faults"]

Event = tuple[Literal["line"], int, str] | tuple[Literal["gap"], int, int]
Event |= tuple[Literal["end"], int]


@dataclass
class Transcript:
    """What one reader saw, over all its connections.

    `first` is the line it asked for at first; `written` are all the lines of the log. `whole` says
    that it read to the end.
    """

    first: int
    written: list[str]
    whole: bool = True
    events: list[Event] = field(default_factory=list)

    @property
    def next(self) -> int:
        """The line after the last one seen: where a resume goes on."""
        for event in reversed(self.events):
            if event[0] == "line":
                return event[1] + 1
            if event[0] == "gap":
                return int(event[2]) + 1
        return self.first


def faults(transcript: Transcript, *, gaps_allowed: bool = False) -> list[str]:
    """What is wrong: anything but a contiguous run of the right lines up to exactly one `end`."""
    return list(_faults(transcript, gaps_allowed))


def _faults(transcript: Transcript, gaps_allowed: bool) -> Iterable[str]:
    expected = transcript.first
    ends = 0
    for event in transcript.events:
        if ends:
            yield f"{event} after the end"
        match event:
            case ("line", int(number), text):
                if number != expected:
                    yield f"line {number} where {expected} was due"
                if not 1 <= number <= len(transcript.written):
                    yield f"line {number} was never written"
                elif text != transcript.written[number - 1]:
                    yield f"line {number} is {text!r}, not {transcript.written[number - 1]!r}"
                expected = number + 1
            case ("gap", int(first), int(last)):
                if not gaps_allowed:
                    yield f"a gap of {first} to {last}"
                if first != expected or last < first:
                    yield f"gap {first} to {last} where {expected} was due"
                expected = last + 1
            case ("end", lines):
                ends += 1
                if expected <= len(transcript.written):
                    yield f"an end before line {expected} of {len(transcript.written)}"
                if lines != len(transcript.written):
                    yield f"an end that counts {lines} lines of {len(transcript.written)}"
    if transcript.whole and ends != 1:
        yield f"{ends} ends"
