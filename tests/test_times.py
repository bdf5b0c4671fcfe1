"""Times that people type, and those that the server takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from trio_logs.api.parameters import moment
from trio_logs.cli.exits import UsageError
from trio_logs.cli.times import current_time, instant, local_time, wire_time
from trio_logs.errors import InvalidRequestError

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECONDS = 1_000_000

pytestmark = pytest.mark.usefixtures("kolkata")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("2026-01-31", "2026-01-30T18:30:00+00:00"),
        ("2026-01-31 17:30", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31T17:30:00", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31t17:30:00.25", "2026-01-31T12:00:00.250000+00:00"),
        ("2026-01-31 12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00z", "2026-01-31T12:00:00Z"),
        ("2026-01-31 12:00 UTC", "2026-01-31T12:00:00Z"),
        ("2026-01-31 13:00:00+01:00", "2026-01-31T13:00:00+01:00"),
        ("2026-01-31 13:00:00 +0100", "2026-01-31T13:00:00+01:00"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:60Z"),
        # These are for the server's clock.
        ("10m", "10m"),
        ("1h30m", "1h30m"),
        ("1769860800.5", "1769860800.5"),
    ],
)
def test_times_that_people_type(given: str, found: str) -> None:
    assert wire_time("--since", given) == found
    # The server understands each.
    moment({"since": found}, "since", 0)


@pytest.mark.parametrize(
    "given",
    [
        *("", "soon", "2026-1-31", "2026-02-30", "2026-01-31 25:00", "2026-01-31 ", "12:0", "1w"),
        *("2026-01-31Z", "today Z", " 2026-01-31", "2026-01-31 12:00 CET", "1h 30m", "-1h", "+1h"),
    ],
)
def test_what_is_no_time(given: str) -> None:
    with pytest.raises(UsageError, match=r"--since .*: give a time such as 2026-01-31"):
        wire_time("--since", given)


def test_days_and_times_of_day() -> None:
    # It may be midnight between two calls.
    for _ in range(2):
        today = datetime.now().date()
        found = [
            instant("--since", each) for each in ("today", "yesterday", "00:00", "today 00:00")
        ]
        if datetime.now().date() == today:
            break
    midnight = datetime.fromisoformat(f"{today}T00:00:00+05:30")
    assert found == [midnight, midnight - timedelta(days=1), midnight, midnight]


def test_instants() -> None:
    assert instant("--since", "2026-01-31 17:30") == NOON
    assert instant("--since", "2026-01-31 12:00Z") == NOON
    assert instant("--since", "1769860800") == NOON
    before = current_time() - timedelta(hours=1)
    assert before <= instant("--since", "1h") <= current_time() - timedelta(hours=1)
    for given in ("9" * 20, "999999999999d", "2026-02-30 12:00Z"):
        with pytest.raises(UsageError, match=f"--since '{given}': there is no such time"):
            instant("--since", given)


def test_a_shown_time_can_be_typed() -> None:
    assert local_time(NOON) == "2026-01-31 17:30:00+05:30"
    assert instant("--since", local_time(NOON)) == NOON


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2026-01-31T12:00:00Z", 0),
        ("2026-01-31 12:00:00Z", 0),
        ("2026-01-31 12:00:00.5z", 0.5),
        ("2026-01-31T13:00:00+01:00", 0),
        # A `+` that was not escaped.
        ("2026-01-31T13:00:00 01:00", 0),
        ("2026-01-31 13:00:00+01:00", 0),
        ("2026-01-31 13:00:00 01:00", 0),
        ("2026-01-31 11:00:00-01:00", 0),
    ],
)
def test_a_space_and_an_unescaped_plus_are_told_apart_by_their_place(
    value: str, seconds: float
) -> None:
    found, relative = moment({"since": value}, "since", 0)
    assert found == int((NOON.timestamp() + seconds) * SECONDS)
    assert not relative


@pytest.mark.parametrize(
    "value",
    [
        *("2026-01-31+12:00:00Z", "2026-01-31  12:00:00Z", "2026-01-31 12:00:00", "2026-01-31"),
        *("2026-01-31T12:00:00  01:00", "2026-01-31 12:00:00 Z", "2026-01-31T 12:00:00Z", " "),
    ],
)
def test_other_spaces_are_refused(value: str) -> None:
    with pytest.raises(InvalidRequestError, match="since: it is an RFC 3339 time"):
        moment({"since": value}, "since", 0)
