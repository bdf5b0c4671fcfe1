"""The counters of a broker."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counters"]


@dataclass(slots=True)
class Counters:
    """The broker, its topics and its subscriptions share one instance; see `BrokerStatistics`.

    Each batch or chunk costs an integer addition; a line costs nothing.
    """

    lines_published: int = 0
    bytes_published: int = 0
    lines_delivered: int = 0
    bytes_delivered: int = 0
    batches_pushed: int = 0
    rings_skipped: int = 0
