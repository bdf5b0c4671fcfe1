"""Sessions and codes in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TypeVar

import trio

from ..sessions import MAX_CODES, MAX_SESSIONS, NO_SESSIONS, Code, Session

__all__ = ["MemorySessions"]

_Kept = TypeVar("_Kept", Code, Session)


class MemorySessions:
    """See `SessionStore` for the methods."""

    def __init__(self) -> None:
        super().__init__()
        # Both by id, oldest first. Bounds: MAX_CODES and MAX_SESSIONS.
        self._codes: dict[bytes, Code] = {}
        self._sessions: dict[bytes, Session] = {}

    async def add_code(self, code: Code, now: int) -> None:
        await trio.lowlevel.checkpoint()
        left = [each for each in self._codes.values() if each.expires_at > now]
        self._codes = _bounded([*left, code], MAX_CODES)

    async def codes(self, ids: Collection[bytes]) -> list[Code]:
        await trio.lowlevel.checkpoint()
        return [self._codes[each] for each in ids if each in self._codes]

    async def take_code(
        self,
        ids: Collection[bytes],
        download: str | None,
        now: int,
        sessions: Mapping[bytes, Session] = NO_SESSIONS,
    ) -> Code | None:
        await trio.lowlevel.checkpoint()
        for code_id in ids:
            code = self._codes.get(code_id)
            if code is not None and code.download == download and code.expires_at > now:
                del self._codes[code_id]
                if code_id in sessions:
                    self._add_session(sessions[code_id], now)
                return code
        return None

    async def add_session(self, session: Session, now: int) -> None:
        await trio.lowlevel.checkpoint()
        self._add_session(session, now)

    def _add_session(self, session: Session, now: int) -> None:
        left = [each for each in self._sessions.values() if each.expires_at > now]
        self._sessions = _bounded([*left, session], MAX_SESSIONS)

    async def sessions(self, ids: Collection[bytes]) -> list[Session]:
        await trio.lowlevel.checkpoint()
        return [self._sessions[each] for each in ids if each in self._sessions]

    async def extend_sessions(self, expiries: Mapping[bytes, int]) -> None:
        await trio.lowlevel.checkpoint()
        for session_id, expires_at in expiries.items():
            session = self._sessions.get(session_id)
            if session is not None:
                self._sessions[session_id] = replace(session, expires_at=expires_at)

    async def end_session(self, session_id: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._sessions.pop(session_id, None)

    async def keep_marks(self, marks: Collection[bytes]) -> None:
        await trio.lowlevel.checkpoint()
        self._codes = {k: v for k, v in self._codes.items() if v.mark in marks}
        self._sessions = {k: v for k, v in self._sessions.items() if v.mark in marks}


def _bounded(kept: list[_Kept], bound: int) -> dict[bytes, _Kept]:
    """By id, without those over the bound: the oldest ones of the mark that has the most."""
    while len(kept) > bound:
        [(mark, _)] = Counter(each.mark for each in kept).most_common(1)
        kept.remove(next(each for each in kept if each.mark == mark))
    return {each.id: each for each in kept}
