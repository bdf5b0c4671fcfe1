"""Browsers that are signed in, and the one-time codes that sign them in.

The store has hashes only: neither a key nor a code can be read from it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

__all__ = ["MAX_CODES", "MAX_SESSIONS", "NO_SESSIONS", "Code", "Session", "SessionStore"]

MAX_CODES = 100
MAX_SESSIONS = 1000
"""Bounds of a whole store. Over a bound, the oldest ones go of the mark that has the most. So a
token can't sign out the browsers of the other one, while these have at most half of the bound."""


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is signed in.

    `id` is a hash of its key. `mark` tells the token with which it was made from another one; with
    `read_only`, that is the read-only token. Times are in microseconds since the Unix epoch.
    """

    id: bytes
    mark: bytes
    read_only: bool
    created_at: int
    expires_at: int


NO_SESSIONS: Mapping[bytes, Session] = {}


@dataclass(frozen=True, slots=True)
class Code:
    """A code that works once, until `expires_at`; the first fields are those of `Session`.

    `download` is the one answer that the code opens; with None, the code signs a browser in.
    `session` is the id of the session that asked for the code; None: a token did.
    """

    id: bytes
    mark: bytes
    read_only: bool
    expires_at: int
    download: str | None = None
    session: bytes | None = None


class SessionStore(Protocol):
    """The duties of a store of sessions. As with `LogStore`, the effect of a method that has
    returned is durable, and every method raises StoreError for that call alone."""

    async def add_code(self, code: Code, now: int) -> None:
        """Add a code. The codes that have expired by `now` go, and over MAX_CODES the oldest ones
        of the mark that has the most."""

    async def codes(self, ids: Collection[bytes]) -> list[Code]:
        """The codes with these ids, expired ones included."""

    async def take_code(
        self,
        ids: Collection[bytes],
        download: str | None,
        now: int,
        sessions: Mapping[bytes, Session] = NO_SESSIONS,
    ) -> Code | None:
        """Remove and return the code that has one of these ids, is for this `download`, and has not
        expired; None if there is none. Of several calls for a code, one gets it. In the same step,
        add the session that `sessions` has for its id, as `add_session` does."""

    async def add_session(self, session: Session, now: int) -> None:
        """Add a session. The sessions that have expired by `now` go, and over MAX_SESSIONS the
        oldest ones of the mark that has the most."""

    async def sessions(self, ids: Collection[bytes]) -> list[Session]:
        """The sessions with these ids, expired ones included."""

    async def extend_sessions(self, expiries: Mapping[bytes, int]) -> None:
        """Have sessions expire later; an id that is gone is left out."""

    async def end_session(self, session_id: bytes) -> None:
        """Remove a session, if it is there."""

    async def keep_marks(self, marks: Collection[bytes]) -> None:
        """Remove the sessions and codes that have none of these marks."""
