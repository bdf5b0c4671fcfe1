"""Several stores over one PostgreSQL database: claims at once, bells, changes, trimming, roles."""

from __future__ import annotations

import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from itertools import count

import pytest
import trio

from tests.postgres_server import running_postgres
from tests.shared_stores import PostgresDatabase, joined
from tests.stores import append, append_line, batch, running, workload
from trio_logs.errors import FencedError
from trio_logs.records import Batch, Change, Outcome, Status, now
from trio_logs.store import Retention
from trio_logs.store.postgres.bells import MAX_BYTES, Bell, Heard, asking, hear, showing
from trio_logs.store.postgres.trimming import TRIM_ROWS
from trio_logs.store.shared import SHOWN_BYTES, Owned, SharedStore

OK = Outcome(Status.SUCCEEDED, 0)


async def until(is_true: Callable[[], object]) -> None:
    """Wait until another process has come so far."""
    with trio.fail_after(20):
        while not await trio.to_thread.run_sync(is_true):
            await trio.sleep(0.01)


async def test_a_thousand_workloads_are_claimed_once_each(postgres: PostgresDatabase) -> None:
    names = [f"w{number:04}" for number in range(1000)]
    claimed: list[Owned] = []

    async def claim(store: SharedStore, limit: int) -> None:
        while taken := await store.claim(limit, 7):
            claimed.extend(taken)

    async with joined(postgres.node, "a", "b", "c") as stores:
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(stores[0].create, workload(name))
        async with trio.open_nursery() as nursery:
            for store, limit in zip(stores * 2, (1, 3, 10, 10, 20, 40), strict=True):
                nursery.start_soon(claim, store, limit)
        assert sorted(each.workload.id for each in claimed) == names
        assert {each.epoch for each in claimed} == {1}
        by_node = Counter(each.workload.node for each in claimed)
        assert by_node.keys() <= {"a", "b", "c"}
        nodes = await stores[0].nodes()
        assert {each.id: each.running for each in nodes} == {"a": 0, "b": 0, "c": 0} | by_node
        assert {each.queued for each in nodes} == {0}
        assert await stores[1].position() == 2000


async def test_epochs_that_a_failover_lost_are_not_given_again() -> None:
    """The server is its own standby, which lags by a claim."""
    with running_postgres() as server:
        database = PostgresDatabase(server)
        async with joined(database.node, "a") as [a]:
            await a.create(workload("w"))
            [first] = await a.claim(1, 7)
        database.execute("UPDATE logs SET owner = NULL, epoch = 0, queued = TRUE")
        database.execute("UPDATE workloads SET status = 'queued', started_at = NULL")
        server.stop()
        (server.folder / "data" / "standby.signal").touch()
        server.start()
        server.execute("SELECT pg_promote()")
        async with joined(database.node, "b") as [b]:
            [second] = await b.claim(1, 7)
            assert second.epoch > first.epoch
            with pytest.raises(FencedError):
                await b.append("w", [batch(1)], expected=1, epoch=first.epoch, size=7)
            await b.append("w", [batch(1)], expected=1, epoch=second.epoch, size=7)


async def test_an_epoch_that_a_crash_lost_belongs_to_the_node_that_gets_it_next(
    postgres: PostgresDatabase,
) -> None:
    """The crash begins no new timeline, so the second claim has the epoch of the first."""
    async with joined(postgres.node, "a", "b") as (a, b):
        await a.create(workload("w"))
        [first] = await a.claim(1, 7)
        # What a crash leaves where `synchronous_commit` is off.
        postgres.execute("UPDATE logs SET owner = NULL, epoch = 0, queued = TRUE")
        postgres.execute("UPDATE workloads SET status = 'queued', started_at = NULL, node = NULL")
        [second] = await b.claim(1, 7)
        assert second.epoch == first.epoch

        async def refused(call: Awaitable[object], match: str) -> None:
            with pytest.raises(FencedError, match=match):
                await call

        lines = partial(a.append, "w", expected=1, epoch=first.epoch, size=7)
        await refused(lines([batch(1)]), "node b owns the log now")
        await b.append("w", [batch(1)], expected=1, epoch=second.epoch, size=7)
        # These lines are there already, but they are not those of this node.
        await refused(lines([batch(1)]), "node b owns the log now")
        await refused(lines([], outcome=OK), "node b owns the log now")
        await refused(a.remember_owned("w", first.epoch, "handle"), "another owner")
        await b.remember_owned("w", second.epoch, "handle")
        await b.append("w", [], expected=2, epoch=second.epoch, size=7, outcome=OK)
        # The end leaves no owner, and a retry of it is no failure.
        await b.append("w", [], expected=2, epoch=second.epoch, size=7, outcome=OK)


async def test_an_append_of_the_owner_takes_one_statement(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look at the owner adds no round trip."""
    async with joined(postgres.node, "a") as [a]:
        await a.create(workload("w"))
        [owned] = await a.claim(1, 7)
        # What only a second try needs.
        monkeypatch.setattr("trio_logs.store.postgres.writer.LOCK", "no statement")
        await a.append("w", [batch(1)], expected=1, epoch=owned.epoch, size=7)


async def test_a_request_waits_for_the_append_that_ends_its_log(
    postgres: PostgresDatabase,
) -> None:
    async with joined(postgres.node, "a", "b") as (a, b):
        await a.create(workload("w"))
        await a.claim(1, 7)
        answers: list[bool] = []

        async def ask() -> None:
            answers.append(await b.request("w", b"{}"))

        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted"
        async with trio.open_nursery() as nursery:
            with postgres.connection() as other, other.transaction():
                # What an append does that ends the log.
                other.execute("SELECT 1 FROM logs WHERE id = 'w' FOR NO KEY UPDATE")
                other.execute("DELETE FROM requests")
                other.execute("UPDATE logs SET owner = NULL, outcome = '{}'")
                nursery.start_soon(ask)
                await until(lambda: answers or postgres.execute(waiting))
        assert answers == [False]
        assert postgres.execute("SELECT * FROM requests") == []


class Bells:
    """Notes what a store rings."""

    def __init__(self) -> None:
        self.told: list[str | None] = []
        self._told = trio.Event()

    def ring(self, workload_id: str | None = None) -> None:
        self.told.append(workload_id)
        self._told.set()

    async def heard(self, workload_id: str | None) -> None:
        """Wait until it has rung for that log."""
        with trio.fail_after(20):
            while workload_id not in self.told:
                self._told = trio.Event()
                await self._told.wait()


LISTENERS = (
    "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    " OR query LIKE 'SELECT newest%' AND application_name = 'trio-logs'"
)


async def test_news_come_again_once_the_connection_that_listens_was_cut(
    postgres: PostgresDatabase,
) -> None:
    async with joined(postgres.node, "a", "b") as (a, b):
        bells, work = Bells(), Bells()
        changes: list[Change] = []
        b.watch_logs(bells.ring)
        b.watch_work(work.ring)
        b.listen(changes.append)
        await a.create(workload("w"))
        await b.watch("w")
        await append_line(a, "w", 1)
        await bells.heard("w")
        for number in (2, 4):
            bells.told.clear()
            work.told.clear()
            # The listeners of both stores; they run no other statement after these.
            await until(lambda: len(postgres.execute(LISTENERS)) == 2)
            postgres.execute(f"SELECT pg_terminate_backend(pid) FROM ({LISTENERS}) AS listeners")
            # No connection listens to this one.
            await append_line(a, "w", number)
            await bells.heard(None)
            await work.heard(None)
            await append_line(a, "w", number + 1)
            await bells.heard("w")
        await a.start("w", 5)
        await until(lambda: len(changes) == 2)
        assert [each.position for each in changes] == [1, 2]
        assert b.is_up


async def test_a_notification_of_any_role_ends_no_node(postgres: PostgresDatabase) -> None:
    async with joined(postgres.node, "a", "b") as (a, b):
        bells = Bells()
        b.watch_logs(bells.ring)
        await b.watch("w")
        postgres.execute("SELECT pg_notify(current_schema(), repeat('[', 7999))")
        await bells.heard(None)
        await append_line(a, "w", 1)
        await bells.heard("w")


async def test_all_nodes_are_told_of_all_changes_in_order(postgres: PostgresDatabase) -> None:
    rng = random.Random(secrets.randbits(32))
    told: dict[str, list[Change]] = {name: [] for name in "abc"}
    numbers = count()

    async def act(store: SharedStore, name: str) -> None:
        for _ in range(25):
            workload_id = f"{name}{next(numbers)}"
            await store.create(workload(workload_id))
            if rng.random() < 0.5:
                await store.start(workload_id, 7)
            if rng.random() < 0.5:
                await append(store, workload_id, [batch(1)], outcome=OK, finished_at=8)
            if rng.random() < 0.3:
                await store.delete(workload_id)

    async with joined(postgres.node, *told) as stores:
        for store, name in zip(stores, told, strict=True):
            store.listen(told[name].append)
        async with trio.open_nursery() as nursery:
            for store, name in zip(stores * 2, "abcdef", strict=True):
                nursery.start_soon(act, store, name)
        newest = await stores[0].position()
        await until(lambda: all(each and each[-1].position == newest for each in told.values()))
        page = await stores[1].changes(0, 10**9)
        last = {change.id: (change.position, change.workload) for change in page.changes}
        assert len(last) == 150
        for each in told.values():
            positions = [change.position for change in each]
            assert positions == sorted(set(positions))
            assert {change.id: (change.position, change.workload) for change in each} == last


async def test_one_node_trims_at_a_time(postgres: PostgresDatabase) -> None:
    async with joined(postgres.node, "a", "b") as (a, b):
        data = [Batch(n, 1, n, "stdout", bytes([n]) * 200 + b"\n") for n in range(1, 201)]
        await append(a, "w", data)
        assert (a.statistics().bytes, b.statistics().bytes) == (200 * 201, 0)
        key = f"hashtextextended('trio-logs trim {postgres.schema}', 0)"
        with postgres.connection() as other:
            other.execute(f"SELECT pg_advisory_lock({key})".encode())
            assert await a.trim(Retention(max_bytes=0)) == 0
            other.execute(f"SELECT pg_advisory_unlock({key})".encode())
        removed = [await store.trim(Retention(max_bytes=20_000)) for store in (a, b)]
        assert removed == [101, 0]
        # A node that removes nothing looks how much there is.
        assert b.statistics().bytes == 99 * 201
        assert await a.trim(Retention(max_bytes=20_000)) == 0
        assert a.statistics().bytes == 99 * 201


async def test_two_nodes_that_trim_remove_no_more_than_one(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.store.postgres.trimming.TRIM_ROWS", 10)
    bound = Retention(max_bytes=2_000)
    async with joined(postgres.node, "a", "b") as (a, b):
        data = [Batch(n, 1, n, "stdout", bytes([n]) * 50 + b"\n") for n in range(1, 101)]
        await append(a, "w", data)
        assert await a.trim(bound) == 10
        while await b.trim(bound):
            pass
        # Another node has trimmed since this one has looked.
        assert await a.trim(bound) == 0
        assert a.statistics().bytes == b.statistics().bytes == 39 * 51


async def test_a_node_counts_once_it_is_the_one_that_trims(postgres: PostgresDatabase) -> None:
    """Else another one could trim between its look and its own removal."""
    async with running(postgres.node()) as store:
        await append_line(store, "w", 1)
        [(table,)] = postgres.execute("SELECT 'logs'::regclass::oid")
        waiting = f"SELECT pid FROM pg_locks WHERE relation = {table} AND NOT granted"
        trimming = f"SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid IN ({waiting})"
        async with trio.open_nursery() as nursery:
            with postgres.connection() as other, other.transaction():
                other.execute("LOCK TABLE logs")
                nursery.start_soon(store.trim, Retention(max_bytes=0))
                await until(lambda: postgres.execute(waiting))
                assert postgres.execute(trimming)


async def test_deleted_logs_that_are_still_there_cost_no_lines(postgres: PostgresDatabase) -> None:
    async with running(postgres.node()) as store:
        for name in ("deleted", "kept"):
            await append_line(store, name, 1)
        # As another node does, which has not removed the lines yet.
        postgres.execute("UPDATE logs SET id = NULL, oldest = NULL WHERE id = 'deleted'")
        assert await store.trim(Retention(max_bytes=7)) == 0
        assert await store.read("kept", 1, 10**6) == [batch(1)]
        # They are there all the same.
        assert store.statistics().bytes == 2 * 7


async def test_running_logs_lose_their_oldest_lines_first(postgres: PostgresDatabase) -> None:
    async with running(postgres.node()) as store:
        for number in range(1, 101):
            for name, offset in (("a", 0), ("b", 1), ("c", 500)):
                line = replace(batch(number, time=2 * number + offset), data=b"x" * 99 + b"\n")
                await store.append(name, [line], expected=number, epoch=0, size=100 * number)
        while await store.trim(Retention(max_bytes=20_000)):
            pass
        left = [(await store.read(name, 1, 1))[0].first for name in "abc"]
        assert left == [51, 51, 1]


async def test_what_another_node_has_deleted_is_removed_in_pieces(
    postgres: PostgresDatabase,
) -> None:
    long = [batch(number) for number in range(1, 2 * TRIM_ROWS + 2)]
    async with running(postgres.node()) as store:
        await store.create(workload("w"))
        await append(store, "w", long, outcome=OK, finished_at=1)
    # As a node does that is killed then.
    postgres.execute("UPDATE logs SET id = NULL; DELETE FROM workloads")
    async with running(postgres.node()) as store:
        before = store.statistics().commits.count
        await until(lambda: not postgres.execute("SELECT 1 FROM logs UNION SELECT 1 FROM batches"))
        while store.statistics().bytes:
            await trio.sleep(0.01)
        assert store.statistics().commits.count >= before + 3
        assert store.statistics().batches_trimmed == 0


async def test_lines_of_kept_logs_stay(postgres: PostgresDatabase) -> None:
    async with running(postgres.node()) as store:
        kept = workload("kept")
        labels = {"trio-logs.keep": "2h"}
        await store.create(replace(kept, spec=replace(kept.spec, labels=labels)))
        hour = 3_600_000_000
        for name in ("kept", "plain"):
            times = (now() - 3 * hour, now() - hour, now())
            await append(store, name, [batch(n, time=t) for n, t in enumerate(times, 1)])
        removed = 0
        while trimmed := await store.trim(Retention(max_age=60)):
            removed += trimmed
        assert removed == 3
        assert [each.first for each in await store.read("kept", 1, 10**6)] == [2, 3]
        assert [each.first for each in await store.read("plain", 1, 10**6)] == [3]


# Bells, without a database.


def test_a_bell_tells_others_what_it_was_told() -> None:
    assert Bell().payload("me") is None
    payload = Bell({"a", "é"}, changes=True).payload("me")
    assert payload is not None
    assert payload.isascii()
    assert hear(payload, "other") == Heard({"a", "é"}, True, False)
    assert hear(payload, "me") == Heard(frozenset(), False, False)
    payload = Bell({"a"}, {"buried"}, work=True).payload("me")
    assert payload is not None
    assert hear(payload, "other") == Heard({"a", "buried"}, False, True)
    assert hear(payload, "me") == Heard({"buried"}, False, True)


@pytest.mark.parametrize("buried", [0, 1, 1000])
def test_a_bell_that_is_too_long_tells_all(buried: int) -> None:
    logs = {f"01J{number:023}" for number in range(1000)}
    payload = Bell(logs, set(sorted(logs)[:buried]), changes=True).payload("me")
    assert payload is not None
    assert len(payload) <= MAX_BYTES
    assert hear(payload, "other") == Heard(None, True, False)
    assert hear(payload, "me") == Heard(None if buried else frozenset(), False, False)


def test_unfinished_lines_fit_into_a_notification() -> None:
    content = bytes(range(256)) * 24
    payload = showing("me", "01J" + "0" * 23, content[:SHOWN_BYTES])
    assert payload.isascii()
    assert len(payload) <= MAX_BYTES
    assert hear(payload, "other").shown == ("01J" + "0" * 23, content[:SHOWN_BYTES])
    assert hear(payload, "me") == Heard()
    assert hear(asking("me", "w"), "other") == Heard(asked="w")
    assert hear(asking("me", "w"), "me") == Heard()


@pytest.mark.parametrize(
    "payload", ["", "x", "[]", "{}", "[1,2]", '["a","c",1,[]]', '["a","?"]', "3", "[" * 7_999]
)
def test_a_notification_of_another_program_tells_all(payload: str) -> None:
    assert hear(payload, "me") == Heard(None, True, True)
