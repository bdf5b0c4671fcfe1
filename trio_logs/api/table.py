"""The rows of all modules, and the limits that the server gets from them."""

from __future__ import annotations

from collections.abc import Callable

from ..settings import Settings
from . import (
    description,
    events,
    logs,
    matches,
    metrics,
    nodes,
    push,
    search,
    session,
    several,
    web,
    workloads,
)
from .routes import RouteTable

__all__ = ["TABLE", "body_limit"]

TABLE = RouteTable(
    (
        *workloads.ROUTES,
        *push.ROUTES,
        *logs.ROUTES,
        *matches.ROUTES,
        *search.ROUTES,
        *several.ROUTES,
        *events.ROUTES,
        *session.ROUTES,
        *nodes.ROUTES,
        *metrics.ROUTES,
        *description.ROUTES,
        *web.ROUTES,
    )
)
"""Every route of the app."""


def body_limit(settings: Settings) -> Callable[[str, str], int | None]:
    """The `body_limit` of `Server.serve`: the most bytes that the body of a request may have, or
    None.

    The app itself has the limit `max_body` alone, and none for a body that it streams.
    """

    def limit(method: str, path: str) -> int | None:
        route = TABLE.find(method, path)
        return settings.max_body if route is None else route.body_limit(settings.max_body)

    return limit
