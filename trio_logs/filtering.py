"""Which lines of a batch match a filter, without I/O.

A filter looks at the visible text of each numbered part: without its line end and without terminal
escapes. Sources: ECMA-48, section 5; xterm's ctlseqs, for strings that BEL ends.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import re2

from .errors import InvalidRequestError
from .escapes import ESCAPE
from .records import Batch

__all__ = ["MAX_PROGRAM", "Filter", "compile_expression", "visible"]

MAX_PROGRAM = 2_000
"""The most instructions of an expression's program; `\\pL` has 1,200. On text that defeats RE2's
cache of states, the time of a match grows with them."""

COMPILE_MEMORY = 256 * 1024
"""Bytes. With this much memory, RE2 refuses a huge program within 2 ms, and compiles no other one
for longer."""

MATCH_MEMORY = 8 * 1024 * 1024
"""Bytes, for the states of one expression. RE2 fills them only for a hostile expression; with a
quarter of them, `(x?y?z?){300}q` is a hundred times as slow."""

SECONDS_A_STEP = 5e-9
"""What one instruction takes for one byte, at worst."""

CALL_SECONDS = 0.01
"""What one call of RE2 may take at worst; a line that is too long for that is one call."""

QUICK_SECONDS = 0.0005
"""What filtering a batch in Trio's own thread may take."""

QUICK_LITERAL = 32 * 1024
"""Bytes of a batch in which a text is found within that time, if all of it is escapes, too."""

DENSE = 64
"""Matches in one batch; after so many, a test of each line costs less than finding the next one."""

# What may mean something else in the text of many lines: the ends of the text, any byte, and flags
# that change what `^` and `$` mean. Between `\Q` and `\E`, no character means anything.
_BOUND_TO_TEXT = re.compile(rb"\\[AzCQ]|\(\?(?!:|P?<|[isU]+[:)])")


def visible(text: bytes) -> bytes:
    """Text without terminal escapes."""
    return ESCAPE.sub(b"", text) if b"\x1b" in text else text


@dataclass(frozen=True, slots=True)
class Filter:
    """Lines whose visible text contains `text`, or matches it as an RE2 expression with `regex`.
    `case`: upper and lower case differ. `invert`: the lines that do not match.

    Raises InvalidRequestError for an empty text, and for an expression that RE2 refuses or that is
    too large. Source: https://github.com/google/re2/wiki/Syntax
    """

    text: str
    regex: bool = False
    case: bool = True
    invert: bool = False
    # The text to find, if that needs no expression.
    _literal: bytes | None = field(init=False, repr=False, compare=False, default=None)
    # Matches a line, and the lines of a longer text if that means the same.
    _expression: Any = field(init=False, repr=False, compare=False, default=None)
    _across: Any = field(init=False, repr=False, compare=False, default=None)
    # How many bytes RE2 gets at once.
    _reach: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        if not self.text:
            raise InvalidRequestError("filter: it is empty; leave it out to get all lines")
        # Surrogates can't be in a log, and RE2 refuses them.
        text = self.text.encode(errors="replace")
        if self.case and not self.regex:
            object.__setattr__(self, "_literal", text)
            return
        expression = compile_expression(text, literal=not self.regex, case=self.case)
        across = expression
        if self.regex:
            across = None
            if not _BOUND_TO_TEXT.search(text):
                across = compile_expression(b"(?m)" + text, literal=False, case=self.case)
        step = SECONDS_A_STEP * max(expression.programsize, 1)
        object.__setattr__(self, "_expression", expression)
        object.__setattr__(self, "_across", across)
        object.__setattr__(self, "_reach", int(CALL_SECONDS / step))

    def is_quick(self, size: int) -> bool:
        """Whether filtering a batch of `size` bytes takes well under 1 ms, even if expression and
        text are hostile."""
        if self._literal is not None:
            return size <= QUICK_LITERAL
        return size <= self._reach * QUICK_SECONDS / CALL_SECONDS

    def matches(self, text: str) -> bool:
        """Whether one line without its end is asked for."""
        line = visible(text.encode(errors="replace"))
        return self._has(line) != self.invert

    def numbers(self, batch: Batch) -> Sequence[int]:
        """The numbers of the lines of a batch that are asked for, ascending."""
        return self.numbers_until(batch, math.inf)[0]

    def numbers_until(self, batch: Batch, deadline: float) -> tuple[Sequence[int], int]:
        """As `numbers`, and the number of the last line looked at. It is the last one of the batch,
        or the one at which `time.perf_counter` passed the deadline."""
        text = visible(batch.text)[:-1]
        if self._literal is not None:
            found, last = self._find(text, batch.first), batch.last
        else:
            found, last = self._search(text, batch, deadline)
        if not self.invert:
            return found, last
        looked_at = range(batch.first, last + 1)
        if not found:
            return looked_at, last
        hidden = set(found)
        return [number for number in looked_at if number not in hidden], last

    def _has(self, line: bytes) -> bool:
        if self._literal is not None:
            return self._literal in line
        return self._expression.search(line) is not None

    def _find(self, text: bytes, first: int) -> list[int]:
        """The numbers of the lines that have the literal."""
        literal = self._literal
        assert literal is not None
        found: list[int] = []
        if b"\n" in literal:
            return found
        # The start of a line, and its number.
        start, number = 0, first
        at = text.find(literal)
        while at >= 0:
            number += text.count(b"\n", start, at)
            found.append(number)
            start = text.find(b"\n", at) + 1
            if not start:
                break
            number += 1
            if len(found) == DENSE:
                lines = enumerate(text[start:].split(b"\n"), number)
                found += [number for number, line in lines if literal in line]
                break
            at = text.find(literal, start)
        return found

    def _search(self, text: bytes, batch: Batch, deadline: float) -> tuple[list[int], int]:
        """The numbers of the lines that match the expression, and that of the last one looked
        at."""
        found: list[int] = []
        # The start of a line, and its number.
        start, number = 0, batch.first
        while self._across is not None:
            stop = self._piece(text, start)
            while (match := self._across.search(text, start, stop)) is not None:
                at = match.start()
                number += text.count(b"\n", start, at)
                found.append(number)
                start = text.find(b"\n", at, stop) + 1
                if not start:
                    break
                number += 1
                if len(found) >= DENSE:
                    return self._test_each(text[start:], number, deadline, found)
            else:
                number += text.count(b"\n", start, stop)
            if stop == len(text) or perf_counter() >= deadline:
                return found, number
            start, number = stop + 1, number + 1
        return self._test_each(text, number, deadline, found)

    def _test_each(
        self, text: bytes, first: int, deadline: float, found: list[int]
    ) -> tuple[list[int], int]:
        """As `_search`, line by line; `found` are the matches before line `first`."""
        number = first
        search = self._expression.search
        for number, line in enumerate(text.split(b"\n"), first):
            if search(line) is not None:
                found.append(number)
            if perf_counter() >= deadline:
                break
        return found, number

    def _piece(self, text: bytes, start: int) -> int:
        """The end of the piece of text for the next call: of whole lines, at least one."""
        limit = start + self._reach
        if limit >= len(text):
            return len(text)
        stop = text.rfind(b"\n", start, limit)
        if stop < 0:
            stop = text.find(b"\n", limit)
        return stop if stop >= 0 else len(text)


def compile_expression(text: bytes, *, literal: bool, case: bool) -> Any:
    """Compile an expression. Raises InvalidRequestError."""
    options = re2.Options()
    options.literal = literal
    options.case_sensitive = case
    options.never_nl = True
    options.never_capture = True
    options.log_errors = False
    options.max_mem = COMPILE_MEMORY
    try:
        size = re2.compile(text, options).programsize
        if size > MAX_PROGRAM:
            raise InvalidRequestError(
                f"filter: its program has {size:,} instructions, and {MAX_PROGRAM:,} are the most:"
                " shorten the expression, or count less often in it"
            )
        options.max_mem = MATCH_MEMORY
        return re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        if isinstance(reason, bytes):
            reason = reason.decode(errors="replace")
        raise InvalidRequestError(f"filter: RE2 refuses this expression: {reason}") from error
    finally:
        # Its cache would keep 128 expressions, with the memory of each.
        re2.purge()
