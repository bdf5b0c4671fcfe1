"""Which lines of a batch match a filter, without I/O.

A filter looks at the visible text of each numbered part: without its line end and without terminal
escapes. Sources: ECMA-48, section 5; xterm's ctlseqs, for strings that BEL ends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import re2

from .errors import InvalidRequestError
from .records import Batch

__all__ = ["Filter", "visible"]

_ESCAPE = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]"
    rb"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"
    # Of a sequence that does not end in this part, only the start is removed.
    rb"|\x1b[ -/]*[0-~]"
)


def visible(text: bytes) -> bytes:
    """Text without terminal escapes."""
    return _ESCAPE.sub(b"", text) if b"\x1b" in text else text


@dataclass(frozen=True, slots=True)
class Filter:
    """Lines whose visible text contains `text`, or matches it as an RE2 expression with `regex`.
    `case`: upper and lower case differ. `invert`: the lines that do not match.

    Raises InvalidRequestError for an empty text, and for an expression that RE2 refuses.
    Source: https://github.com/google/re2/wiki/Syntax
    """

    text: str
    regex: bool = False
    case: bool = True
    invert: bool = False
    _expression: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.text:
            raise InvalidRequestError("filter: it is empty; leave it out to get all lines")
        options = re2.Options()
        options.literal = not self.regex
        options.case_sensitive = self.case
        options.never_nl = True
        options.log_errors = False
        try:
            expression = re2.compile(self.text.encode(errors="replace"), options)
        except re2.error as error:
            reason = error.args[0] if error.args else error
            if isinstance(reason, bytes):
                reason = reason.decode(errors="replace")
            raise InvalidRequestError(f"filter: RE2 refuses this expression: {reason}") from error
        object.__setattr__(self, "_expression", expression)

    def matches(self, text: str) -> bool:
        """Whether one line without its end is asked for."""
        line = visible(text.encode(errors="replace"))
        return (self._expression.search(line) is not None) != self.invert

    def is_quick(self, size: int) -> bool:
        """Whether so many bytes can be searched in less than a millisecond."""
        return size <= 4096 or (self.case and not self.regex)

    def numbers(self, batch: Batch) -> Sequence[int]:
        """The numbers of the lines of a batch that are asked for, ascending."""
        search = self._expression.search
        lines = visible(batch.text)[:-1].split(b"\n")
        return [
            number
            for number, line in enumerate(lines, batch.first)
            if (search(line) is not None) != self.invert
        ]
