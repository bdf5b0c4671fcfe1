"""How a follower resumes after its stream broke, without I/O."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from ..records import End, Stop, Unfinished
from .backoff import Backoff
from .events import EventParser, ObjectParser, Parser
from .limit import Limit
from .records import Head, Line, LogRecord
from .requests import FollowOptions, aged, encoded

__all__ = ["Resume"]

CHUNK = 256 * 1024
"""Bytes to parse at once of a log that is not followed: each call has its own cost."""


class Resume:
    """The state of one follower over all its connections.

    `accept` is the content type that it asks for. `reason` says why the last answer ended. `done`:
    nothing is left to ask for.
    """

    def __init__(self, options: FollowOptions, address: str) -> None:
        local = ("patience", "head")
        parameters = {name: value for name, value in options.items() if name not in local}
        self._query = {"format": "json", **encoded(parameters)}
        self._wants_head = options.get("head") is True
        # When the first request was made, in monotonic seconds.
        self._asked_at: float | None = None
        self._follows = options.get("follow", "last" not in options)
        self.accept = "text/event-stream" if self._follows else "application/x-ndjson"
        self.done = False
        self.reason = ""
        # Bound: CHUNK, and one piece more.
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._parser = self._new_parser(None)
        self._backoff = Backoff(options.get("patience"), address)
        self._gave_records = False
        # The last answer was broken. The next one opens properly and may break at the same place.
        self._suspect = False
        self._stopped_early = False
        limit = options.get("limit")
        filters = "filter" in options
        hides = filters or "stream" in options
        self._limit = None if limit is None else Limit(limit, filters=filters, hides=hides)
        # A filter may find few lines in much log: these come at once.
        self._holds_back = not self._follows and "filter" not in options
        self._wants_unfinished = options.get("unfinished") is True
        # The streams whose last record is an unfinished line.
        self._unfinished: set[str] = set()

    def _new_parser(self, last_id: str | None) -> Parser:
        return EventParser(last_id) if self._follows else ObjectParser(last_id)

    def query(self) -> Mapping[str, str | Sequence[str]]:
        """The parameters of the next request."""
        query = self._aged_query()
        if self._limit is None:
            return query
        query = {name: value for name, value in query.items() if name != "limit"}
        limit = self._limit.resume()
        last_id = self._parser.last_id
        if self._limit.full and last_id is not None:
            # All lines have come, but not the record after them: it comes alone.
            return {**query, "to": last_id, "follow": "false"}
        return query if limit is None else {**query, "limit": str(limit)}

    def _aged_query(self) -> dict[str, str]:
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            return self._query
        return aged(self._query, time.monotonic() - self._asked_at)

    def begin(self) -> dict[str, str]:
        """The headers of the next request."""
        last_id = self._parser.last_id
        # The server sends an event that was cut again.
        self._parser = self._new_parser(last_id)
        self._gave_records = False
        self._stopped_early = False
        self.reason = "the server ended the stream"
        headers = {"Accept": self.accept, "Cache-Control": "no-store"}
        return headers if last_id is None else {**headers, "Last-Event-ID": last_id}

    def opened(self, headers: Mapping[str, str]) -> Sequence[LogRecord]:
        """Return the head of the log, if the caller asks for it and the server tells it."""
        lines = headers.get("Log-Lines", "")
        return [Head(int(lines))] if self._wants_head and lines.isdecimal() else []

    @property
    def heard(self) -> bool:
        """Whether this answer shows that the service is there. After a broken answer, only a record
        shows that, or a follower would ask for the same broken record for ever."""
        return self._gave_records or (self._parser.heard and not self._suspect)

    @property
    def useless(self) -> bool:
        """Whether the rest of this answer has no use."""
        return self._parser.broken is not None or self._has_all_lines

    @property
    def _has_all_lines(self) -> bool:
        return self._limit is not None and self._limit.ends_here

    def feed(self, data: bytes) -> Sequence[LogRecord]:
        """Take bytes of the answer; return the records in them, at once if they come live."""
        self._held.append(data)
        self._held_bytes += len(data)
        if self._holds_back and self._held_bytes < CHUNK:
            return []
        return self.flush()

    def flush(self) -> Sequence[LogRecord]:
        """Return the records in what is held back. Call it when an answer has ended or failed."""
        records = self._parser.feed(*self._held)
        self._held.clear()
        self._held_bytes = 0
        if records and self._limit is not None:
            records = self._limit.count(records)
            if self._has_all_lines:
                self._parser.last_id = str(self._limit.newest)
            elif records and isinstance(stop := records[-1], Stop):
                if self._limit.is_early(stop):
                    self._parser.last_id = str(stop.next - 1)
                    self._stopped_early = True
                    records = records[:-1]
                elif self._limit.full:
                    following = self._limit.left_out or stop.next
                    records = [*records[:-1], Stop("limit", following)]
        if records:
            if self._wants_unfinished:
                self._watch_unfinished(records)
            else:
                self._gave_records = True
            if isinstance(records[-1], End | Stop):
                self.done = True
        return records

    def _watch_unfinished(self, records: Sequence[LogRecord]) -> None:
        for record in records:
            match record:
                case Unfinished(stream, text) if text:
                    self._unfinished.add(stream)
                case Unfinished(stream):
                    self._unfinished.discard(stream)
                case _:
                    # An unfinished line may come again and again before a broken record.
                    self._gave_records = True
                    if isinstance(record, Line):
                        self._unfinished.discard(record.stream)

    def clear(self) -> Sequence[LogRecord]:
        """Return records that clear the unfinished lines. Call it before the next request: until
        its answer comes, such a line may have ended, and a filter may hide its end."""
        cleared = [Unfinished(stream, "") for stream in sorted(self._unfinished)]
        self._unfinished.clear()
        return cleared

    def finished(self) -> None:
        """The answer came to its proper end, and was flushed."""
        parser = self._parser
        parser.finish()
        goes_on = self._follows or self._stopped_early or self.useless
        if not (goes_on or parser.shutdown is not None or parser.deleted):
            self.done = True

    def delay(self) -> float:
        """Seconds until the next request. Raises UnreachableError once the patience is over."""
        parser = self._parser
        if parser.broken is not None:
            self.reason = parser.broken
        elif parser.shutdown is not None:
            self.reason = f"the server shuts down: {parser.shutdown}"
        if self.heard:
            self._backoff.succeeded()
        is_broken = parser.broken is not None
        self._suspect = is_broken or (self._suspect and not self._gave_records)
        return self._backoff.delay(self.reason, parser.retry)
