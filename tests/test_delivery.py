"""Every reader gets a contiguous run up to `end`, whenever it comes, leaves and returns.

Workloads write and finish while readers attach at random moments, in virtual time; the same over
real HTTP and SQLite. A checker decides; planted bugs show that it can.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import trio
import trio.testing

from tests.checker import Transcript, faults
from tests.live import Live, parse_events
from trio_logs import Batch, End, Gap, LogBroker, open_broker
from trio_logs.broker import BrokerLimits, group
from trio_logs.broker.subscription import Subscription
from trio_logs.records import Record

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]

SPAN = 1.0
"""How long a workload writes, in virtual seconds."""


def log_of(name: str, rng: random.Random) -> list[str]:
    """The lines of one workload; their text tells where they belong."""
    return [
        f"{name} {number} " + "x" * rng.randrange(30) for number in range(1, rng.randint(1, 90))
    ]


async def write(broker: LogBroker, name: str, lines: list[str], rng: random.Random) -> None:
    """Write the lines in uneven pieces, some not at a line's end, and close."""
    data = "".join(f"{line}\n" for line in lines)
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randint(1, 25)))
    with await broker.open(name) as log:
        for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
            await log.write(data[start:stop])
            if rng.random() < 0.7:
                await trio.sleep(rng.random() * 2 * SPAN / len(cuts))
    await broker.close(name)


def note(record: Record, transcript: Transcript) -> None:
    """Add a record to a transcript."""
    match record:
        case Batch():
            for number, line in enumerate(record.lines, record.first):
                transcript.events.append(("line", number, line.decode()))
        case Gap(first, last):
            transcript.events.append(("gap", first, last))
        case End(lines=lines):
            transcript.events.append(("end", lines))


class Takers:
    """Readers that take what is written to them, or decline it."""

    def __init__(self) -> None:
        self.takers: list[Callable[[Batch], bool]] = []

    def render(self, batch: Batch) -> Any:
        return batch

    def send_each(self, ports: Sequence[int], batch: Any) -> list[int]:
        return [port for port in ports if not self.takers[port](batch)]


async def read(
    broker: LogBroker, takers: Takers, name: str, lines: list[str], rng: random.Random
) -> Transcript:
    """Attach at a random moment and position; leave and resume now and then; read to the end. Some
    take what is pushed to them, mostly."""
    await trio.sleep(rng.random() * 1.5 * SPAN)
    transcript = Transcript(rng.choice([1, 1, 1, rng.randint(1, len(lines) + 1)]), lines)
    stay = rng.choice([None, None, 0.0, 0.05, 0.3])
    pushed = rng.random() < 0.5

    def take(batch: Batch) -> bool:
        if rng.random() < 0.2:
            return False
        note(batch, transcript)
        return True

    while not transcript.events or transcript.events[-1][0] != "end":
        with trio.move_on_after(float("inf") if stay is None else stay):
            with broker.subscribe(name, transcript.next) as subscription:
                if pushed:
                    takers.takers.append(take)
                    await subscription.load()
                    subscription.write_to(takers, len(takers.takers) - 1)
                async for record in subscription:
                    note(record, transcript)
                    if rng.random() < 0.2:
                        await trio.sleep(rng.random() * 0.2)
                break
        # A reader that left before anything came would come back for ever.
        stay = None if rng.random() < 0.3 else rng.random() * 0.3
    return transcript


async def campaign(seed: int, workloads: int, readers: int) -> list[str]:
    """Run it; return the faults that the checker found."""
    rng = random.Random(seed)
    takers = Takers()
    found: list[str] = []

    async def attach(broker: LogBroker, name: str, lines: list[str], rng: random.Random) -> None:
        transcript = await read(broker, takers, name, lines, rng)
        found.extend(f"{name}: {fault}" for fault in faults(transcript))

    # Windows so small that most readers go to the store, and some to both.
    async with open_broker(limits=BrokerLimits(4096, 16_384)) as broker:
        async with trio.open_nursery() as nursery:
            for number in range(workloads):
                name = f"w{number}"
                lines = log_of(name, rng)
                nursery.start_soon(write, broker, name, lines, random.Random(rng.random()))
                for _ in range(readers):
                    nursery.start_soon(attach, broker, name, lines, random.Random(rng.random()))
        statistics = broker.statistics()
        assert (statistics.topics, statistics.subscriptions, statistics.window_bytes) == (0, 0, 0)
    return found


SEEDS = int(os.environ.get("ATTACHMENT_SEEDS", "6"))
"""1,000 attachments each; `make campaign` has more."""


async def test_attachments_in_virtual_time(autojump_clock: trio.testing.MockClock) -> None:
    for seed in range(SEEDS):
        assert await campaign(seed, workloads=20, readers=50) == [], f"seed {seed}"


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of these has fewer readers than are told in one step."""
    monkeypatch.setattr(group, "AT_ONCE", 3)


def drop_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader moves past a batch that it did not get. (A batch that only the window or a ring
    loses is no bug that can be seen: the cursor finds the hole and the store closes it.)"""
    advance = Subscription._advance

    def careless(self: Subscription, batches: list[Batch]) -> list[Batch]:
        records = advance(self, batches)
        return [*records[:1], *records[2:]]

    monkeypatch.setattr(Subscription, "_advance", careless)


def forget_a_declined_push(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that declines what is pushed to it is taken to have it."""
    send_each = Takers.send_each

    def deaf(self: Takers, ports: Sequence[int], batch: Any) -> list[int]:
        send_each(self, ports, batch)
        return []

    monkeypatch.setattr(Takers, "send_each", deaf)


def duplicate_on_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resume in the middle of a batch gets the whole batch."""
    monkeypatch.setattr(Batch, "since", lambda self, first: self)


def off_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscription starts one line too late."""
    enter = Subscription.__enter__

    def late(self: Subscription) -> Subscription:
        enter(self)
        assert self._cursor is not None
        self._cursor += 1
        return self

    monkeypatch.setattr(Subscription, "__enter__", late)


def early_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader gets the end as soon as there is one, wherever it is."""
    take = Subscription._take

    def hasty(self: Subscription) -> Sequence[Record]:
        if self._topic.end is not None:
            self._ended = True
            return [self._topic.end]
        return take(self)

    monkeypatch.setattr(Subscription, "_take", hasty)


@pytest.mark.parametrize(
    "plant",
    [
        drop_a_line,
        forget_a_declined_push,
        duplicate_on_resume,
        off_by_one,
        early_end,
    ],
)
async def test_the_campaign_catches_planted_bugs(
    plant: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    plant(monkeypatch)
    caught: list[str] = []
    with trio.move_on_after(100):
        caught = await campaign(1, workloads=10, readers=20)
        assert caught, "the planted bug went unseen"
        return
    pytest.fail("the planted bug made readers hang")


LINES = ["a", "b", "c", "d"]
GOOD: list[Any] = [*(("line", i + 1, text) for i, text in enumerate(LINES)), ("end", 4)]


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        ([*GOOD[:1], *GOOD[2:]], "line 3 where 2 was due"),
        ([*GOOD[:2], *GOOD[1:]], "line 2 where 3 was due"),
        (GOOD[1:], "line 2 where 1 was due"),
        ([*GOOD[:3], ("end", 4)], "an end before line 4 of 4"),
        ([*GOOD[:3], ("end", 3)], "an end that counts 3 lines of 4"),
        (GOOD[:-1], "0 ends"),
        ([*GOOD, ("end", 4)], "2 ends"),
        ([*GOOD, GOOD[0]], "('line', 1, 'a') after the end"),
        ([*GOOD[:3], ("line", 4, "x"), ("end", 4)], "line 4 is 'x', not 'd'"),
        ([*GOOD[:4], ("line", 5, "e"), ("end", 4)], "line 5 was never written"),
        ([*GOOD[:1], ("gap", 2, 3), *GOOD[3:]], "a gap of 2 to 3"),
    ],
)
def test_the_checker_names_the_fault(events: list[Any], fault: str) -> None:
    assert faults(Transcript(1, LINES, events=list(GOOD))) == []
    assert fault in faults(Transcript(1, LINES, events=events))


async def test_500_attachments_over_http(open_server: OpenServer) -> None:
    """Real sockets, real processes, SQLite: readers come and go while ten workloads write."""
    rng = random.Random(7)
    found: list[str] = []
    async with open_server() as live, trio.open_nursery() as nursery:
        for _ in range(10):
            lines = [f"{number} {'y' * rng.randrange(60)}" for number in range(1, 400)]
            script = "".join(
                f"printf '%s\\n' {' '.join(repr(line) for line in lines[i : i + 20])};"
                f" sleep {rng.random() * 0.1:.3f};"
                for i in range(0, len(lines), 20)
            )
            workload = await live.submit("sh", "-c", script)
            for _ in range(50):
                nursery.start_soon(
                    attach_over_http, live, workload, lines, random.Random(rng.random()), found
                )
    assert found == []


async def attach_over_http(
    live: Live, workload: dict[str, Any], lines: list[str], rng: random.Random, found: list[str]
) -> None:
    """One reader: cuts its connection a few times, resumes by Last-Event-ID, reads to the end."""
    await trio.sleep(rng.random() * 1.5)
    transcript = Transcript(1, lines)
    cuts = rng.choice([0, 0, 1, 2, 5])
    while not transcript.events or transcript.events[-1][0] != "end":
        headers = [f"Last-Event-ID: {transcript.next - 1}"] if transcript.events else []
        stream = await live.follow(workload["logs_url"], *headers)
        async with stream.stream:
            with trio.move_on_after(rng.random() * 0.4 if cuts > 0 else 30):
                while await stream.read_chunk():
                    pass
        cuts -= 1
        # A frame that was cut off does not count: the client never dispatched it.
        for name, event_id, data in parse_events(stream.body[: stream.body.rfind(b"\n\n") + 2]):
            if name == "message":
                transcript.events.append(("line", int(event_id), data))
            elif name == "end":
                transcript.events.append(("end", data["lines"]))
            else:
                found.append(f"a {name} event")
    found.extend(faults(transcript))
