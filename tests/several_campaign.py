"""Random runs that read many logs in one stream, over cuts, while the logs are written.

A run follows all logs over connections that break at random. In the end, it has each line of each
log, in order, and its position has never gone back. `python -m tests.several_campaign --seed N`
replays one run.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import trio

from tests.cutting_proxy import cutting_proxy
from tests.live import PATIENCE, Live, RawStream, open_live
from trio_logs import LogWriter, function
from trio_logs.broker import BrokerLimits
from trio_logs.client import Client, End, Line, LogRecords, Workload
from trio_logs.records import WorkloadSpec
from trio_logs.settings import Settings

__all__ = ["run", "run_matching"]

END = float("inf")
LABELS = {"part": "of it"}


@function("several.grow")
async def grow(log: LogWriter, seed: str, count: str) -> None:
    """Write numbered lines, some of them together."""
    rng = random.Random(seed)
    left = range(1, int(count) + 1)
    while left:
        size = rng.choice([1, 2, 20])
        await log.writelines([text(number) for number in left[:size]])
        left = left[size:]
        await trio.sleep(rng.choice([0, 0, 0.001, 0.02]))


def text(number: int) -> str:
    return f"{number} " + "x" * (number * 7 % 100)


class Reader:
    """What a client with the last position has of each log, over all connections."""

    def __init__(self, ids: list[str], lines: int) -> None:
        self.ids = ids
        self.lines = lines
        self.position: str | None = None
        self.places = [0.0, *(0.0 for _ in ids)]
        self.newest = dict.fromkeys(ids, 0)
        self.ended: set[str] = set()

    def take(self, body: bytes) -> None:
        """The bytes of one connection, which may end anywhere."""
        # What this connection has sent of each log.
        had = dict(zip(self.ids, self.places[1:], strict=True))
        is_begun = False
        for line in body.split(b"\n")[:-1]:
            record = json.loads(line)
            event = record.get("event")
            if event == "heartbeat":
                continue
            if not is_begun:
                assert event == "position", f"before the first position: {record}"
                assert self.position in (None, record["id"]), "it resumes elsewhere"
                is_begun = True
            if event == "position":
                self._move(record["id"], had)
            elif event is None:
                self._note(record, had)
            elif event == "end":
                assert had[record["workload"]] == self.lines, f"early: {record}"
                had[record["workload"]] = END
                self.ended.add(record["workload"])
            else:
                assert event in ("workload", "progress"), record

    def _move(self, position: str, had: dict[str, float]) -> None:
        places = [END if each == "end" else int(each) for each in position.split(".")]
        assert len(places) == len(self.places), position
        assert all(map(float.__le__, self.places, map(float, places))), "the position goes back"
        ahead = [
            workload_id
            for workload_id, place in zip(self.ids, places[1:], strict=True)
            if place > had[workload_id]
        ]
        assert not ahead, f"the position is ahead of the lines of {ahead}"
        self.position, self.places = position, [float(each) for each in places]

    def _note(self, line: dict[str, Any], had: dict[str, float]) -> None:
        workload_id, seq = line["workload"], line["seq"]
        assert seq == had[workload_id] + 1, f"{workload_id}: {seq} after {had[workload_id]}"
        assert line["text"] == text(seq)
        had[workload_id] = seq
        self.newest[workload_id] = max(self.newest[workload_id], seq)

    @property
    def is_over(self) -> bool:
        return all(place == END for place in self.places[1:])


async def submit(live: Live, rng: random.Random, lines: int, labels: dict[str, str]) -> str:
    """The id of a workload that writes so many lines."""
    command = ("several.grow", str(rng.random()), str(lines))
    spec = WorkloadSpec(command, backend="function", labels=labels)
    workload, _ = await live.service.engine.submit(spec)
    return workload.id


@contextmanager
def small(rng: random.Random) -> Iterator[int]:
    """Small bounds, so that there are many positions, rows are read twice, and turns end. Gives
    about how many bytes lie between two positions."""
    between = rng.choice([500, 4_000, 64 * 1024])
    with (
        patch("trio_logs.api.several_stream.POSITION_BYTES", between),
        patch("trio_logs.broker.merging.HELD_BYTES", rng.choice([1, 20_000, 1024 * 1024])),
    ):
        yield between


def settings(rng: random.Random, folder: Path) -> Settings:
    windows = rng.choice([BrokerLimits(), BrokerLimits(window_bytes=1)])
    return Settings(folder, broker=windows, heartbeat=0.5)


async def read(raw: RawStream, size: int) -> None:
    """Read until there are so many bytes, or the answer ends."""
    while len(raw.body) < size and not raw.ended:
        await raw.read_chunk()


async def run(seed: int, *, logs: int, lines: int) -> int:
    """Some logs have ended when the run begins, others are written. Returns how often the
    connection was cut. Raises AssertionError."""
    rng = random.Random(seed)
    cuts = 0
    with tempfile.TemporaryDirectory() as folder, small(rng) as between:
        async with open_live(settings(rng, Path(folder))) as live:
            ids = [await submit(live, rng, lines, {}) for _ in range(logs)]
            for workload_id in rng.sample(ids, logs // 2):
                with live.service.broker.subscribe(workload_id, 1) as log:
                    async for _ in log:
                        pass
            rng.shuffle(ids)
            query = "&".join(f"workload={each}" for each in ids)
            events = rng.choice(["", "&events=true"])
            reader = Reader(ids, lines)
            with trio.fail_after(100 * PATIENCE):
                while not reader.is_over:
                    resume = [f"Last-Event-ID: {reader.position}"] if reader.position else []
                    raw = await live.follow(
                        f"/v1/logs?{query}{events}", "Accept: application/x-ndjson", *resume
                    )
                    assert raw.status == 200, raw.status
                    # A position comes behind a whole batch, which may have all lines of a log.
                    limit = rng.randint(1, 4 * between + 40 * logs + 400 * lines)
                    async with raw.stream:
                        await read(raw, min(limit, between))
                        # Where lines come slowly, the cut comes by time.
                        with trio.move_on_after(rng.choice([0.02, 0.2, 2])):
                            await read(raw, limit)
                    reader.take(raw.body[:limit])
                    cuts += 1
            assert reader.newest == dict.fromkeys(ids, lines)
            assert reader.ended == set(ids)
            if not events:
                done = await live.client.get(
                    f"/v1/logs?{query}", headers={"Last-Event-ID": reader.position or ""}
                )
                assert done.status_code == 204
    return cuts


async def run_matching(seed: int, *, logs: int, lines: int) -> int:
    """Follow all workloads with a label, while they are created and end. Returns how often the
    connection was cut. Raises AssertionError."""
    rng = random.Random(seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        small(rng) as between,
        patch("trio_logs.client.backoff.MAX_DELAY", 0.01),
        patch("trio_logs.client.several_state.MAX_LOGS", rng.choice([3, 128])),
        patch("trio_logs.client.several_state.MIN_SECONDS", rng.choice([0, 0.05])),
        patch("trio_logs.client.several_state.REFILL_SECONDS", 0.05),
    ):
        async with (
            open_live(settings(rng, Path(folder))) as live,
            cutting_proxy(live.url, after=lambda: rng.randint(300, 4 * between + 40_000)) as (
                url,
                cuts,
            ),
            Client(url, live.service.token) as client,
            trio.open_nursery() as nursery,
        ):
            known = [await submit(live, rng, lines, LABELS) for _ in range(logs // 3)]
            expected = set(known)

            async def create() -> None:
                while len(expected) < logs:
                    expected.add(await submit(live, rng, lines, LABELS))
                    if rng.random() < 0.3:
                        await submit(live, rng, 1, {"part": "of another"})
                    await trio.sleep(rng.choice([0, 0.01, 0.1]))

            nursery.start_soon(create)
            met = Counter[str]()
            found: dict[str, list[Any]] = {}
            ended = 0
            with trio.fail_after(100 * PATIENCE):
                following = client.follow_matching(LABELS, later=True, patience=PATIENCE)
                async with aclosing(following) as batches:
                    async for batch in batches:
                        for each in batch:
                            if isinstance(each, Workload):
                                met[each.id] += 1
                            else:
                                ended += _note(each, met, found)
                        if ended == logs:
                            break
            assert met == Counter(expected)
            for workload_id, records in found.items():
                numbers = [each.seq for each in records if isinstance(each, Line)]
                assert numbers == [*range(1, lines + 1)], f"{workload_id}: {numbers}"
                assert [type(each) for each in records[lines:]] == [End], records[lines:]
            return cuts[0] - 1


def _note(found: LogRecords, met: Counter[str], logs: dict[str, list[Any]]) -> int:
    """Returns how many ends there are among the records."""
    assert met[found.workload] == 1, "records of a workload that was not told"
    logs.setdefault(found.workload, []).extend(found.records)
    return sum(isinstance(each, End) for each in found.records)


def main() -> None:
    """Print a line for each kind of run; exit 1 if a run failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.several_campaign", description=__doc__)
    parser.add_argument("--cuts", type=int, default=1000, help="how many of each kind")
    parser.add_argument("--seed", type=int, help="only this one")
    options = parser.parse_args()
    failed = 0
    for kind, logs, lines in ((run, 100, 50), (run_matching, 60, 50)):
        start, cuts, seed = time.monotonic(), 0, options.seed or 0
        while cuts < options.cuts:
            try:
                cuts += trio.run(partial(kind, seed, logs=logs, lines=lines))
            except (Exception, ExceptionGroup) as error:
                failed += 1
                print(f"{kind.__name__} --seed {seed}: {error!r}", flush=True)
            seed += 1
            if options.seed is not None or failed > 3:
                break
        taken = time.monotonic() - start
        print(f"{kind.__name__}: {cuts} cuts, {failed} failed, {taken:.0f} s", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
