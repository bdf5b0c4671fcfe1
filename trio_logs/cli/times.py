"""Times as people write and read them: in the zone of this machine."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from ..records import parse_duration
from .exits import UsageError
from .given import text

__all__ = ["current_time", "instant", "local_time", "wire_time"]

_UNIX_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")

_TIME = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2}|today|yesterday)?(?(day)(?:[Tt ](?=[0-9]))?)"
    r"(?P<minute>[0-9]{2}:[0-9]{2})?(?(minute)(?P<second>:[0-9]{2}(?:\.[0-9]+)?)?)"
    r"(?(minute)(?: ?(?P<zone>[Zz]|UTC|[+-][0-9]{2}:?[0-9]{2}))?)"
)
"""A day, a time of day, or both; with both, a zone. RFC 3339 lets a space stand for the `T`."""


def current_time() -> datetime:
    """The clock of this machine, which may differ from the server's."""
    return datetime.now(UTC)


def local_time(moment: datetime) -> str:
    """A time in whole seconds with the offset of its zone, in a form that `--since` understands:
    RFC 3339, with a space as section 5.6 allows."""
    return moment.astimezone().isoformat(" ", "seconds")


def wire_time(option: str, given: str) -> str:
    """A time that the server understands, from one that people write. Raises UsageError.

    Unix seconds, and durations back from now, stay: they count by the server's clock. A day begins
    at midnight, and a time of day is today's. Without a zone, a time is local.
    """
    text(option, given)
    if _UNIX_SECONDS.fullmatch(given) or parse_duration(given) is not None:
        return given
    written = _TIME.fullmatch(given)
    if written and given:
        day = written["day"] or "today"
        if day in ("today", "yesterday"):
            day = f"{datetime.now().date() - timedelta(days=day == 'yesterday')}"
        moment = f"{day}T{written['minute'] or '00:00'}{written['second'] or ':00'}"
        if zone := written["zone"]:
            # The server also knows leap seconds.
            zone = zone.replace("UTC", "Z").upper()
            return moment + (f"{zone[:3]}:{zone[-2:]}" if len(zone) > 1 else zone)
        with suppress(ValueError, OverflowError):
            return datetime.fromisoformat(moment).astimezone(UTC).isoformat()
    raise UsageError(
        f"{option} {given!r}: give a time such as 2026-01-31, '2026-01-31 12:00' (local) or"
        " 2026-01-31T12:00:00Z, Unix seconds, or a duration back from now such as 10m"
    )


def instant(option: str, given: str) -> datetime:
    """The time that `wire_time` understands, by the clock of this machine. Raises UsageError."""
    wired = wire_time(option, given)
    with suppress(ValueError, OverflowError):
        if _UNIX_SECONDS.fullmatch(wired):
            return datetime.fromtimestamp(float(wired), UTC)
        if (seconds := parse_duration(wired)) is not None:
            return current_time() - timedelta(seconds=seconds)
        return datetime.fromisoformat(wired).astimezone(UTC)
    raise UsageError(f"{option} {given!r}: there is no such time")
