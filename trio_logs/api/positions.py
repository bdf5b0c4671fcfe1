"""The place of a client in several logs, as the id of a position frame; without I/O.

`E.P1.P2`: the position among the changes of workloads, and then the place in each log, in the order
of the parameters. A place is the number before the next line due, or `end`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..errors import InvalidRequestError
from ..sse import END_ID

__all__ = ["Place", "Positions", "number", "parse_positions"]

Place: TypeAlias = int | Literal["end"]

_MAX_DIGITS = 18


@dataclass(slots=True)
class Positions:
    """`changes` is the position among the changes of workloads, or 0 if the client gets none."""

    changes: int
    logs: list[Place]

    def __str__(self) -> str:
        return ".".join(map(str, (self.changes, *self.logs)))


def number(digits: str) -> int:
    """The number that ASCII digits stand for. One that is too long is beyond the end of every log:
    `int` of thousands of digits would be slow."""
    return int(digits) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS


def parse_positions(text: str, logs: int, *, changes: bool) -> Positions:
    """The positions that an id has for so many logs, with or without `changes`.

    Raises InvalidRequestError for a text that is no such id.
    """
    first, *places = text.split(".")
    for part in (first, *places):
        if not (part.isascii() and part.isdigit()) and (part != END_ID or part is first):
            raise _no_position(text, f"{part[:20]!r} is no position")
    if len(places) != logs:
        raise _no_position(text, f"it has {len(places)} places, and the request {logs} logs")
    positions = Positions(
        number(first), [END_ID if each == END_ID else number(each) for each in places]
    )
    if positions.changes and not changes:
        raise _no_position(text, "it has a position in the events, and the request has no `events`")
    return positions


def _no_position(text: str, why: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{text[:80]!r} is not the id of a position in these logs: {why}; send back the last id"
        " of an answer with the same parameters, or none"
    )
