"""The parameters of a request for several logs, without I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from werkzeug.datastructures import MIMEAccept

from ..broker import LogPlace
from ..errors import InvalidRequestError
from ..selection import Selection
from .parameters import SELECTION, boolean, collect, selection
from .positions import Positions, number, parse_positions
from .query import representation
from .several_format import EVENTS, NDJSON, SeveralFormat

__all__ = ["EVENTS_VALUE", "MAX_LOGS", "NAMES", "WORKLOAD", "SeveralQuery", "parse_several_query"]

MAX_LOGS = 128

_LINES = [name for name in SELECTION if name not in ("from", "to")]
NAMES = {"workload", "events", "follow", "tail", *_LINES, "unfinished", "last_event_id"}
_FORMATS = {form.events.media_type: form for form in (EVENTS, NDJSON)}
WORKLOAD = r"[A-Za-z0-9_-]{1,64}(\.[0-9]+)?"
EVENTS_VALUE = r"true|false|[0-9]+"


@dataclass(frozen=True, slots=True)
class SeveralQuery:
    """`places` has each log once, none of them known to have ended. `events`: whether changes of
    workloads are asked for; those after `events_after`, or new ones only if it is None."""

    format: SeveralFormat
    follow: bool
    unfinished: bool
    places: Sequence[LogPlace]
    events: bool
    events_after: int | None


def parse_several_query(
    parameters: Iterable[tuple[str, str]], accept: MIMEAccept, last_event_id: str | None, now: int
) -> SeveralQuery:
    """Read the parameters and headers of a request for several logs. `now` is in microseconds.

    Raises InvalidRequestError for a parameter that is unknown, repeated or malformed, and
    NotAcceptableError if `accept` has neither of the two representations.
    """
    parameters = list(parameters)
    written = [value for name, value in parameters if name == "workload"]
    given = collect((pair for pair in parameters if pair[0] != "workload"), NAMES)
    logs = _logs(written)
    events, events_after = _events(given.get("events"))
    if not logs and not events:
        raise InvalidRequestError("workload: name at least one log, or ask for `events`")
    # The header wins; both must be valid.
    ids = [given.get("last_event_id"), last_event_id]
    resumed = [None, *(parse_positions(each, len(logs), changes=events) for each in ids if each)][
        -1
    ]
    fresh = selection(given, now)
    # A client that resumes gets all lines that it missed, even if these are more than the tail.
    later = selection(given, now, resumes=True)
    return SeveralQuery(
        format=representation(accept, _FORMATS, "several logs are"),
        follow=boolean(given, "follow", default=True),
        unfinished=boolean(given, "unfinished", default=False),
        places=_places(logs, resumed, fresh, later),
        events=events,
        events_after=events_after if resumed is None else resumed.changes,
    )


def _logs(written: Sequence[str]) -> dict[str, int | None]:
    """By id, the number of the last line that the client has, if it was given."""
    found: dict[str, int | None] = {}
    for value in written:
        if not re.fullmatch(WORKLOAD, value):
            raise InvalidRequestError(
                f"workload: {value[:80]!r} is neither an id nor `ID.N`, after line N"
            )
        workload_id, dot, line = value.partition(".")
        if workload_id in found:
            raise InvalidRequestError(f"workload: {workload_id} is there twice; give it once")
        found[workload_id] = number(line) if dot else None
    if len(found) > MAX_LOGS:
        raise InvalidRequestError(f"workload: an answer has {MAX_LOGS} logs at most")
    return found


def _events(value: str | None) -> tuple[bool, int | None]:
    if value is None or value == "false":
        return False, None
    if value == "true":
        return True, None
    if not re.fullmatch(EVENTS_VALUE, value):
        raise InvalidRequestError("events: it is `true`, `false`, or a position in the events")
    return True, number(value)


def _places(
    logs: dict[str, int | None], resumed: Positions | None, fresh: Selection, later: Selection
) -> list[LogPlace]:
    places = []
    for index, (workload_id, line) in enumerate(logs.items()):
        selected = fresh if resumed is None else later
        if line is not None:
            # The number of a line stands for both.
            selected = replace(selected, tail=None, since=None)
        after = line if resumed is None else resumed.logs[index]
        places.append(LogPlace(workload_id, selected, after))
    return places
