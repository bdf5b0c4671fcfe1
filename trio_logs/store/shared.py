"""What a store adds that several nodes share: their lives, who owns a workload, and news.

A node is one process of the service. Each has a store object of its own, over the same database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..records import Outcome, Workload
from . import Store

__all__ = ["Node", "Owned", "Remains", "Request", "SharedStore"]


@dataclass(frozen=True, slots=True)
class Node:
    """A node, as the others see it.

    `id` is its name and a random suffix, and never comes back. `host` tells the machines apart
    whose processes a node can end. `counter` grows while the node lives. `address` is where it
    answers, for operators. Times are in microseconds since the Unix epoch, `seen_at` that of the
    database. `running` and `queued` count workloads: those that it owns, and those that wait for
    any node.
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

    `listen`, of `WorkloadStore`, tells of the changes that all nodes make.
    """

    async def join(self, node: Node, marks: Mapping[str, bytes]) -> None:
        """Add this node; call it once, before the methods below. `marks` are hashes of the tokens,
        by their kind. Raises TokenMismatchError if a living node has other tokens."""

    async def beat(self, *, address: str | None, draining: bool) -> Sequence[Node]:
        """Raise this node's counter, and return all nodes, this one included. Raises FencedError if
        this node was buried: it owns nothing any more."""

    async def nodes(self) -> Sequence[Node]:
        """All nodes, by id."""

    async def bury(self, node_id: str, counter: int, outcome: Outcome, at: int) -> Sequence[str]:
        """Remove a node whose counter is still `counter`, and end what it owns with this outcome.
        Handles stay, see `remains`. Returns the ids of these workloads; empty if the node has
        moved its counter, or is gone. Logs that a client pushes are left without an owner."""

    async def leave(self) -> None:
        """Remove this node, which owns no workload that runs in it."""

    async def claim(self, limit: int, started_at: int) -> Sequence[Owned]:
        """Own the oldest queued workloads, `limit` at most, and mark them as running here. No two
        calls get the same workload."""

    async def take(self, workload_id: str, started_at: int | None = None) -> Owned | None:
        """Own one workload, whoever owned it: a queued one that is to be stopped, or a log whose
        client pushes to this node now. With `started_at`, a queued one is marked as running here.
        None if it has ended, or if there is none."""

    async def remember_owned(self, workload_id: str, epoch: int, handle: str) -> None:
        """`remember`, for the owner with this epoch. Raises FencedError if it has another."""

    async def request(self, workload_id: str, content: bytes) -> bool:
        """Leave a request to the owner of a workload; False if nobody owns it."""

    async def requests(self, after: int) -> Sequence[Request]:
        """The requests to this node with a number above `after`, oldest first. Those up to `after`
        were answered, and go."""

    async def remains(self, host: str) -> Sequence[Remains]:
        """What nodes that are gone have left on a host."""

    async def forget_remains(self, workload_ids: Sequence[str]) -> None:
        """These are ended, or can't be."""

    def watch_logs(self, ring: Callable[[str | None], object]) -> None:
        """From now on, call `ring` in Trio's thread with the id of each log that another node has
        extended, ended, taken over or deleted, once it is durable. None stands for all logs: news
        may be lost while the store is away. `watched` limits the calls.

        The call tells nothing but the id, and may come twice or in vain.
        """

    async def watched(self, workload_id: str, *, wanted: bool) -> None:
        """Whether this node wants news of a log. Once the call has returned, each later append of
        another node is told, or None is."""

    def watch_work(self, ring: Callable[[], object]) -> None:
        """From now on, call `ring` in Trio's thread when a workload begins to wait for a node, and
        when there is a request to this one. It may come in vain, or be lost: look again after a
        while."""

    @property
    def is_up(self) -> bool:
        """Whether the database answered the last call, and tells news."""
