"""What a store adds that several nodes share: their lives, who owns a workload, and news.

A node is one process of the service. Each has a store object of its own, over the same database.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..records import Outcome, Progress, Workload
from . import Store

__all__ = [
    "ASKED_SECONDS",
    "LIVING_SECONDS",
    "PUSHED",
    "SHOWN_BYTES",
    "Node",
    "Owned",
    "Remains",
    "Request",
    "SharedStore",
]

LIVING_SECONDS = 10.0
"""A node that has beaten within these seconds counts as living when another node joins."""

PUSHED = "push"
"""The backend of workloads whose lines come from a client, which may go on at another node."""

ASKED_SECONDS = 10.0
"""Seconds for which a node shows the unfinished lines of a log after another node has asked."""

SHOWN_BYTES = 6_000
"""Bytes of unfinished lines that nodes tell each other at once: a NOTIFY takes 8,000."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node, as the others see it.

    `id` is its name and a random suffix, and never comes back. `host` tells the machines apart
    whose processes a node can end. `counter` grows while the node lives. `address` is where it
    answers, for operators. Times are in microseconds since the Unix epoch, `seen_at` that of the
    database. `running` and `queued` count workloads: those that it owns, and those that wait for
    any node, whose specifications have `queued_bytes`.
    """

    id: str
    host: str
    address: str | None
    started_at: int
    seen_at: int
    counter: int
    running: int
    queued: int
    draining: bool
    queued_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Owned:
    """A workload that this node owns, and the epoch with which it appends to the log."""

    workload: Workload
    epoch: int


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked of a workload's owner, at another node: `content` is JSON, which the
    engine reads. Numbers grow."""

    number: int
    workload_id: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Remains:
    """The handle of a workload whose node has died, with the backend that ends what it left."""

    workload_id: str
    backend: str
    handle: str


class SharedStore(Store, Protocol):
    """The duties of a store that several nodes share. As with `LogStore`, the effect of a method
    that has returned is durable, and every method raises StoreError for that call alone.

    A workload that runs has one owner. Each change of its owner raises the epoch of its log, in the
    same transaction, so appends of an earlier owner are refused. The owner's appends raise
    BehindError if the log has fewer lines than `expected` says, though nobody deleted it: the
    database has failed over to a replica that lacked them.

    `listen`, of `WorkloadStore`, tells of the changes that all nodes make. `create` raises
    ConflictError if a workload has the Idempotency-Key already: another node was faster.
    """

    async def join(self, node: Node, marks: Mapping[str, bytes]) -> None:
        """Add this node; call it once, before the methods below. `marks` are hashes of the tokens,
        by their kind. Raises TokenMismatchError if a living node has other marks."""

    async def beat(self, *, address: str | None, draining: bool) -> Sequence[Node]:
        """Raise this node's counter, and return all nodes, this one included. Raises FencedError if
        this node was buried: it owns nothing any more. It fails within 3 s, so that the next beat
        comes in time when the database is back."""

    async def nodes(self) -> Sequence[Node]:
        """All nodes, by id."""

    async def bury(
        self, node_id: str, counter: int, outcome: Outcome, at: int
    ) -> Sequence[str] | None:
        """Remove a node whose counter is still `counter`, and end what it owns with this outcome.
        Handles stay, see `remains`. Returns the ids of these workloads; None if the node has
        moved its counter, or is gone. Logs that a client pushes are left without an owner, see
        `adopt`. Nodes are told of the ends as of those of another node, this one included."""

    async def leave(self) -> None:
        """Remove this node. Logs that a client pushes are left without an owner, see `adopt`; what
        it owns and has not begun waits in the queue again. A node that owns a workload which runs,
        by the store, is left for the others to bury: a failover may have lost the end."""

    async def claim(self, limit: int, started_at: int) -> Sequence[Owned]:
        """Own the oldest queued workloads, `limit` at most, and mark them as running here. No two
        calls get the same workload. Logs that a client pushes do not wait in this queue. As the
        next three methods, it raises FencedError if this node was buried."""

    async def adopt(self, limit: int, started_at: int) -> Sequence[Owned]:
        """Own logs that a client pushes and that no node owns, `limit` at most: their node has left
        or died. A queued one is marked as running here."""

    async def owned(self) -> Sequence[Owned]:
        """The workloads that this node owns. After a claim with an unknown result, they may be more
        than the node knows of."""

    async def withdraw(self, workload_id: str) -> Owned | None:
        """Own a workload that no node owns, to end it before it runs: it stays queued until then.
        None if it does not wait any more."""

    async def take(self, workload_id: str, started_at: int) -> Owned | None:
        """Own a log whose client pushes to this node now, whoever owned it; a queued one is marked
        as running here. Each call raises the epoch, also if this node owns the log. None if it has
        ended, or if there is none."""

    async def remember_owned(self, workload_id: str, epoch: int, handle: str) -> None:
        """`remember`, for the owner with this epoch. Raises FencedError if it has another."""

    async def request(self, workload_id: str, content: bytes) -> bool:
        """Leave a request to the owner of a workload, whoever that is once it is read; False if
        nobody owns it. It goes with the end of the workload."""

    async def requests(self, answered: Collection[int] = ()) -> Sequence[Request]:
        """Remove the requests with these numbers, and return the others for workloads that this
        node owns, oldest first."""

    async def progress(self) -> Sequence[Progress]:
        """How far the logs of all running workloads have come, whoever owns them."""

    async def remains(self, host: str) -> Sequence[Remains]:
        """What nodes that are gone have left on a host."""

    async def forget_remains(self, workload_ids: Sequence[str]) -> None:
        """These are ended, or can't be."""

    def watch_losses(self, lost: Callable[[int], object]) -> None:
        """From now on, call `lost` in Trio's thread with the position of the newest change when
        changes that `listen` has told are lost: the database has failed over to a replica that
        lacked them. `listen` goes on with the changes after that position."""

    def watch_logs(self, ring: Callable[[str | None], object]) -> None:
        """From now on, call `ring` in Trio's thread with the id of each watched log that another
        node has extended, ended, taken over or deleted, once it is durable. None stands for all
        logs: news may be lost while the store is away.

        The call tells nothing but the id, and may come twice or in vain.
        """

    async def watch(self, workload_id: str) -> None:
        """Watch a log. Once the call has returned, each later change by another node is told, or
        None is. After an error or a cancellation, call it again, or `unwatch`."""

    def unwatch(self, workload_id: str) -> None:
        """Watch a log no more. Calls of `watch` do not add up."""

    def watch_work(self, ring: Callable[[], object]) -> None:
        """From now on, call `ring` in Trio's thread when a workload begins to wait for a node, and
        when there is a request to this one. It may come in vain, or be lost: look again after a
        while."""

    def watch_unfinished(
        self, asked: Callable[[str], object], shown: Callable[[str, bytes], object]
    ) -> None:
        """From now on, call `asked` in Trio's thread with the id of a log when another node asks
        for its unfinished lines, and `shown` with what another node shows of a watched log. Both
        are told to the nodes that listen now: they are not stored, and may be lost."""

    async def ask_unfinished(self, workload_id: str) -> None:
        """Ask the other nodes for the unfinished lines of a log, for the next ASKED_SECONDS."""

    async def show_unfinished(self, workload_id: str, content: bytes) -> None:
        """Tell the other nodes which unfinished lines a log has: at most SHOWN_BYTES bytes, which
        the broker reads."""

    @property
    def is_up(self) -> bool:
        """Whether the database answered the last call, and tells news."""

    @property
    def outages(self) -> int:
        """How often the database did not answer, since the start: each time, it may have failed
        over."""
