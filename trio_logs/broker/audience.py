"""The readers of a log: new lines ring their bells, or are written to their streams directly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from weakref import WeakValueDictionary

from ..records import Batch
from .bell import Listener, Listeners
from .counters import Counters
from .group import Group, Outlet

__all__ = ["Audience"]


class Audience:
    """The readers of one log."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._listeners = Listeners(counters)
        # A group lives as long as a reader refers to it.
        self._groups: WeakValueDictionary[tuple[Outlet, bool], Group] = WeakValueDictionary()
        # The groups that the published lines have to be sent to.
        self._begun: Sequence[Group] = ()

    def __len__(self) -> int:
        return len(self._listeners)

    def add(self, listener: Listener) -> None:
        """Tell this reader of new lines from now on."""
        self._listeners.add(listener)

    def discard(self, listener: Listener) -> None:
        """Stop telling this reader."""
        self._listeners.discard(listener)

    def group(self, outlet: Outlet, *, shows: bool = False) -> Group:
        """The group of the streams with this outlet; with `shows`, of those that ask for unfinished
        lines. Keep the group while you may join it."""
        group = self._groups.get((outlet, shows))
        if group is None:
            group = self._groups[outlet, shows] = Group(self._listeners, outlet, shows=shows)
        return group

    @property
    def showing(self) -> list[Group]:
        """The groups whose members ask for unfinished lines."""
        return [group for group in self._groups.values() if group.shows]

    def begin(self, published: Sequence[Batch]) -> None:
        """The head moves past these batches, in the same step."""
        self._begun = [*self._groups.values()]
        for group in self._begun:
            group.begin(published)

    def skip(self) -> None:
        """The head moves past lines that memory does not have, in the same step: ring every reader,
        and have each read these lines by itself."""
        for group in self._groups.values():
            group.release()
        self._listeners.ring_all()

    async def tell(self, published: Sequence[Batch]) -> None:
        """Write the batches to the streams that wait at the head, and ring all other readers."""
        begun, self._begun = self._begun, ()
        for group in begun:
            await group.send(published, self._counters)
        await self._listeners.ring()

    async def ring(self, chosen: Iterable[Listener]) -> None:
        """Ring those of these readers that are in no group."""
        await self._listeners.ring(chosen)

    async def tell_all(self) -> None:
        """Ring every reader, members of groups too: the log has ended."""
        await self._listeners.ring_everyone()

    def ring_all(self) -> None:
        """Ring every reader in one step."""
        self._listeners.ring_all()
