"""The parameters that select lines of a log, as operations describe them."""

from __future__ import annotations

from typing import Any

from ..parameters import DURATION, LINE, STREAMS, UNIX_SECONDS
from .parts import parameter, text

__all__ = ["MOMENT", "SELECTION_PARAMETERS", "flag"]

MOMENT = {
    "anyOf": [
        {"type": "string", "format": "date-time", "description": "RFC 3339, with its zone"},
        {**text(f"^{UNIX_SECONDS}$"), "description": "Unix seconds"},
        {
            **text(f"^{DURATION}$"),
            "description": "a duration back from now",
        },
    ]
}


def flag(default: bool | None = None) -> dict[str, Any]:
    schema = {"type": "string", "enum": ["true", "false", "1", "0"]}
    return schema if default is None else {**schema, "default": str(default).lower()}


SELECTION_PARAMETERS = [
    parameter("from", "Lines from this number on.", text(f"^{LINE}$"), "1"),
    parameter("to", "Lines up to this number.", text(f"^{LINE}$"), "1000"),
    parameter("since", "Lines from this time on.", MOMENT, "10m"),
    parameter("until", "Lines up to this time.", MOMENT, "2026-01-31T12:00:00Z"),
    parameter(
        "stream",
        "Only lines of this stream; `system` has messages of the service itself.",
        {"type": "string", "enum": [*STREAMS]},
    ),
    parameter(
        "filter",
        "Only lines whose visible text, without terminal escapes, contains this.",
        {"type": "string", "minLength": 1},
        "line",
    ),
    parameter(
        "regex",
        "`filter` is an RE2 expression: https://github.com/google/re2/wiki/Syntax",
        flag(default=False),
    ),
    parameter("case", "Upper and lower case of `filter` differ.", flag(default=True)),
    parameter("invert", "Only the lines that do not match `filter`.", flag(default=False)),
]
"""They apply in this order."""
