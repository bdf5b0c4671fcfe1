"""Random runs that list workloads and then follow their changes, over cuts, restarts and deletions.

A run writes records while readers list and follow. In the end, what each reader has made of it must
equal the store. `python -m tests.changes_campaign --seed N --store sqlite` replays one run;
`--kills N` makes runs of a real server that is killed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import trio
from trio.testing import MockClock

from tests.server_process import running_server
from tests.stores import append, running, workload
from trio_logs import client as over_http
from trio_logs.client import Client, RefusedError, UnreachableError
from trio_logs.engine.changes import Changes
from trio_logs.engine.store_calls import StoreCalls
from trio_logs.records import Change, Detached, Outcome, Position, Reset, Status, Workload
from trio_logs.store import Store, WorkloadQuery
from trio_logs.store.memory import MemoryStore
from trio_logs.store.sqlite import SQLiteStore

__all__ = ["STORES", "run", "run_with_kills"]

STORES = ("memory", "sqlite")
SUCCEEDED = Outcome(Status.SUCCEEDED, 0, reason="exited")
READERS = 3
PATIENCE = 60


class View:
    """What one reader knows: it lists, then follows, and lists again after a reset."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.known: dict[str, Workload] = {}
        self.position: int | None = None
        self.resets = 0
        self.moved = trio.Event()

    async def list(self, store: Store, changes: Changes) -> None:
        """In pages, as a client does it. The position is that of the first page."""
        position = changes.position
        await self.load(store)
        self.position = position

    async def catch_up(self, changes: Changes) -> None:
        """Wait until it has every change. Its reading needs no later change for that."""
        with trio.move_on_after(PATIENCE):
            while self.position != changes.position:
                await self.moved.wait()
            return
        raise AssertionError(f"a reader waits at {self.position}, not at {changes.position}")

    async def load(self, store: Store) -> None:
        """All pages."""
        known: dict[str, Workload] = {}
        before: str | None = None
        while page := await store.workloads(WorkloadQuery(self.rng.randint(1, 5), before)):
            known |= {each.id: each for each in page}
            before = page[-1].id
        self.known = known

    async def follow(self, store: Store, changes: Changes) -> None:
        """Until the service ends the reading."""
        if self.position is None:
            await self.list(store, changes)
        with changes.read(self.position) as reader:
            last = -1
            while True:
                records = await reader.receive()
                for record in records:
                    match record:
                        case Change(position, workload_id, found):
                            assert position > last, "positions never go back"
                            self.position = last = position
                            if found is None:
                                self.known.pop(workload_id, None)
                            else:
                                self.known[workload_id] = found
                        case Position(position):
                            self.position = last = position
                        case Reset():
                            self.resets += 1
                            await self.list(store, changes)
                        case Detached():
                            return
                self.moved.set()
                self.moved = trio.Event()
                if self.rng.random() < 0.2:
                    # Slow, so that others get ahead of it.
                    for _ in range(self.rng.randint(1, 20)):
                        await trio.lowlevel.checkpoint()


async def write(store: Store, rng: random.Random, ids: list[str], start: int) -> None:
    """Some random changes, several at once."""

    async def one(number: int) -> None:
        name = f"{start + number:06}"
        await store.create(workload(name))
        ids.append(name)
        if rng.random() < 0.8:
            await store.start(name, 5)
        if rng.random() < 0.6:
            await append(store, name, [], outcome=SUCCEEDED, finished_at=9)
        if rng.random() < 0.6:
            with suppress(ValueError):
                victim = rng.choice(ids)
                ids.remove(victim)
                await store.delete(victim)

    async with trio.open_nursery() as nursery:
        for number in range(rng.randint(1, 12)):
            nursery.start_soon(one, number)
            for _ in range(rng.randint(0, 4)):
                await trio.lowlevel.checkpoint()
        if rng.random() < 0.2:
            # Some of them are cancelled; they may take effect all the same.
            nursery.cancel_scope.cancel()


async def life(store: Store, rng: random.Random, views: list[View], ids: list[str], n: int) -> None:
    """One run of the service: changes, and readers that come, are cut, and come again."""
    async with running(store), trio.open_nursery() as nursery:
        changes = Changes(store, StoreCalls(30), lambda: ())
        await nursery.start(changes.run)
        scopes: dict[View, trio.CancelScope] = {}
        left: set[View] = set()

        async def read(view: View) -> None:
            with trio.CancelScope() as scopes[view]:
                await view.follow(store, changes)

        async with trio.open_nursery() as readers:
            for view in views:
                readers.start_soon(read, view)
            for turn in range(rng.randint(1, 4)):
                await write(store, rng, ids, 1000 * n + 100 * turn)
                view = rng.choice(views)
                if view in scopes and rng.random() < 0.5:
                    scopes[view].cancel()
                    left.add(view)
                    if rng.random() < 0.7:
                        left.remove(view)
                        readers.start_soon(read, view)
            if rng.random() < 0.5:
                for view in views:
                    if view not in left:
                        await view.catch_up(changes)
            changes.detach()
        nursery.cancel_scope.cancel()


async def check(store: Store, views: list[View]) -> None:
    """Once nothing changes any more, each reader catches up and has what the store has."""
    async with running(store), trio.open_nursery() as nursery:
        changes = Changes(store, StoreCalls(30), lambda: ())
        await nursery.start(changes.run)
        expected = {each.id: each for each in await store.workloads(WorkloadQuery(10_000))}
        for view in views:
            async with trio.open_nursery() as reading:
                reading.start_soon(view.follow, store, changes)
                await view.catch_up(changes)
                reading.cancel_scope.cancel()
            assert view.known == expected, (
                f"lacks {expected.keys() - view.known.keys()}, keeps "
                f"{view.known.keys() - expected.keys()}"
            )
        nursery.cancel_scope.cancel()


@contextmanager
def small(rng: random.Random) -> Iterator[None]:
    """Small bounds, so that readers fall behind, pages end, and deletions are forgotten."""
    deletions = rng.choice([1, 3, 10, 10_000])
    with (
        patch("trio_logs.store.sqlite.positions.KEPT_DELETIONS", deletions),
        patch("trio_logs.store.memory.store.KEPT_DELETIONS", deletions),
        patch("trio_logs.engine.change_window.MAX_CHANGES", rng.choice([1, 2, 5, 1000])),
        patch("trio_logs.engine.change_feed.READ_BYTES", rng.choice([1, 1500, 65536])),
        patch("trio_logs.engine.change_feed.PAUSE_SECONDS", (0.0, 0.0)),
    ):
        yield


def run(seed: int, kind: str) -> int:
    """One run; returns how many resets there were. Raises AssertionError if a change is missed."""
    rng = random.Random(f"{seed} {kind}")
    views = [View(rng) for _ in range(READERS)]
    ids: list[str] = []

    async def lives(make_store: Callable[[], Store]) -> None:
        for number in range(rng.randint(1, 3)):
            await life(make_store(), rng, views, ids, number)
        await check(make_store(), views)

    with small(rng), tempfile.TemporaryDirectory() as folder:
        if kind == "memory":
            memory = MemoryStore()
            # A reader that waits for ever fails at once.
            trio.run(lives, lambda: memory, clock=MockClock(autojump_threshold=0))
        else:
            trio.run(lives, lambda: SQLiteStore(Path(folder, "x.db")))
    return sum(view.resets for view in views)


async def run_with_kills(folder: Path, seed: int, kills: int) -> int:
    """A real server that is killed while a client follows; returns how many changes came."""
    rng = random.Random(seed)
    socket = folder / "socket"
    known: dict[str, over_http.Workload] = {}
    changes = 0
    # Counts the workloads that are made.
    made = trio.Semaphore(0)
    listed = trio.Event()
    settled = trio.Event()
    final: dict[str, over_http.Workload] = {}

    async def follow(client: Client) -> None:
        nonlocal changes
        async with aclosing(client.events(await client.position())) as events:
            known.update({each.id: each async for each in client.list()})
            listed.set()
            async for record in events:
                match record:
                    case over_http.WorkloadChanged(workload=found):
                        known[found.id] = found
                        changes += 1
                    case over_http.WorkloadDeleted(id=workload_id):
                        known.pop(workload_id, None)
                        changes += 1
                    case over_http.Reset():
                        raise AssertionError(record)
                if final and known == final:
                    settled.set()

    async def write(client: Client) -> None:
        while True:
            try:
                found = await client.submit(["sh", "-c", rng.choice(["exit 0", "sleep 0.05"])])
                made.release()
                if rng.random() < 0.5:
                    async with aclosing(client.batches(found.id, tail=0)) as batches:
                        async for _ in batches:
                            pass
                    await client.delete(found.id)
            except (UnreachableError, RefusedError):
                # The server is being killed, or it is back and knows the workload no more.
                await trio.sleep(0.01)

    def client_of(token: str) -> Client:
        return Client("http://localhost", token, uds=str(socket))

    async with trio.open_nursery() as nursery:
        for turn in range(kills + 1):
            with running_server(folder / "data", "--bind", f"unix:{socket}") as server:
                async with client_of(server.token) as client, trio.open_nursery() as writers:
                    if turn == 0:
                        follower = client_of(server.token)
                        await follower.__aenter__()
                        nursery.start_soon(follow, follower)
                        with trio.fail_after(PATIENCE):
                            await listed.wait()
                    for _ in range(3):
                        writers.start_soon(write, client)
                    with trio.fail_after(PATIENCE):
                        for _ in range(rng.randint(2, 12)):
                            await made.acquire()
                    if turn < kills:
                        server.process.kill()
                        await trio.to_thread.run_sync(server.process.wait)
                    writers.cancel_scope.cancel()
                if turn == kills:
                    async with client_of(server.token) as client:
                        final.update(await _settled_list(client))
                    if known == final:
                        settled.set()
                    with trio.move_on_after(PATIENCE):
                        await settled.wait()
                    assert known == final, (
                        f"lacks {final.keys() - known.keys()}, keeps {known.keys() - final.keys()}"
                    )
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            await follower.__aexit__(None, None, None)
    return changes


async def _settled_list(client: Client) -> dict[str, over_http.Workload]:
    """All workloads, once all have ended."""
    with trio.fail_after(PATIENCE):
        while True:
            found = {each.id: each async for each in client.list()}
            waiting = [each.id for each in found.values() if not each.status.final]
            if not waiting:
                return found
            for workload_id in waiting:
                async with aclosing(client.batches(workload_id, tail=0)) as batches:
                    async for _ in batches:
                        pass


def main() -> None:
    """Print a line a store; exit 1 if a run failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.changes_campaign", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="how many with each store")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--store", choices=STORES, help="only this one")
    parser.add_argument("--kills", type=int, default=0, help="runs of a server that is killed")
    options = parser.parse_args()
    failed = 0
    seeds = range(options.runs) if options.seed is None else [options.seed]
    for kind in [options.store] if options.store else STORES:
        start, resets = time.monotonic(), 0
        for seed in seeds:
            try:
                resets += run(seed, kind)
            except (Exception, ExceptionGroup) as error:
                failed += 1
                print(f"--seed {seed} --store {kind}: {error!r}")
        taken = time.monotonic() - start
        print(f"{kind}: {len(seeds)} runs, {resets} resets, {failed} failed, {taken:.0f} s")
    for seed in range(options.kills):
        with tempfile.TemporaryDirectory() as folder:
            try:
                changes = trio.run(run_with_kills, Path(folder), seed, 3)
                print(f"killed 3 times: {changes} changes")
            except (Exception, ExceptionGroup) as error:
                failed += 1
                print(f"killed, seed {seed}: {error!r}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
