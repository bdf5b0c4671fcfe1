"""What is cancelled at each of its steps: the operations of the service, and what must hold then.

Each is a class with `prepare`, which is not cancelled, `run`, which is, and `check`, which looks at
what became of it and then finishes it.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import trio

from tests.checker import Transcript, faults
from tests.live import parse_events
from tests.steps import InvariantError, Steps
from tests.stores import append
from trio_logs import Batch, End, Gap, LogWriter, Service, function, open_service
from trio_logs.api.stream import LogStream
from trio_logs.backends import Execution
from trio_logs.backends.function import FunctionBackend
from trio_logs.broker import BrokerLimits, bell, group
from trio_logs.errors import ConflictError, StoreError
from trio_logs.formats import TEXT_EVENTS
from trio_logs.records import Outcome, Record, Status, WorkloadSpec, now
from trio_logs.server import Port
from trio_logs.settings import Settings
from trio_logs.store import Retention, Store, WorkloadQuery
from trio_logs.store.memory import MemoryStore
from trio_logs.store.sqlite import SQLiteStore

__all__ = [
    "PROCESSES",
    "SCENARIOS",
    "Scenario",
    "World",
    "run_with_failing_backend",
    "run_with_failing_store",
    "scenario_run",
    "shutdown_run",
]

T = TypeVar("T")

LOG = "log"
LINES = [f"line {number}" for number in range(1, 11)]
KNOWN = 5
"""How many of them are there before the scenario starts."""


@function("steps.print")
async def print_lines(log: LogWriter, count: str) -> None:
    for number in range(int(count)):
        await log.write(f"{number}\n")
        await trio.sleep(0.01)


@function("steps.wait")
async def wait(log: LogWriter) -> None:
    await log.write("waiting\n")
    await trio.sleep_forever()


def spec(*command: str) -> WorkloadSpec:
    return WorkloadSpec(command, backend="function")


class World:
    """A service, and what the scenario notes about it."""

    def __init__(self, service: Service, store: Store, nursery: trio.Nursery) -> None:
        self.service, self.broker, self.engine = service, service.broker, service.engine
        self.store = store
        self.nursery = nursery

    async def write_known(self) -> None:
        """The first lines, durable."""
        with await self.broker.open(LOG) as log:
            await log.writelines(LINES[:KNOWN])
        await self.until_line(KNOWN)

    async def until_line(self, number: int) -> None:
        with self.broker.subscribe(LOG, number) as subscription:
            await subscription.receive()

    async def write_rest(self) -> None:
        with await self.broker.open(LOG) as log:
            for line in LINES[KNOWN:]:
                await trio.sleep(0.01)
                await log.writelines([line])
        await again(partial(self.broker.close, LOG))

    async def final(self, workload_id: str) -> None:
        """Wait for the end of a workload's log."""
        with self.broker.subscribe(workload_id, 1) as subscription:
            async for _ in subscription:
                pass


class Scenario:
    """See the module."""

    limits = BrokerLimits()
    patience = 30.0

    def wrapped(self, store: Store) -> Any:
        """The store as the service sees it."""
        return store

    async def prepare(self, world: World) -> None:
        pass

    async def run(self, world: World) -> None:
        raise NotImplementedError

    async def check(self, world: World) -> None:
        pass


class Subscribe(Scenario):
    async def prepare(self, world: World) -> None:
        await world.write_known()

    async def run(self, world: World) -> None:
        with world.broker.subscribe(LOG, 1) as subscription:
            await subscription.receive()

    async def check(self, world: World) -> None:
        await world.broker.close(LOG)


class Seam(Scenario):
    """From history to live, and on from wherever it was cut off."""

    pause = 0.0

    async def prepare(self, world: World) -> None:
        self.transcript = Transcript(1, LINES)
        await world.write_known()
        world.nursery.start_soon(world.write_rest)

    async def run(self, world: World) -> None:
        with world.broker.subscribe(LOG, self.transcript.next) as subscription:
            async for record in subscription:
                self.note(record)
                await trio.sleep(self.pause)

    def note(self, record: Record) -> None:
        match record:
            case Batch():
                for number, line in enumerate(record.lines, record.first):
                    self.transcript.events.append(("line", number, line.decode()))
            case Gap(first, last):
                self.transcript.events.append(("gap", first, last))
            case End(lines=lines):
                self.transcript.events.append(("end", lines))

    async def check(self, world: World) -> None:
        if not any(event[0] == "end" for event in self.transcript.events):
            await self.run(world)
        if found := faults(self.transcript):
            raise InvariantError("; ".join(found))


class SlowReader(Seam):
    """Behind the window all the time: everything comes from the store."""

    limits = BrokerLimits(window_bytes=1, windows_bytes=1)
    pause = 0.025


class Follow(Scenario):
    """The body of an answer, part of it pushed, and its resume; beside it some that stay."""

    others = (1, 2, 3)

    async def prepare(self, world: World) -> None:
        self.sent = dict.fromkeys((0, *self.others), b"")
        self.pushes = 0
        await world.write_known()
        for port in self.others:
            world.nursery.start_soon(self.follow, world, port)
        world.nursery.start_soon(world.write_rest)

    async def run(self, world: World) -> None:
        await self.follow(world, 0)

    async def follow(self, world: World, port: int) -> None:
        reading = world.broker.read(LOG, after=self.last_id(port))
        async with LogStream(reading, TEXT_EVENTS, 15, Port(port, self)) as stream:
            async for chunk in stream:
                self.sent[port] += chunk

    def send_each(self, ports: Sequence[int], chunk: bytes) -> list[int]:
        refused = []
        for port in ports:
            self.pushes += 1
            if self.pushes % 3 == 0:
                refused.append(port)
            else:
                self.sent[port] += chunk
        return refused

    def last_id(self, port: int) -> int | None:
        ids = [event[1] for event in parse_events(self.sent[port]) if event[0] == "message"]
        return int(ids[-1]) if ids else None

    async def check(self, world: World) -> None:
        if b"event: end" not in self.sent[0]:
            await self.run(world)
        with trio.fail_after(5):
            while not all(b"event: end" in sent for sent in self.sent.values()):
                await trio.sleep(0.01)
        expected = [("message", str(n), line) for n, line in enumerate(LINES, 1)]
        for sent in self.sent.values():
            events = parse_events(sent)
            if events[:-1] != expected or events[-1][0] != "end":
                raise InvariantError(f"{events}")


class Publish(Scenario):
    async def run(self, world: World) -> None:
        for line in LINES[:3]:
            await world.broker.publish(LOG, line)

    async def check(self, world: World) -> None:
        await world.broker.close(LOG)
        written = await lines_of(world.store, LOG)
        if written != LINES[: len(written)]:
            raise InvariantError(f"written: {written}")


class Close(Scenario):
    async def prepare(self, world: World) -> None:
        await world.write_known()

    async def run(self, world: World) -> None:
        await world.broker.close(LOG)

    async def check(self, world: World) -> None:
        end = await world.broker.close(LOG)
        if end.lines != KNOWN:
            raise InvariantError(f"{end}")


class Submit(Scenario):
    """With a key, so that whoever was cut off can ask again."""

    async def run(self, world: World) -> None:
        await world.engine.submit(spec("steps.print", "1"), "key")

    async def check(self, world: World) -> None:
        workload, _ = await world.engine.submit(spec("steps.print", "1"), "key")
        await world.final(workload.id)


class Rerun(Scenario):
    """As `Submit`; the workload that is repeated has ended."""

    async def prepare(self, world: World) -> None:
        workload, _ = await world.engine.submit(spec("steps.print", "1"))
        self.id = workload.id
        await world.final(self.id)

    async def run(self, world: World) -> None:
        await world.engine.rerun(self.id, "key")

    async def check(self, world: World) -> None:
        workload, _ = await world.engine.rerun(self.id, "key")
        await world.final(workload.id)
        found = await world.store.workloads(every())
        if [each.rerun_of for each in found] != [self.id, None]:
            raise InvariantError(f"{found}")


class Stop(Scenario):
    spec = spec("steps.wait")

    async def prepare(self, world: World) -> None:
        workload, _ = await world.engine.submit(self.spec)
        self.id = workload.id
        with world.broker.subscribe(self.id, 1) as subscription:
            await subscription.receive()

    async def run(self, world: World) -> None:
        await world.engine.stop(self.id, 1)
        await world.final(self.id)

    async def check(self, world: World) -> None:
        await world.engine.stop(self.id, 1)
        await world.final(self.id)
        if (await world.engine.get(self.id)).status is not Status.STOPPED:
            raise InvariantError("it was not stopped")


class Finish(Scenario):
    """A client that comes and goes has no say in how its workload ends."""

    spec = spec("steps.print", "3")

    async def run(self, world: World) -> None:
        workload, _ = await world.engine.submit(self.spec)
        await world.final(workload.id)

    async def check(self, world: World) -> None:
        # What was asked for when the client left is still being admitted.
        while any("_admit" in name for name in tasks()):
            await trio.sleep(0.001)
        for workload in await world.store.workloads(every()):
            await world.final(workload.id)
            found = await world.engine.get(workload.id)
            if (found.status, found.lines) != (Status.SUCCEEDED, 3):
                raise InvariantError(f"{found}")


class Push(Scenario):
    """Two clients send the same log, and take over from each other; then one comes that sends all
    of it again, and ends it."""

    text = "".join(f"{line}\n" for line in LINES) + "unended"

    async def prepare(self, world: World) -> None:
        workload, _ = await world.engine.submit(WorkloadSpec((), backend="push"))
        self.id = workload.id

    async def run(self, world: World) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(self.send, world, False)
                await trio.sleep(0.025)

    async def check(self, world: World) -> None:
        await self.send(world, True)
        await world.final(self.id)
        found = await lines_of(world.store, self.id)
        if found != [*LINES, "unended"]:
            raise InvariantError(f"{found}")

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        for start in range(0, len(self.text), 30):
            await trio.sleep(0.01)
            yield self.text[start : start + 30].encode()

    async def send(self, world: World, all_of_it: bool) -> None:
        with suppress(ConflictError):  # the other one took over
            inbox = world.service.push.inbox(self.id)
            async with aclosing(self.pieces()) as body:
                await inbox.receive(body, 0)
            if all_of_it:
                await inbox.finish(Outcome(Status.SUCCEEDED), len(self.text))


class PushStreams(Push):
    """As `Push`, with both streams; the end waits for its turn in each."""

    async def check(self, world: World) -> None:
        for stream in ("stdout", "stderr"):
            await self.send_stream(world, stream)
        inbox = world.service.push.inbox(self.id)
        await inbox.finish(Outcome(Status.SUCCEEDED), 2 * len(self.text))
        await world.final(self.id)
        records = await read_log(world.store, self.id)
        for stream in ("stdout", "stderr"):
            found = b"".join(batch.data for batch in records if batch.stream == stream)
            if found != self.text.encode():
                raise InvariantError(f"{stream}: {found!r}")

    async def send(self, world: World, all_of_it: bool) -> None:
        async with trio.open_nursery() as nursery:
            for stream in ("stdout", "stderr"):
                nursery.start_soon(self.send_stream, world, stream)

    async def send_stream(self, world: World, stream: str) -> None:
        with suppress(ConflictError):  # the other one took over
            inbox = world.service.push.inbox(self.id)
            async with aclosing(self.pieces()) as body:
                await inbox.receive(body, 0, stream)


class StopProcess(Stop):
    """It has a child, which ignores TERM."""

    spec = WorkloadSpec(("sh", "-c", "(trap '' TERM; sleep 100) & echo waiting; wait"))

    async def run(self, world: World) -> None:
        await world.engine.stop(self.id, 0.01)
        await world.final(self.id)


class FinishProcess(Finish):
    spec = WorkloadSpec(("printf", "a\nb\nc\n"))


class Append(Scenario):
    async def run(self, world: World) -> None:
        for batch in batches():
            await append(world.store, LOG, [batch])

    async def check(self, world: World) -> None:
        # What was cancelled may take effect yet; this is committed after it.
        await world.store.trim(Retention())
        state = await world.store.log(LOG)
        for batch in batches()[state.lines if state else 0 :]:
            await append(world.store, LOG, [batch])
        if await lines_of(world.store, LOG) != LINES:
            raise InvariantError(f"{await lines_of(world.store, LOG)}")
        await world.broker.close(LOG)


class Trim(Scenario):
    async def prepare(self, world: World) -> None:
        for batch in batches():
            await append(world.store, LOG, [batch])

    async def run(self, world: World) -> None:
        while await world.store.trim(Retention(max_bytes=30)):
            pass

    async def check(self, world: World) -> None:
        await self.run(world)
        left = await lines_of(world.store, LOG)
        if left != LINES[-len(left) :] or not 0 < world.store.statistics().bytes <= 30:
            raise InvariantError(f"left: {left}, {world.store.statistics()}")
        await world.broker.close(LOG)


SCENARIOS: dict[str, type[Scenario]] = {
    "subscribe": Subscribe,
    "replay-to-live seam": Seam,
    "follow": Follow,
    "slow reader catching up": SlowReader,
    "publish": Publish,
    "close": Close,
    "submit": Submit,
    "rerun": Rerun,
    "stop": Stop,
    "finish": Finish,
    "push": Push,
    "push of two streams": PushStreams,
    "append": Append,
    "retention": Trim,
}

PROCESSES: dict[str, type[Scenario]] = {
    "stop a process": StopProcess,
    "finish a process": FinishProcess,
}
"""Those that need real time."""


def batches() -> list[Batch]:
    return [
        # Times that retention keeps.
        Batch(number, 1, now() + number, "stdout", f"{line}\n".encode())
        for number, line in enumerate(LINES, 1)
    ]


def every() -> WorkloadQuery:
    return WorkloadQuery(limit=500)


async def read_log(store: Store, name: str) -> list[Batch]:
    """All that is stored of a log."""
    found: list[Batch] = []
    first = 1
    while read := await store.read(name, first, 1 << 20):
        found += [batch for batch in read if batch.last >= first]
        first = found[-1].last + 1
    return found


async def lines_of(store: Store, name: str) -> list[str]:
    return [line.decode() for batch in await read_log(store, name) for line in batch.lines]


async def check_logs(store: Store) -> None:
    """Every log is one run of numbers that ends where its record says, and holds what it says."""
    names = [workload.id for workload in await store.workloads(every())]
    for name in [LOG, *names]:
        state = await store.log(name)
        stored = await read_log(store, name)
        if state is None:
            if stored:
                raise InvariantError(f"{name}: lines without a log")
            continue
        for one, other in pairwise(stored):
            if one.last + 1 != other.first:
                raise InvariantError(f"{name}: {other.first} follows {one.last}")
        if stored and stored[-1].last != state.lines:
            raise InvariantError(f"{name}: {stored[-1].last} is the last line of {state.lines}")
        size = sum(len(batch.data) for batch in stored)
        if stored and stored[0].first == 1 and size != state.bytes:
            raise InvariantError(f"{name}: {size} bytes of {state.bytes}")
    for workload in await store.workloads(every()):
        log = await store.log(workload.id)
        assert log is not None
        if (log.end is not None) is not workload.status.final:
            raise InvariantError(f"{workload.id} is {workload.status}, and its end {log.end}")


@asynccontextmanager
async def open_world(
    store: Store, folder: Path, scenario: Scenario, **options: Any
) -> AsyncIterator[World]:
    settings = Settings(
        data=folder, token="t", broker=scenario.limits, store_patience=scenario.patience
    )
    async with (
        open_service(settings, store=store, **options) as service,
        trio.open_nursery() as nursery,
    ):
        yield World(service, store, nursery)


def tasks(*, but: tuple[str, ...] = ()) -> Counter[str]:
    """The names of all tasks of the run. Tasks whose names start with one of `but` do not count,
    and neither do their children."""
    found: Counter[str] = Counter()
    left = [trio.lowlevel.current_root_task()]
    while left:
        task = left.pop()
        assert task is not None
        if task.name.startswith(but):
            continue
        found[task.name] += 1
        left += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


async def settled(world: World, before: Counter[str]) -> None:
    """Raise InvariantError unless the service is as it was before anyone came."""
    deadline = trio.current_time() + 5
    while True:
        statistics, found = world.broker.statistics(), tasks()
        held = statistics.topics, statistics.subscriptions, statistics.channel_items
        if held == (0, 0, 0) and not world.engine.statistics().event_readers and found == before:
            return
        if trio.current_time() > deadline:
            raise InvariantError(
                f"held: {statistics}; tasks: {found - before}, missing {before - found}"
            )
        await trio.sleep(0.01)


def scenario_run(kind: type[Scenario], *, sqlite: bool = False) -> Any:
    """What `tests.steps` runs: a service, the scenario in it, and what must hold after it."""

    async def run(steps: Steps) -> None:
        with (
            tempfile.TemporaryDirectory() as name,
            patch.multiple(bell, AT_ONCE=2),
            patch.multiple(group, AT_ONCE=2),
        ):
            folder = Path(name)
            store: Store = SQLiteStore(folder / "db") if sqlite else MemoryStore()
            scenario = kind()
            store = scenario.wrapped(store)
            async with open_world(store, folder, scenario) as world:
                before = tasks()
                await scenario.prepare(world)
                with steps.armed():
                    await scenario.run(world)
                await scenario.check(world)
                await check_logs(store)
                await settled(world, before)
                await use(world)
                await settled(world, before)

    return run


async def use(world: World) -> None:
    """It still does what it is for."""
    await world.broker.publish("fresh", "line")
    end = await world.broker.close("fresh")
    workload, _ = await world.engine.submit(spec("steps.print", "2"))
    await world.final(workload.id)
    if end.lines != 1 or (await world.engine.get(workload.id)).status is not Status.SUCCEEDED:
        raise InvariantError("the service is not usable any more")


class Life(Scenario):
    """A bit of everything, for what ends the whole service."""

    def __init__(self) -> None:
        self.delivered: list[str] = []
        self.id = ""

    async def run(self, world: World) -> None:
        world.nursery.start_soon(world.write_rest)
        workload, _ = await world.engine.submit(spec("steps.print", "3"))
        self.id = workload.id
        with world.broker.subscribe(workload.id, 1) as subscription:
            async for record in subscription:
                if isinstance(record, Batch):
                    self.delivered += [line.decode() for line in record.lines]
        await world.engine.stop(workload.id)
        await world.store.trim(Retention(max_bytes=10_000))
        await world.final(LOG)

    async def check_restart(self, store: Store, folder: Path) -> None:
        """What was delivered is there, and the next start makes everything final."""
        async with open_world(store, folder, self) as world:
            # What was queued may be running again.
            before = tasks(but=("workload ", "topic "))
            for workload in await store.workloads(every()):
                await world.final(workload.id)
            await world.broker.close(LOG)
            await check_logs(store)
            stored = await lines_of(store, self.id) if self.id else []
            if stored[: len(self.delivered)] != self.delivered:
                raise InvariantError(f"delivered {self.delivered}, stored {stored}")
            await settled(world, before)
            await use(world)


def shutdown_run(*, sqlite: bool = False) -> Any:
    """The whole service is cancelled at a step; the next one takes over what it left."""

    async def run(steps: Steps) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make: Callable[[], Store]
            if sqlite:
                make = partial(SQLiteStore, folder / "db")
            else:
                memory = MemoryStore()
                make = lambda: memory  # noqa: E731
            life = Life()
            with steps.armed():
                async with open_world(make(), folder, life) as world:
                    await life.run(world)
            await life.check_restart(make(), folder)

    return run


class FaultyStore:
    """A real store whose call number `fail_at` raises, before or after it took effect."""

    def __init__(self, inner: Store, fail_at: int, *, after: bool) -> None:
        self._inner = inner
        self._fail_at = fail_at
        self._after = after
        self.calls = 0
        self.failed = ""
        self.statistics = inner.statistics
        self.run = inner.run
        self.listen = inner.listen

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            failing = self.calls == self._fail_at
            if failing:
                self.failed = name
            if failing and not self._after:
                await trio.lowlevel.checkpoint()
                raise StoreError(f"injected before {name}")
            result = await method(*arguments, **options)
            if failing:
                raise StoreError(f"injected after {name}")
            return result

        return call


class PatientLife(Life):
    """What clients do when the store fails for a moment: they ask again."""

    async def run(self, world: World) -> None:
        world.nursery.start_soon(self.write, world)
        workload, _ = await again(partial(world.engine.submit, spec("steps.print", "3"), "key"))
        self.id = workload.id
        with world.broker.subscribe(workload.id, 1) as subscription:
            while True:
                try:
                    records = await again(subscription.receive)
                except trio.EndOfChannel:
                    break
                for record in records:
                    if isinstance(record, Batch):
                        self.delivered += [line.decode() for line in record.lines]
        await again(partial(world.engine.stop, workload.id))
        await again(partial(world.store.trim, Retention(max_bytes=10_000)))
        await again(partial(world.final, LOG))

    async def write(self, world: World) -> None:
        log = await again(partial(world.broker.open, LOG))
        with log:
            for line in LINES:
                await trio.sleep(0.01)
                await log.writelines([line])
        await again(partial(world.broker.close, LOG))


async def again(call: Callable[[], Awaitable[T]]) -> T:
    """The result of a call, which is made again while the store fails."""
    while True:
        try:
            return await call()
        except StoreError:
            await trio.sleep(0.1)


READ_AT_START = ("position", "changes", "workloads", "unfinished")


async def run_with_failing_store(fail_at: int, *, after: bool) -> bool:
    """Everything ends as without the failure. Returns whether it came to that."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inner = MemoryStore()
        store: Any = FaultyStore(inner, fail_at, after=after)
        life = PatientLife()
        try:
            with trio.fail_after(100):
                async with open_world(store, folder, life) as world:
                    await life.run(world)
        except* StoreError:
            if store.failed not in READ_AT_START:
                raise
        if store.failed in READ_AT_START:
            # A service that can't read what it has to take up does not start.
            await life.check_restart(inner, folder)
            return True
        found = await inner.workload(life.id)
        if found is None or found.status is not Status.SUCCEEDED:
            raise InvariantError(f"call {fail_at} failed: {found}")
        if await lines_of(inner, life.id) != life.delivered or life.delivered != ["0", "1", "2"]:
            raise InvariantError(f"call {fail_at} failed: {life.delivered}")
        if await lines_of(inner, LOG) != LINES:
            raise InvariantError(f"call {fail_at} failed: {await lines_of(inner, LOG)}")
        if len(await inner.workloads(every())) != 1:
            raise InvariantError(f"call {fail_at} failed: {await inner.workloads(every())}")
        await life.check_restart(inner, folder)
        return store.calls >= fail_at


class FaultyBackend(FunctionBackend):
    """The `function` backend, which raises at its call number `fail_at` of those it makes and
    those that are made of it, before or after that call took effect."""

    def __init__(self, fail_at: int, *, after: bool) -> None:
        self._fail_at = fail_at
        self._after = after
        self.calls = 0

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        self.calls += 1
        failing = self.calls == self._fail_at
        if failing and not self._after:
            raise RuntimeError(f"injected before {name}")
        yield
        if failing:
            raise RuntimeError(f"injected after {name}")

    def check(self, spec: WorkloadSpec) -> None:
        with self.call("check"):
            super().check(spec)

    async def run(self, execution: Execution) -> Outcome:
        with self.call("run"):
            for number in range(3):
                with self.call("write"):
                    await execution.log.write(f"{number}\n")
            with self.call("remember"):
                await execution.remember("handle")
        return Outcome(Status.SUCCEEDED)


async def run_with_failing_backend(fail_at: int, *, after: bool) -> bool:
    """Only its own workload fails, with the reason in its record and as its last line. Returns
    whether it came to that."""
    with tempfile.TemporaryDirectory() as name:
        backend = FaultyBackend(fail_at, after=after)
        backends = {"faulty": backend, "function": FunctionBackend()}
        store = MemoryStore()
        async with open_world(store, Path(name), Life(), backends=backends) as world:
            before = tasks()
            faulty = WorkloadSpec(("steps.print", "3"), backend="faulty")
            try:
                workload, _ = await world.engine.submit(faulty)
            except RuntimeError:
                if await store.workloads(every()):
                    raise InvariantError("refused, and there all the same") from None
            else:
                await world.final(workload.id)
                found = await world.engine.get(workload.id)
                failed = backend.calls >= fail_at
                if (found.status is Status.FAILED) is not failed:
                    raise InvariantError(f"{found}")
                last = (await lines_of(store, workload.id))[-1]
                if failed and not (found.error == last and "injected" in last):
                    raise InvariantError(f"{found.error!r}, {last!r}")
            await check_logs(store)
            await settled(world, before)
            await use(world)
        return backend.calls >= fail_at
