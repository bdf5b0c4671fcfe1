"""How a followed log goes on after its stream broke, without I/O."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..records import End
from .errors import UnreachableError
from .events import EventParser, ObjectParser, Parser
from .records import LogRecord
from .requests import FollowOptions

__all__ = ["Backoff", "Outage", "Resume", "is_temporary"]

MAX_DELAY = 30.0
"""Seconds between two attempts, at most."""

CHUNK = 256 * 1024
"""Bytes to take at a time of what does not come live: what is done once for each piece adds up."""

TOLD_SECONDS = 3.0
"""How long a server may be away without a word."""

_LATER = {429, 502, 503, 504}


def is_temporary(status: int) -> bool:
    """Whether to try again after an answer with this status; 204 is no error, but the end."""
    return status in _LATER


class Backoff:
    """How long to wait after each failure, and when to give up: after `patience` seconds without a
    success, or never."""

    def __init__(self, patience: float | None) -> None:
        self._patience = patience
        self._failures = 0
        self._failing_since: float | None = None

    def succeeded(self) -> None:
        """The server was heard."""
        self._failures = 0
        self._failing_since = None

    def delay(self, reason: str, first: float, longest: float | None = None) -> float:
        """Seconds until the next attempt; `first` after the first failure, at most. Raises
        UnreachableError when the patience is at its end."""
        moment = time.monotonic()
        if self._failing_since is None:
            self._failing_since = moment
        failing = moment - self._failing_since
        if self._patience is not None and failing >= self._patience:
            raise UnreachableError(f"no answer for {failing:.0f} s: {reason}")
        # Not all who lost a server at the same moment come back at the same moment.
        seconds = min(longest or MAX_DELAY, first * 1.5**self._failures)
        self._failures += 1
        return seconds * random.uniform(0.5, 1)


class Outage:
    """Whether a server is away, as all see it together who go on trying."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._told = False

    def over(self) -> None:
        """The server was heard."""
        self._since = None
        self._told = False

    def is_to_be_told(self, since: float | None) -> bool:
        """An attempt failed; whether it is time to say so. That is once for each outage, and not
        for one that a restart explains. `since` is as for `Client._pause`."""
        moment = time.monotonic()
        if self._since is None:
            self._since = moment if since is None else since
        if self._told or moment - self._since < TOLD_SECONDS:
            return False
        self._told = True
        return True


class Resume:
    """The state of one follower over all its connections."""

    def __init__(self, options: FollowOptions) -> None:
        parameters = {name: value for name, value in options.items() if name != "patience"}
        self.query = {"format": "json", **_encoded(parameters)}
        self.done = False
        self._follows = options.get("follow") is not False
        # Bound: CHUNK, and what comes at once.
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._parser = self._new_parser(None)
        self._backoff = Backoff(options.get("patience"))

    def _new_parser(self, last_id: str | None) -> Parser:
        return EventParser(last_id) if self._follows else ObjectParser(last_id)

    def begin(self) -> dict[str, str]:
        """The headers of the next request."""
        last_id = self._parser.last_id
        # What was received of an event is sent again.
        self._parser = self._new_parser(last_id)
        accept = "text/event-stream" if self._follows else "application/x-ndjson"
        headers = {"Accept": accept, "Cache-Control": "no-store"}
        return headers if last_id is None else {**headers, "Last-Event-ID": last_id}

    def feed(self, data: bytes) -> Sequence[LogRecord]:
        """Take bytes of the answer; return the records in them, at once if they come live."""
        self._backoff.succeeded()
        self._held.append(data)
        self._held_bytes += len(data)
        if not self._follows and self._held_bytes < CHUNK:
            return []
        return self.flush()

    def flush(self) -> Sequence[LogRecord]:
        """Return the records in what is held back; to be called when an answer ended or broke."""
        records = self._parser.feed(*self._held)
        self._held.clear()
        self._held_bytes = 0
        if records and isinstance(records[-1], End):
            self.done = True
        return records

    def finished(self) -> None:
        """The answer came to its proper end."""
        if not self._follows and not self._parser.shutting_down:
            self.done = True

    def delay(self, reason: str) -> float:
        """Seconds until the next attempt. Raises UnreachableError when the patience is at its
        end."""
        return self._backoff.delay(reason, self._parser.retry)


def _encoded(query: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as the wire has them."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in query.items()
    }
