"""Damaged pages of the database: what can be read is delivered, and the rest is a gap."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest
import structlog
import trio

from tests.server_process import running_server
from tests.stores import append, batch, running, workload
from trio_logs.broker import LogBroker
from trio_logs.records import Batch, End, Gap, Outcome, Run, Status
from trio_logs.store import Retention, WorkloadQuery
from trio_logs.store.sqlite import SQLiteStore
from trio_logs.store.sqlite.damage import next_readable

LINES = 120
PAGE = 4096
OK = Outcome(Status.SUCCEEDED, 0)


def line(log: str, number: int) -> Batch:
    """Some rows fit into a page."""
    text = random.Random(f"{log} {number}").randbytes(300).hex()
    return Batch(number, 1, number, "stdout", f"{text}\n".encode())


async def fill(path: Path) -> None:
    """Two logs, whose rows alternate, and records."""
    async with running(SQLiteStore(path)) as store:
        for number in range(60):
            await store.create(workload(f"w{number:02}"))
        for number in range(1, LINES + 1):
            await append(store, "w00", [line("w00", number)])
            await append(store, "w01", [line("w01", number)])
        await append(store, "w00", [], outcome=OK)


def damage(path: Path, name: str, *which: float) -> None:
    """Overwrite leaf pages of a table or an index; 0.0 is the first one, 1.0 the last one."""
    with closing(apsw.Connection(str(path))) as connection:
        pages = [
            number
            for (number,) in connection.execute(
                "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path",
                (name,),
            )
        ]
    with path.open("r+b") as file:
        for place in which:
            file.seek((int(pages[round(place * (len(pages) - 1))]) - 1) * PAGE)
            file.write(b"\xff" * PAGE)


class Seen:
    """Takes what it is shown."""

    def __init__(self) -> None:
        self.found: list[Batch | Gap] = []

    def visit(self, run: Run | Gap, load: Callable[[], Batch | Gap]) -> bool:
        self.found.append(load())
        return True


def check(found: list[Batch | Gap], log: str, missing: range) -> list[Gap]:
    """Each line is there once, or in a gap; most are not in a gap."""
    place = 1
    gaps = []
    for record in found:
        assert record.first == place
        place = record.last + 1
        if isinstance(record, Gap):
            assert record.reason == "damaged"
            gaps.append(record)
        else:
            assert record == line(log, record.first)
    assert place == LINES + 1
    assert sum(gap.last + 1 - gap.first for gap in gaps) in missing
    return gaps


@pytest.mark.parametrize(
    ("name", "places", "missing"),
    [
        ("batches", (0.5,), range(1, 12)),
        ("batches", (0.0, 0.3, 0.6, 1.0), range(4, 40)),
        # All of it: a leaf of the index has the places of all rows.
        ("position", (0.0,), range(LINES, LINES + 1)),
        ("age", (0.0,), range(1)),
    ],
)
async def test_a_log_with_damaged_pages(
    tmp_path: Path, name: str, places: tuple[float, ...], missing: range
) -> None:
    path = tmp_path / "x.db"
    await fill(path)
    damage(path, name, *places)
    with structlog.testing.capture_logs() as logged:
        async with running(SQLiteStore(path)) as store:
            for _ in range(3):
                found = await store.read("w00", 1, 10**9)
                gaps = check(found, "w00", missing)
            seen, backwards = Seen(), Seen()
            await store.visit("w00", 1, LINES, seen)
            await store.visit("w00", 1, LINES, backwards, newest_first=True)
            assert seen.found == backwards.found[::-1] == found
            runs = await store.scan("w00", LINES, 1000)
            lost = {number for gap in gaps for number in range(gap.first, gap.last + 1)}
            assert [run.first for run in runs] == sorted(
                set(range(1, LINES + 1)) - lost, reverse=True
            )
            # In pieces, from anywhere.
            for first in range(1, LINES + 1, 7):
                place = first
                while place <= LINES:
                    piece = await store.read("w00", place, 1)
                    assert piece[0].first <= place
                    place = piece[-1].last + 1
            for time in range(1, LINES + 1):
                start = await store.find("w00", time, LINES)
                # The lines before it are older, and the ones from it on are not, if known.
                assert start <= time
                assert start == time or set(range(start, time)) <= lost
            # The other log has at least what the damaged pages do not hold.
            state = await store.log("w01")
            assert state is not None
            assert state.lines == LINES
    assert len(logged) == (name != "age")


async def test_a_reader_gets_a_gap_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    await fill(path)
    damage(path, "batches", 0.5)
    async with running(SQLiteStore(path)) as store, trio.open_nursery() as nursery:
        broker = LogBroker(store)
        await nursery.start(broker.run)
        found = []
        with trio.fail_after(10), broker.subscribe("w00", 1) as subscription:
            async for record in subscription:
                found.append(record)
        assert isinstance(found.pop(), End)
        [gap] = [record for record in found if isinstance(record, Gap)]
        assert gap.reason == "damaged"
        nursery.cancel_scope.cancel()


async def test_damaged_records_are_left_out_of_lists(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    await fill(path)
    damage(path, "workloads", 0.5)
    async with running(SQLiteStore(path)) as store:
        listed = await store.workloads(WorkloadQuery(100))
        ids = [each.id for each in listed]
        assert ids == sorted(ids, reverse=True)
        assert 30 < len(ids) < 60
        again: list[str] = []
        before = None
        while page := await store.workloads(WorkloadQuery(7, before)):
            again += [each.id for each in page]
            before = page[-1].id
        assert again == ids
        unfinished = [each.id for each, _ in await store.unfinished()]
        assert unfinished == [each for each in ids[::-1] if each != "w00"]
        changes = await store.changes(0, 10**9)
        assert {change.id for change in changes.changes} == set(ids)
        searched = await store.count(WorkloadQuery(search="w"))
        assert sum(searched.values()) == len(ids)
        labelled = await store.workloads(WorkloadQuery(100, labels={"kind": "w"}))
        assert [each.id for each in labelled] == ids
        queued = await store.workloads(WorkloadQuery(100, statuses=("queued",)))
        assert {each.id for each in queued} == set(ids) - {"w00"}


async def test_a_store_with_damaged_records_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    await fill(path)
    damage(path, "workloads", 0.5)
    async with running(SQLiteStore(path)) as store:
        await store.create(workload("new"))
        await append(store, "new", [batch(1)], outcome=OK)
        assert await store.read("new", 1, 10**9) == [batch(1)]


async def test_retention_and_deletion_leave_out_damaged_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    await fill(path)
    damage(path, "batches", 0.5)
    async with running(SQLiteStore(path)) as store:
        before = store.statistics().bytes
        with trio.fail_after(20):
            while await store.trim(Retention(max_bytes=0)):
                pass
            await store.delete("w00")
            await store.create(workload("new"))
        assert await store.workload("w00") is None
        await append(store, "new", [batch(1)])
        # The damaged pages hold some rows of each log.
        assert store.statistics().bytes < before / 5
        # A later log never gets what is left of another one.
        assert await store.read("new", 1, 10**9) == [batch(1)]


async def test_damaged_data_of_a_row(tmp_path: Path) -> None:
    """The compressed data has a checksum."""
    path = tmp_path / "x.db"
    await fill(path)
    with closing(apsw.Connection(str(path))) as connection:
        [(data,)] = connection.execute("SELECT data FROM batches WHERE log = 1 AND first = 60")
        spoilt = data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]
        connection.execute("UPDATE batches SET data = ? WHERE log = 1 AND first = 60", (spoilt,))
    async with running(SQLiteStore(path)) as store:
        assert check(await store.read("w00", 1, 10**9), "w00", range(1, 2)) == [
            Gap(60, 60, "damaged")
        ]


@pytest.mark.parametrize("bad", [(), (1,), (5, 6, 7), tuple(range(1, 200)), (1, 3, 9, 27, 81)])
def test_the_next_readable_place(bad: tuple[int, ...]) -> None:
    for last in (1, 7, 100):
        for place in range(last + 1):
            found = next_readable(lambda number: number not in bad, place, last)
            assert place < found <= last + 1
            assert found not in bad or found == last + 1
            if len(bad) == 199:
                assert found == last + 1
            if bad == (5, 6, 7) and 4 <= place < 7 and last == 100:
                assert found == 8


async def test_one_line_is_logged_and_every_route_answers(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    await fill(data / "trio_logs.db")
    damage(data / "trio_logs.db", "batches", 0.5)
    log = "/v1/workloads/w00"
    with running_server(data, "--history-age", "36500d") as server, server.client() as client:
        for query in ("", "?tail=110", "?filter=ab", "?since=1970-01-01T00:00:00Z"):
            answer = client.get(f"{log}/logs{query}")
            assert (answer.status_code, answer.text.count("event: end")) == (200, 1), query
            assert '"reason":"damaged"' in answer.text
        for path in (f"{log}/matches?filter=ab", "/v1/search?filter=ab", "/v1/workloads"):
            assert client.get(path).status_code == 200
        assert server.stop() == 0
    told = [each for each in server.lines if "damaged pages" in each]
    assert len(told) == 1
    assert not any("Traceback" in each or "cut short" in each for each in server.lines)
