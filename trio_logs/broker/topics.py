"""The logs in memory, by workload."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..store import LogStore
from .counters import Counters
from .history import History
from .tasks import Tasks
from .topic import Life, Topic
from .window import BrokerLimits, Windows

__all__ = ["Topics"]


class Topics:
    """Keeps a topic while something holds it: a subscription, a source, or a call of the broker.

    `detached`: the service is shutting down, so every subscription ends where it is.
    `may_fail_over`: lines that the store had may be missing for a while.
    """

    def __init__(self, store: LogStore, limits: BrokerLimits, tasks: Tasks) -> None:
        self.store = store
        self.counters = Counters()
        self.history = History(store)
        self.windows = Windows(limits)
        self.detached = False
        self.may_fail_over = False
        # Called when the readers of a topic change, and once it was looked up for one.
        self.attend: Callable[[Topic], object] = _ignore
        self._tasks = tasks
        self._current: dict[str, Topic] = {}
        self._holds: dict[Topic, int] = {}

    def __iter__(self) -> Iterator[Topic]:
        """All topics, with those of deleted logs that still have readers."""
        return iter(tuple(self._holds))

    def __len__(self) -> int:
        """How many logs have a topic."""
        return len(self._current)

    def acquire(self, workload_id: str) -> Topic:
        """The log's topic; `release` it after use."""
        topic = self._current.get(workload_id)
        if topic is None:
            topic = self._current[workload_id] = self.make(workload_id)
        else:
            self._holds[topic] += 1
        return topic

    def make(self, workload_id: str) -> Topic:
        """A topic that may take the place of the log's topic, see `put`; `release` it after use."""
        topic = Topic(workload_id, self.store, self.windows, self.counters, self._tasks)
        self._holds[topic] = 1
        return topic

    def current(self, workload_id: str) -> Topic | None:
        """The log's topic, if it has one."""
        return self._current.get(workload_id)

    def hold(self, topic: Topic) -> None:
        """Hold a topic once more."""
        self._holds[topic] += 1

    def release(self, topic: Topic) -> None:
        """Forget the topic if nothing else holds it."""
        self._holds[topic] -= 1
        if not self._holds[topic]:
            del self._holds[topic]
            self.replace(topic)
            if topic.successor is not None:
                self.release(topic.successor)

    def put(self, topic: Topic) -> None:
        """Have a topic that was looked up take the place of the log's topic."""
        before = self._current.get(topic.workload_id)
        if before is not None:
            self.replace(before)
            self.supersede(before, topic)
        self._current[topic.workload_id] = topic

    def supersede(self, topic: Topic, successor: Topic) -> None:
        """Have the readers of a topic go on with its successor, which was looked up. It holds the
        successor until the last of them has gone."""
        if topic.life is Life.DELETED:
            # Another log has its name.
            topic.abandon()
        elif topic in self._holds:
            topic.give_way(successor)
            self.hold(successor)
            # Another owner may have other lines where a failover has lost some.
            self.history.forget(topic.workload_id)
            topic.audience.ring_all()

    def replace(self, topic: Topic) -> None:
        """The next `acquire` of its log gets a new topic; holders of this one keep it."""
        if self._current.get(topic.workload_id) is topic:
            del self._current[topic.workload_id]
            self.windows.discard(topic.window)

    def delete(self, workload_id: str) -> None:
        """The log was deleted: its readers get a gap that says so."""
        self.history.forget(workload_id)
        topic = self._current.get(workload_id)
        # Readers of a log that does not exist yet go on waiting for its first line.
        if topic is not None and topic.life is not Life.ABSENT:
            topic.delete()
            if self._holds[topic] == len(topic.audience):
                # Only readers hold it, so a log that takes its name gets a topic of its own.
                topic.abandon()
                self.replace(topic)

    def detach(self) -> None:
        """End every subscription where it is."""
        self.detached = True
        for topic in self:
            topic.audience.ring_all()


def _ignore(topic: Topic) -> None:
    """Without a shared store, topics are extended here, or not at all."""
