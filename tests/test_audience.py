"""Who is told of new lines: bells, and streams that the publisher writes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from trio_logs import Batch, Detached, End, open_broker
from trio_logs.broker import Bell, group
from trio_logs.broker.audience import Audience
from trio_logs.broker.counters import Counters
from trio_logs.broker.group import Group
from trio_logs.broker.screen import BLANK, Screen
from trio_logs.records import Position, Record, Unfinished
from trio_logs.store.memory import MemoryStore


def batch(first: int, text: bytes = b"line\n", stream: str = "stdout") -> Batch:
    return Batch(first, 1, 0, stream, text)


@dataclass(eq=False)
class Ports:
    """An outlet that renders lines of `stderr` to nothing, and notes what it writes to ports."""

    refusing: set[int] = field(default_factory=set)
    then: Callable[[], object] = lambda: None
    written: dict[int, bytes] = field(default_factory=dict)
    is_slow: bool = False

    def render(self, batch: Batch) -> bytes:
        return batch.data if batch.stream == "stdout" else b""

    def choose(self, texts: Mapping[str, str]) -> Mapping[str, str] | None:
        return None if self.is_slow else texts

    def control(self, record: Position | Unfinished) -> bytes:
        assert isinstance(record, Unfinished)
        return f"({record.text})".encode()

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

    def __init__(self, outlet: Ports, ports: int, *, shows: bool = False) -> None:
        self.counters = Counters()
        self.audience = Audience(self.counters)
        self.group: Group = self.audience.group(outlet, shows=shows)
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


ONE, TWO = Screen(1, {"stdout": "1"}), Screen(2, {"stdout": "2"})


async def test_a_member_that_refuses_a_round_lacks_that_round() -> None:
    outlet = Ports(refusing={1})
    waiting = Waiting(outlet, 3, shows=True)
    assert await waiting.group.show(ONE)
    assert waiting.rings == [0, 1, 0]
    outlet.refusing.clear()
    await waiting.publish(batch(1))
    assert await waiting.group.show(TWO)
    assert outlet.written == {0: b"(1)line\n(2)", 2: b"(1)line\n(2)"}
    places = [waiting.group.leave(port) for port in range(3)]
    assert places == [(2, TWO), (1, BLANK), (2, TWO)]


async def test_lines_that_come_in_the_middle_of_a_round_are_sent_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group, "AT_ONCE", 1)
    outlet = Ports()
    waiting = Waiting(outlet, 5, shows=True)
    left: list[tuple[int, Screen]] = []

    async with trio.open_nursery() as nursery:

        def publish() -> None:
            outlet.then = lambda: None
            # The publisher could write to all members before the round goes on.
            monkeypatch.setattr(group, "AT_ONCE", 64)
            nursery.start_soon(waiting.publish, batch(1))

        outlet.then = publish
        assert await waiting.group.show(ONE)
    assert outlet.written == dict.fromkeys(range(5), b"(1)line\n")
    left += [waiting.group.leave(port) for port in range(5)]
    # The line has replaced the text.
    assert left == [(2, Screen(1))] * 5


async def test_a_round_waits_for_the_lines_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "AT_ONCE", 1)
    outlet = Ports()
    waiting = Waiting(outlet, 5, shows=True)
    waiting.audience.begin([batch(1)])
    assert not await waiting.group.show(ONE)
    assert outlet.written == {}
    # Nobody joins either: what the members will show is not known yet.
    assert not waiting.group.accepts(BLANK)

    async def show() -> None:
        while not await waiting.group.show(ONE):
            await waiting.group.all_sent()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(show)
        await trio.testing.wait_all_tasks_blocked()
        await waiting.audience.tell([batch(1)])
    assert outlet.written == dict.fromkeys(range(5), b"line\n(1)")
    assert waiting.group.accepts(ONE)
    assert not waiting.group.accepts(BLANK)


async def test_members_that_leave_in_the_middle_of_a_round_know_what_they_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group, "AT_ONCE", 1)
    outlet = Ports()
    waiting = Waiting(outlet, 5, shows=True)
    left: dict[int, tuple[int, Screen]] = {}

    def leave() -> None:
        outlet.then = lambda: None
        waiting.audience.begin([batch(1)])
        left.update({port: waiting.group.leave(port) for port in range(5)})

    outlet.then = leave
    assert await waiting.group.show(ONE)
    [written] = outlet.written
    assert left == {port: (1, ONE if port == written else BLANK) for port in range(5)}


async def test_a_filter_that_takes_long_leaves_the_round_to_the_readers() -> None:
    outlet = Ports(is_slow=True)
    waiting = Waiting(outlet, 2, shows=True)
    assert await waiting.group.show(ONE)
    assert (outlet.written, waiting.rings) == ({}, [1, 1])
    assert [waiting.group.leave(port) for port in range(2)] == [(1, BLANK)] * 2


async def test_a_line_that_is_hidden_replaces_no_text() -> None:
    """Only a round clears it."""
    outlet = Ports()
    waiting = Waiting(outlet, 1, shows=True)
    shown = Screen(1, {"stderr": "50%"})
    assert await waiting.group.show(shown)
    await waiting.publish(batch(1, stream="stderr"), batch(2))
    assert await waiting.group.show(Screen(2))
    assert outlet.written == {0: b"(50%)line\n()"}


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
