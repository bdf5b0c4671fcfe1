"""Who is told of new lines: bells, and streams that the publisher writes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from trio_logs import Batch, Detached, End, open_broker
from trio_logs.broker import Bell, group
from trio_logs.broker.audience import Audience
from trio_logs.broker.counters import Counters
from trio_logs.broker.group import Group
from trio_logs.records import Record
from trio_logs.store.memory import MemoryStore


def batch(first: int, text: bytes = b"line\n", stream: str = "stdout") -> Batch:
    return Batch(first, 1, 0, stream, text)


@dataclass(eq=False)
class Ports:
    """An outlet that renders lines of `stderr` to nothing, and notes what it writes to ports."""

    refusing: set[int] = field(default_factory=set)
    then: Callable[[], object] = lambda: None
    written: dict[int, bytes] = field(default_factory=dict)

    def render(self, batch: Batch) -> bytes:
        return batch.data if batch.stream == "stdout" else b""

    def send_each(self, ports: Sequence[int], chunk: bytes) -> Sequence[int]:
        assert chunk
        refused = [port for port in ports if port in self.refusing]
        for port in ports:
            if port not in refused:
                self.written[port] = self.written.get(port, b"") + chunk
        self.then()
        return refused


@dataclass(eq=False)
class Listener:
    rings: int = 0

    def ring(self) -> bool:
        self.rings += 1
        return True


class Waiting:
    """An audience, and members of one group at its head."""

    def __init__(self, outlet: Ports, ports: int) -> None:
        self.counters = Counters()
        self.audience = Audience(self.counters)
        self.group: Group = self.audience.group(outlet)
        self.members = {port: Listener() for port in range(ports)}
        for port, listener in self.members.items():
            self.audience.add(listener)
            self.group.join(port, listener, 0)

    async def publish(self, *batches: Batch) -> None:
        self.audience.begin(batches)
        await self.audience.tell(batches)

    def left(self, port: int) -> int:
        """A member leaves; returns the first line that it lacks."""
        line, _ = self.group.leave(port)
        return line

    @property
    def rings(self) -> list[int]:
        return [listener.rings for listener in self.members.values()]


async def test_a_batch_without_a_wire_form_is_passed_over() -> None:
    """An empty chunk would be the terminal chunk."""
    outlet = Ports()
    waiting = Waiting(outlet, 2)
    await waiting.publish(batch(1), batch(2, stream="stderr"), batch(3, b"more\n"))
    await waiting.publish(batch(4, stream="stderr"))
    assert outlet.written == {0: b"line\nmore\n", 1: b"line\nmore\n"}
    assert waiting.rings == [0, 0]
    # The members have it, though nothing was written.
    assert [waiting.left(port) for port in (0, 1)] == [5, 5]


async def test_a_member_that_refuses_is_rung_and_goes_on_there() -> None:
    outlet = Ports(refusing={1})
    waiting = Waiting(outlet, 3)
    await waiting.publish(batch(1))
    # Its task has not run yet: it is not written to, so that no line is out of order.
    outlet.refusing.clear()
    await waiting.publish(batch(2, b"more\n"))
    assert outlet.written == {0: b"line\nmore\n", 2: b"line\nmore\n"}
    assert waiting.rings == [0, 1, 0]
    assert [waiting.left(port) for port in range(3)] == [3, 1, 3]
    assert waiting.counters.batches_pushed == waiting.counters.lines_delivered == 4
    # Now it listens, as all who left do.
    await waiting.audience.tell([batch(3)])
    assert waiting.rings == [1, 2, 1]


async def test_members_that_leave_in_the_middle_go_on_where_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group, "AT_ONCE", 1)
    outlet = Ports()
    waiting = Waiting(outlet, 5)
    left: dict[int, int] = {}

    def leave() -> None:
        """All leave when the first one has been written to."""
        outlet.then = lambda: None
        left.update({port: waiting.left(port) for port in range(5)})

    outlet.then = leave
    await waiting.publish(batch(1))
    [written] = outlet.written
    assert left == {port: 2 if port == written else 1 for port in range(5)}
    # Those that lack the line hear of it, and so does the one that has it.
    assert waiting.rings == [1] * 5


async def test_a_listener_that_is_discarded_while_it_waits_is_told_nothing() -> None:
    outlet = Ports()
    waiting = Waiting(outlet, 1)
    waiting.audience.discard(waiting.members[0])
    assert waiting.left(0) == 1
    await waiting.publish(batch(1))
    await waiting.audience.tell_all()
    assert len(waiting.audience) == 0
    assert (outlet.written, waiting.rings) == ({}, [0])


async def test_a_group_lasts_while_a_reader_has_it() -> None:
    found = Audience(Counters())
    outlet = Ports()
    kept = found.group(outlet)
    assert found.group(outlet) is kept
    assert found.group(outlet, shows=True) is not kept
    assert found.group(Ports()) is not kept


async def test_one_reader_waits_for_many_logs(autojump_clock: trio.testing.MockClock) -> None:
    """One bell wakes it for any of them; a ring that comes while it looks is not lost."""
    names = [f"log {number}" for number in range(20)]
    found: dict[str, list[Record]] = {name: [] for name in names}
    waits = 0

    async def read() -> None:
        nonlocal waits
        bell = Bell()
        readers = {name: broker.subscribe(name, bell=bell) for name in names}
        for reader in readers.values():
            reader.__enter__()
            await reader.load()
        ready.set()
        while readers:
            for name, reader in tuple(readers.items()):
                while records := reader.ready():
                    found[name] += records
                if found[name] and isinstance(found[name][-1], End | Detached):
                    readers.pop(name).__exit__(None, None, None)
                # Lines come to logs that were looked at already, and to those that were not.
                await trio.lowlevel.checkpoint()
            if readers:
                waits += 1
                await bell.wait()

    async def write(name: str) -> None:
        for number in range(10):
            await broker.publish(name, f"{name}, line {number}")
            await trio.lowlevel.checkpoint()
        if name != "log 7":
            await broker.close(name)

    async with open_broker(MemoryStore()) as broker, trio.open_nursery() as nursery:
        ready = trio.Event()
        nursery.start_soon(read)
        await ready.wait()
        async with trio.open_nursery() as writing:
            for name in names:
                writing.start_soon(write, name)
        await trio.testing.wait_all_tasks_blocked()
        waits = 0
        broker.detach()
    assert waits <= 1
    for name, records in found.items():
        lines = [line for one in records if isinstance(one, Batch) for line in one.lines]
        assert lines == [f"{name}, line {number}".encode() for number in range(10)]
        assert isinstance(records[-1], Detached if name == "log 7" else End)
        assert sum(not isinstance(record, Batch) for record in records) == 1
