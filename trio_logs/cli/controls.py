"""Keeps a log from controlling the reader's terminal, without I/O.

A log is untrusted text: it could move the cursor, retitle the window, write to the clipboard
(OSC 52), or hide behind a link (OSC 8). All control sequences are removed except colours (SGR,
Select Graphic Rendition in ECMA-48), which are optional. Controls that reorder text are shown
instead, as `<U+202E>`: with them, a line could look like another one. Text is never removed, with
one exception: a line that a progress bar rewrote keeps its last state only. A bar returns with
`\\r` or, as npm does, with CHA to the first column; EL erases what it wrote before.

Sources: ECMA-48, section 5; xterm's ctlseqs, for strings that BEL ends; Unicode Standard Annex 9,
section 2, for the controls that reorder text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = [
    "ERASE",
    "RETURN",
    "Neutralizer",
    "carry_colours",
    "is_harmless",
    "last_state",
    "one_line",
]

_HARMFUL = [bytes([control]) for control in (*range(0x09), *range(0x0B, 0x20), 0x7F)]
"""The C0 controls except tab and line feed."""

_C1 = re.compile(rb"\xc2[\x80-\x9f]")
"""The C1 controls, in UTF-8."""

_REORDERING = {
    control: f"<U+{control:04X}>" for control in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""Embeddings, overrides and isolates, and what is shown instead."""

_REORDERS = re.compile(rb"\xe2(?:\x80[\xaa-\xae]|\x81[\xa6-\xa9])")
"""The same controls, in UTF-8."""

_STRING = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])"
"""The start of a string: OSC, DCS, SOS, PM, APC."""

_PAYLOAD = r"[^\x07\x1b\x80-\x9f]*"
"""The text of a string. It excludes the start of another one, so the search stays linear."""

_CSI = r"(?:\x1b\[|\x9b)"

_SEQUENCE = re.compile(
    rf"{_CSI}(?P<colour>[0-9;:]*)m"
    rf"|{_CSI}[0-?]*[ -/]*[@-~]"
    rf"|{_STRING}{_PAYLOAD}(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
    # An unfinished sequence loses its start only: the rest is text.
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)

_UNFINISHED = re.compile(
    rf"(?:(?P<string>{_STRING}){_PAYLOAD}(?P<escape>\x1b?)"
    rf"|{_CSI}[0-?]{{0,64}}[ -/]{{0,8}}|\x1b[ -/]{{0,8}})\Z"
)
"""A sequence at the end of a part of a line, which the next part may finish."""

RETURN = re.compile(rf"\r|{_CSI}[01]?G")
"""What moves the cursor to the start of its line: CR, and CHA (ECMA-48, section 8.3.9)."""

ERASE = re.compile(rf"{_CSI}[02]?K")
"""What erases the whole line, or the line from the cursor on (EL, section 8.3.41)."""

# Marks for both in a text that has no control characters any more.
_ERASED, _ERASED_FROM_HERE = "\x00", "\x01"

_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")

_START_ERASED = re.compile(rf"((?:\A|\r)(?:{_COLOUR.pattern})*){_ERASED_FROM_HERE}")

_RESET = "\x1b[0m"

_MAX_COLOURS = 256
"""Characters of colours that are carried from line to line. Beyond that, only the last colour is
kept. A single colour that is longer than that is dropped; terminals ignore the end of such a one,
too."""

_BREAKS = str.maketrans({"\t": "⇥", "\n": "⏎", "\r": "␍", "\u2028": "⏎", "\u2029": "⏎"})
"""Visible characters that replace the ones which would move the rest of a line."""


def one_line(text: str) -> str:
    """Untrusted text, made safe to print within one line."""
    if text.isascii() and text.isprintable():
        return text
    return _SEQUENCE.sub("", text.translate(_BREAKS)).translate(_REORDERING)


def is_harmless(data: bytes) -> bool:
    """Whether this UTF-8 has no control character but tabs and line feeds, and none that reorders
    text. It is fast, since most text has no such character."""
    # One memchr for each control is four times as fast as one look at each byte.
    if any(control in data for control in _HARMFUL):
        return False
    if b"\xe2" in data and _REORDERS.search(data):
        return False
    return b"\xc2" not in data or _C1.search(data) is None


class Neutralizer:
    """For one stream of a log. With `colour`, each line gets the colours that it has on a terminal,
    also those that an earlier line set, and resets them at its end.

    Bound: one unfinished sequence of a line that comes in parts, and 256 characters of colours.
    """

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour
        self._rest = ""
        self._colours = ""

    @property
    def idle(self) -> bool:
        """Whether earlier lines leave no state: a harmless line then stays as it is."""
        return not self._rest and not self._colours

    def line(self, text: str, *, partial: bool = False) -> str:
        """A line without its newline; `partial`: the line continues in the next call."""
        text, self._rest = self._rest + text, ""
        if partial and (unfinished := _UNFINISHED.search(text)):
            string, escape = unfinished["string"], unfinished["escape"]
            # A string may be long, so only its start is kept.
            self._rest = unfinished[0] if string is None else string + escape
            text = text[: unfinished.start()]
        text = _SEQUENCE.sub(self._keep, text).translate(_REORDERING)
        if _ERASED in text or _ERASED_FROM_HERE in text:
            text = _unerased(text)
        if "\r" in text:
            text = last_state(text).replace("\r", "")
        return self._coloured(text) if self._colour else text

    def _keep(self, sequence: re.Match[str]) -> str:
        if RETURN.fullmatch(sequence[0]):
            return "\r"
        if ERASE.fullmatch(sequence[0]):
            return _ERASED if "2" in sequence[0] else _ERASED_FROM_HERE
        colour = sequence["colour"]
        if colour is None or not self._colour or len(colour) > _MAX_COLOURS:
            return ""
        return f"\x1b[{colour}m"

    def _coloured(self, text: str) -> str:
        before = self._colours
        colours = _COLOUR.findall(text)
        self._colours = carry_colours(before, colours)
        return before + text + _RESET if before or colours else text


def carry_colours(before: str, colours: Sequence[str]) -> str:
    """The colours that hold after these ones, if those in `before` held until then."""
    held = before
    for colour in colours:
        # A missing number means 0, which resets all colours before it.
        if re.match(r"\x1b\[0*[;m]", colour):
            held = ""
        if colour.strip("\x1b[0;m"):
            held += colour
    return held if len(held) <= _MAX_COLOURS or not colours else colours[-1]


def _unerased(text: str) -> str:
    """What is left of a line in which whole lines were erased, with the colours that it set before.
    A part of a line stays."""
    # From the first column, the rest of the line is all of it.
    text = _START_ERASED.sub(rf"\1{_ERASED}", text).replace(_ERASED_FROM_HERE, "")
    before, _, left = text.rpartition(_ERASED)
    return carry_colours("", _COLOUR.findall(before)) + left


def last_state(text: str) -> str:
    """The last state of a line that was rewritten, with the colours that it set before. What is
    written behind it goes on there."""
    states = text.split("\r")
    last = next((n for n in reversed(range(len(states))) if _COLOUR.sub("", states[n])), 0)
    colours = carry_colours("", _COLOUR.findall("\r".join(states[:last])))
    return colours + "\r".join(states[last:])
