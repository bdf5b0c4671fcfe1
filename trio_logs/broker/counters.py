"""The counters of a broker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..records import Batch

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
    fenced: int = 0

    def deliver(self, records: Iterable[object], sign: Literal[1, -1] = 1) -> None:
        """Count the batches of these records as delivered; -1 takes that back."""
        for record in records:
            if isinstance(record, Batch):
                self.lines_delivered += sign * record.count
                self.bytes_delivered += sign * len(record.data)
