"""A wall clock that is wrong, steps back, or steps forth."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import structlog
import trio

from tests.command_line import STARTED
from tests.live import PATIENCE, open_live
from tests.server_process import ServerProcess, running_server
from tests.stores import append, batch, running, workload
from trio_logs.engine.clock import Begun, newest_time
from trio_logs.records import Gap, Outcome, Status, believed_now, not_before, now, steady_seconds
from trio_logs.records.clock import SteadyClock
from trio_logs.settings import Settings
from trio_logs.store import Retention, WorkloadQuery
from trio_logs.store.memory import MemoryStore
from trio_logs.store.sqlite import SQLiteStore
from trio_logs.store.steadiness import lines_to_trim, records_to_prune

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
START = 1_800_000_000 * SECOND


@dataclass
class Clocks:
    """The clock under test, beside a wall clock that a test can set."""

    steady: SteadyClock
    elapsed: int = 17
    offset: int = START

    def read(self) -> int:
        """The time, in microseconds after START."""
        wall = self.elapsed + self.offset
        if self.steady.follows(wall):
            return wall - START
        return self.steady.read(wall, self.elapsed) - START

    def run(self, seconds: float, every: float = 1) -> list[int]:
        """Read it now and then for so long."""
        found = []
        for _ in range(round(seconds / every)):
            self.elapsed += round(every * SECOND)
            found.append(self.read())
        return found

    @property
    def steady_for(self) -> float:
        return self.steady.steady_for(self.elapsed)


@pytest.fixture
def clocks() -> Clocks:
    clocks = Clocks(SteadyClock())
    clocks.read()
    return clocks


@pytest.mark.parametrize("step", [-2 * HOUR, 48 * HOUR, HOUR, 40 * DAY, -20 * DAY])
@pytest.mark.parametrize("every", [0.1, 1, 7])
def test_a_clock_that_is_wrong_for_a_while_is_ignored(
    clocks: Clocks, step: int, every: float
) -> None:
    clocks.run(20)
    clocks.offset += step
    found = clocks.run(14, every)
    clocks.offset -= step
    found += clocks.run(100, every)
    assert clocks.read() == clocks.elapsed
    assert found == [17 + 20 * SECOND + round(i * every * SECOND) for i in range(1, len(found) + 1)]
    assert clocks.steady_for < 101 * SECOND


def test_a_step_forth_that_lasts_is_followed(clocks: Clocks) -> None:
    clocks.run(10)
    clocks.offset += 50 * 365 * DAY
    assert clocks.run(60)[-1] < 80 * SECOND
    clocks.run(2)
    assert clocks.read() == clocks.elapsed + 50 * 365 * DAY
    clocks.run(3500)
    assert clocks.steady_for < HOUR
    clocks.run(200)
    assert clocks.steady_for > HOUR


def test_after_a_step_back_that_lasts_time_runs_at_half_speed(clocks: Clocks) -> None:
    clocks.run(1000)
    clocks.offset -= 500 * SECOND
    found = clocks.run(1200)
    assert found == sorted(found)
    assert found[59] - found[0] > 58 * SECOND
    assert 19 * SECOND <= found[140] - found[100] <= 21 * SECOND
    # The wall clock has caught up.
    assert clocks.read() == clocks.elapsed - 500 * SECOND


def test_small_corrections_are_followed_at_once_and_times_never_step_back(clocks: Clocks) -> None:
    last = clocks.read()
    for correction in (-400, 900_000, -900_000, 3, 0):
        clocks.offset += correction
        [found] = clocks.run(1)
        assert found >= last
        last = found
    assert clocks.steady_for > DAY


def test_a_start_follows_what_an_earlier_process_has_noted() -> None:
    clocks = Clocks(SteadyClock())
    clocks.steady.follow(0, START, clocks.elapsed)
    # A first start has no history that a wrong clock could remove.
    assert clocks.steady_for > DAY
    clocks.steady.follow(START + HOUR, START, clocks.elapsed)
    found = clocks.run(100)
    assert found[0] >= HOUR
    assert found == sorted(found)
    clocks.steady.forget()
    assert clocks.steady_for > DAY
    assert clocks.run(1)[0] < HOUR


@pytest.mark.parametrize("ago", [-HOUR, SECOND, 11 * HOUR, 2 * DAY])
def test_a_start_doubts_the_clock_for_an_hour(ago: int) -> None:
    """The clock may have been set meanwhile, and the noted time may be wrong, too."""
    clocks = Clocks(SteadyClock())
    clocks.steady.follow(START - ago, START, clocks.elapsed)
    assert clocks.steady_for == 0
    clocks.run(3599)
    assert clocks.steady_for < HOUR
    clocks.run(1)
    assert clocks.steady_for == HOUR


def test_the_process_has_one_clock() -> None:
    before = now()
    assert abs(now() - believed_now()) < SECOND
    with not_before(before + DAY):
        assert now() >= before + DAY
        assert believed_now() < before + HOUR
    with not_before(before - 2 * DAY):
        assert steady_seconds() < 60
    assert steady_seconds() > 3600
    assert now() < before + HOUR


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_more_than_a_tenth_is_not_removed_while_the_clock_is_doubted(
    tmp_path: Path, store: str
) -> None:
    made = MemoryStore() if store == "memory" else SQLiteStore(tmp_path / "x.db")
    async with running(made) as opened:
        moment = believed_now()
        for number in range(21):
            name, age = f"{number:02}", 2 * DAY if number < 2 else 0
            record = workload(name, created_at=moment - age)
            if number == 5:
                # It is kept for longer.
                record = replace(
                    record, spec=replace(record.spec, labels={"trio-logs.keep": "90d"})
                )
                age = 2 * DAY
            await opened.create(record)
            await append(
                opened, name, [batch(1, time=moment - age)], outcome=Outcome(Status.SUCCEEDED, 0)
            )
        share = await opened.share_older(86_400)
        assert share == 2 / 21
        retention = Retention(max_age=86_400, max_record_age=86_400)
        with not_before(moment - 2 * DAY):
            assert await lines_to_trim(opened, retention) == retention
            await append(opened, "x", [Gap(1, 1, "store", moment - 2 * DAY)])
            assert await lines_to_trim(opened, retention) == replace(retention, max_age=None)
            # All have ended in 1970.
            found = await records_to_prune(opened, retention)
            assert found == replace(retention, max_record_age=None)
        assert await lines_to_trim(opened, retention) == retention
        assert await records_to_prune(opened, retention) == retention
        assert await opened.share_older(0) <= 1
        assert await opened.share_older(100 * 86_400) == 0


async def test_a_start_with_a_clock_that_is_ahead_removes_no_history(tmp_path: Path) -> None:
    """As after a boot whose hardware clock has the local time."""
    data = tmp_path / "data"
    data.mkdir()
    async with running(SQLiteStore(data / "trio_logs.db")) as store:
        # By a clock that is 13 hours ahead, all look older than the bound.
        moment = now() - 13 * HOUR
        for number in range(10):
            await store.create(workload(f"{number}", created_at=moment))
            await append(
                store,
                f"{number}",
                [batch(1, time=moment)],
                outcome=Outcome(Status.SUCCEEDED, 0),
                finished_at=moment,
            )
    retention = Retention(max_age=12 * 3600, max_record_age=12 * 3600)
    with structlog.testing.capture_logs() as logged:
        async with open_live(Settings(data=data, retention=retention)) as live:
            with trio.fail_after(PATIENCE):
                while not (
                    {"more than a tenth of the history", "more than a tenth of the workloads"}
                    <= {entry["event"].split(" is too old")[0] for entry in logged}
                ):
                    await trio.sleep(0.001)
            held = live.service.store
            assert len(await held.workloads(WorkloadQuery())) == 10
            for number in range(10):
                assert len(await held.read(f"{number}", 1, 1)) == 1


async def test_the_newest_time_of_a_store() -> None:
    async with running(MemoryStore()) as store:
        assert await newest_time(store) == 0
        await store.create(workload("a", created_at=5))
        assert await newest_time(store) == 5
        await store.create(workload("b", created_at=6))
        await append(store, "a", [], outcome=Outcome(Status.FAILED), finished_at=9)
        assert await newest_time(store) == 9
        await store.delete("a")
        assert await newest_time(store) == 6


def test_how_long_a_workload_has_run() -> None:
    begun = Begun.now()
    assert Begun.since(begun.encode(), now() - DAY) < HOUR
    other = Begun("another boot", begun.count)
    for handle in (other.encode(), None, "", "the backend's own", '{"pid": 1}'):
        assert DAY <= Begun.since(handle, now() - DAY) < DAY + HOUR
    assert Begun.since(None, now() + DAY) == 0


# A process whose wall clock is wrong by the seconds that a file has.
SITE = """
import os, time
_right, _path = time.time_ns, os.environ["WRONG_CLOCK"]
def _wrong():
    with open(_path) as file:
        return _right() + int(float(file.read() or 0) * 1e9)
time.time_ns = _wrong
time.time = lambda: _wrong() / 1e9
"""


def wrong_clock_prefix(folder: Path) -> tuple[tuple[str, ...], Path]:
    """A prefix for the command of a service, and the file that sets its clock."""
    site, offset = folder / "site", folder / "offset"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(SITE)
    if not offset.exists():
        offset.write_text("0")
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    return (*STARTED, f"PYTHONPATH={path}", f"WRONG_CLOCK={offset}"), offset


@contextmanager
def wrong_clock(folder: Path) -> Iterator[tuple[ServerProcess, Path]]:
    """A service, and the file that sets its clock."""
    prefix, offset = wrong_clock_prefix(folder)
    with running_server(folder / "data", prefix=prefix) as server:
        yield server, offset


def echo(server: ServerProcess) -> dict[str, object]:
    """The record of a workload that has ended."""
    made = server.post("/v1/workloads", {"command": ["echo", "x"]}).json()
    assert "event: end" in server.get(f"/v1/workloads/{made['id']}/logs").text
    return dict(server.get(f"/v1/workloads/{made['id']}").json())


def test_a_service_whose_clock_is_wrong(tmp_path: Path) -> None:
    """Over steps while it runs, and over restarts, all times keep their order."""
    found: list[dict[str, object]] = []
    with wrong_clock(tmp_path) as (server, offset):
        for step in (0, 48 * 3600, -7200, 0):
            offset.write_text(str(step))
            found.append(echo(server))
        body = {"backend": "push", "command": ["x"], "timeout": 1800}
        pushed = server.post("/v1/workloads", body).json()
        assert pushed["status"] == "running"
        assert server.stop() == 0
    for step in (3600, 40 * 86_400, -7200):
        offset.write_text(str(step))
        with wrong_clock(tmp_path) as (server, _):
            if step > 30 * 86_400:
                deadline = time.monotonic() + 20
                while not any("a tenth of the history" in line for line in server.lines):
                    assert time.monotonic() < deadline, server.lines
                    time.sleep(0.01)
            # The history is there, though it looks older than 30 days.
            assert "data: x" in server.get(f"/v1/workloads/{found[0]['id']}/logs").text
            found.append(echo(server))
            assert server.get(f"/v1/workloads/{pushed['id']}").json()["status"] == "running"
            listed = server.get("/v1/workloads?limit=500").json()["workloads"]
            ids = [each["id"] for each in listed if each["id"] != pushed["id"]]
            assert ids == [each["id"] for each in found][::-1]
            assert server.stop() == 0
    times = [each[name] for each in found for name in ("created_at", "started_at", "finished_at")]
    assert times == sorted(times)  # type: ignore[type-var]
