"""What `/metrics` says moves with what is done, on a real server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

from tests.failing_disk import Disk
from tests.failing_disk import disk as disk
from tests.live import Live, open_live
from trio_logs.api import create_app
from trio_logs.broker import BrokerLimits
from trio_logs.engine import EngineLimits
from trio_logs.errors import StoreError
from trio_logs.service import open_service
from trio_logs.settings import Settings
from trio_logs.store import Retention
from trio_logs.store.durations import BOUNDS, Durations
from trio_logs.store.memory import MemoryStore
from trio_logs.store.sqlite import SQLiteStore

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]


async def scrape(live: Live) -> dict[str, float]:
    return parse((await live.client.get("/metrics")).text)


def parse(text: str) -> dict[str, float]:
    """All samples by their names without `trio_logs_`, and label values, if any."""
    return {
        " ".join([sample.name.removeprefix("trio_logs_"), *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_lines_are_published_once_and_delivered_to_each(open_server: OpenServer) -> None:
    lines = 5000
    size = sum(len(f"{number}\n") for number in range(1, lines + 1))
    async with open_server() as live:
        workload = await live.submit("seq", str(lines))
        async with trio.open_nursery() as followers:
            for _ in range(3):
                followers.start_soon(live.events, workload["id"])
        found = await scrape(live)
    assert found["published_lines_total"] == lines
    assert found["published_bytes_total"] == size
    assert found["delivered_lines_total"] == 3 * lines
    assert found["delivered_bytes_total"] == 3 * size


async def test_readers_behind_the_window_share_reads(open_server: OpenServer) -> None:
    async with open_server(broker=BrokerLimits(window_bytes=100_000)) as live:
        workload = await live.submit("sh", "-c", "seq 20000; exec sleep 100")

        async def read_and_scrape() -> dict[str, float]:
            reader = await live.follow(workload["logs_url"])
            async with reader.stream:
                await reader.read_until(b"data: 20000\n\n")
            return await scrape(live)

        # The first may find all of it in the window, as it is written; the second comes too late.
        await read_and_scrape()
        second = await read_and_scrape()
        third = await read_and_scrape()
    assert second["history_reads_total"] >= 1
    assert second["batches_read_back_total"] >= 1
    assert second["store_reads_total"] > second["history_reads_total"]
    assert third["history_reads_total"] == second["history_reads_total"]
    assert third["batches_read_back_total"] == second["batches_read_back_total"]
    assert third["history_reuses_total"] > second["history_reuses_total"]
    assert third["published_lines_total"] == 20_000
    assert third["delivered_lines_total"] == 60_000
    assert 0 < third["window_bytes"] <= 100_000


async def test_who_follows_what_runs_does_not_trouble_the_store(open_server: OpenServer) -> None:
    async with open_server() as live:
        workload = await live.submit("sh", "-c", "echo line; exec sleep 100")
        found = []
        for _ in range(2):
            reader = await live.follow(workload["logs_url"])
            async with reader.stream:
                await reader.read_until(b"data: line\n\n")
            found.append(await scrape(live))
    assert found[0]["store_reads_total"] == found[1]["store_reads_total"]
    assert found[1]["delivered_lines_total"] == 2


async def test_rings_of_a_reader_that_does_not_listen(
    open_server: OpenServer, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    async with open_server() as live:
        script = f"until [ -e {gate} ]; do sleep 0.01; done; echo line"
        workload = await live.submit("sh", "-c", script)
        with live.service.broker.subscribe(workload["id"], 1):
            before = await scrape(live)
            gate.touch()
            await live.events(workload["id"])
            after = await scrape(live)
    assert (before["rings_skipped_total"], before["subscriptions"]) == (0, 1)
    # The line's ring waited still when the end came.
    assert after["rings_skipped_total"] >= 1
    assert after["delivered_lines_total"] == 1


async def test_workloads_and_their_tasks(open_server: OpenServer) -> None:
    async with open_server(engine=EngineLimits(running=2, grace=1)) as live:
        idle = await scrape(live)
        script = ("sh", "-c", "echo up; exec sleep 100")
        ids = [(await live.submit(*script))["id"] for _ in range(3)]
        readers = [await live.follow(f"/v1/workloads/{workload_id}/logs") for workload_id in ids]
        for reader, expected in zip(readers, (b"data: up", b"data: up", b": open"), strict=True):
            await reader.read_until(expected)
        busy = await scrape(live)
        for reader in readers:
            await reader.stream.aclose()
        for workload_id in ids:
            await live.client.post(f"/v1/workloads/{workload_id}/stop")
            await live.finished(workload_id)
        await live.finished((await live.submit("true"))["id"])
        over = await scrape(live)
    assert (idle["workloads_running"], idle["workloads_queued"], idle["topics_live"]) == (0, 0, 0)
    assert (busy["workloads_running"], busy["workloads_queued"]) == (2, 1)
    # The third is only read. Each has its own task, each reader a connection's.
    assert (busy["topics"], busy["topics_live"], busy["subscriptions"]) == (3, 2, 3)
    assert busy["tasks"] >= idle["tasks"] + 5
    assert (over["workloads_running"], over["workloads_queued"]) == (0, 0)
    assert over["workloads_submitted_total"] == 4
    assert over["workloads_finished_total stopped"] == 3
    assert over["workloads_finished_total succeeded"] == 1


async def test_commits_and_history(open_server: OpenServer) -> None:
    async with open_server() as live:
        await live.finished((await live.submit("seq", "1000"))["id"])
        found = await scrape(live)
        commits = live.service.store.statistics().commits
        while await live.service.store.trim(Retention(max_bytes=0)):
            pass
        trimmed = await scrape(live)
    buckets = [found[f"commit_duration_seconds_bucket {bound}"] for bound in (*BOUNDS, "+Inf")]
    assert buckets == [sum(commits.counts[: n + 1]) for n in range(len(buckets))]
    # The record, its start, its process, its lines, its end.
    assert buckets[-1] == found["commit_duration_seconds_count"] >= 4
    assert 0 < found["commit_duration_seconds_sum"] < 60
    assert found["history_bytes"] > trimmed["history_bytes"] == 0
    assert trimmed["batches_trimmed_total"] >= found["batches_trimmed_total"] + 1
    assert trimmed["store_writes_waiting"] == 0


FAILING = ("topics_failing", "lines_unsaved", "store_oldest_wait_seconds")
"""What tells of a failing store, and is zero while the store works."""


async def test_a_store_that_fails_and_recovers(tmp_path: Path, disk: Disk) -> None:
    patience = 0.05
    settings = Settings(data=tmp_path, store_patience=patience)
    store = SQLiteStore(tmp_path / "logs.db", vfs=disk.name)
    async with open_live(settings, store=store) as live:
        with await live.service.broker.open("w") as log:
            await log.write("durable\n")
            await log.flush()
            before = await scrape(live)
            disk.full()
            await log.write("one\ntwo\n")
            with pytest.raises(StoreError):
                await log.flush()
            during = await scrape(live)
            disk.healthy()
            with trio.fail_after(30):
                after = during
                while any(after[name] for name in FAILING):
                    after = await scrape(live)
    for healthy in (before, after):
        assert [healthy[name] for name in FAILING] == [0, 0, 0]
    assert before["store_writes_failed_total"] == 0
    assert (during["topics_failing"], during["lines_unsaved"]) == (1, 2)
    assert patience <= during["store_oldest_wait_seconds"] < 30
    assert after["store_writes_failed_total"] >= during["store_writes_failed_total"] >= 1


class StuckStore(MemoryStore):
    """Takes nothing."""

    async def append(self, *args: object, **kwargs: object) -> None:
        await trio.sleep_forever()


async def test_writes_that_wait_for_the_broker(tmp_path: Path) -> None:
    # Cancelled, so that nothing waits for what will not become durable.
    with trio.CancelScope() as scope:
        async with open_service(Settings(data=tmp_path), store=StuckStore()) as service:
            for name, waiting in (("a", 3), ("b", 6)):
                with await service.broker.open(name) as log:
                    await log.write("the topic takes it\n")
                    await trio.testing.wait_all_tasks_blocked()
                    for _ in range(waiting):
                        await log.write("waits\n")
            headers = {"Authorization": f"Bearer {service.token}"}
            answer = await create_app(service).test_client().get("/metrics", headers=headers)
            found = parse(await answer.get_data(as_text=True))
            scope.cancel()
    assert (found["channel_items"], found["channel_items_max"]) == (3 + 6, 6)
    assert found["channel_capacity"] == 8


@pytest.mark.parametrize(
    ("seconds", "place"),
    [(0.0, 0), (BOUNDS[0], 0), (BOUNDS[0] * 1.01, 1), (BOUNDS[-1], -2), (BOUNDS[-1] * 2, -1)],
)
def test_a_duration_is_in_the_class_that_it_does_not_exceed(seconds: float, place: int) -> None:
    durations = Durations()
    durations.add(seconds)
    found = durations.statistics()
    assert found.counts[place] == found.count == 1
    assert found.seconds == seconds
