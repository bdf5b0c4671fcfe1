"""The operations of the service itself."""

from __future__ import annotations

from typing import Any

from ... import __version__
from .parts import answer, json_answer, problem, ref, refer_to_problems, text

__all__ = ["ALIVE", "DOCS", "METRICS", "NODES", "OPENAPI", "READY", "VERSION"]

_OK = json_answer("Yes.", ref("Health"), {"status": "ok"})


def _get(
    operation: str, summary: str, success: dict[str, Any], *statuses: int, **responses: Any
) -> dict[str, Any]:
    return {
        "operationId": operation,
        "tags": ["service"],
        "summary": summary,
        "responses": {"200": success, **responses, **refer_to_problems(*statuses, 421)},
    }


ALIVE = _get("isAlive", "Liveness: does the service answer?", _OK)

READY = _get(
    "isReady",
    "Readiness: does the service take requests?",
    _OK,
    **{
        "503": problem(
            503,
            "Not now. `reason` is `draining` while the service shuts down, and `store` while the"
            " oldest write has waited for the store for more than 10 s.",
            "the service is shutting down",
            reason="draining",
        )
    },
)

METRICS = _get(
    "metrics",
    "Metrics for Prometheus",
    answer(
        "The metrics.",
        {
            "text/plain": {
                "schema": text(),
                "example": "# HELP trio_logs_subscriptions Readers of all logs.\n"
                "# TYPE trio_logs_subscriptions gauge\n"
                "trio_logs_subscriptions 3.0\n",
            }
        },
    ),
    401,
    503,
)

OPENAPI = _get(
    "openapi",
    "This description, OpenAPI 3.1",
    json_answer(
        "The document.",
        {"type": "object", "required": ["openapi", "info", "paths", "components"]},
        {"openapi": "3.1.1", "info": {}, "paths": {}, "components": {}},
    ),
)

VERSION = _get(
    "version",
    "The version of the service",
    json_answer("The version.", ref("Version"), {"version": __version__, "api": 1}),
    401,
    503,
)

NODES = _get(
    "listNodes",
    "The nodes that share the store; a service with a store of its own is the only one",
    json_answer(
        "The nodes, by id.",
        ref("NodeList"),
        {
            "nodes": [
                {
                    "id": "build-1-5f2c90aa",
                    "address": "http://10.0.0.1:8000",
                    "started_at": "2026-01-01T12:00:00.000000Z",
                    "seen_at": "2026-01-01T12:34:56.000000Z",
                    "running": 3,
                    "queued": 0,
                    "draining": False,
                }
            ]
        },
    ),
    401,
    503,
)

DOCS = _get(
    "docs",
    "This description as a page",
    answer(
        "The page, which loads nothing from another host.",
        {"text/html": {"schema": text(), "example": "<!doctype html>..."}},
        {"Content-Security-Policy": ref("ContentSecurityPolicy", "headers")},
    ),
)
