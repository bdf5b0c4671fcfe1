"""When a service that answers 500 is given up, without I/O."""

from __future__ import annotations

import time

import httpx2

from .answers import check, media_type

__all__ = ["Faults"]

FAULT_SECONDS = 60.0
"""Seconds of nothing but such answers. Time mends a proxy, or a restart of the service, but not a
fault of the service itself."""


class Faults:
    """The answers 500 of the service itself, which are problems (RFC 9457): those of proxies are
    not."""

    def __init__(self) -> None:
        # When the first answer of an unbroken series came, in monotonic seconds.
        self._since: float | None = None

    def count(self, answer: httpx2.Response, address: str) -> None:
        """Take the next answer. Raises RefusedError for a 500 after 60 s of them."""
        if answer.status_code != 500 or media_type(answer) != "application/problem+json":
            self._since = None
            return
        moment = time.monotonic()
        if self._since is None:
            self._since = moment
        elif moment - self._since >= FAULT_SECONDS:
            check(answer, address)

    def clear(self) -> None:
        """No answer came."""
        self._since = None
