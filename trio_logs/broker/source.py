"""The task that extends a log: numbers, stores and publishes what a workload writes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import trio

from ..errors import FencedError, LogClosedError
from ..records import Batch, End, Outcome, now
from ..store import LogStore, StreamState
from .commits import Commits, Ending, Storing
from .guard import Guard
from .looks import Looks
from .news import News
from .numbering import Numbering
from .topic import Topic
from .writer import Fate, Flush, LogWriter, Written

__all__ = ["CHANNEL_ITEMS", "Source"]

CHANNEL_ITEMS = 8
"""Writes that wait in a workload's channel, of at most 128 KiB each. When the channel is full, the
workload waits."""

TURN_BYTES = 512 * 1024
"""About how many bytes a source takes from its channel at once. So one commit, with the round trip
to the store's thread, is paid by many lines. With their frames, they take a third of a window."""


class Source:
    """Extends one topic from one channel. The broker runs each source once.

    `waiting_since`: when the oldest append that is not durable was first tried, on Trio's clock;
    `inf` if none waits. `failure`: the last error of the store, while it fails.
    """

    def __init__(
        self, topic: Topic, store: LogStore, patience: float, news: News | None = None
    ) -> None:
        # Bound: 8 items of at most 128 KiB. When it is full, writers wait.
        self._send, self._receive = trio.open_memory_channel[Written | Flush](CHANNEL_ITEMS)
        self._fate = Fate()
        self._store = store
        self._news = news
        # Set once the source has ended.
        self.over = trio.Event()
        self._looks = None if news is None else Looks()
        self.commits = Commits(topic, store, patience, self._fate, self._looks)
        self._topic = topic
        self._numbering = Numbering(topic.state)
        self._scope = trio.CancelScope()
        self._ending: Ending | None = None
        # The marks of this turn. Bound: the items of one turn.
        self._marks: list[Flush] = []
        topic.extender = self.commits.attempts

    def writer(self) -> LogWriter:
        """A new writer of this log. Raises LogClosedError after `close`."""
        self._fate.check()
        if self._ending is not None:
            raise LogClosedError(f"the log of {self._name} has ended")
        return LogWriter(self._send.clone(), self._fate)

    @property
    def epoch(self) -> int:
        """The epoch of its appends."""
        return self._topic.state.epoch

    @property
    def is_fenced(self) -> bool:
        """Whether another writer has the log."""
        return self._fate.fenced is not None

    def fence(self) -> None:
        """Another writer has the log: end now. Writers and flushes get FencedError."""
        if not self.is_fenced:
            self._fate.fenced = f"another writer has taken over the log of {self._name}"
            self._scope.cancel(reason="another writer has the log")

    @property
    def channel_items(self) -> int:
        """How many writes wait in the channel."""
        return self._send.statistics().current_buffer_used

    @property
    def lines_unsaved(self) -> int:
        """How many lines have a number but are not in the store."""
        return self._numbering.next - 1 - self._topic.durable

    def close(self, outcome: Outcome) -> None:
        """Have the log end with this outcome. Writers that are still open can't write any more.
        Closing again does nothing: the first outcome stands."""
        if self._ending is None:
            # The wall clock may have been set back since the last line.
            self._ending = Ending(outcome, max(now(), self._numbering.time))
            # A mark wakes the source if it waits. It does not wait while its channel is full. A
            # cancel scope around each wait would cost as much as the channel itself.
            with suppress(trio.WouldBlock):
                self._send.send_nowait(Flush())
            self._send.close()

    async def flush(self) -> None:
        """Return once what was written before is durable, and the end too after `close`. Raises as
        `LogWriter.flush` and `ended`."""
        if self._ending is not None:
            await self.ended()
        else:
            with self.writer() as log:
                await log.flush()

    async def ended(self) -> None:
        """Return once the end is durable and published.

        Raises StoreError if the store fails for longer than the patience; the source goes on
        trying, so the caller may wait again. Raises LogClosedError if the source ends before.
        """
        while self._topic.end is None:
            self._fate.check()
            if self.over.is_set():
                raise LogClosedError(f"the broker ended before the log of {self._name} did")
            if self.commits.storing is Storing.LOST:
                raise self.commits.error(f"the end of the log of {self._name} is not stored yet")
            await self.commits.change()

    async def run(self) -> None:
        """Publish all writes until the log is closed, and then its end; or until another writer has
        the log: see `is_fenced`."""
        try:
            with self._scope:
                async with trio.open_nursery() as self.commits.nursery:
                    if self._news is not None and self._looks is not None:
                        guard = Guard(self._topic, self._store, self._news, self._looks, self.fence)
                        self.commits.nursery.start_soon(guard.run)
                    await self._extend()
                    await self._finish()
                    self._scope.cancel(reason="the log has ended, so its guard goes")
        except* FencedError:
            self.fence()
        finally:
            self.over.set()
            self._refuse()
            self.commits.tell()

    async def _extend(self) -> None:
        while taken := await self._take():
            if self._ending is not None:
                # All earlier writes are taken; from now on, writers get LogClosedError.
                self._receive.close()
            self._marks += [item for item in taken if isinstance(item, Flush)]
            batches = self._numbering.number([item for item in taken if isinstance(item, Written)])
            if batches:
                await self._publish(batches, self._numbering.streams())
            else:
                self._topic.unfinished.leave(self._numbering.unfinished())
            for mark in self._marks:
                self._answer(mark)
            self._marks.clear()
        self._receive.close()

    async def _publish(self, batches: list[Batch], streams: Mapping[str, StreamState]) -> None:
        await self.commits.append(batches, streams)
        # In the same step: the lines are durable, or the commits count on them being in the window.
        self._topic.publish(batches, streams)
        self._topic.unfinished.leave(self._numbering.unfinished())
        await self._topic.audience.tell(batches)

    async def _finish(self) -> None:
        # The channel is closed by now, so no later write is dropped in silence.
        assert self._ending is not None
        rest = self._numbering.rest(now())
        streams = self._numbering.streams()
        if rest and self.commits.storing is not Storing.WORKS:
            await self._publish(rest, streams)
            rest = []
        self.commits.ending, self.commits.last = self._ending, self._numbering.next - 1
        while not await self.commits.append_end(rest, streams):
            # The lines are delivered from memory, the end only once it is durable.
            if rest:
                self._topic.publish(rest, streams)
                self._topic.unfinished.leave({})
                await self._topic.audience.tell(rest)
                rest = []
        size = self._topic.bytes + sum(len(batch.data) for batch in rest)
        end = End(self._ending.outcome, self._numbering.next - 1, size)
        self._topic.publish(rest, streams, end)
        self._topic.unfinished.leave({})
        self.commits.tell()
        await self._topic.audience.tell_all()

    async def _take(self) -> list[Written | Flush]:
        """The items that are ready, about one turn of them; empty at the end."""
        taken: list[Written | Flush] = []
        if self._ending is None:
            taken.append(await self._receive.receive())
        size = _size(taken[0]) if taken else 0
        # After `close`, take all items in one step: a writer that goes on would delay the end.
        while size < TURN_BYTES or self._ending is not None:
            try:
                taken.append(self._receive.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                break
            size += _size(taken[-1])
        return taken

    def _answer(self, mark: Flush) -> None:
        """Tell the task that waits for the mark: earlier writes are durable, or can't be for
        now."""
        if self.commits.storing is Storing.WORKS:
            mark.durable = self._durable(mark.stream)
        else:
            mark.error = self.commits.error(f"the log of {self._name} is not stored yet")
        mark.done.set()

    def _durable(self, stream: str | None) -> int:
        if stream is None:
            return self._topic.bytes
        known = self._topic.streams.get(stream)
        return 0 if known is None else known.bytes

    def _refuse(self) -> None:
        """The source has ended: refuse writes, and end all waits for a flush."""
        # A close discards the items in the channel: take them first.
        with suppress(trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
            while True:
                item = self._receive.receive_nowait()
                if isinstance(item, Flush):
                    self._marks.append(item)
        self._receive.close()
        for mark in self._marks:
            mark.error = self._fate.closed("the log is closed: nothing more can be made durable")
            mark.done.set()

    @property
    def _name(self) -> str:
        return repr(self._topic.workload_id)


def _size(item: Written | Flush) -> int:
    return len(item.data) if isinstance(item, Written) else 0
