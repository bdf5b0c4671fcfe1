"""What to look for in logs: the patterns of the command line as one filter of the server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import re2

from ..errors import InvalidRequestError
from ..filtering import compile_expression
from .exits import UsageError
from .given import text

__all__ = ["Pattern"]

EVERYTHING = "(?:)"
"""An expression that matches each line. The server takes no empty filter."""


class Pattern:
    """Lines that match one of `patterns`: RE2 expressions, or with `fixed` texts. As in grep(1), a
    newline separates patterns too, and an empty pattern matches each line. `whole`: what matches is
    a whole word, between two boundaries (`\\b` of RE2), or the whole line.

    `filter` and `regex` are those of the server. Raises UsageError, which names the `option`, for a
    pattern that is no UTF-8 or that RE2 refuses.
    """

    def __init__(
        self,
        option: str,
        patterns: Sequence[str],
        *,
        fixed: bool,
        ignore_case: bool,
        whole: Literal["word", "line"] | None = None,
    ) -> None:
        self.ignore_case = ignore_case
        each = [text(option, one) for given in patterns for one in given.split("\n")]
        self.regex = not fixed or len(each) > 1 or "" in each or whole is not None
        if not self.regex:
            self.filter = each[0]
        elif fixed:
            self.filter = "|".join(re2.escape(one) or EVERYTHING for one in each)
        else:
            for one in each:
                # Alone, since `a)` and `(b` are one expression when they are joined.
                self._compile(option, one or EVERYTHING)
            self.filter = each[0] or EVERYTHING
            if len(each) > 1:
                self.filter = "|".join(f"(?:{_closed(one)})" for one in each)
        if whole is not None:
            edges = {"word": r"\b(?:%s)\b", "line": "^(?:%s)$"}
            self.filter = edges[whole] % _closed(self.filter)
        self._expression: Any = self._compile(option, self.filter)

    def _compile(self, option: str, expression: str) -> Any:
        try:
            return compile_expression(
                expression.encode(), literal=not self.regex, case=not self.ignore_case
            )
        except InvalidRequestError as error:
            reason = str(error).removeprefix("filter: ")
            raise UsageError(f"{option} {expression!r}: {reason}") from None

    def spans(self, line: str) -> list[tuple[int, int]]:
        """Where the line matches, in order; empty matches are left out."""
        found = (match.span() for match in self._expression.finditer(line))
        return [span for span in found if span[0] < span[1]]


def _closed(expression: str) -> str:
    """The expression with an end of the quotation that it may have begun by `\\Q`."""
    rest = expression
    while (found := re.search(r"\\(.)", rest, re.DOTALL)) is not None:
        rest = rest[found.end() :]
        if found[1] == "Q":
            _, end, rest = rest.partition("\\E")
            if not end:
                return expression + "\\E"
    return expression
