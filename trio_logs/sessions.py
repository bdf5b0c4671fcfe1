"""Sign-in of browsers: one-time codes, keys, and the streams that end with a session.

A browser sends the key of its session as a bearer token. A key and a code have 128 random bits. The
store has only their hashes, which also depend on the token: with another token, none of them fits.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection

import structlog
import trio

from .errors import StoreError
from .records import now
from .store.sessions import Code, Session, SessionStore
from .tokens import ROLES, Tokens

__all__ = ["CODE_SECONDS", "DOWNLOAD_SECONDS", "SessionStream", "Sessions"]

SECOND = 1_000_000
HOUR = 3600 * SECOND

CODE_SECONDS = 600.0
"""Seconds in which a code can sign a browser in."""

DOWNLOAD_SECONDS = 60.0
"""Seconds in which a code can open the answer that it is for."""

UNUSED = 7 * 24 * HOUR
"""A session ends when it was not used for so long, in microseconds."""

LONGEST = 90 * 24 * HOUR
"""A session ends at this age, in microseconds."""

NOTED = HOUR // 6
"""The store learns of the use of a session at most once in ten minutes. So a session may end so
much earlier than its last use says."""

LOOK_SECONDS = 0.5
"""Seconds between two looks whether the sessions of open streams still are in the store."""

LOOKUPS = 2
"""Lookups of keys and codes at once. The store has eight threads for reads: whoever guesses keys
leaves the rest of them to those who read logs."""

_SECRET = re.compile(r"[\w-]{22}", re.ASCII)
"""A key, as `secrets.token_urlsafe(16)` makes it."""

_log = structlog.get_logger("trio_logs.sessions")


class SessionStream:
    """One request that may last. It runs within `scope`, which is cancelled when its session ends.
    `has_answer`: an answer was made, and may have begun."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.has_answer = False
        # The ids that its session may have, until the lookup has told which; then that one.
        self.ids: Collection[bytes] = ()
        self.is_admitted = False


class Sessions:
    """The sessions and codes of a service with these tokens. Every method that waits raises
    StoreError, but for `run`."""

    def __init__(self, store: SessionStore, tokens: Tokens) -> None:
        self._store = store
        self._tokens = tokens
        self._lookups = trio.CapacityLimiter(LOOKUPS)
        # Bound: the requests under way.
        self._streams: set[SessionStream] = set()
        # The sessions whose use the store is to learn of. Bound: those that the store has.
        self._used: set[bytes] = set()
        self._wake = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Drop the sessions of other tokens; then, until cancelled, note the use of sessions, and
        end streams whose session has ended in another way than by `end`, or elsewhere."""
        try:
            await self._store.keep_marks([self._tokens.mark(role) for role in ROLES])
        except StoreError as error:
            # Their keys fit no more, in any case.
            _log.warning("sessions of other tokens not removed", error=str(error))
        task_status.started()
        while True:
            await self._wake.wait()
            if not self._streams:
                self._wake = trio.Event()
            try:
                await self._look()
            except StoreError as error:
                # A store that can't be read says of no session that it has ended.
                _log.debug("can't look after sessions", error=str(error))
            await trio.sleep(LOOK_SECONDS)

    async def make_code(
        self,
        *,
        read_only: bool,
        seconds: float = CODE_SECONDS,
        download: str | None = None,
        session: Session | None = None,
    ) -> tuple[str, Code]:
        """A new code: it signs a browser in, or opens `download`, which it does in the name of the
        `session` that asks for it."""
        secret = secrets.token_urlsafe(16)
        expires_at = now() + int(seconds * SECOND)
        owner = None if session is None else session.id
        hashed, mark = self._tokens.hash(read_only, "code", secret), self._tokens.mark(read_only)
        code = Code(hashed, mark, read_only, expires_at, download, owner)
        await self._store.add_code(code, now())
        return secret, code

    async def code(self, code_id: bytes) -> Code | None:
        """A code that was not used yet, and has not expired."""
        return await self._find_code([code_id])

    async def sign_in(self, secret: str) -> tuple[str, Session] | None:
        """Use a code: a new session with its key, or None if the code is not one for this."""
        ids = self._hashes("code", secret)
        # Only a code that is there reaches the store's one writer.
        if await self._find_code(ids) is None:
            return None
        key = secrets.token_urlsafe(16)
        made = {hashed: self._session(role, key) for role, hashed in zip(ROLES, ids, strict=True)}
        code = await self._store.take_code(ids, None, now(), made)
        return None if code is None else (key, made[code.id])

    async def start(self, *, read_only: bool) -> tuple[str, Session]:
        """A new session for a browser that has the token."""
        key = secrets.token_urlsafe(16)
        session = self._session(read_only, key)
        await self._store.add_session(session, now())
        return key, session

    async def find(self, key: str, stream: SessionStream | None = None) -> Session | None:
        """Use a session: the one that has this key, if any. Its end will end the `stream`."""
        if not _SECRET.fullmatch(key):
            # A wrong token costs no lookup.
            return None
        return await self._find(self._hashes("key", key), stream)

    async def open_download(
        self, secret: str, download: str, stream: SessionStream | None = None
    ) -> Code | None:
        """Use a code for a download. If a session asked for it, its end will end the `stream`."""
        ids = self._hashes("code", secret)
        if await self._find_code(ids) is None:
            return None
        code = await self._store.take_code(ids, download, now())
        if code is None or code.session is None:
            return code
        return None if await self._find([code.session], stream) is None else code

    async def end(self, session: Session) -> None:
        """End a session and its streams."""
        try:
            await self._store.end_session(session.id)
        finally:
            # Also if the result is unknown. A stream that begins meanwhile is found by `run`.
            self._end_streams(session.id)

    def leave(self, stream: SessionStream) -> None:
        """The request of a stream has ended, or has no session."""
        self._streams.discard(stream)

    async def _find(self, ids: Collection[bytes], stream: SessionStream | None) -> Session | None:
        if stream is not None:
            # Before the lookup: if the session ends after it, the stream ends, too.
            stream.ids = ids
            self._streams.add(stream)
        async with self._lookups:
            found = await self._store.sessions(ids)
        moment = now()
        session = next((each for each in found if each.expires_at > moment), None)
        if session is None:
            if stream is not None:
                self.leave(stream)
            return None
        if stream is not None:
            stream.ids, stream.is_admitted = [session.id], True
            self._wake.set()
        if _is_due(session, moment):
            # The request does not wait for this, and does not fail with it.
            self._used.add(session.id)
            self._wake.set()
        return session

    async def _find_code(self, ids: Collection[bytes]) -> Code | None:
        async with self._lookups:
            found = await self._store.codes(ids)
        return next((code for code in found if code.expires_at > now()), None)

    async def _look(self) -> None:
        """Look at the sessions that have streams or were used."""
        watched = {each for stream in self._streams if stream.is_admitted for each in stream.ids}
        ids, self._used = watched | self._used, set()
        if not ids:
            return
        moment = now()
        found = [each for each in await self._store.sessions(ids) if each.expires_at > moment]
        for each in watched - {session.id for session in found}:
            self._end_streams(each)
        due = {
            session.id: _expiry(session, moment) for session in found if _is_due(session, moment)
        }
        if due:
            await self._store.extend_sessions(due)

    def _end_streams(self, session_id: bytes) -> None:
        for stream in self._streams:
            if session_id in stream.ids:
                stream.scope.cancel(reason="the session has ended")

    def _session(self, read_only: bool, key: str) -> Session:
        moment = now()
        hashed, mark = self._tokens.hash(read_only, "key", key), self._tokens.mark(read_only)
        return Session(hashed, mark, read_only, moment, moment + UNUSED)

    def _hashes(self, kind: str, secret: str) -> list[bytes]:
        """The ids that a secret may have, in the order of the tokens."""
        return [self._tokens.hash(role, kind, secret) for role in ROLES]


def _expiry(session: Session, moment: int) -> int:
    """When a session ends that is used now."""
    return min(moment + UNUSED, session.created_at + LONGEST)


def _is_due(session: Session, moment: int) -> bool:
    """Whether the store is to learn that a session is used now."""
    return _expiry(session, moment) - session.expires_at >= NOTED
