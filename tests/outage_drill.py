"""An outage of the store, and what clients of the service do before, during and after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import httpx2
import trio

from tests.checker import faults
from tests.failing_disk import CHANGES, Disk, failing_disk
from tests.follower import Follower, eventually
from tests.live import Live, open_live
from trio_logs.settings import Settings
from trio_logs.store.sqlite import SQLiteStore

__all__ = ["OUTAGES", "Outage", "assert_refused", "drill"]

PATIENCE = 0.5

# It counts aloud until its file appears, leaves the count, and fails.
COUNT = """
i=0
while [ ! -e "$0" ]; do i=$((i+1)); echo "line $i"; sleep 0.01; done
echo $i > "$0.count"
exit 7
"""

Switch = Callable[[Disk, Path], AbstractContextManager[None]]


def _switched(switch: Callable[[Disk], None]) -> Switch:
    @contextmanager
    def outage(disk: Disk, path: Path) -> Iterator[None]:
        switch(disk)
        try:
            yield
        finally:
            disk.healthy()

    return outage


@contextmanager
def _locked(disk: Disk, path: Path) -> Iterator[None]:
    with closing(apsw.Connection(str(path))) as other:
        other.set_busy_timeout(5000)
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@dataclass(frozen=True)
class Outage:
    """`seconds`: how long it lasts in the suite, and in the campaign."""

    begin: Switch
    seconds: tuple[float, float]


OUTAGES = {
    "full": Outage(_switched(Disk.full), (1.2, 10)),
    "failing": Outage(_switched(Disk.failing), (1.2, 10)),
    "read-only": Outage(_switched(Disk.read_only), (1.2, 10)),
    "hung": Outage(_switched(Disk.hang), (1.2, 10)),
    "hung-reads-too": Outage(
        _switched(lambda disk: disk.hang(CHANGES | {"read"})),
        (1.2, 10),
    ),
    "locked": Outage(_locked, (2, 10)),
    "gone": Outage(_switched(Disk.failing), (3, 60)),
}


async def drill(folder: Path, outage: Outage, seconds: float) -> None:
    """One outage. Raises AssertionError if a client sees anything wrong."""
    path = folder / "x.db"
    settings = Settings(folder / "data", store_patience=PATIENCE, heartbeat=0.5)
    with failing_disk() as disk:
        async with open_live(settings, store=SQLiteStore(path, vfs=disk.name)) as live:
            run = _Drill(folder, path, live)
            async with trio.open_nursery() as nursery:
                await run.prepare(nursery)
                with outage.begin(disk, path):
                    await run.see_outage(nursery, seconds)
                await run.see_recovery()
            await run.check()
        async with open_live(settings, store=SQLiteStore(path)) as live:
            run.live = live
            await run.check()


class _Drill:
    def __init__(self, folder: Path, path: Path, live: Live) -> None:
        self._folder = folder
        self._path = path
        self.live = live
        self._followers: list[Follower] = []
        self._known: set[str] = set()
        self._is_deleted = False

    async def prepare(self, nursery: trio.Nursery) -> None:
        """Two workloads that run, with a reader each; one to be stopped; one that has finished."""
        self._old = (await self.live.submit("seq", "100"))["id"]
        await self.live.finished(self._old)
        self._ending = await self._count("ending")
        self._lasting = await self._count("lasting")
        self._stopped = (await self.live.submit("sleep", "100"))["id"]
        self._known = {self._old, self._ending, self._lasting, self._stopped}
        for workload_id in (self._ending, self._lasting):
            self._follow(nursery, workload_id)
        await eventually(lambda: all(each.lines >= 5 for each in self._followers))

    async def see_outage(self, nursery: trio.Nursery, seconds: float) -> None:
        """The outage has begun; return when it may end."""
        began = trio.current_time()
        async with trio.open_nursery() as requests:
            for key in (None, "key"):
                requests.start_soon(self._submit_in_vain, key)
            requests.start_soon(self._delete_in_vain)
            requests.start_soon(self._read_old)
            requests.start_soon(self._stop)
        # Beyond the patience, lines come from memory.
        reached = [each.lines for each in self._followers]
        await eventually(
            lambda: all(
                each.lines > lines for each, lines in zip(self._followers, reached, strict=True)
            )
        )
        statistics = self.live.service.broker.statistics()
        assert statistics.lines_unsaved > 0
        assert statistics.logs_failing >= 2
        # These come late.
        for workload_id in (self._ending, self._lasting):
            self._follow(nursery, workload_id)
        await eventually(lambda: all(each.lines >= max(reached) for each in self._followers[2:]))
        (self._folder / "ending").touch()
        await eventually((self._folder / "ending.count").exists)
        while trio.current_time() < began + seconds:
            for probe in ("/healthz", "/readyz"):
                # Readiness ends later, after 10 s.
                status = (await self.live.client.get(probe)).status_code
                assert status == 200 or ((probe, status) == ("/readyz", 503) and seconds >= 10)
            await trio.sleep(0.05)
        assert not any(each.ended.is_set() for each in self._followers)

    async def see_recovery(self) -> None:
        """The store is back."""
        ending = [each for each in self._followers if each.workload_id == self._ending]
        with trio.fail_after(30):
            for each in ending:
                await each.ended.wait()
            (self._folder / "lasting").touch()
            for each in self._followers:
                await each.ended.wait()
        await self.live.finished(self._stopped)
        assert (await self.live.client.get("/readyz")).status_code == 200
        statistics = self.live.service.broker.statistics()
        assert (statistics.lines_unsaved, statistics.store_error) == (0, None)
        await self._settle()

    async def check(self) -> None:
        """What readers saw is right, and what the store has is the same."""
        for each in self._followers:
            count = int((self._folder / f"{self._name(each.workload_id)}.count").read_text())
            each.seen.written = [f"line {number}" for number in range(1, count + 1)]
            assert faults(each.seen) == []
            assert not each.early
            again = Follower(self.live.client, each.workload_id, self._path)
            await again.run()
            assert again.seen.events == each.seen.events
            assert (again.cuts, again.refusals, again.early) == (0, 0, False)
            record = (await self.live.client.get(f"/v1/workloads/{each.workload_id}")).json()
            assert (record["status"], record["exit_code"]) == ("failed", 7)
            assert record["lines"] == count
        assert (await self.live.finished(self._stopped))["status"] == "stopped"
        old = Follower(self.live.client, self._old)
        if not self._is_deleted:
            await old.run()
            assert old.seen.events[-1] == ("end", 100)
            assert len(old.seen.events) == 101
        listed = (await self.live.client.get("/v1/workloads")).json()["workloads"]
        assert {each["id"] for each in listed} == self._known
        assert not list(self._folder.glob("ran-in-vain-*"))

    async def _count(self, name: str) -> str:
        record = await self.live.submit("sh", "-c", COUNT, str(self._folder / name))
        return str(record["id"])

    def _name(self, workload_id: str) -> str:
        return "ending" if workload_id == self._ending else "lasting"

    def _follow(self, nursery: trio.Nursery, workload_id: str) -> None:
        follower = Follower(self.live.client, workload_id, self._path)
        self._followers.append(follower)
        nursery.start_soon(follower.run)

    async def _submit_in_vain(self, key: str | None) -> None:
        body = {"command": ["touch", str(self._folder / f"ran-in-vain-{key}")]}
        headers = {} if key is None else {"Idempotency-Key": key}
        assert_refused(await self.live.client.post("/v1/workloads", json=body, headers=headers))

    async def _delete_in_vain(self) -> None:
        assert_refused(await self.live.client.delete(f"/v1/workloads/{self._old}"))

    async def _stop(self) -> None:
        """It needs no store."""
        answer = await self.live.client.post(f"/v1/workloads/{self._stopped}/stop")
        assert answer.status_code in (200, 202), answer.text

    async def _read_old(self) -> None:
        """Its lines are in no window. Where SQLite has the pages in memory it answers all the
        same."""
        answer = await self.live.client.get(f"/v1/workloads/{self._old}/logs", params={"tail": 5})
        if answer.status_code != 200:
            assert_refused(answer)
        else:
            assert answer.text.count("\ndata: ") == 6

    async def _settle(self) -> None:
        """Nothing of a request that failed is left: no submission, and no half of a deletion. What
        a client that got 503 for a deletion finds is either."""
        with trio.fail_after(30):
            while True:
                answer = await self.live.client.get("/v1/workloads")
                found: list[dict[str, Any]] = answer.json()["workloads"]
                if {each["id"] for each in found} <= self._known:
                    break
                await trio.sleep(0.01)
        self._is_deleted = self._old not in {each["id"] for each in found}
        if self._is_deleted:
            self._known.discard(self._old)
            url = f"/v1/workloads/{self._old}/logs"
            assert (await self.live.client.get(url)).status_code == 404


def assert_refused(answer: httpx2.Response) -> None:
    """The store is down, the answer says."""
    assert answer.status_code == 503, answer.text
    assert answer.json()["reason"] == "store"
    # No path of the server's files.
    assert "/" not in answer.json()["detail"]
    assert int(answer.headers["Retry-After"]) > 0
