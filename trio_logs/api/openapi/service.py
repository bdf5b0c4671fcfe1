"""The operations of the service itself."""

from __future__ import annotations

from typing import Any

from .parts import answer, json_answer, ref, refer_to_problems, text

__all__ = ["SERVICE"]

_OK = json_answer("Yes.", ref("Health"), {"status": "ok"})


def _get(
    operation: str, summary: str, success: dict[str, Any], *statuses: int, token: bool = False
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation,
        "tags": ["service"],
        "summary": summary,
        "responses": {"200": success, **refer_to_problems(*statuses, 421)},
    }
    return {"get": described if token else {**described, "security": []}}


SERVICE: dict[str, dict[str, Any]] = {
    "/healthz": _get("isAlive", "Liveness: does the service answer?", _OK),
    "/readyz": _get("isReady", "Readiness: does it take requests, or is it draining?", _OK, 503),
    "/metrics": _get(
        "metrics",
        "Metrics for Prometheus",
        answer(
            "The metrics.",
            {
                "text/plain": {
                    "schema": text(),
                    "example": "# HELP trio_logs_subscriptions Readers of logs.\n"
                    "# TYPE trio_logs_subscriptions gauge\n"
                    "trio_logs_subscriptions 3.0\n",
                }
            },
        ),
        401,
        token=True,
    ),
    "/openapi.json": _get(
        "openapi",
        "This description, OpenAPI 3.1",
        json_answer(
            "The document.",
            {"type": "object", "required": ["openapi", "info", "paths", "components"]},
            {"openapi": "3.1.1", "info": {}, "paths": {}, "components": {}},
        ),
    ),
    "/docs": _get(
        "docs",
        "This description as a page",
        answer(
            "The page, which loads nothing from anywhere.",
            {"text/html": {"schema": text(), "example": "<!doctype html>..."}},
            {"Content-Security-Policy": ref("ContentSecurityPolicy", "headers")},
        ),
    ),
}
