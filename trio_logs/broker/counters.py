"""What a broker counts."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counters"]


@dataclass(slots=True)
class Counters:
    """Shared by the broker, its topics and its subscriptions; see `BrokerStatistics`.

    Counting is an integer addition for each batch or chunk, never for each line.
    """

    lines_published: int = 0
    bytes_published: int = 0
    lines_delivered: int = 0
    bytes_delivered: int = 0
    batches_pushed: int = 0
    rings_skipped: int = 0
