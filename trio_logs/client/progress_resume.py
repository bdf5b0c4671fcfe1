"""What resumes of searches share, without I/O."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from .backoff import Backoff
from .events import ObjectParser
from .requests import aged, encoded

__all__ = ["ProgressResume"]

T = TypeVar("T")

DELAYS = (1.0, 5.0)
"""Seconds before asking again: after the first failure, and at most. The server may be busy with
the searches of others, which end soon."""


class ProgressResume(ABC, Generic[T]):
    """What both searches share; see `Resumable`.

    Only progress shows that the service is there: an answer that breaks at the same place again and
    again ends the patience.
    """

    accept = "application/x-ndjson"

    def __init__(
        self, text: str, options: Mapping[str, Any], patience: float | None, address: str
    ) -> None:
        self.done = False
        self.reason = ""
        self.heard = False
        self._parameters = {"filter": text, **encoded(options)}
        # When the first request was made, in monotonic seconds.
        self._asked_at: float | None = None
        self._backoff = Backoff(patience, address)
        self._parser = self._new_parser()
        # The next request asks for what follows the end of this answer.
        self._goes_on = False

    @abstractmethod
    def _new_parser(self) -> ObjectParser: ...

    @abstractmethod
    def _take(self, record: Any) -> Sequence[T]:
        """The records that the caller gets for one of the answer."""

    def query(self) -> dict[str, str | Sequence[str]]:
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            return dict(self._parameters)
        return dict(aged(self._parameters, time.monotonic() - self._asked_at))

    def begin(self) -> dict[str, str]:
        self._parser = self._new_parser()
        self._goes_on = False
        self.heard = False
        self.reason = "the answer ended before the search did"
        return {"Accept": self.accept, "Cache-Control": "no-store"}

    def opened(self, headers: Mapping[str, str]) -> Sequence[T]:
        return []

    @property
    def useless(self) -> bool:
        return self._parser.broken is not None

    def feed(self, data: bytes) -> Sequence[T]:
        return [taken for record in self._parser.feed(data) for taken in self._take(record)]

    def flush(self) -> Sequence[T]:
        return []

    def clear(self) -> Sequence[T]:
        return []

    def finished(self) -> None:
        self._parser.finish()

    def delay(self) -> float | None:
        if self._goes_on:
            return None
        if self._parser.broken is not None:
            self.reason = self._parser.broken
        if self.heard:
            self._backoff.succeeded()
        return self._backoff.delay(self.reason, *DELAYS)
