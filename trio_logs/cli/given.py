"""Checks of values on the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from signal import Signals
from typing import Annotated, Any, TypeAlias

from cyclopts import Parameter, Token

from ..records import parse_duration
from .exits import UsageError

__all__ = ["LONGEST", "Seconds", "duration", "flag", "number", "pairs", "signal_name", "text"]


def duration(given: str) -> float:
    """The seconds in a text such as `90`, `1.5`, `500ms`, `5m` or `1h30m`. Raises ValueError."""
    if (seconds := parse_duration(given)) is not None:
        return seconds
    with suppress(ValueError):
        # The validator of the option refuses NaN, and what is out of bounds.
        return float(given)
    raise ValueError("give a duration such as 90s, 1h30m or 30d; a number alone is in seconds")


def _written(seconds: float | None) -> str | None:
    """A duration as it may be given, such as `30d`; None for none."""
    if seconds is None:
        return None
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def _convert(_: Any, tokens: Sequence[Token]) -> float:
    return duration(tokens[0].value)


Seconds: TypeAlias = Annotated[
    float,
    Parameter(
        converter=_convert,
        n_tokens=1,
        metavar="DURATION",
        show_default=_written,
    ),
]
"""An option whose value is a duration, in seconds."""


def flag(meaning: str, *names: str) -> Parameter:
    """A switch with this help text, and with these names if it has others than its own. It has no
    opposite."""
    return Parameter(name=names or None, negative="", help=meaning)


LONGEST = 36_500 * 86_400
"""The longest age that an option takes, in seconds: a century.
Datetimes reach back that far from any clock."""

LARGEST = 10**18 - 1
"""The largest count of lines, and number of a line, that the server takes."""


def number(
    low: float, high: float = math.inf, *, of_seconds: bool = False
) -> Callable[[Any, Any], None]:
    """A validator of an option: its value is finite and within the bounds, both included. A number
    of seconds is told as a duration."""
    noun = "duration" if of_seconds else "number"
    first, last = (_written(each) if of_seconds else f"{each:,}" for each in (low, high))
    bounds = f"{first} or more" if high == math.inf else f"from {first} to {last}"

    def check(_: Any, value: float | None) -> None:
        if high == math.inf and value is not None and LARGEST < value < math.inf:
            raise ValueError("Give a number of 18 digits at most.")
        # Written so that NaN fails, too.
        if value is not None and not (low <= value <= high and value < math.inf):
            raise ValueError(f"Give a {noun}, {bounds}.")

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
