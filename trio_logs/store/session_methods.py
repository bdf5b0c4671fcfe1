"""The methods of `SessionStore` for a store in a database."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from types import ModuleType
from typing import Any, ClassVar

from .sessions import NO_SESSIONS, Code, Session

__all__ = ["SessionMethods"]


class SessionMethods:
    """See `SessionStore` for the methods. `statements` is the module that has a function for each,
    which is a write or a read of `_database`."""

    statements: ClassVar[ModuleType]
    _database: Any

    async def add_code(self, code: Code, now: int) -> None:
        await self._database.write(partial(self.statements.add_code, code=code, now=now))

    async def codes(self, ids: Collection[bytes]) -> list[Code]:
        found: list[Code] = await self._database.read(partial(self.statements.codes, ids=ids))
        return found

    async def take_code(
        self,
        ids: Collection[bytes],
        download: str | None,
        now: int,
        sessions: Mapping[bytes, Session] = NO_SESSIONS,
    ) -> Code | None:
        taken: Code | None = await self._database.write(
            partial(
                self.statements.take_code, ids=ids, download=download, now=now, sessions=sessions
            )
        )
        return taken

    async def add_session(self, session: Session, now: int) -> None:
        await self._database.write(partial(self.statements.add_session, session=session, now=now))

    async def sessions(self, ids: Collection[bytes]) -> list[Session]:
        found: list[Session] = await self._database.read(partial(self.statements.sessions, ids=ids))
        return found

    async def extend_sessions(self, expiries: Mapping[bytes, int]) -> None:
        await self._database.write(partial(self.statements.extend_sessions, expiries=expiries))

    async def end_session(self, session_id: bytes) -> None:
        await self._database.write(partial(self.statements.end_session, session_id=session_id))

    async def keep_marks(self, marks: Collection[bytes]) -> None:
        # A start with the same token, which is the rule, commits nothing.
        if await self._database.read(partial(self.statements.has_other_marks, marks=marks)):
            await self._database.write(partial(self.statements.drop_other_marks, marks=marks))
