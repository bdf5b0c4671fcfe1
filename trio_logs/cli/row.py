"""The row of a terminal in which lines that have not ended are drawn, without I/O.

Such a line is drawn in place, and erased before anything else is printed. Of several, only the
newest is drawn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec.structs import replace
from rich.cells import cell_len

from ..client import Line
from .controls import last_state

__all__ = ["ERASE", "Channel", "Row", "cut"]

ERASE = b"\r\x1b[K"
"""Moves the cursor to the start of its row, and erases the row (EL in ECMA-48, section 8.3)."""

_TAB = 8

_COLOURS = re.compile(r"(\x1b\[[0-9;:]*m)")


class Channel(Protocol):
    """One stream of a log on its way to an output."""

    def render(self, lines: Sequence[Line], *, goes_on: bool) -> bytes:
        """The bytes of lines; with `goes_on`, the first line continues the last one."""

    def draft(self, text: str) -> str:
        """A line that has not ended, made safe, with what stands before each line."""


class Row:
    """Where the next bytes of an output go. All methods return the bytes to write.

    `columns` is asked for the width of the terminal, in cells; None if the output is no terminal,
    so that nothing is drawn.

    Bound: for each channel, an unfinished line, and up to 64 KiB of a bar that is longer than a
    line may be.
    """

    def __init__(self, columns: Callable[[], int] | None) -> None:
        self._columns = columns
        # The channel whose line is printed in part. Behind such a line, nothing is drawn.
        self._unended: Channel | None = None
        # The unfinished line of each channel; the newest is last.
        self._drafts: dict[Channel, str] = {}
        # Of bars that were delivered in part: the last state.
        self._held: dict[Channel, str] = {}
        self._drawn: bytes = b""

    def write(self, data: bytes) -> bytes:
        """Whole lines, which are of no channel."""
        if self._unended is not None:
            data = b"\n" + data
            self._unended = None
        return self._over(data)

    def print(self, channel: Channel, lines: Sequence[Line]) -> bytes:
        """Lines of a channel, all partial or all whole."""
        self._drafts.pop(channel, None)
        if not (lines := self._unheld(channel, lines)):
            return self._over(b"")
        data = channel.render(lines, goes_on=self._unended is channel)
        if self._unended not in (None, channel):
            data = b"\n" + data
        self._unended = channel if lines[-1].partial else None
        return self._over(data)

    def show(self, channel: Channel, text: str) -> bytes:
        """The unfinished line of a channel; empty text clears it."""
        if self._columns is None:
            return b""
        self._drafts.pop(channel, None)
        if text:
            self._drafts[channel] = text
        return self._over(b"")

    def end(self, channel: Channel) -> bytes:
        """The channel has ended: end its line. What is drawn of it stays."""
        held, text = self._held.pop(channel, ""), self._drafts.pop(channel, "")
        if self._unended is channel:
            self._unended = None
            return self._over(b"\n")
        if text := text or held:
            return self.write(channel.draft(text).encode() + b"\n")
        return b""

    def leave(self) -> bytes:
        """Nothing is printed any more. What is drawn stays, as in a terminal without this."""
        return b"\n" if self._drawn else b""

    def _unheld(self, channel: Channel, lines: Sequence[Line]) -> Sequence[Line]:
        """The lines with what is held of the channel. Of a bar, the last state is held until the
        line ends: so all of it takes one row."""
        if held := self._held.pop(channel, ""):
            lines = [replace(lines[0], text=held + lines[0].text), *lines[1:]]
        if self._columns is None or not lines[-1].partial or self._unended is channel:
            return lines
        text = "".join([line.text for line in lines])
        if "\r" not in text:
            return lines
        self._held[channel] = self._drafts[channel] = last_state(text)
        return ()

    def _over(self, data: bytes) -> bytes:
        """The data in the place of what is drawn, and below it the newest unfinished line."""
        drawn = b""
        if self._drafts and self._unended is None:
            assert self._columns is not None
            channel, text = next(reversed(self._drafts.items()))
            drawn = cut(channel.draft(text), self._columns()).encode()
        if not data and drawn == self._drawn:
            return b""
        erased = ERASE if self._drawn else b""
        self._drawn = drawn
        return erased + data + drawn


def cut(text: str, columns: int) -> str:
    """As much of a harmless text as fits into so many cells, with all of its colours. Tabs become
    spaces."""
    kept: list[str] = []
    used = 0
    for index, piece in enumerate(_COLOURS.split(text)):
        if index % 2:
            kept.append(piece)
            continue
        for character in piece:
            shown = character if character != "\t" else " " * (_TAB - used % _TAB)
            size = cell_len(shown)
            if used + size > columns:
                # Whatever follows does not fit either.
                columns = 0
                break
            kept.append(shown)
            used += size
    return "".join(kept)
