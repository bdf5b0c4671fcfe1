"""What a broker tells of itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import trio

from .history import HistoryStatistics
from .merge_turns import MergeStatistics
from .roles import Roles
from .source import CHANNEL_ITEMS
from .topics import Topics

__all__ = ["BrokerStatistics", "snapshot"]


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
    `merges` are of this moment.

    With a shared store, `feeds` are the logs of other nodes that have readers here. The oldest news
    of them that readers lack is `feed_lag` seconds old. `fenced` counts the sources whose log went
    to another owner.
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
    merges: MergeStatistics
    feeds: int
    feed_lag: float
    fenced: int


def snapshot(topics: Topics, roles: Roles, merges: MergeStatistics) -> BrokerStatistics:
    """The statistics of a broker with these topics and roles."""
    sources = tuple(roles.sources.values())
    feeds = tuple(roles.feeds)
    behind_since = min((feed.waiting_since for feed in feeds), default=math.inf)
    fills = [source.channel_items for source in sources]
    # A store that hangs has said nothing.
    commits = [source.commits for source in sources]
    failing = [each for each in commits if each.is_failing]
    errors = [each.failure for each in failing if each.failure is not None]
    waiting_since = min((each.waiting_since for each in commits), default=math.inf)
    counters = topics.counters
    return BrokerStatistics(
        topics=len(topics),
        live=len(fills),
        subscriptions=sum(len(topic.audience) for topic in topics),
        window_bytes=topics.windows.bytes,
        channel_items=sum(fills),
        channel_items_max=max(fills, default=0),
        channel_capacity=CHANNEL_ITEMS,
        lines_unsaved=sum(source.lines_unsaved for source in sources),
        # Outside of Trio, after the end, there is no clock, and no write waits.
        oldest_wait=0.0 if waiting_since == math.inf else trio.current_time() - waiting_since,
        store_error=str(errors[0]) if errors else None,
        logs_failing=len(failing),
        lines_published=counters.lines_published,
        bytes_published=counters.bytes_published,
        lines_delivered=counters.lines_delivered,
        bytes_delivered=counters.bytes_delivered,
        batches_pushed=counters.batches_pushed,
        rings_skipped=counters.rings_skipped,
        history=topics.history.statistics(),
        merges=merges,
        feeds=len(feeds),
        feed_lag=0.0 if behind_since == math.inf else trio.current_time() - behind_since,
        fenced=counters.fenced,
    )
