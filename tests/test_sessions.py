"""Sessions and codes in both stores, without HTTP: bounds, expiry, and streams that end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing

from tests.failing_parts import FailingStore
from tests.live import PATIENCE
from tests.steps import InvariantError, Steps, explore
from tests.stores import running
from trio_logs.errors import DataFolderError, InvalidRequestError
from trio_logs.records import now
from trio_logs.sessions import LONGEST, NOTED, UNUSED, Sessions, SessionStream
from trio_logs.settings import Settings
from trio_logs.store import Store
from trio_logs.store.memory import MemoryStore
from trio_logs.store.sessions import MAX_CODES, MAX_SESSIONS, Code, Session
from trio_logs.store.sqlite import SQLiteStore
from trio_logs.tokens import Tokens, load_tokens

TOKENS = Tokens("full", "reading")
SECOND = 1_000_000


@pytest.fixture
async def store(make_store: Callable[[], Store]) -> AsyncIterator[Store]:
    async with running(make_store()) as opened:
        yield opened


@asynccontextmanager
async def looking_after(sessions: Sessions) -> AsyncIterator[Sessions]:
    """Sessions whose `run` runs."""
    async with trio.open_nursery() as nursery:
        await nursery.start(sessions.run)
        yield sessions
        nursery.cancel_scope.cancel()


def key_of(name: str) -> str:
    """A key with this name: all keys are of one length."""
    return name.ljust(22, "-")


def session_of(name: str, **fields: Any) -> Session:
    """A session that was made just now, unless the fields say otherwise."""
    made = Session(
        TOKENS.hash(False, "key", key_of(name)), TOKENS.mark(False), False, now(), now() + UNUSED
    )
    return replace(made, **fields)


async def follow(sessions: Sessions, key: str, stream: SessionStream) -> None:
    """A request that lasts until its session ends."""
    try:
        with stream.scope:
            assert await sessions.find(key, stream) is not None
            await trio.sleep_forever()
    finally:
        sessions.leave(stream)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(PATIENCE):
        while not await condition():
            await trio.sleep(0.01)


async def test_of_two_uses_of_a_code_one_works(store: Store) -> None:
    sessions = Sessions(store, TOKENS)
    code, _ = await sessions.make_code(read_only=False)
    made: list[tuple[str, Session] | None] = []

    async def sign_in() -> None:
        made.append(await sessions.sign_in(code))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(sign_in)
    [(key, session)] = [each for each in made if each is not None]
    assert await sessions.find(key) == session
    assert not session.read_only


async def test_a_code_and_a_session_have_the_rights_of_their_token(store: Store) -> None:
    sessions = Sessions(store, TOKENS)
    for role in (True, False):
        code, kept = await sessions.make_code(read_only=role)
        assert kept.read_only is role
        made = await sessions.sign_in(code)
        assert made is not None
        for key, session in (made, await sessions.start(read_only=role)):
            assert session.read_only is role
            assert await sessions.find(key) == session


async def test_what_has_expired_is_of_no_use(store: Store) -> None:
    sessions = Sessions(store, TOKENS)
    code, kept = await sessions.make_code(read_only=False, seconds=0)
    assert await sessions.sign_in(code) is None
    assert await sessions.code(kept.id) is None
    code, _ = await sessions.make_code(read_only=False, seconds=0, download="x")
    assert await sessions.open_download(code, "x") is None
    await store.add_session(session_of("key", expires_at=now() - 1), now() - 2)
    assert await sessions.find(key_of("key")) is None
    # The next ones take their place.
    await sessions.make_code(read_only=False)
    await sessions.start(read_only=False)
    assert await store.codes([kept.id]) == []
    assert await store.sessions([session_of("key").id]) == []


async def test_the_oldest_go(store: Store) -> None:
    codes = [Code(b"%d" % number, b"m", False, now() + SECOND * 60) for number in range(103)]
    for code in codes:
        await store.add_code(code, now())
    ids = [code.id for code in codes]
    assert await store.codes(ids[:4]) == [codes[3]]
    assert len(await store.codes(ids)) == MAX_CODES == 100
    sessions = [session_of(str(number)) for number in range(1002)]
    async with trio.open_nursery() as nursery:
        for session in sessions:
            nursery.start_soon(store.add_session, session, now())
    kept = await store.sessions([session.id for session in sessions])
    assert len(kept) == MAX_SESSIONS == 1000


async def test_a_token_does_not_sign_out_the_other_one(store: Store) -> None:
    """The read-only token may be in many hands. The bounds are those of both together."""
    sessions = Sessions(store, TOKENS)
    full = [await sessions.start(read_only=False) for _ in range(2)]
    _, code = await sessions.make_code(read_only=False)
    others = [session_of(str(number), mark=TOKENS.mark(True)) for number in range(MAX_SESSIONS)]
    async with trio.open_nursery() as nursery:
        for other in others:
            nursery.start_soon(store.add_session, other, now())
        for _ in range(MAX_CODES):
            nursery.start_soon(partial(sessions.make_code, read_only=True))
    assert [await sessions.find(key) for key, _ in full] == [session for _, session in full]
    assert await sessions.code(code.id) == code
    assert len(await store.sessions([other.id for other in others])) == MAX_SESSIONS - 2
    # And the other way round.
    for number in range(3):
        await store.add_session(session_of(f"full {number}"), now())
    assert await sessions.find(full[0][0]) is not None
    assert len(await store.sessions([other.id for other in others])) == MAX_SESSIONS - 5


async def test_the_stores_keep_what_they_are_given(store: Store) -> None:
    """Whatever a code is for; each is found by its id alone."""
    later = now() + 60 * SECOND
    codes = [
        Code(b"1", b"m", False, later),
        Code(b"2", b"m", True, later, "/download", b"session"),
        Code(b"3", b"other", True, later, "/download"),
    ]
    for code in codes:
        await store.add_code(code, now())
    assert sorted(await store.codes([b"1", b"2", b"3", b"4"]), key=lambda code: code.id) == codes
    made = session_of("x")
    # Not for this, and too late.
    assert await store.take_code([b"1"], "/download", now(), {b"1": made}) is None
    assert await store.take_code([b"2"], None, now(), {b"2": made}) is None
    assert await store.take_code([b"2"], "/other", now()) is None
    assert await store.take_code([b"1"], None, later, {b"1": made}) is None
    assert await store.sessions([made.id]) == []
    assert await store.take_code([b"1", b"2"], None, now(), {b"1": made}) == codes[0]
    assert await store.sessions([made.id, b"none"]) == [made]
    assert await store.take_code([b"2"], "/download", now()) == codes[1]
    assert await store.codes([b"1", b"2"]) == []
    await store.extend_sessions({made.id: later, b"none": later})
    assert await store.sessions([made.id]) == [replace(made, expires_at=later)]
    await store.keep_marks([made.mark])
    assert (await store.codes([b"3"]), len(await store.sessions([made.id]))) == ([], 1)
    await store.keep_marks([b"m", b"other"])
    assert await store.sessions([made.id]) == []
    await store.add_session(made, now())
    for _ in range(2):
        await store.end_session(made.id)
    assert await store.sessions([made.id]) == []


async def test_a_session_lasts_seven_days_since_its_last_use(store: Store) -> None:
    async with looking_after(Sessions(store, TOKENS)) as sessions:
        before = now()
        _, made = await sessions.start(read_only=False)
        assert 0 <= made.expires_at - before - 7 * 86_400 * SECOND < PATIENCE * SECOND
        # It was used a day ago, and 89 days 23 hours after it was made.
        expiry, created = now() + 6 * 86_400 * SECOND, now() - LONGEST + 3600 * SECOND
        await store.add_session(session_of("day", expires_at=expiry), now())
        old = session_of("old", created_at=created, expires_at=now() + 60 * SECOND)
        await store.add_session(old, now())
        for name in ("day", "old"):
            assert await sessions.find(key_of(name)) is not None

        async def is_noted() -> bool:
            day, old = [(await store.sessions([session_of(name).id]))[0] for name in ("day", "old")]
            assert old.expires_at in (old.expires_at, created + LONGEST)
            return day.expires_at > expiry + 86_000 * SECOND and old.expires_at == created + LONGEST

        await until(is_noted)


async def test_the_store_learns_of_use_once_in_ten_minutes(store: Store) -> None:
    async with looking_after(Sessions(store, TOKENS)) as sessions:
        fresh = session_of("fresh", expires_at=now() + UNUSED - NOTED + 60 * SECOND)
        due = session_of("due", expires_at=now() + UNUSED - NOTED)
        for each in (fresh, due):
            await store.add_session(each, now())
        commits = sum(store.statistics().commits.counts)
        for _ in range(5):
            assert await sessions.find(key_of("fresh")) is not None
        stream = SessionStream()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, sessions, key_of("due"), stream)

            async def is_noted() -> bool:
                return (await store.sessions([due.id])) != [due]

            # An open stream is use.
            await until(is_noted)
            nursery.cancel_scope.cancel()
        assert await store.sessions([fresh.id]) == [fresh]
        if isinstance(store, SQLiteStore):
            assert sum(store.statistics().commits.counts) == commits + 1


async def test_a_session_that_has_expired_is_not_brought_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its streams end, although they are use: as after 90 days."""
    async with running(MemoryStore()) as store, looking_after(Sessions(store, TOKENS)) as sessions:
        key, session = await sessions.start(read_only=False)
        stream = SessionStream()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, sessions, key, stream)
            await trio.sleep(10)
            assert stream.is_admitted
            await store.extend_sessions({session.id: now()})
            with trio.fail_after(1):
                while not stream.scope.cancelled_caught:
                    await trio.sleep(0.01)
        assert await sessions.find(key) is None
        [kept] = await store.sessions([session.id])
        assert kept.expires_at <= now()


async def test_streams_end_with_their_session_alone(store: Store) -> None:
    async with looking_after(Sessions(store, TOKENS)) as sessions:
        made = [await sessions.start(read_only=role) for role in (False, True, False)]
        streams = [SessionStream() for _ in range(6)]
        async with trio.open_nursery() as nursery:
            for stream, (key, _) in zip(streams, made * 2, strict=True):
                nursery.start_soon(follow, sessions, key, stream)
            with trio.fail_after(PATIENCE):
                while not all(stream.is_admitted for stream in streams):
                    await trio.lowlevel.checkpoint()
            await sessions.end(made[0][1])
            assert [stream.scope.cancel_called for stream in streams] == [True, False, False] * 2
            # In another way, as by another node; or since there are too many.
            await store.end_session(made[1][1].id)
            with trio.fail_after(PATIENCE):
                while (
                    not streams[1].scope.cancelled_caught or not streams[4].scope.cancelled_caught
                ):
                    await trio.sleep(0.01)
            assert not streams[2].scope.cancel_called
            nursery.cancel_scope.cancel()


async def test_a_stream_that_begins_during_the_sign_out_ends(store: Store) -> None:
    """Its lookup is over before the session is gone, and its task runs after that."""
    failing = FailingStore(store)
    sessions = Sessions(failing, TOKENS)
    key, session = await sessions.start(read_only=False)
    failing.switch.hang("sessions")
    stream = SessionStream()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, sessions, key, stream)
        await failing.switch.until_called("sessions", 1)
        await sessions.end(session)
        with trio.fail_after(PATIENCE):
            while not stream.scope.cancelled_caught:
                await trio.sleep(0.01)


async def test_a_stream_whose_lookup_takes_long_does_not_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Until then, it may be that of one token or of the other, so one of two ids is not there."""

    class Slow(MemoryStore):
        looks = 0
        is_slow = False

        async def sessions(self, ids: Collection[bytes]) -> list[Session]:
            if isinstance(ids, list) and self.is_slow:
                await trio.sleep(10)
            self.looks += not isinstance(ids, list)
            return await super().sessions(ids)

    async with running(Slow()) as store, looking_after(Sessions(store, TOKENS)) as sessions:
        key, _ = await sessions.start(read_only=False)
        streams = [SessionStream(), SessionStream()]
        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(follow, sessions, key, stream)
                await trio.testing.wait_all_tasks_blocked()
                store.is_slow = True
            await trio.sleep(20)
            assert store.looks > 30
            assert [stream.is_admitted for stream in streams] == [True, True]
            assert not any(stream.scope.cancel_called for stream in streams)
            nursery.cancel_scope.cancel()


async def test_a_failing_store_neither_ends_streams_nor_fails_requests(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running(MemoryStore()) as store:
        failing = FailingStore(store)
        due = session_of("due", expires_at=now() + 60 * SECOND)
        await store.add_session(due, now())
        async with looking_after(Sessions(failing, TOKENS)) as sessions:
            failing.switch.fail("extend_sessions")
            stream = SessionStream()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow, sessions, key_of("due"), stream)
                await failing.switch.until_called("extend_sessions", 2)
                assert await sessions.find(key_of("due")) == due
                failing.switch.fail("sessions")
                calls = failing.switch.calls.count("sessions")
                await failing.switch.until_called("sessions", calls + 2)
                assert not stream.scope.cancel_called
                failing.switch.recover()
                # By the next look.
                await trio.sleep(1)
                [noted] = await store.sessions([due.id])
                assert noted.expires_at > due.expires_at
                nursery.cancel_scope.cancel()


async def test_a_store_that_fails_at_the_start_does_not_stop_it(store: Store) -> None:
    failing = FailingStore(store)
    failing.switch.fail("keep_marks")
    async with looking_after(Sessions(failing, TOKENS)) as sessions:
        key, session = await sessions.start(read_only=False)
        assert await sessions.find(key) == session


async def test_guesses_do_not_reach_the_writer(store: Store) -> None:
    failing = FailingStore(store)
    sessions = Sessions(failing, TOKENS)
    for guess in ("", "x", "é", "x" * 100_000):
        assert await sessions.sign_in(guess) is None
        assert await sessions.open_download(guess, "x") is None
        assert await sessions.find(guess, SessionStream()) is None
    # What can't be a key, such as the token of another service, is not even looked up.
    assert set(failing.switch.calls) == {"codes"}
    assert await sessions.find(key_of("guess"), SessionStream()) is None
    assert set(failing.switch.calls) == {"codes", "sessions"}
    assert not sessions._streams


async def test_guesses_take_two_threads_at_most(store: Store) -> None:
    failing = FailingStore(store)
    failing.switch.hang("sessions", "codes")
    sessions = Sessions(failing, TOKENS)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(sessions.find, key_of("guess"))
            nursery.start_soon(sessions.sign_in, "guess")
        await trio.testing.wait_all_tasks_blocked()
        assert len(failing.switch.calls) == 2
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("tokens", "is_kept"),
    [
        (TOKENS, (True, True)),
        (Tokens("other", "reading"), (False, True)),
        (Tokens("full", "other"), (True, False)),
        # What only read does not allow everything now.
        (Tokens("reading", "full"), (False, False)),
    ],
)
async def test_another_token_ends_sessions_and_codes(
    store: Store, tokens: Tokens, is_kept: tuple[bool, bool]
) -> None:
    before = Sessions(store, TOKENS)
    keys = [(await before.start(read_only=role))[0] for role in (False, True)]
    codes = [(await before.make_code(read_only=role))[0] for role in (False, True)]
    after = Sessions(store, tokens)
    # At once, and for good: also with the first tokens.
    for key, kept in zip(keys, is_kept, strict=True):
        assert (await after.find(key) is not None) == kept
    async with looking_after(after):
        pass
    async with looking_after(Sessions(store, TOKENS)) as again:
        for key, code, kept in zip(keys, codes, is_kept, strict=True):
            assert (await again.find(key) is not None) == kept
            assert (await again.sign_in(code) is not None) == kept


async def test_the_file_has_neither_keys_nor_codes_nor_tokens(tmp_path: Path) -> None:
    tokens = Tokens("a" * 20, "b" * 20)
    async with running(SQLiteStore(tmp_path / "x.db")) as store:
        sessions = Sessions(store, tokens)
        key, session = await sessions.start(read_only=False)
        code, kept = await sessions.make_code(read_only=True, session=session)
        written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert session.id in written
    assert kept.id in written
    for secret in (key, code, tokens.full, tokens.read_only):
        assert secret.encode() not in written
    assert len(session.mark) == 2


def test_the_tokens_are_made_once_and_differ(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    made = load_tokens(settings)
    assert load_tokens(settings) == made
    assert made.full != made.read_only
    for name, token in (("token", made.full), ("token.read-only", made.read_only)):
        path = tmp_path / name
        assert path.read_text() == token + "\n"
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_uid == tmp_path.stat().st_uid
        assert len(token) >= 32
    # The way to revoke it.
    (tmp_path / "token.read-only").unlink()
    again = load_tokens(settings)
    assert again.full == made.full
    assert again.read_only not in (made.full, made.read_only)


def test_where_tokens_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIO_LOGS_READ_ONLY_TOKEN", "reading")
    assert load_tokens(Settings(tmp_path, token="x")) == Tokens("x", "reading")
    assert load_tokens(Settings(tmp_path, token="x", read_only_token="y")) == Tokens("x", "y")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InvalidRequestError, match="the read-only token is the token itself"):
        load_tokens(Settings(tmp_path, token="reading"))
    with pytest.raises(InvalidRequestError, match="the read-only token must be printable ASCII"):
        load_tokens(Settings(tmp_path, token="x", read_only_token="a b"))
    monkeypatch.setenv("TRIO_LOGS_READ_ONLY_TOKEN", "")
    (tmp_path / "token.read-only").write_text("\n")
    with pytest.raises(DataFolderError, match=r"token.read-only is empty"):
        load_tokens(Settings(tmp_path, token="x"))


class Winding(MemoryStore):
    """Takes several steps for each call, before and after the call takes effect."""

    async def sessions(self, ids: Collection[bytes]) -> list[Session]:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        found = await super().sessions(ids)
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        return found

    async def end_session(self, session_id: bytes) -> None:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        await super().end_session(session_id)
        for _ in range(3):
            await trio.lowlevel.checkpoint()


async def sign_out_at_each_step(steps: Steps) -> None:
    """Sign out while one stream is open and others begin, at each moment of that."""
    store = Winding()
    async with looking_after(Sessions(store, TOKENS)) as sessions, trio.open_nursery() as nursery:
        key, session = await sessions.start(read_only=False)
        nursery.start_soon(follow, sessions, key, SessionStream())
        await trio.testing.wait_all_tasks_blocked()

        async def begin(stream: SessionStream) -> None:
            try:
                with stream.scope:
                    if await sessions.find(key, stream) is not None:
                        await trio.sleep_forever()
            finally:
                sessions.leave(stream)

        async def begin_often() -> None:
            for _ in range(12):
                nursery.start_soon(begin, SessionStream())
                await trio.lowlevel.checkpoint()

        with steps.armed():
            nursery.start_soon(begin_often)
            await sessions.end(session)
        # The looks of `run` end what a cancelled sign-out has left.
        await trio.sleep(2)
        is_gone = not await store.sessions([session.id])
        if is_gone and sessions._streams:
            raise InvariantError("a stream outlives its session")
        if not is_gone and not steps.fired:
            raise InvariantError("a session outlives its sign-out")
        if not is_gone and not sessions._streams:
            raise InvariantError("a new stream of a session that goes on has ended")
        nursery.cancel_scope.cancel()
    if sessions._streams:
        raise InvariantError("a stream is looked after that has ended")


def test_a_sign_out_that_is_cancelled_at_each_step(record_figure: Callable[[str], None]) -> None:
    steps = explore(sign_out_at_each_step)
    record_figure(f"sign-out: k = {steps} steps")
    assert steps > 20
