"""The service's own log as JSON: one object on each line of standard error, for log collectors."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

__all__ = ["dropped_object", "encode_object", "text_object"]

MAX_TEXT = 2_000
"""Characters of a value; a longer one is cut. So an object stays whole, whatever its values are."""


def encode_object(event: str, level: str, **fields: Any) -> bytes:
    """One object and its newline, in ASCII: controls of a terminal are escaped.

    `timestamp` is by default now. `exception` is not cut: `tracebacks` bounds it.
    """
    first = {
        "timestamp": fields.pop("timestamp", None) or _now(),
        "level": level,
        "event": _cut(str(event)),
    }
    rest = {
        key: value if key == "exception" or not isinstance(value, str) else _cut(value)
        for key, value in fields.items()
    }
    return json.dumps(first | rest, default=_shown).encode() + b"\n"


def text_object(text: str) -> bytes:
    """The object for text that other code writes to standard error, such as a warning."""
    return encode_object(text.rstrip("\n"), "error")


def dropped_object(dropped: int) -> bytes:
    """The object in the place of records that standard error did not take."""
    return encode_object("log records dropped", "warning", dropped=dropped)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _cut(text: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_TEXT]} ... ({len(text) - MAX_TEXT} more characters cut)"


def _shown(value: object) -> str:
    return _cut(repr(value))
