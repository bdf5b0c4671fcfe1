"""The parameters and positions of a request for several logs, as tables."""

from __future__ import annotations

import pytest

from trio_logs.api.answers import NotAcceptableError
from trio_logs.api.positions import Positions, parse_positions
from trio_logs.api.query import accepted
from trio_logs.api.several_format import EVENTS, NDJSON
from trio_logs.api.several_query import SeveralQuery, parse_several_query
from trio_logs.errors import InvalidRequestError
from trio_logs.selection import Selection

NOW = 1_800_000_000_000_000


@pytest.mark.parametrize(
    ("text", "logs", "changes", "expected"),
    [
        ("0", 0, True, Positions(0, [])),
        ("17", 0, True, Positions(17, [])),
        ("0.5", 1, False, Positions(0, [5])),
        ("0.end.0", 2, False, Positions(0, ["end", 0])),
        ("3.end.12.end", 3, True, Positions(3, ["end", 12, "end"])),
        ("0." + "9" * 5000, 1, False, Positions(0, [10**18])),
    ],
)
def test_a_position_is_read(text: str, logs: int, changes: bool, expected: Positions) -> None:
    found = parse_positions(text, logs, changes=changes)
    assert found == expected
    if len(text) < 100:
        assert str(found) == text


@pytest.mark.parametrize(
    ("text", "logs", "changes"),
    [
        *[("0", 1, False), ("0.1", 2, False), ("0.1.2", 1, False), ("", 0, True)],
        *[("end.1", 1, True), ("0.stop", 1, False), ("0.-1", 1, False), ("0.1.", 1, False)],
        *[(".1", 1, False), ("0.END", 1, False), ("0.٣", 1, False), ("0. 1", 1, False)],
        ("5.1", 1, False),
    ],
)
def test_what_fits_no_request_is_refused(text: str, logs: int, changes: bool) -> None:
    with pytest.raises(InvalidRequestError):
        parse_positions(text, logs, changes=changes)


def parse(query: str, accept: str = "", last_event_id: str | None = None) -> SeveralQuery:
    pairs = [tuple(each.split("=", 1)) for each in query.split("&") if each]
    accepts = accepted([accept] if accept else [])
    return parse_several_query(pairs, accepts, last_event_id, NOW)  # type: ignore[arg-type]


def test_logs_with_and_without_a_line() -> None:
    query = parse("workload=a&workload=b.7&workload=c.0&tail=3&since=10m&stream=stderr")
    selected = Selection(tail=3, since=NOW - 600_000_000, stream="stderr")
    later = Selection(stream="stderr")
    assert [(each.workload_id, each.selection, each.after) for each in query.places] == [
        *[("a", selected, None), ("b", later, 7), ("c", later, 0)]
    ]
    assert (query.follow, query.events, query.format) == (True, False, EVENTS)


def test_a_client_that_resumes_gets_all_that_it_missed() -> None:
    """As in one log: an absolute `since` counts on, but for a log that has a line."""
    query = parse("workload=a&workload=b.7&tail=3&since=5", last_event_id="0.4.9")
    assert [(each.after, each.selection.tail, each.selection.since) for each in query.places] == [
        *[(4, None, 5_000_000), (9, None, None)]
    ]
    assert parse("workload=a&since=10m&last_event_id=0.4").places[0].selection == Selection()
    both = parse("workload=a&last_event_id=0.4", last_event_id="0.6")
    assert both.places[0].after == 6
    assert parse("workload=a&last_event_id=", last_event_id="").places[0].after is None


@pytest.mark.parametrize(
    ("query", "events", "after"),
    [
        ("events=true", True, None),
        ("events=false&workload=a", False, None),
        ("workload=a", False, None),
        ("events=0", True, 0),
        ("events=1", True, 1),
        ("events=12", True, 12),
        ("events=12&last_event_id=15", True, 15),
    ],
)
def test_events(query: str, events: bool, after: int | None) -> None:
    found = parse(query)
    assert (found.events, found.events_after) == (events, after)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        *[("", EVENTS), ("*/*", EVENTS), ("text/event-stream", EVENTS)],
        *[("application/x-ndjson", NDJSON), ("text/*;q=0.5, application/x-ndjson", NDJSON)],
    ],
)
def test_the_representation(accept: str, form: object) -> None:
    assert parse("workload=a", accept).format is form


def test_no_other_representation() -> None:
    with pytest.raises(NotAcceptableError):
        parse("workload=a", "text/plain")


MANY = "&".join(f"workload=w{number}" for number in range(129))


@pytest.mark.parametrize(
    "query",
    [
        *["", "events=false", "follow=true", "workload=", "workload=a.", "workload=a.b"],
        *["workload=a.1.2", "workload=a.-1", "workload=.5", "workload=a/b", f"workload={'a' * 65}"],
        *["workload=a&workload=a", "workload=a&workload=a.5", "workload=a.end", MANY],
        *["workload=a&events=", "workload=a&events=x", "workload=a&events=-1"],
        *["workload=a&events=true&events=true", "workload=a&tail=x", "workload=a&tail=1&tail=2"],
        *["workload=a&from=1", "workload=a&to=1", "workload=a&limit=1", "workload=a&format=json"],
        *["workload=a&timestamps=true", "workload=a&download=true", "workload=a&x=1"],
        *["workload=a&regex=true", "workload=a&filter=", "workload=a&unfinished=yes"],
        *[
            "workload=a&last_event_id=5",
            "workload=a&last_event_id=5.1",
            "events=true&workload=a&last_event_id=5",
        ],
    ],
)
def test_what_is_malformed_is_refused(query: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse(query)


def test_both_ids_must_be_valid() -> None:
    with pytest.raises(InvalidRequestError):
        parse("workload=a&last_event_id=x", last_event_id="0.5")


def test_so_many_logs_fit() -> None:
    assert len(parse(MANY.rpartition("&")[0]).places) == 128
