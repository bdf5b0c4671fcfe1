"""When to try again, when to give up, and when to say that the server is away; without I/O."""

from __future__ import annotations

import random
import time

from .errors import UnreachableError

__all__ = ["Backoff", "Outage", "is_temporary"]

MIN_DELAY = 0.1
"""The least seconds between two attempts, whatever the server asks for."""

MAX_DELAY = 30.0
"""The most seconds between two attempts."""

TOLD_SECONDS = 3.0
"""Seconds that a server may be away before the client tells the caller."""

_MAX_EXPONENT = 20
"""The delay has long reached its maximum. A float overflows after 1,750 failures."""

_LATER = {408, 425, 429, 500, 502, 503, 504, *range(520, 531)}
"""RFC 9110, section 15, and RFC 8470 for 425. 520 to 530 are those of Cloudflare for a server that
is away. A proxy may also answer 500 for such a server."""


def is_temporary(status: int) -> bool:
    """Whether an answer with this status code may be followed by a better one."""
    return status in _LATER


class Backoff:
    """The delay after each failure. It gives up after `patience` seconds without a success, or
    never. `address` is the server's, for the error."""

    def __init__(self, patience: float | None, address: str) -> None:
        self._patience = patience
        self._address = address
        self._failures = 0
        self._failing_since: float | None = None

    def succeeded(self) -> None:
        """The server was heard."""
        self._failures = 0
        self._failing_since = None

    def delay(self, reason: str, first: float, longest: float | None = None) -> float:
        """Seconds until the next attempt: at most `first` after the first failure, at most
        `longest` after many. Raises UnreachableError once the patience is over."""
        moment = time.monotonic()
        if self._failing_since is None:
            self._failing_since = moment
        failing = moment - self._failing_since
        if self._patience is not None and failing >= self._patience:
            raise UnreachableError(f"gave up on {self._address} after {failing:.0f} s: {reason}")
        growth = 1.5 ** min(self._failures, _MAX_EXPONENT)
        seconds = min(longest or MAX_DELAY, max(first, MIN_DELAY) * growth)
        self._failures += 1
        # Clients that lost a server at the same moment must not all reconnect at the same moment.
        return seconds * random.uniform(0.5, 1)


class Outage:
    """Whether a server is away. All followers and pushers of a client share one."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._told = False

    def over(self) -> None:
        """The server was heard."""
        self._since = None
        self._told = False

    def is_to_be_told(self, since: float | None) -> bool:
        """Whether to tell the caller, after an attempt that failed: once for each outage, and not
        for a short one, such as a restart. `since` is as for `Connection.pause`."""
        moment = time.monotonic()
        if self._since is None:
            self._since = moment if since is None else since
        if self._told or moment - self._since < TOLD_SECONDS:
            return False
        self._told = True
        return True
