"""Found lines as grep(1) prints them, without I/O."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from ..client import Hit
from ..filtering import visible
from .controls import Neutralizer
from .highlight import HIT, NAME, NUMBER, SEPARATOR, highlight, matching_state, paint
from .patterns import Pattern

__all__ = ["HitLook", "Hits", "fields"]


@dataclass(frozen=True, slots=True)
class HitLook:
    """How to show found lines. `names`: with the names of their logs; None: if there are several.
    `before` and `after` are how many lines around a match are shown, or None if none were asked
    for."""

    pattern: Pattern
    invert: bool = False
    only_matching: bool = False
    line_numbers: bool = False
    names: bool | None = None
    before: int | None = None
    after: int | None = None

    @property
    def context(self) -> int:
        """How many lines before and after a match the search has to find."""
        return 0 if self.only_matching else max(self.before or 0, self.after or 0)


def fields(hit: Hit) -> dict[str, Any]:
    """The object of the wire; what is false is left out there, too."""
    given = msgspec.structs.asdict(hit)
    return {name: value for name, value in given.items() if value is not False}


class Hits:
    """Makes text of the lines that a search finds, with `colour` or without.

    A search finds as many lines before a match as after it. Bound: the lines before a match.
    """

    def __init__(self, look: HitLook, *, colour: bool) -> None:
        self._look = look
        self._colour = colour
        self._has_groups = (look.before, look.after) != (None, None) and not look.only_matching
        # The lines that are shown only if a match follows soon enough.
        self._held: deque[Hit] = deque(maxlen=look.before or 0)
        self._log: str | None = None
        self._match: int | None = None
        # The last line that was wanted, and that was rendered, of any log.
        self._wanted: tuple[str, int] | None = None
        self._shown: tuple[str, int] | None = None

    def wanted(self, hit: Hit) -> Iterator[Hit]:
        """The lines to show once this one has come."""
        if hit.workload != self._log:
            self._log, self._match = hit.workload, None
            self._held.clear()
        if not hit.context:
            oldest = hit.seq - (self._look.before or 0)
            yield from (held for held in self._held if held.seq >= oldest)
            self._held.clear()
            self._match = hit.seq
            self._wanted = (hit.workload, hit.seq)
            yield hit
        elif self._match is not None and hit.seq <= self._match + (self._look.after or 0):
            self._wanted = (hit.workload, hit.seq)
            yield hit
        else:
            self._held.append(hit)

    def resume(self, position: str) -> None:
        """The lines go on behind those of another search, which ended at this position."""
        if found := re.fullmatch(r"(.+)\.([0-9]+)\.[0-9]+", position):
            # A search that ended with a whole log has shown lines of another one.
            self._shown = (found[1], int(found[2])) if int(found[2]) else ("", 0)

    def position(self, end: str) -> str:
        """Where to resume a search that ended at `end`. The lines behind the last match that were
        not shown may be shown before the next one, so the search has to find them again."""
        log, line, count = end.rsplit(".", 2)
        if self._wanted is None or self._wanted[0] != log:
            return end
        return f"{log}.{min(int(line), self._wanted[1])}.{count}"

    def render(self, hit: Hit, name: str | None) -> str:
        """The lines of output for one line; `name` is that of its log, if it is shown."""
        look = self._look
        sign = "-" if hit.context else ":"
        head = ""
        if name is not None:
            head += self._painted(name, NAME) + self._painted(sign, SEPARATOR)
        if look.line_numbers:
            head += self._painted(str(hit.seq), NUMBER) + self._painted(sign, SEPARATOR)
        if look.only_matching:
            return "".join(f"{head}{part}\n" for part in self._parts(hit))
        group = ""
        before, self._shown = self._shown, (hit.workload, hit.seq)
        if self._has_groups and before not in (None, (hit.workload, hit.seq - 1)):
            group = self._painted("--", SEPARATOR) + "\n"
        return f"{group}{head}{self._text(hit)}\n"

    def render_log(self, name: str | None, count: int | None) -> str:
        """The line of output for a whole log: its name, the number of its lines, or both."""
        parts = [] if name is None else [self._painted(name, NAME)]
        if count is not None:
            parts.append(str(count))
        return self._painted(":", SEPARATOR).join(parts) + "\n"

    def _parts(self, hit: Hit) -> Iterator[str]:
        if self._look.invert:
            return
        # The parts of what the server looks at.
        text = visible(hit.text.encode()).decode()
        for start, stop in self._look.pattern.spans(text):
            part = text[start:stop].replace("\r", "␍")
            yield self._painted(Neutralizer(colour=False).line(part), HIT)

    def _text(self, hit: Hit) -> str:
        text = hit.text
        has_matches = hit.context == self._look.invert
        if has_matches:
            text = matching_state(text, self._look.pattern)
        shown = Neutralizer(colour=self._colour).line(text)
        return highlight(shown, self._look.pattern) if self._colour and has_matches else shown

    def _painted(self, text: str, colour: str) -> str:
        return paint(text, colour) if self._colour else text
