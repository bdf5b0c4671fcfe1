"""The store in PostgreSQL on bad days: restarts, hangs, cut connections, locks, and errors."""

from __future__ import annotations

import errno
import gc
import os
import resource
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import psycopg
import pytest
import structlog
import trio
import trio.testing
from psycopg.waiting import WAIT_R

from tests.postgres_server import PostgresServer, running_postgres
from tests.shared_stores import PostgresDatabase
from tests.stores import append_line, batch, running, workload
from trio_logs.errors import FencedError, StoreError
from trio_logs.records import Outcome, Status
from trio_logs.store import Retention
from trio_logs.store.postgres import PostgresStore
from trio_logs.store.postgres import server as server_module
from trio_logs.store.postgres import writer as writer_module
from trio_logs.store.postgres.connection import ANSWER_SECONDS, Connection
from trio_logs.store.postgres.link import Link
from trio_logs.store.postgres.readers import Readers
from trio_logs.store.postgres.server import Server
from trio_logs.store.postgres.transaction import Transaction

OK = Outcome(Status.SUCCEEDED, 0)


@contextmanager
def holding(database: PostgresDatabase, statement: str) -> Iterator[psycopg.Connection]:
    """Another program, whose transaction holds what the statement locks."""
    with psycopg.connect(database.server.url()) as other:
        other.execute(f"SET search_path = {database.schema}".encode())
        other.execute(statement.encode())
        yield other


@contextmanager
def stopped(server: PostgresServer) -> Iterator[None]:
    """The server does not run, but the kernel keeps its connections."""
    server.signal_all(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal_all(signal.SIGCONT)


async def expect_error(call: Awaitable[object], match: str) -> None:
    with pytest.raises(StoreError, match=match):
        await call


async def until(is_true: Callable[[], object]) -> None:
    """Wait until another process has come so far."""
    with trio.fail_after(20):
        while not await trio.to_thread.run_sync(is_true):
            await trio.sleep(0.01)


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that the test may end."""
    with running_postgres() as server:
        yield server


@asynccontextmanager
async def together(store: PostgresStore) -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks write in one group, in the order in which they start if each is blocked
    before the next one starts."""
    goes_on = threading.Event()

    async with trio.open_nursery() as nursery:
        # The group before it lasts as long.
        nursery.start_soon(store._database.write, lambda _: goes_on.wait(20))
        await trio.testing.wait_all_tasks_blocked()
        try:
            yield nursery
            await trio.testing.wait_all_tasks_blocked()
        finally:
            goes_on.set()


def test_an_exchange_is_ended_when_its_connection_breaks(postgres: PostgresDatabase) -> None:
    """Else the garbage collector ends it, and prints what its clean-up meets."""
    ended: list[bool] = []

    def exchange() -> Generator[int, int, None]:
        try:
            yield WAIT_R
        finally:
            ended.append(True)
            raise psycopg.OperationalError("no connection to the server")

    with Connection.connect(postgres.server.url()) as connection:
        connection.pgconn.finish()
        with pytest.raises(psycopg.OperationalError):
            connection.wait(exchange())
    gc.collect()
    assert ended == [True]


def test_the_error_of_a_slow_exchange_names_the_bound_that_held(
    postgres: PostgresDatabase,
) -> None:
    def exchange() -> Generator[int, int, None]:
        while True:
            yield WAIT_R

    with (
        Connection.connect(postgres.server.url()) as connection,
        pytest.raises(psycopg.OperationalError, match=r"has not answered for 0\.01 s"),
    ):
        connection.wait(exchange(), timeout=0.01)


async def test_each_line_is_there_once_after_the_server_has_crashed(
    own_server: PostgresServer,
) -> None:
    server = own_server
    postgres = PostgresDatabase(server)
    done = 0

    async def write(name: str) -> None:
        nonlocal done
        for number in range(1, 41):
            while True:
                try:
                    await append_line(store, name, number)
                    break
                except StoreError:
                    await trio.sleep(0.01)
            done += 1
        while True:
            try:
                await store.append(name, [], expected=41, epoch=0, size=280, outcome=OK)
                break
            except StoreError:
                await trio.sleep(0.01)

    with structlog.testing.capture_logs() as logged:
        async with running(postgres.node()) as store:
            async with trio.open_nursery() as nursery:
                for name in ("a", "b", "c"):
                    nursery.start_soon(write, name)
                for crash in (20, 60):
                    while done < crash:
                        await trio.sleep(0.001)
                    await trio.to_thread.run_sync(server.stop)
                    with pytest.raises(StoreError):
                        await store.log("a")
                    assert not store.is_up
                    await trio.to_thread.run_sync(server.start)
            for name in ("a", "b", "c"):
                records = await store.read(name, 1, 10**9)
                assert [each.first for each in records] == list(range(1, 41))
                state = await store.log(name)
                assert state is not None
                assert state.end is not None
                assert (state.lines, state.end.lines) == (40, 40)
            # A commit whose result is unknown is counted by the next look at retention.
            assert await store.trim(Retention(max_bytes=10**9)) == 0
            assert (
                store.statistics().bytes
                == sum(len(batch(number).data) for number in range(1, 41)) * 3
            )
            await until(lambda: store.is_up)
    events = [each["event"] for each in logged if "retry_in" not in each]
    assert (
        events
        == [
            "the database does not answer: trying again",
            "the database answers again",
        ]
        * 2
    )


async def test_a_server_that_hangs_holds_no_call_for_long(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(postgres.node()) as store:
        await append_line(store, "w", 1)
        monkeypatch.setattr("trio_logs.store.postgres.connection.ANSWER_SECONDS", 0.3)
        monkeypatch.setattr("trio_logs.store.postgres.connection.CANCEL_SECONDS", 0.1)
        monkeypatch.setattr("trio_logs.store.postgres.database.BEAT_SECONDS", 0.2)
        with stopped(postgres.server):
            start = time.monotonic()
            async with trio.open_nursery() as nursery:
                for call in (
                    append_line(store, "w", 2),
                    store.read("w", 1, 1),
                    store.beat(address=None, draining=False),
                ):
                    nursery.start_soon(expect_error, call, "answer")
            assert time.monotonic() - start < 5
            assert not store.is_up
        monkeypatch.undo()
        await append_line(store, "w", 2)
        assert await store.read("w", 1, 10**9) == [batch(1), batch(2)]


async def test_closing_does_not_wait_for_a_server_that_hangs(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.store.postgres.database.READS_SECONDS", 0.1)
    monkeypatch.setattr("trio_logs.store.postgres.database.CLOSE_SECONDS", 0.2)
    monkeypatch.setattr("trio_logs.store.postgres.connection.CANCEL_SECONDS", 0.1)
    with structlog.testing.capture_logs() as logged:
        async with trio.open_nursery() as callers:
            async with running(postgres.node()) as store:
                with_server = stopped(postgres.server)
                with_server.__enter__()
                unknown = append_line(store, "w", 1)
                callers.start_soon(expect_error, unknown, "the database does not answer")
                callers.start_soon(expect_error, store.read("w", 1, 1), "answer")
                await trio.testing.wait_all_tasks_blocked()
                start = time.monotonic()
            assert time.monotonic() - start < 3
            # The threads do not wait for it either.
            await until(lambda: not any("store" in each.name for each in threading.enumerate()))
            assert time.monotonic() - start < ANSWER_SECONDS - 2
            with_server.__exit__(None, None, None)
    assert [each["unknown_writes"] for each in logged if "unknown_writes" in each] == [1]
    for call in (append_line(store, "w", 1), store.read("w", 1, 1)):
        await expect_error(call, "store is closed")


async def test_a_cancelled_read_ends_in_the_server(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("connection", "server"):
        monkeypatch.setattr(f"trio_logs.store.postgres.{module}.ANSWER_SECONDS", 60)

    def sleep(connection: Connection) -> None:
        connection.execute("SELECT pg_sleep(60)")

    def sleeping() -> int:
        [(count,)] = postgres.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE state = 'active' AND query = 'SELECT pg_sleep(60)'"
        )
        return int(str(count))

    async with running(postgres.node()) as store:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(store._database.read, sleep)
            await until(lambda: sleeping() == 8)
            nursery.cancel_scope.cancel()
        await until(lambda: sleeping() == 0)
        # All connections are of use.
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(store.log, "w")


class CountingServer(Server):
    """Notes the pids of the server's processes for its connections."""

    def __init__(self, url: str, schema: str) -> None:
        super().__init__(url, schema)
        self.made: list[int] = []

    def connect(self) -> Connection:
        connection = super().connect()
        self.made.append(connection.info.backend_pid)
        return connection


async def test_a_connection_that_was_too_slow_for_its_caller_is_the_next_ones(
    postgres: PostgresDatabase,
) -> None:
    def process(connection: Connection) -> int:
        [(pid,)] = connection.execute("SELECT pg_backend_pid()").fetchall()
        return int(pid)

    # Long enough for a server that is stopped.
    server = CountingServer(f"{postgres.server.url()}&connect_timeout=60", postgres.schema)
    readers = Readers(server, Link(), "test", 1)
    readers.start()
    try:
        await trio.to_thread.run_sync(readers.open)
        first = await readers.read(process)
        postgres.execute(f"SELECT pg_terminate_backend({first}, 20000)")
        async with trio.open_nursery() as nursery:
            with stopped(postgres.server):
                nursery.start_soon(readers.read, process)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        found = await readers.read(process)
        assert server.made == [first, found]
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 20):
            await readers.wait_closed()
        readers.close()


async def test_a_read_that_waits_while_others_hang_fails_at_the_close(
    postgres: PostgresDatabase,
) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(_: Connection) -> None:
        hangs.set()
        assert goes_on.wait(20)

    readers = Readers(Server(postgres.server.url(), postgres.schema), Link(), "test", 1)
    readers.start()
    await trio.to_thread.run_sync(readers.open)
    async with trio.open_nursery() as callers:
        callers.start_soon(readers.read, hang)
        await until(hangs.is_set)
        callers.start_soon(expect_error, readers.read(hang), "the store is closed")
        await trio.testing.wait_all_tasks_blocked()
        # As the close of a store that has waited long enough.
        with trio.move_on_after(0):
            await readers.wait_closed()
        await trio.to_thread.run_sync(readers.close)
        goes_on.set()


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Within the block, this process can open no file; those that are open work."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_node_without_file_descriptors_does_not_blame_the_database(
    postgres: PostgresDatabase,
) -> None:
    async with running(postgres.node()) as store:
        await append_line(store, "w", 1)
        postgres.execute(
            "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity"
            " WHERE application_name = 'trio-logs'"
        )
        with structlog.testing.capture_logs() as logged, no_descriptors():
            for call in (
                append_line(store, "w", 2),
                store.read("w", 1, 1),
                store.beat(address=None, draining=False),
            ):
                await expect_error(call, r"too many open files\. Raise its limit")
            assert store._database.link.is_up
        assert logged == []
        await append_line(store, "w", 2)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_lack_of_file_descriptors_says_nothing_about_the_database(number: int) -> None:
    link = Link()
    lack = OSError(number, os.strerror(number))
    link.failed(lack, time.monotonic())
    assert link.is_up
    link.failed(psycopg.OperationalError("connection refused"), time.monotonic())
    assert not link.is_up
    link.failed(lack, time.monotonic())
    assert not link.is_up


async def test_an_innocent_write_of_a_failed_group_succeeds(postgres: PostgresDatabase) -> None:
    failed: dict[str, Exception] = {}

    async def attempt(name: str, call: Awaitable[object]) -> None:
        try:
            await call
        except (FencedError, StoreError, ValueError) as error:
            failed[name] = error

    async with running(postgres.node()) as store:
        await store.create(workload("taken"))
        before = store.statistics().commits.count
        async with trio.open_nursery() as nursery:
            with holding(postgres, "LOCK TABLE logs IN EXCLUSIVE MODE"):
                nursery.start_soon(append_line, store, "first", 1)
                await until(lambda: postgres.execute("SELECT 1 FROM pg_locks WHERE NOT granted"))
                # These wait, so they come in one group.
                for number in range(5):
                    nursery.start_soon(append_line, store, f"innocent{number}", 1)
                for name, call in (
                    ("missing", append_line(store, "missing", 3)),
                    ("fenced", store.append("f", [batch(1)], expected=1, epoch=7, size=7)),
                    ("taken", store.create(workload("taken"))),
                ):
                    nursery.start_soon(attempt, name, call)
                await trio.testing.wait_all_tasks_blocked()
                assert store.statistics().writes_waiting == 9
        kinds = {name: type(error) for name, error in failed.items()}
        assert kinds == {"missing": FencedError, "fenced": FencedError, "taken": StoreError}
        for number in range(5):
            assert await store.read(f"innocent{number}", 1, 1) == [batch(1)]
        assert await store.log("missing") is None
        assert store.statistics().bytes == 6 * 7
        # The refused ones are no failures of the store.
        assert store.statistics().writes_failed == 1
        assert store.statistics().commits.count > before


async def test_refused_appends_cost_the_others_no_second_try(postgres: PostgresDatabase) -> None:
    async with running(postgres.node()) as store:
        before = store.statistics().commits.count
        async with trio.open_nursery() as nursery:
            with holding(postgres, "LOCK TABLE logs IN EXCLUSIVE MODE"):
                nursery.start_soon(append_line, store, "first", 1)
                await until(lambda: postgres.execute("SELECT 1 FROM pg_locks WHERE NOT granted"))
                for number in range(5):
                    nursery.start_soon(append_line, store, f"innocent{number}", 1)

                async def refused() -> None:
                    with pytest.raises(FencedError):
                        await append_line(store, "missing", 3)

                nursery.start_soon(refused)
                await trio.testing.wait_all_tasks_blocked()
        assert store.statistics().commits.count == before + 2


async def test_two_appends_to_one_log_at_once(postgres: PostgresDatabase) -> None:
    """As of a source that was fenced, and the one that took its place."""
    async with running(postgres.node()) as store:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(append_line, store, "w", 1)
        assert await store.read("w", 1, 10**9) == [batch(1)]
        assert store.statistics().bytes == 7


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits of the writer to a twentieth; their proportions stay."""
    for module, name in ((server_module, "LOCK_SECONDS"), (writer_module, "APART_SECONDS")):
        monkeypatch.setattr(module, name, getattr(module, name) / 20)


async def test_the_wait_for_a_lock_has_a_bound(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    async with running(postgres.node()) as store:
        for name in ("w", "other"):
            await append_line(store, name, 1)
        with holding(postgres, "SELECT 1 FROM logs WHERE id = 'w' FOR UPDATE"):
            async with together(store) as nursery:
                match = "lock timeout. End the transaction of the other program"
                nursery.start_soon(expect_error, append_line(store, "w", 2), match)
                await trio.testing.wait_all_tasks_blocked()
                # One log that is locked does not hold up those after it.
                nursery.start_soon(append_line, store, "other", 2)
                nursery.start_soon(append_line, store, "third", 1)
            assert await store.read("w", 1, 10**9) == [batch(1)]
        await append_line(store, "w", 2)
        assert store.statistics().writes_failed == 1


async def test_the_waits_for_many_locks_have_a_bound_together(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr(writer_module, "BRIEF_LOCK_SECONDS", 0.1)
    tries = 0

    def locked(transaction: Transaction) -> None:
        nonlocal tries
        tries += 1
        transaction.execute("SELECT 1 FROM logs FOR UPDATE")

    async with running(postgres.node()) as store:
        await append_line(store, "w", 1)
        with holding(postgres, "SELECT 1 FROM logs FOR UPDATE"):
            async with together(store) as nursery:
                for _ in range(50):
                    call = store._database.write(locked)
                    nursery.start_soon(expect_error, call, "lock timeout")
        # One in the group, one that fails, and the others until their seconds are over.
        assert 3 <= tries <= 2 + 0.25 / 0.1 + 1


async def test_a_slow_statement_is_the_failure_of_its_call_alone(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bounds(connection: Connection) -> tuple[float, float]:
        """The seconds after which the server ends a statement, and the node gives it up."""
        [(milliseconds,)] = connection.execute(
            "SELECT setting::integer FROM pg_settings WHERE name = 'statement_timeout'"
        ).fetchall()
        return milliseconds / 1000, connection.answer_seconds or ANSWER_SECONDS

    def slow(transaction: Transaction) -> None:
        transaction.execute("SET LOCAL statement_timeout = 100")
        transaction.execute("SELECT pg_sleep(60)")

    # The time of the first failure does not count.
    monkeypatch.setattr(writer_module, "APART_SECONDS", 0.0)
    async with running(postgres.node()) as store:
        database = store._database
        written = await database.write(lambda transaction: bounds(transaction._connection))
        for ends, gives_up in (
            written,
            await database.read(bounds),
            await database.beats.read(bounds),
        ):
            assert 0 < ends <= 0.8 * gives_up
        async with together(store) as nursery:
            nursery.start_soon(expect_error, database.write(slow), "statement timeout. Find")
            await trio.testing.wait_all_tasks_blocked()
            for name in ("a", "b"):
                nursery.start_soon(append_line, store, name, 1)
        assert store.statistics().writes_failed == 1
        assert store.is_up


async def test_a_deadlock_is_no_error(postgres: PostgresDatabase) -> None:
    lock = "SELECT 1 FROM logs WHERE id = '{}' FOR UPDATE"
    tries = 0
    holds, goes_on = threading.Event(), threading.Event()

    def change(transaction: Transaction) -> None:
        nonlocal tries
        tries += 1
        transaction.execute(lock.format("a"))
        holds.set()
        assert goes_on.wait(20)
        transaction.execute(lock.format("b"))

    async with running(postgres.node()) as store:
        for name in ("a", "b"):
            await append_line(store, name, 1)
        with holding(postgres, lock.format("b")) as other:
            # The store is the one that finds the deadlock.
            other.execute("SET deadlock_timeout = '60s'")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store._database.write, change)
                await until(holds.is_set)
                execute = partial(other.execute, lock.format("a").encode())
                nursery.start_soon(trio.to_thread.run_sync, execute)
                await until(lambda: postgres.execute("SELECT 1 FROM pg_locks WHERE NOT granted"))
                goes_on.set()
                await until(lambda: tries >= 2)
                # The other one has both, and lets them go.
                await until(lambda: not other.lock.locked())
                other.rollback()
        assert store.statistics().writes_failed == 0


async def test_the_sessions_of_a_store_that_closes_end(postgres: PostgresDatabase) -> None:
    def sessions() -> object:
        [(count,)] = postgres.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'trio-logs'"
        )
        return count

    async with running(postgres.node()):
        assert sessions() == 11
    await until(lambda: sessions() == 0)


def other_store(postgres: PostgresDatabase, **options: str) -> PostgresStore:
    return PostgresStore(postgres.server.url(), schema=postgres.schema, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("wanted", ["off", "remote_apply"])
async def test_synchronous_commit_is_a_setting(postgres: PostgresDatabase, wanted: str) -> None:
    async with running(other_store(postgres, synchronous_commit=wanted)) as store:
        shown = await store._database.write(
            lambda transaction: transaction.execute("SHOW synchronous_commit").fetchone()
        )
        assert shown == (wanted,)
