"""Nodes and ownership: the methods of `SharedStore` as writes and reads of the database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from ...records import Outcome, Progress
from ..shared import Node, Owned, Remains, Request
from . import nodes, ownership
from .bells import asking, showing
from .database import Part
from .transaction import Transaction

__all__ = ["PostgresNodes"]


class PostgresNodes(Part):
    """See `SharedStore` for the methods."""

    async def join(self, node: Node, marks: Mapping[str, bytes]) -> None:
        await self._database.write(partial(nodes.join, node=node, marks=marks))
        self._database.writer.node = node.id

    async def beat(self, *, address: str | None, draining: bool) -> Sequence[Node]:
        return await self._database.beat(address=address, draining=draining)

    async def nodes(self) -> Sequence[Node]:
        return await self._database.read(nodes.nodes)

    async def bury(
        self, node_id: str, counter: int, outcome: Outcome, at: int
    ) -> Sequence[str] | None:
        return await self._database.write(
            partial(nodes.bury, node_id=node_id, counter=counter, outcome=outcome, at=at)
        )

    async def leave(self) -> None:
        await self._database.write(nodes.leave)

    async def claim(self, limit: int, started_at: int) -> Sequence[Owned]:
        return await self._database.write(
            partial(ownership.claim, limit=limit, started_at=started_at)
        )

    async def adopt(self, limit: int, started_at: int) -> Sequence[Owned]:
        return await self._database.write(
            partial(ownership.adopt, limit=limit, started_at=started_at)
        )

    async def owned(self) -> Sequence[Owned]:
        return await self._database.read(partial(ownership.owned, node=self._database.node))

    async def withdraw(self, workload_id: str) -> Owned | None:
        return await self._database.write(partial(ownership.withdraw, workload_id=workload_id))

    async def take(self, workload_id: str, started_at: int) -> Owned | None:
        return await self._database.write(
            partial(ownership.take, workload_id=workload_id, started_at=started_at)
        )

    async def remember_owned(self, workload_id: str, epoch: int, handle: str) -> None:
        await self._database.write(
            partial(ownership.remember_owned, workload_id=workload_id, epoch=epoch, handle=handle)
        )

    async def request(self, workload_id: str, content: bytes) -> bool:
        return await self._database.write(
            partial(ownership.request, workload_id=workload_id, content=content)
        )

    async def requests(self, answered: Collection[int] = ()) -> Sequence[Request]:
        if answered:
            await self._database.write(partial(ownership.answered, numbers=answered))
        return await self._database.read(partial(ownership.requests, node=self._database.node))

    async def progress(self) -> Sequence[Progress]:
        return await self._database.read(ownership.progress)

    async def remains(self, host: str) -> Sequence[Remains]:
        return await self._database.read(partial(nodes.remains, host=host))

    async def forget_remains(self, workload_ids: Sequence[str]) -> None:
        await self._database.write(partial(nodes.forget_remains, workload_ids=workload_ids))

    # News of other nodes.

    def watch_losses(self, lost: Callable[[int], object]) -> None:
        self._database.news.lost = lost

    def watch_logs(self, ring: Callable[[str | None], object]) -> None:
        self._database.news.ring_log = ring

    async def watch(self, workload_id: str) -> None:
        # The connection listens to all commits: from now on, none is left out here.
        self._database.news.watched.add(workload_id)

    def unwatch(self, workload_id: str) -> None:
        self._database.news.watched.discard(workload_id)

    def watch_work(self, ring: Callable[[], object]) -> None:
        self._database.news.ring_work = ring

    def watch_unfinished(
        self, asked: Callable[[str], object], shown: Callable[[str, bytes], object]
    ) -> None:
        self._database.news.asked = asked
        self._database.news.shown = shown

    async def ask_unfinished(self, workload_id: str) -> None:
        await self._notify(asking(self._database.sender, workload_id))

    async def show_unfinished(self, workload_id: str, content: bytes) -> None:
        await self._notify(showing(self._database.sender, workload_id, content))

    async def _notify(self, payload: str) -> None:
        def notify(transaction: Transaction) -> None:
            transaction.notify(payload)

        await self._database.write(notify)

    @property
    def is_up(self) -> bool:
        return self._database.link.is_up and self._database.news.is_up

    @property
    def outages(self) -> int:
        return self._database.link.outages
