"""What a reader of a stream must know to go on after the connection broke; without I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

__all__ = ["Resumable"]

T_co = TypeVar("T_co", covariant=True)


class Resumable(Protocol[T_co]):
    """The state of one reader over all its answers.

    For each answer, call `query`, `begin` and, if it is one of the content type `accept`, `opened`;
    then `feed` with its bytes, `flush`, and `finished` if it came to its proper end. Unless `done`,
    call `clear` and `delay`, wait, and ask again.
    """

    reason: str
    """Why the last answer ended."""

    @property
    def accept(self) -> str: ...

    @property
    def done(self) -> bool:
        """Whether nothing is left to ask for."""

    @property
    def heard(self) -> bool:
        """Whether this answer shows that the service is there."""

    @property
    def useless(self) -> bool:
        """Whether the rest of this answer has no use."""

    def query(self) -> Mapping[str, str | Sequence[str]]:
        """The parameters of the next request."""

    def begin(self) -> dict[str, str]:
        """The headers of the next request."""

    def opened(self, headers: Mapping[str, str]) -> Sequence[T_co]:
        """The answer has begun with these headers; return what they tell."""

    def feed(self, data: bytes) -> Sequence[T_co]:
        """Take bytes of the answer; return the records in them."""

    def flush(self) -> Sequence[T_co]:
        """The answer has ended or failed: return the records that were held back."""

    def clear(self) -> Sequence[T_co]:
        """Another request follows: return records that take back what may not hold any more."""

    def finished(self) -> None:
        """The answer came to its proper end, and was flushed."""

    def delay(self) -> float | None:
        """Seconds until the next request, or None if no answer has failed. Raises UnreachableError
        once the patience is over."""
