"""Durations as people write them."""

from __future__ import annotations

import re

__all__ = ["parse_duration"]

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1, "ms": 0.001}
_PART = r"([0-9]{1,12}(?:\.[0-9]+)?)(d|h|ms|m|s)"
_DURATION = re.compile(rf"(?:{_PART}){{1,5}}")


def parse_duration(text: str) -> float | None:
    """The seconds of a duration such as `90s`, `1h30m` or `30d`; None if the text is none."""
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, text))
