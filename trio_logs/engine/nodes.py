"""This node among the others of a shared store: it joins, beats, and buries nodes that are dead."""

from __future__ import annotations

import platform
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import structlog
import trio

from ..errors import FencedError, NodeLostError, StoreError
from ..records import Outcome, Reason, Status, now
from ..store.shared import Node, SharedStore
from .liveness import Liveness
from .store_calls import StoreCalls

__all__ = ["NodeStatistics", "Nodes", "new_node"]

_log = structlog.get_logger("trio_logs.nodes")

BEAT_SECONDS = 1.0
"""Seconds from one beat to the next."""

SLOW_SECONDS = 2.0
"""A beat that takes longer, or that begins later than this after the one before, judges no other
node: the others may have been slow for the same reason."""

LOST = Outcome(
    Status.LOST,
    error="The node that ran the workload has died.",
    reason=Reason.SERVER_LOST,
)


@dataclass(frozen=True, slots=True)
class NodeStatistics:
    """`nodes` is the number of nodes at the last beat, this one included. `buried` counts the nodes
    that this one has buried since its start, and `outages` the times that the store was away."""

    nodes: int
    buried: int
    outages: int


def new_node(name: str | None) -> Node:
    """A node whose id was never used. `name` is by default that of the host."""
    host = platform.node()
    moment = now()
    node_id = f"{name or host}-{secrets.token_hex(4)}"
    return Node(node_id, host, None, moment, moment, 0, 0, 0, False)


@dataclass(slots=True, eq=False)
class Nodes:
    """This node's beats, and what it learns from them of the others.

    Start `run` before every other task that uses the store for this node, and cancel it last. A
    node that does not beat is buried, so it must beat until its last end is stored.

    `marks` are those of `SharedStore.join`, `patience` is that of `StoreCalls`. `known` are all
    nodes at the last beat; `beats` counts its updates, `gone` the other nodes that have left or
    died, and `outages` the times that the store was away. `listeners` are called after each beat.
    """

    store: SharedStore
    own: Node
    marks: Mapping[str, bytes]
    patience: float
    known: Sequence[Node] = ()
    gone: int = 0
    beats: int = 0
    outages: int = 0
    listeners: list[Callable[[], object]] = field(default_factory=list)
    calls: StoreCalls = field(init=False)
    _address: str | None = None
    _is_draining: bool = False
    _is_leaving: bool = False
    _has_news: trio.Event = field(default_factory=trio.Event)
    # When the first of the failed beats in a row began, on Trio's clock; None after a good one.
    _away_since: float | None = None
    _buried: int = 0

    def __post_init__(self) -> None:
        self.calls = StoreCalls(self.patience)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Join, and beat until cancelled, or until this node has left.

        Raises TokenMismatchError if other nodes have other tokens, and StoreError if the store
        fails at the start. Raises NodeLostError once the others have taken this node for dead.
        """
        await self.calls.once("add this node", partial(self.store.join, self.own, self.marks))
        self.known = [self.own]
        _log.info("joined the nodes of the store", node=self.own.id)
        liveness = Liveness(self.own.id)
        task_status.started()
        began = last = trio.current_time()
        while True:
            before, began = began, trio.current_time()
            self._has_news = trio.Event()
            try:
                found = await self.store.beat(address=self._address, draining=self._is_draining)
            except FencedError as error:
                if self._is_leaving:
                    # This beat was under way.
                    return
                raise NodeLostError(
                    f"the other nodes took {self.own.id} for dead, because it did not write to the"
                    " store for seconds: its workloads are lost; start the service again, and it"
                    " joins as a new node"
                ) from error
            except StoreError:
                # The store's own log tells of it.
                liveness.forget(failed=True)
                self.outages += self._away_since is None
                self._away_since = self._away_since or began
            else:
                self._away_since = None
                self._learn(found)
                ended = trio.current_time()
                if max(ended - began, began - last) > SLOW_SECONDS:
                    liveness.forget(failed=False)
                elif began - before > BEAT_SECONDS / 2:
                    # An early beat, for news of this node, counts for nothing.
                    # The writes of the store may hang, and this node must beat.
                    with trio.move_on_after(BEAT_SECONDS):
                        for node in liveness.see(found):
                            await self._bury(node)
                last = ended
            for listener in self.listeners:
                listener()
            with trio.move_on_at(began + BEAT_SECONDS):
                await self._has_news.wait()

    def listen_at(self, address: str) -> None:
        """Tell the others where this node answers."""
        self._address = address
        self._has_news.set()

    def drain(self) -> None:
        """Tell the others that this node takes no more work."""
        self._is_draining = True
        self._has_news.set()

    async def leave(self) -> None:
        """Tell the others that this node ends, so that they need not find out. It gives up after
        the patience of the store."""
        self._is_leaving = True
        try:
            await self.calls.once("remove this node", self.store.leave)
        except StoreError as error:
            _log.warning("node not removed: the others will bury it", error=str(error))

    @property
    def others(self) -> int:
        """How many other nodes take work, as far as this node knows."""
        return sum(node.id != self.own.id and not node.draining for node in self.known)

    @property
    def store_wait(self) -> float:
        """For how many seconds the store has been away."""
        return 0.0 if self._away_since is None else trio.current_time() - self._away_since

    @property
    def queued(self) -> int:
        """How many workloads wait for a node, at the last beat."""
        return max((node.queued for node in self.known), default=0)

    @property
    def queued_bytes(self) -> int:
        """The weight of these workloads."""
        return max((node.queued_bytes for node in self.known), default=0)

    async def list(self) -> Sequence[Node]:
        """All nodes. Raises StoreError."""
        found = await self.calls.once("list the nodes", self.store.nodes)
        return [
            replace(each, address=self._address, draining=self._is_draining)
            if each.id == self.own.id
            else each
            for each in found
        ]

    async def refresh(self) -> None:
        """Update `known` before the next beat. Raises StoreError."""
        self._learn(await self.list())

    def statistics(self) -> NodeStatistics:
        """A snapshot, and counters since the start."""
        return NodeStatistics(len(self.known), self._buried, self.outages)

    async def _bury(self, node: Node) -> None:
        try:
            ended = await self.store.bury(node.id, node.counter, LOST, now())
        except StoreError as error:
            # The next beat finds it dead again, or gone.
            _log.warning("dead node not buried: trying again", node=node.id, error=str(error))
            return
        if ended is not None:
            self._buried += 1
            count = len(ended)
            _log.warning("node buried: it did not beat any more", node=node.id, workloads=count)

    def _learn(self, found: Sequence[Node]) -> None:
        before = {node.id for node in self.known}
        ids = {node.id for node in found}
        self.known = found
        self.beats += 1
        for node in found:
            if node.id not in before and self.beats > 1:
                _log.info("node joined", node=node.id, address=node.address)
        for node_id in before - ids - {self.own.id}:
            self.gone += 1
            _log.info("node gone", node=node_id)
