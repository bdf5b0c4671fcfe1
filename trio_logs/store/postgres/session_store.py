"""Sessions: the methods of `SessionStore` as writes and reads of the database."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from ..sessions import NO_SESSIONS, Code, Session
from . import sessions as stored
from .database import Part

__all__ = ["PostgresSessions"]


class PostgresSessions(Part):
    """See `SessionStore` for the methods."""

    async def add_code(self, code: Code, now: int) -> None:
        await self._database.write(partial(stored.add_code, code=code, now=now))

    async def codes(self, ids: Collection[bytes]) -> list[Code]:
        return await self._database.read(partial(stored.codes, ids=ids))

    async def take_code(
        self,
        ids: Collection[bytes],
        download: str | None,
        now: int,
        sessions: Mapping[bytes, Session] = NO_SESSIONS,
    ) -> Code | None:
        return await self._database.write(
            partial(stored.take_code, ids=ids, download=download, now=now, sessions=sessions)
        )

    async def add_session(self, session: Session, now: int) -> None:
        await self._database.write(partial(stored.add_session, session=session, now=now))

    async def sessions(self, ids: Collection[bytes]) -> list[Session]:
        return await self._database.read(partial(stored.sessions, ids=ids))

    async def extend_sessions(self, expiries: Mapping[bytes, int]) -> None:
        await self._database.write(partial(stored.extend_sessions, expiries=expiries))

    async def end_session(self, session_id: bytes) -> None:
        await self._database.write(partial(stored.end_session, session_id=session_id))

    async def keep_marks(self, marks: Collection[bytes]) -> None:
        # A start with the same token, which is the rule, commits nothing.
        if await self._database.read(partial(stored.has_other_marks, marks=marks)):
            await self._database.write(partial(stored.drop_other_marks, marks=marks))
