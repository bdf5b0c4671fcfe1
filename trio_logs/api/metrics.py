"""The routes for liveness, readiness and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

import trio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from quart import Response

from ..broker import BrokerStatistics
from ..engine import NodeStatistics
from ..errors import StoreError
from ..server import ServerStatistics
from ..service import ServiceStatistics
from ..store.durations import BOUNDS, DurationStatistics
from .answers import DrainingError, json_response
from .bodies import Health
from .openapi import service as described
from .routes import AppContext, route

__all__ = ["ROUTES"]


STORE_WAIT_SECONDS = 10.0
"""Seconds that the oldest write may wait for the store before `/readyz` answers 503."""


@route("GET", "/healthz", described.ALIVE, is_open=True)
async def healthz(context: AppContext) -> Response:
    return json_response(Health())


@route("GET", "/readyz", described.READY, is_open=True)
async def readyz(context: AppContext) -> Response:
    if context.service.draining:
        raise DrainingError("the service is shutting down")
    waited = context.service.store_wait()
    if waited > STORE_WAIT_SECONDS:
        raise StoreError(f"a write has waited {waited:.0f} s for the store: see the service's log")
    return json_response(Health())


@route("GET", "/metrics", described.METRICS)
async def metrics(context: AppContext) -> Response:
    registry = CollectorRegistry()
    registry.register(_Statistics(context))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


ROUTES = (healthz, readyz, metrics)


class _Statistics(Collector):
    """Reads `statistics()` at each scrape, so metrics cost nothing between scrapes."""

    def __init__(self, context: AppContext) -> None:
        self._service = context.service
        self._server = context.server

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        found = self._service.statistics()
        oldest_wait = self._service.store_wait()
        for name, text, value in _gauges(found, oldest_wait):
            yield GaugeMetricFamily(f"trio_logs_{name}", text, value)
        for name, text, value in _counters(found):
            yield CounterMetricFamily(f"trio_logs_{name}", text, value)
        yield from _node_metrics(found.nodes, found.broker)
        finished = CounterMetricFamily(
            "trio_logs_workloads_finished", "Finished workloads by status.", labels=["status"]
        )
        for status, count in found.engine.finished.items():
            finished.add_metric([status], count)
        yield finished
        yield _histogram("commit_duration_seconds", "Commits of the store.", found.store.commits)
        if self._server is not None:
            yield from _server_metrics(self._server.statistics())


def _gauges(found: ServiceStatistics, oldest_wait: float) -> Iterable[tuple[str, str, float]]:
    """Values of this moment. Names end in the unit, if there is one. `oldest_wait` is in
    seconds."""
    store, broker, engine, searches = found.store, found.broker, found.engine, found.searches
    merges = broker.merges
    tasks = trio.lowlevel.current_statistics().tasks_living
    return (
        ("tasks", "Tasks of Trio, system tasks included.", tasks),
        ("workloads_queued", "Workloads in the queue.", engine.queued),
        ("workloads_running", "Workloads that run.", engine.running),
        ("workloads_owned", "Workloads that this service has to end.", engine.owned),
        ("store_up", "Whether the store works: 1 or 0.", found.store_is_up),
        ("event_readers", "Readers of changes of workloads.", engine.event_readers),
        ("topics", "Logs in memory.", broker.topics),
        ("topics_live", "Logs that are written.", broker.live),
        ("topics_failing", "Logs whose last append failed.", broker.logs_failing),
        ("subscriptions", "Readers of all logs.", broker.subscriptions),
        ("window_bytes", "The newest batches of all logs, in memory.", broker.window_bytes),
        ("channel_items", "Writes that wait in the channels of all logs.", broker.channel_items),
        ("channel_items_max", "Writes in the fullest channel.", broker.channel_items_max),
        ("channel_capacity", "Writes that fit into one channel.", broker.channel_capacity),
        ("lines_unsaved", "Numbered lines that the store does not have.", broker.lines_unsaved),
        ("store_writes_waiting", "Writes that are not durable yet.", store.writes_waiting),
        ("store_oldest_wait_seconds", "How long the oldest write has waited.", oldest_wait),
        ("searches", "Searches for matches under way.", searches.admitted),
        ("search_slices_running", "Searches that have a turn.", searches.running),
        ("search_slices_waiting", "Searches that wait for their turn.", searches.waiting),
        ("merges", "Readers of several logs that merge their histories.", merges.holding),
        ("merges_waiting", "Readers of several logs that wait to do so.", merges.waiting),
        ("history_bytes", "Compressed lines of all logs in the store.", store.bytes),
    )


def _counters(found: ServiceStatistics) -> Iterable[tuple[str, str, float]]:
    """Counts since the start. prometheus_client adds `_total` to the names."""
    store, broker, engine = found.store, found.broker, found.engine
    history = broker.history
    return (
        ("workloads_submitted", "New workloads.", engine.submitted),
        ("workloads_fenced", "Workloads that other nodes took over.", engine.fenced),
        ("changes_published", "Changes of workloads.", engine.changes_published),
        ("published_lines", "Lines of all logs, counted once each.", broker.lines_published),
        ("published_bytes", "The bytes of these lines, with line ends.", broker.bytes_published),
        (
            "delivered_lines",
            "Lines of all logs, counted once for each reader.",
            broker.lines_delivered,
        ),
        ("delivered_bytes", "The bytes of these lines, with line ends.", broker.bytes_delivered),
        (
            "batches_pushed",
            "Batches written to streams whose tasks did not wake.",
            broker.batches_pushed,
        ),
        ("rings_skipped", "Rings skipped: an earlier one was unanswered.", broker.rings_skipped),
        ("history_reads", "Reads of the store for readers behind the window.", history.reads),
        ("history_reuses", "Pieces of earlier reads that served a reader.", history.reuses),
        ("batches_read_back", "Batches read for readers behind the window.", history.batches_read),
        ("store_reads", "Queries of the store, of all kinds.", store.reads),
        ("store_writes_failed", "Writes that the store could not commit.", store.writes_failed),
        ("searches_refused", "Searches over the limit.", found.searches.refused),
        ("search_slices", "Turns of searches.", found.searches.slices),
        ("batches_trimmed", "Batches that retention removed.", store.batches_trimmed),
        ("own_log_dropped", "Records of the service's own log, dropped.", found.own_log.dropped),
    )


def _node_metrics(found: NodeStatistics, broker: BrokerStatistics) -> Iterator[Metric]:
    """Of a shared store; without one, the service is the only node."""
    yield GaugeMetricFamily("trio_logs_nodes", "Nodes, this one included.", found.nodes)
    yield CounterMetricFamily(
        "trio_logs_nodes_buried", "Dead nodes that this one has buried.", found.buried
    )
    yield CounterMetricFamily(
        "trio_logs_store_reconnects", "Times that the shared store was away.", found.outages
    )
    yield GaugeMetricFamily(
        "trio_logs_feeds", "Logs of other nodes that have readers here.", broker.feeds
    )
    yield GaugeMetricFamily(
        "trio_logs_feed_lag_seconds", "Age of the oldest news that they lack.", broker.feed_lag
    )
    yield CounterMetricFamily(
        "trio_logs_logs_fenced", "Logs that another node took over.", broker.fenced
    )


def _histogram(name: str, text: str, durations: DurationStatistics) -> HistogramMetricFamily:
    limits = [*map(str, BOUNDS), "+Inf"]
    below = accumulate(durations.counts)
    buckets = list(zip(limits, below, strict=True))
    return HistogramMetricFamily(f"trio_logs_{name}", text, buckets, durations.seconds)


def _server_metrics(found: ServerStatistics) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "trio_logs_connections", "Open connections of clients.", found.connections
    )
    for name, text, count in (
        ("connections_accepted", "Connections accepted.", found.accepted),
        ("connections_refused", "Connections over a limit.", found.refused),
        ("connections_failed", "Connections that an error ended.", found.failed),
        ("write_timeouts", "Connections closed: the client read nothing.", found.timed_out_writing),
        ("wait_timeouts", "Connections closed: the client was silent.", found.timed_out_waiting),
        ("accepts_exhausted", "Failed accepts: no file descriptor was free.", found.exhausted),
        ("http_requests", "Requests.", found.requests),
        ("http_received_bytes", "Bytes received from clients.", found.bytes_in),
        ("http_sent_bytes", "Bytes sent to clients.", found.bytes_out),
    ):
        yield CounterMetricFamily(f"trio_logs_{name}", text, count)
