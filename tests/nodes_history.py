"""A random history of nodes that share a store: pushes that move, nodes that die or are taken for
dead, stores that fail, news that is lost, failovers; and readers on all nodes that note everything.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from tests.nodes import LOST, PATIENCE, Cluster, NodeStore, TestNode
from trio_logs import Batch, End, Gap, Outcome, Status
from trio_logs.broker import BrokerLimits, LogWriter
from trio_logs.errors import LogClosedError, StoreError
from trio_logs.records import Detached, Reset
from trio_logs.store import LogState
from trio_logs.store.memory import MemoryTables

__all__ = ["History", "Tables"]

PUSHED_LOGS = ("p1", "p2")
OWNED_LOG = "w"
LINES = 120
LINE_BYTES = len("00001 e001\n")
OK = Outcome(Status.SUCCEEDED, 0)

END = 0
"""Stands for the number of an end."""

LIMITS = BrokerLimits(8000, 16_000)
"""Windows of some 25 lines, so that readers also need the store."""

LAG = 2.5
"""Seconds after which a line that is durable must have come, where news is not lost."""

LOSSY_LAG = 24.0
"""The same where news is lost: a look of the source that has lost its log, and one of the feed."""


class Tables(MemoryTables):
    """Notes when each line became durable, and which epochs have appended."""

    def __init__(self) -> None:
        super().__init__()
        self.durable_at: dict[tuple[str, int], float] = {}
        self.faults: list[str] = []
        # The states of each log after its appends.
        self.states: dict[str, list[LogState]] = {}
        self._epochs: dict[str, int] = {}

    async def append(self, workload_id: str, records: Any, **options: Any) -> None:
        await super().append(workload_id, records, **options)
        epoch = options["epoch"]
        if epoch < self._epochs.get(workload_id, 0):
            self.faults.append(f"{workload_id}: an append of epoch {epoch} after a later one")
        self._epochs[workload_id] = epoch

    def _raise_epoch(self, workload_id: str) -> int:
        self._epochs[workload_id] = super()._raise_epoch(workload_id)
        return self._epochs[workload_id]

    def _extended(self, workload_id: str, state: LogState) -> None:
        super()._extended(workload_id, state)
        before = self.states.setdefault(workload_id, [LogState()])
        for number in range(before[-1].lines + 1, state.lines + 1):
            self.durable_at[workload_id, number] = trio.current_time()
        before.append(state)

    def _ended(self, workload_id: str, outcome: Outcome, finished_at: int) -> None:
        super()._ended(workload_id, outcome, finished_at)
        self.durable_at[workload_id, END] = trio.current_time()

    def fail_over(self, workload_id: str, lost: int) -> None:
        """Go back by some appends, as a replica that is behind."""
        log = self._logs[workload_id]
        known = self.states.get(workload_id, [LogState()])
        del known[max(1, len(known) - lost) :]
        before = known[-1]
        log.records = [each for each in log.records if each.last <= before.lines]
        log.state = replace(before, epoch=log.state.epoch)


class SlowStore(NodeStore):
    """A store that takes its time, above all to watch."""

    chance: random.Random

    async def _delay(self, name: str) -> None:
        longest = {"watch": 2.0, "append": 0.2}.get(name, 0.01)
        await trio.sleep(self.chance.uniform(0, longest))


@dataclass
class Client:
    """A reader that resumes at any node, and what it has."""

    name: str
    log: str
    lines: dict[int, str] = field(default_factory=dict)
    gaps: set[int] = field(default_factory=set)
    next: int = 1
    resets: int = 0
    is_excused: bool = False
    node: TestNode | None = None
    ends: list[End] = field(default_factory=list)


class History:
    """One history. `is_rough`: also failovers, and outages that are longer than the patience."""

    def __init__(
        self,
        seed: int,
        *,
        is_rough: bool = False,
    ) -> None:
        self.random = random.Random(seed)
        self.is_rough = is_rough
        self.is_lossy = self.random.random() < 0.5
        self.faults: list[str] = []
        self.moves = self.kills = self.failovers = self.resets = 0
        self._make_store = type("Store", (SlowStore,), {"chance": self.random})
        self._clients: list[Client] = []
        self._visitors: dict[str, set[trio.CancelScope]] = {}
        self._numbers = 0
        # Until when something is wrong at a node, on Trio's clock.
        self._calm_at: dict[str, float] = {}
        self._is_healed = False
        # Whether the client of a log is to go on at another node.
        self._wish: dict[str, bool] = {}

    async def run(self) -> None:
        """Fill in `faults`."""
        async with trio.open_nursery() as outer:
            self.cluster = Cluster(outer, LIMITS)
            self.cluster.tables = self.tables = Tables()
            for _ in range(3):
                await self._add_node()
            for log in PUSHED_LOGS:
                await self.cluster.create(log)
            await self.cluster.create(OWNED_LOG, backend="process")
            with trio.move_on_after(3000) as limit:
                async with trio.open_nursery() as nursery:
                    for log in PUSHED_LOGS:
                        nursery.start_soon(self._push, log)
                    nursery.start_soon(self._execute)
                    for number in range(9):
                        log = (*PUSHED_LOGS, OWNED_LOG)[number % 3]
                        self._clients.append(client := Client(f"r{number}", log))
                        nursery.start_soon(self._follow, client)
                    nursery.start_soon(self._disturb)
            if limit.cancelled_caught:
                self.faults.append("not over after 3000 s")
            await self._check()
            outer.cancel_scope.cancel()

    async def _add_node(self) -> TestNode:
        self._numbers += 1
        made = await self.cluster.add(f"n{self._numbers}", self._make_store)
        self._visitors[made.name] = set()
        if self.is_lossy:
            made.store.loses = self._loses
        return made

    def _loses(self, workload_id: str | None) -> bool:
        # A connection that is back says so at its own node.
        is_lost = self.random.random() < 0.4
        return workload_id is not None and is_lost

    def _choose(self) -> TestNode:
        return self.random.choice(list(self.cluster.nodes.values()))

    @contextmanager
    def _visit(self, node: TestNode) -> Iterator[None]:
        """The node's death ends the block."""
        with trio.CancelScope() as scope:
            self._visitors[node.name].add(scope)
            try:
                yield
            finally:
                self._visitors[node.name].discard(scope)

    # What happens to the nodes.

    async def _disturb(self) -> None:
        choices = [self._move] * 4 + [self._kill, self._stall, self._away, self._away]
        if self.is_rough:
            choices += [self._fail_over, self._fail_over]
        for _ in range(self.random.randint(6, 12)):
            await trio.sleep(self.random.uniform(0, 12))
            await self.random.choice(choices)()
        await trio.sleep(30)
        self._is_healed = True

    async def _move(self) -> None:
        """A client goes on at another node, as the earlier connection hangs."""
        self.moves += 1
        log = self.random.choice(PUSHED_LOGS)
        self._wish[log] = True
        await trio.lowlevel.checkpoint()

    async def _kill(self) -> None:
        self.kills += 1
        await self._die(self._choose())

    async def _die(self, node: TestNode) -> None:
        self.cluster.kill(node.name)
        for scope in self._visitors[node.name]:
            scope.cancel()
        await trio.sleep(self.random.uniform(0, 8))
        await self._bury(node.name)
        await self._add_node()

    async def _stall(self) -> None:
        """A node that lives is taken for dead, and finds out later."""
        self.kills += 1
        node = self._choose()
        mode = self.random.choice(["works", "hangs", "fails"])
        node.store.set_mode(mode)
        self._calm_at[node.name] = math.inf
        await trio.sleep(self.random.uniform(0, 40 if self.is_rough else 8))
        await self._bury(node.name)
        await trio.sleep(self.random.uniform(0, 3))
        node.store.set_mode("works")
        await trio.sleep(self.random.uniform(0, 3))
        node.broker.fence()
        await trio.sleep(self.random.uniform(0, 3))
        await self._die(node)

    async def _bury(self, name: str) -> None:
        counters = {each.id: each.counter for each in self.tables.nodes()}
        if name in counters:
            self.tables.bury(name, counters[name], LOST, 0)
        await trio.lowlevel.checkpoint()

    async def _away(self) -> None:
        """The store does not answer one node, or all of them."""
        nodes = list(self.cluster.nodes.values())
        chosen = nodes if self.random.random() < 0.3 else [self.random.choice(nodes)]
        seconds = self.random.uniform(0.1, 60 if self.is_rough else 0.6 * PATIENCE)
        mode = self.random.choice(["fails", "hangs", "unknown"])
        for node in chosen:
            node.store.set_mode(mode)
            self._calm_at[node.name] = trio.current_time() + seconds
        await trio.sleep(seconds)
        for node in chosen:
            node.store.set_mode("works")
        # A source tries again within 5 s, and has patience anew.
        await trio.sleep(8)

    async def _fail_over(self) -> None:
        self.failovers += 1
        for log in (*PUSHED_LOGS, OWNED_LOG):
            state = await self.tables.log(log)
            if state is not None and state.end is None:
                self.tables.fail_over(log, self.random.randint(0, 8))
        for client in self._clients:
            state = await self.tables.log(client.log)
            is_told = state is not None and max(client.lines, default=0) > state.lines
            if is_told and client.node is not None and not client.node.store.is_up:
                # Another owner may have written before this node looks.
                client.is_excused = True
        for node in self.cluster.nodes.values():
            node.store.tell_log(None)

    # What clients write.

    async def _push(self, log: str) -> None:
        """A client that goes on at another node when one fails it."""
        while True:
            node = self._choose()
            self._wish[log] = False
            with self._visit(node), suppress(StoreError, LogClosedError):
                await node.take(log)
                with await node.broker.open(log, node.owned[log]) as writer:
                    if await self._push_some(log, node, writer):
                        await node.close(log, OK)
                        return
            if (state := await self.tables.log(log)) is not None and state.end is not None:
                return
            await trio.sleep(self.random.uniform(0, 1))

    async def _push_some(self, log: str, node: TestNode, writer: LogWriter) -> bool:
        """Go on after what is durable; whether all lines are."""
        durable = await writer.flush()
        if durable % LINE_BYTES:
            self.faults.append(f"{log}: {durable} bytes are durable")
        line = durable // LINE_BYTES
        while True:
            for _ in range(self.random.randint(1, 6)):
                if line < LINES:
                    line += 1
                    await writer.writelines([f"{line:05} e{node.owned[log]:03}"])
            with trio.move_on_after(5):
                known = await writer.flush()
                if known >= LINES * LINE_BYTES and self._is_healed:
                    return True
            if self._wish[log]:
                # What was written last may be on its way still when the other node begins.
                for number in range(line + 1, min(line + 4, LINES)):
                    await writer.writelines([f"{number:05} e{node.owned[log]:03}"])
                return False
            await trio.sleep(self._pause() if line < LINES else 1)

    def _pause(self) -> float:
        return (
            self.random.uniform(4, 8) if self.random.random() < 0.1 else self.random.uniform(0, 1)
        )

    async def _execute(self) -> None:
        """A workload that runs at one node, and ends with it."""
        node = self._choose()
        with self._visit(node), suppress(LogClosedError):
            while True:
                with suppress(StoreError):
                    await node.claim(OWNED_LOG)
                    break
                for owned in self.tables.owned(node.name):
                    node.know(owned)
                if OWNED_LOG in node.owned:
                    break
                await trio.sleep(0.5)
            await self._write_and_end(node)
        while (state := await self.tables.log(OWNED_LOG)) is None or state.end is None:
            await trio.sleep(1)

    async def _write_and_end(self, node: TestNode) -> None:
        while True:
            with suppress(StoreError):
                writer = await node.broker.open(OWNED_LOG, node.owned[OWNED_LOG])
                break
            await trio.sleep(0.5)
        with writer:
            for line in range(1, LINES + 1):
                await writer.writelines([f"{line:05} e{node.owned[OWNED_LOG]:03}"])
                await trio.sleep(self._pause() / 2)
        while True:
            with suppress(StoreError):
                await node.close(OWNED_LOG, OK)
                break
            await trio.sleep(0.5)

    # What readers get.

    async def _follow(self, client: Client) -> None:
        await trio.sleep(self.random.uniform(0, 40))
        while not client.ends:
            node = self._choose()
            patience = self.random.choice([1, 10, 1000]) * (1000 if self._is_healed else 1)
            with self._visit(node), trio.move_on_after(patience), suppress(StoreError):
                await self._read(client, node)
            await trio.sleep(self.random.uniform(0, 2))

    async def _read(self, client: Client, node: TestNode) -> None:
        await self._excuse(client)
        client.node = node
        is_slow = self.random.random() < 0.3
        began = trio.current_time()
        after = client.next - 1 if client.next > 1 else None
        with node.broker.read(client.log, after=after) as reading:
            async for record in reading:
                if isinstance(record, Detached):
                    return
                self._note(client, record, node, math.inf if is_slow else began)
                if is_slow:
                    await trio.sleep(self.random.uniform(0, 5))

    async def _excuse(self, client: Client) -> None:
        """A client that resumes has a number alone. If it was told lines that the store has not,
        and others take their place before it is back, nobody can tell."""
        stored = await self.cluster.stored(client.log)
        if self.is_rough and any(
            stored.get(number) not in (line, "gap store") for number, line in client.lines.items()
        ):
            client.is_excused = True

    def _note(self, client: Client, record: Any, node: TestNode, began: float) -> None:
        where = f"{client.name} of {client.log} at {node.name}"
        if client.ends:
            self.faults.append(f"{where}: {record} after the end")
        match record:
            case Batch() | Gap():
                if record.first != client.next:
                    self.faults.append(f"{where}: {record.first} where {client.next} was due")
                client.next = record.last + 1
                if isinstance(record, Gap):
                    client.gaps.update(range(record.first, record.last + 1))
                    if not self.is_rough:
                        self.faults.append(f"{where}: {record}")
                    return
                for number, line in enumerate(record.lines, record.first):
                    client.lines[number] = line.decode()
                self._check_lag(client, record.last, node, began)
            case Reset():
                self.resets += 1
                client.resets += 1
                client.is_excused = False
                client.next = 1
                client.lines.clear()
                client.gaps.clear()
                if not self.is_rough:
                    self.faults.append(f"{where}: {record}")
            case End():
                client.ends.append(record)
                self._check_lag(client, END, node, began)

    def _check_lag(self, client: Client, number: int, node: TestNode, began: float) -> None:
        if self.is_rough or any(log == client.log for log, _, _ in node.broker.written()):
            return
        since = self.tables.durable_at.get((client.log, number), trio.current_time())
        since = max(since, began, self._calm_at.get(node.name, 0) + 12)
        lag = trio.current_time() - since
        if lag > (LOSSY_LAG if self.is_lossy else LAG):
            self.faults.append(
                f"{client.name} of {client.log}: line {number} came {lag:.1f} s late"
            )

    # What must hold.

    async def _check(self) -> None:
        self.faults += self.tables.faults
        for log in (*PUSHED_LOGS, OWNED_LOG):
            state = await self.tables.log(log)
            stored = await self.cluster.stored(log)
            assert state is not None
            if state.end is None or state.end.lines != state.lines:
                self.faults.append(f"{log}: {state}")
            if list(stored) != list(range(1, state.lines + 1)):
                self.faults.append(f"{log}: the store has {list(stored)}")
            if log in PUSHED_LOGS and state.lines != LINES:
                self.faults.append(f"{log}: {state.lines} lines")
            for number, line in stored.items():
                if line != "gap store" and int(line[:5]) != number:
                    self.faults.append(f"{log}: line {number} is {line!r}")
            for client in self._clients:
                if client.log == log:
                    self._check_client(client, stored, state.end)
        for node in self.cluster.nodes.values():
            statistics = node.broker.statistics()
            held = statistics.feeds, statistics.topics, len(node.store.watched)
            if held != (0, 0, 0):
                self.faults.append(f"{node.name} holds {held}")

    def _check_client(self, client: Client, stored: dict[int, str], end: End | None) -> None:
        where = f"{client.name} of {client.log}"
        if client.ends != [end]:
            self.faults.append(f"{where}: {client.ends}, not {end}")
        if client.next != len(stored) + 1:
            self.faults.append(f"{where}: {client.next} is next of {len(stored)}")
        for number, line in client.lines.items():
            known = stored.get(number)
            if line != known and known != "gap store" and not client.is_excused:
                self.faults.append(f"{where}: line {number} is {line!r}, stored {known!r}")
