"""Checks of values on the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from signal import Signals
from typing import Any

from .exits import UsageError

__all__ = ["number", "pairs", "signal_name", "text"]

LARGEST = 10**18 - 1
"""The largest count of lines, and number of a line, that the server takes."""


def number(low: float, high: float = math.inf) -> Callable[[Any, Any], None]:
    """A validator of an option: its value is finite and within the bounds, both included."""
    bounds = f"{low:,} or more" if high == math.inf else f"from {low:,} to {high:,}"

    def check(_: Any, value: float | None) -> None:
        if high == math.inf and value is not None and LARGEST < value < math.inf:
            raise ValueError("Give a number of 18 digits at most.")
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


def signal_name(given: str) -> str:
    """The name of a signal that is written as in kill(1): `INT`, `SIGINT` or `2`. Raises
    UsageError."""
    name = given.upper()
    if name.isdecimal():
        with suppress(ValueError):
            return Signals(int(name)).name
    elif re.fullmatch(r"(SIG)?[A-Z][A-Z0-9+-]{0,19}", name):
        # The server may have signals that this system lacks.
        return name if name.startswith("SIG") else f"SIG{name}"
    raise UsageError(f"--signal {given!r}: give a name such as INT")


def pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    """The values that are written K=V. Raises UsageError."""
    found = {}
    for each in given:
        key, equals, value = text(option, each).partition("=")
        if not key or not equals:
            raise UsageError(f"{option} {each!r}: write K=V")
        found[key] = value
    return found
