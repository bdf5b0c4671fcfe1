"""The database and the network of the chaos campaign do what it says that they do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest
import trio

from tests.chaos.cluster import Cluster, Settings, running_cluster
from tests.chaos.database import Server, wheel_binaries, workplace
from tests.chaos.plan import Mode, plan

Place = tuple[Path, Path]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """A folder, and the files of a new database."""
    with workplace(wheel_binaries()) as found:
        yield found


@asynccontextmanager
async def cluster(place: Place, name: str, mode: Mode = "single") -> AsyncIterator[Cluster]:
    """A database without nodes, behind the link `a`."""
    folder = place[0] / name
    folder.mkdir()
    settings = Settings(folder, wheel_binaries(), place[1], mode, names=())
    async with running_cluster(settings, trio.current_time) as found, trio.open_nursery() as links:
        await found.open_link(links, "a")
        yield found
        links.cancel_scope.cancel()


async def execute(port: int, statement: str, seconds: int = 10) -> list[tuple[object, ...]]:
    """Run a statement on a connection of its own."""

    def run() -> list[tuple[object, ...]]:
        options = {"connect_timeout": seconds, "tcp_user_timeout": 1000 * seconds}
        with psycopg.connect(Server.url_by(port), autocommit=True, **options) as connection:  # type: ignore[arg-type]
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    return await trio.to_thread.run_sync(run, abandon_on_cancel=True)


async def test_a_link_is_cut_and_refuses(place: Place) -> None:
    async with cluster(place, "cut") as found:
        link = found.links["a"]
        url = Server.url_by(link.port)
        connect = partial(psycopg.connect, url, autocommit=True)
        with await trio.to_thread.run_sync(connect) as connection:
            await trio.to_thread.run_sync(connection.execute, "SELECT 1")
            link.cut(refuse=True)
            with pytest.raises(psycopg.OperationalError):
                await trio.to_thread.run_sync(connection.execute, "SELECT 1")
        with pytest.raises(psycopg.OperationalError):
            await execute(link.port, "SELECT 1")
        link.heal()
        assert await execute(link.port, "SELECT 1") == [(1,)]


async def test_a_link_swallows_and_sends_on_later(place: Place) -> None:
    async with cluster(place, "hole") as found, trio.open_nursery() as nursery:
        link = found.links["a"]
        link.swallow()
        answered = trio.Event()

        async def ask() -> None:
            await execute(link.port, "SELECT 1", 30)
            answered.set()

        nursery.start_soon(ask)
        with trio.move_on_after(0.5):
            await answered.wait()
        assert not answered.is_set()
        link.heal()
        await answered.wait()


async def test_a_database_is_paused_restarted_and_comes_back(place: Place) -> None:
    async with cluster(place, "restart") as found, trio.open_nursery() as nursery:
        url = Server.url_by(found.links["a"].port)
        # Without a transaction, whose end would need the link, and so this thread.
        connect = partial(psycopg.connect, url, autocommit=True)
        connection = await trio.to_thread.run_sync(connect)
        answered = trio.Event()

        async def ask() -> None:
            with connection:
                await trio.to_thread.run_sync(connection.execute, "CREATE TABLE t (n int)")
            answered.set()

        found.primary.pause()
        nursery.start_soon(ask)
        with trio.move_on_after(0.5):
            await answered.wait()
        assert not answered.is_set()
        found.primary.resume()
        await answered.wait()
        await execute(found.links["a"].port, "INSERT INTO t VALUES (1)")
        await found.restart_database()
        assert await execute(found.links["a"].port, "SELECT n FROM t") == [(1,)]
        assert [fault.name for fault in found.faults] == ["database down"]


@pytest.mark.parametrize(("mode", "rows"), [("async", 1), ("sync", 2)])
async def test_a_standby_takes_over(place: Place, mode: Mode, rows: int) -> None:
    """An asynchronous one lacks what was written while the replication stood still."""
    async with cluster(place, f"failover-{mode}", mode) as found:
        port = found.links["a"].port
        await execute(port, "CREATE TABLE t (n int)")
        await execute(port, "INSERT INTO t VALUES (1)")
        await found.caught_up()
        if mode == "async":
            found.replication.swallow()
        await execute(port, "INSERT INTO t VALUES (2)")
        await found.fail_over(0)
        assert await execute(port, "SELECT count(*) FROM t") == [(rows,)]
        assert found.lagging == (mode == "async")


def test_a_seed_decides_all_that_can_be_decided() -> None:
    assert plan(5) == plan(5)
    assert plan(5) != plan(6)
    names = {fault.name for seed in range(50) for fault in plan(seed).faults}
    once = [fault.name for fault in plan(3, seconds=8, mode="single", all_faults=True).faults]
    assert len(once) == len(set(once))
    assert {*once, "failover"} == names
