"""Promise 5 over HTTP: the store fails, and the service and its clients go on."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.checker import Transcript, faults
from tests.failing_disk import Disk
from tests.failing_disk import disk as disk
from tests.follower import Follower, eventually
from tests.live import Live, open_live, parse_events
from tests.outage_campaign import CODES, try_failure
from tests.outage_drill import OUTAGES, assert_refused, drill
from trio_logs.broker import BrokerLimits
from trio_logs.settings import Settings
from trio_logs.store.sqlite import SQLiteStore


@pytest.mark.parametrize("name", OUTAGES)
async def test_an_outage(name: str, tmp_path: Path) -> None:
    outage = OUTAGES[name]
    await drill(tmp_path, outage, outage.seconds[0])


@pytest.mark.parametrize("code", CODES)
def test_one_change_of_the_disk_fails(code: str) -> None:
    # Each code tries other changes; `python -m tests.outage_campaign` tries all.
    for number in range(2 + list(CODES).index(code) * 15, 330, 29):
        assert try_failure(number, CODES[code]), number


async def test_reads_behind_the_window_are_refused_or_cut_and_resume(
    tmp_path: Path, disk: Disk
) -> None:
    path = tmp_path / "x.db"
    settings = Settings(
        tmp_path / "data",
        store_patience=0.5,
        broker=BrokerLimits(window_bytes=64 * 1024),
    )
    lines = [f"{number:07}" + "x" * 92 for number in range(1, 120_001)]
    async with open_live(settings, store=SQLiteStore(path, vfs=disk.name)) as live:
        # Logs of 12 MB, so that SQLite does not have their pages in memory. The last one goes on.
        script = "seq -f %07.0f$(printf %092d 0 | tr 0 x) 120000"
        first, second, going = [
            await live.submit("sh", "-c", script + end) for end in ("", "", "; exec sleep 100")
        ]
        for each in (first, second):
            await live.finished(each["id"])
        await wait_for_lines(live, going["id"], 120_000)
        transcript = Transcript(1, lines)
        slow = await live.follow(first["logs_url"])
        async with slow.stream:
            await slow.read_until(b"data: 0000100")
            disk.failing()
            with pytest.raises(EOFError):
                await slow.read_all()
            assert not slow.ended
            for each in (second, going):
                assert_refused(await live.client.get(each["logs_url"]))
        disk.healthy()
        whole = slow.body[: slow.body.rfind(b"\n\n") + 2]
        transcript.events += [
            ("line", int(number), text)
            for name, number, text in parse_events(whole)
            if name == "message"
        ]
        assert 100 <= len(transcript.events) < 120_000
        resumed = Follower(live.client, first["id"], seen=transcript)
        await resumed.run()
        assert faults(transcript) == []
        assert (await live.client.get(second["logs_url"])).text.count("\ndata: ") == 120_001
        await live.client.post(f"/v1/workloads/{going['id']}/stop")


async def test_requests_whose_commit_hangs_leave_nothing_half_done(
    tmp_path: Path, disk: Disk
) -> None:
    """The client gets 503 while the disk has the commit, which succeeds later."""
    settings = Settings(tmp_path / "data", store_patience=0.5)
    path = tmp_path / "x.db"
    async with open_live(settings, store=SQLiteStore(path, vfs=disk.name)) as live:
        deleted = await live.submit("seq", "5")
        await live.finished(deleted["id"])
        marker = tmp_path / "ran"
        body = {"command": ["touch", str(marker)]}
        for key in (None, "key"):
            disk.hang()
            headers = {} if key is None else {"Idempotency-Key": key}
            assert_refused(await live.client.post("/v1/workloads", json=body, headers=headers))
            assert disk.is_reached.is_set()
            disk.healthy()
            await wait_for_workloads(live, {deleted["id"]})
        disk.hang()
        assert_refused(await live.client.delete(f"/v1/workloads/{deleted['id']}"))
        assert disk.is_reached.is_set()
        disk.healthy()
        await eventually(lambda: live.service.store.statistics().writes_waiting == 0)
        url = f"/v1/workloads/{deleted['id']}"
        answers = [(await live.client.get(each)).status_code for each in (url, f"{url}/logs")]
        # Another commit may have been before it: then it was taken back, and not done at all.
        assert answers in ([404, 404], [200, 200])
        left = {deleted["id"]} if answers[0] == 200 else set()
    async with open_live(settings, store=SQLiteStore(path)) as live:
        await wait_for_workloads(live, left)
    assert not marker.exists()


async def test_readers_are_told_of_a_deletion_that_takes_effect_late(
    tmp_path: Path, disk: Disk
) -> None:
    settings = Settings(
        tmp_path / "data", store_patience=0.5, broker=BrokerLimits(window_bytes=64 * 1024)
    )
    store = SQLiteStore(tmp_path / "x.db", vfs=disk.name)
    async with open_live(settings, store=store) as live:
        workload = await live.submit("sh", "-c", "seq -f %07.0f$(printf %092d 0) 120000")
        await live.finished(workload["id"])
        disk.hang()
        for _ in range(2):
            assert_refused(await live.client.delete(f"/v1/workloads/{workload['id']}"))
        assert disk.is_reached.is_set()
        # It comes after the answer to the deletion, and is slow.
        reader = await live.follow(workload["logs_url"])
        async with reader.stream:
            await reader.read_until(b"data: 0000100")
            disk.healthy()
            await eventually(lambda: store.statistics().bytes == 0)
            body = await reader.read_all()
        controls = [event for event in parse_events(body) if event[0] != "message"]
        assert [(name, content["reason"]) for name, _, content in controls] == [("gap", "deleted")]


async def wait_for_workloads(live: Live, ids: set[str]) -> None:
    with trio.fail_after(10):
        while True:
            listed = (await live.client.get("/v1/workloads")).json()["workloads"]
            if {each["id"] for each in listed} == ids:
                return
            await trio.sleep(0.01)


async def wait_for_lines(live: Live, workload_id: str, lines: int) -> None:
    with trio.fail_after(30):
        while (await live.client.get(f"/v1/workloads/{workload_id}")).json()["lines"] < lines:
            await trio.sleep(0.01)


async def test_the_service_is_not_ready_once_a_write_has_waited_for_10_seconds(
    tmp_path: Path, disk: Disk
) -> None:
    settings = Settings(tmp_path / "data", store_patience=0.5)
    store = SQLiteStore(tmp_path / "x.db", vfs=disk.name)
    async with open_live(settings, store=store) as live, trio.open_nursery() as nursery:
        script = "while [ ! -e $0 ]; do echo line; sleep 0.05; done"
        workload = await live.submit("sh", "-c", script, str(tmp_path / "stop"))
        follower = Follower(live.client, workload["id"])
        nursery.start_soon(follower.run)
        await eventually(lambda: follower.lines > 0)
        assert (await live.client.get("/readyz")).status_code == 200
        disk.full()
        broker = live.service.broker
        await eventually(lambda: broker.statistics().oldest_wait > 0)
        waiting_since = trio.current_time() - broker.statistics().oldest_wait
        while (answer := await live.client.get("/readyz")).status_code == 200:
            assert trio.current_time() - waiting_since < 11
            await trio.sleep(0.05)
        assert trio.current_time() - waiting_since >= 10
        assert (answer.status_code, answer.json()["reason"]) == (503, "store")
        assert (await live.client.get("/healthz")).status_code == 200
        reached = follower.lines
        await eventually(lambda: follower.lines > reached)
        disk.healthy()
        with trio.fail_after(10):
            while (await live.client.get("/readyz")).status_code == 503:
                await trio.sleep(0.05)
        (tmp_path / "stop").touch()
