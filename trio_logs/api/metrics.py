"""Liveness, readiness, and Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from quart import Blueprint, Response

from ..errors import NotReadyError
from ..server import Server, ServerStatistics
from ..service import Service
from .answers import json_response

__all__ = ["health_routes"]


def health_routes(service: Service, server: Server | None) -> Blueprint:
    """`/healthz`, `/readyz` and `/metrics`."""
    routes = Blueprint("health", __name__)
    registry = CollectorRegistry()
    registry.register(_Statistics(service, server))

    @routes.get("/healthz")
    async def healthz() -> Response:
        return json_response({"status": "ok"})

    @routes.get("/readyz")
    async def readyz() -> Response:
        if service.draining:
            raise NotReadyError("the service is shutting down")
        return json_response({"status": "ok"})

    @routes.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    return routes


class _Statistics(Collector):
    """Reads `statistics()` when it is asked, so that counting costs nothing in between."""

    def __init__(self, service: Service, server: Server | None) -> None:
        self._service = service
        self._server = server

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        found = self._service.statistics()
        store, broker, engine = found.store, found.broker, found.engine
        for name, text, value in (
            ("workloads_queued", "Workloads that wait for their turn.", engine.queued),
            ("workloads_running", "Workloads that run.", engine.running),
            ("topics", "Logs in memory.", broker.topics),
            ("topics_live", "Logs that are written.", broker.live),
            ("subscriptions", "Readers of all logs.", broker.subscriptions),
            ("window_bytes", "The newest lines of all logs, in memory.", broker.window_bytes),
            ("channel_items", "Writes that wait for the broker.", broker.channel_items),
            ("history_bytes", "What the history takes in the store.", store.bytes),
        ):
            yield GaugeMetricFamily(f"trio_logs_{name}", text, value)
        for name, text, count in (
            ("rings_skipped", "Rings that found a reader rung already.", broker.rings_skipped),
            ("commits", "Transactions of the store.", store.commits),
            ("commit_seconds", "Time in these transactions.", store.commit_seconds),
            ("store_reads", "Reads of the store.", store.reads),
            ("batches_trimmed", "Batches that retention removed.", store.batches_trimmed),
        ):
            yield CounterMetricFamily(f"trio_logs_{name}", text, count)
        finished = CounterMetricFamily(
            "trio_logs_workloads_finished", "Finished workloads by status.", labels=["status"]
        )
        for status, count in engine.finished.items():
            finished.add_metric([status], count)
        yield finished
        if self._server is not None:
            yield from _server_metrics(self._server.statistics())


def _server_metrics(found: ServerStatistics) -> Iterator[Metric]:
    yield GaugeMetricFamily("trio_logs_connections", "Connections of clients.", found.connections)
    for name, text, count in (
        ("connections_accepted", "Connections accepted.", found.accepted),
        ("connections_refused", "Connections over a limit.", found.refused),
        ("connections_failed", "Connections that an error ended.", found.failed),
        ("write_timeouts", "Connections of clients that took nothing.", found.timed_out_writing),
        ("wait_timeouts", "Connections that were quiet too long.", found.timed_out_waiting),
        ("accepts_exhausted", "Accepts without a descriptor left.", found.exhausted),
        ("http_requests", "Requests.", found.requests),
        ("http_received_bytes", "Bytes that clients sent.", found.bytes_in),
        ("http_sent_bytes", "Bytes that were sent to clients.", found.bytes_out),
    ):
        yield CounterMetricFamily(f"trio_logs_{name}", text, count)
