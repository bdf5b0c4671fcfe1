"""Checks of values on the command line."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .exits import UsageError

__all__ = ["number", "pairs", "text"]


def number(low: float, high: float = math.inf) -> Callable[[Any, Any], None]:
    """A validator of an option: its value is finite and within the bounds, both included."""
    bounds = f"{low:,} or more" if high == math.inf else f"from {low:,} to {high:,}"

    def check(_: Any, value: float | None) -> None:
        # Written so that NaN fails, too.
        if value is not None and not (low <= value <= high and value < math.inf):
            raise ValueError(f"Give a number, {bounds}.")

    return check


def text(option: str, given: str) -> str:
    """The value, if it is UTF-8: arguments can be any bytes. Raises UsageError."""
    try:
        given.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{option}: {given!r} is not UTF-8") from None
    return given


def pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    """The values that are written K=V. Raises UsageError."""
    found = {}
    for each in given:
        key, equals, value = text(option, each).partition("=")
        if not key or not equals:
            raise UsageError(f"{option} {each!r}: write K=V")
        found[key] = value
    return found
