"""Colours the parts of a line that match, without I/O."""

from __future__ import annotations

import re

from ..filtering import visible
from .controls import ERASE, RETURN, carry_colours
from .patterns import Pattern

__all__ = ["HIT", "NAME", "NUMBER", "SEPARATOR", "highlight", "matching_state", "paint"]

# The colours of grep(1), as SGR numbers.
HIT = "01;31"
NAME = "35"
NUMBER = "32"
SEPARATOR = "36"

_PIECES = re.compile(r"(\x1b\[[0-9;:]*m)")


def paint(text: str, colour: str) -> str:
    """Harmless text in a colour."""
    return f"\x1b[{colour}m{text}\x1b[0m"


def matching_state(text: str, pattern: Pattern) -> str:
    """The text of a line that was rewritten, up to its last state that matches: without this, only
    the last state would show."""
    states = RETURN.split(text)
    for last in reversed(range(len(states))) if len(states) > 1 else ():
        if pattern.spans(visible(states[last].encode()).decode()):
            return "\r".join([*states[:last], ERASE.sub("", states[last])])
    return text


def highlight(shown: str, pattern: Pattern) -> str:
    """A line as a `Neutralizer` shows it with colours, with its matches in colour.

    The line's own colours return behind each match; within a match, they would hide it.
    """
    pieces = _PIECES.split(shown)
    spans = pattern.spans("".join(pieces[::2]))
    if not spans:
        return shown
    # The ends of all matches, in order: those with an even index begin one.
    ends = [end for span in spans for end in span]
    made: list[str] = []
    colours, at, index = "", 0, 0
    for place, piece in enumerate(pieces):
        if place % 2:
            colours = carry_colours(colours, [piece])
            if index % 2 == 0:
                made.append(piece)
            continue
        start = 0
        while index < len(ends) and ends[index] - at <= len(piece):
            stop = ends[index] - at
            if index % 2 == 0 and stop == len(piece):
                # It begins behind the colours that follow.
                break
            made.append(piece[start:stop])
            reset = "\x1b[0m" if index % 2 or colours else ""
            made.append(reset + (colours if index % 2 else f"\x1b[{HIT}m"))
            start, index = stop, index + 1
        made.append(piece[start:])
        at += len(piece)
    return "".join(made)
