"""What a broker tells of itself."""

from __future__ import annotations

from dataclasses import dataclass

from .history import HistoryStatistics

__all__ = ["BrokerStatistics"]


@dataclass(frozen=True, slots=True)
class BrokerStatistics:
    """`topics` are logs in memory, and `live` are the logs with a source. `channel_items` are
    writes that wait in the channels of all workloads. `channel_items_max` are those in the fullest
    channel, whose bound is `channel_capacity`.

    `lines_unsaved` have a number but are not in the store yet. The oldest append has waited for
    `oldest_wait` seconds. While the store fails, `store_error` is an error of the last appends, and
    `logs_failing` counts the logs whose last append failed.

    All other fields count since the start. Lines and bytes, line ends included, are published once
    and delivered to each subscription. `batches_pushed` were written to a port, so that no reader
    woke. `rings_skipped` counts rings that were skipped because an earlier one still waited.
    """

    topics: int
    live: int
    subscriptions: int
    window_bytes: int
    channel_items: int
    channel_items_max: int
    channel_capacity: int
    lines_unsaved: int
    oldest_wait: float
    store_error: str | None
    logs_failing: int
    lines_published: int
    bytes_published: int
    lines_delivered: int
    bytes_delivered: int
    batches_pushed: int
    rings_skipped: int
    history: HistoryStatistics
