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

    The app has the same limits. The server refuses a declared length before the client sends it.
    """

    def limit(method: str, path: str) -> int | None:
        route = TABLE.find(method, path)
        return None if route is not None and route.streams_body else settings.max_body

    return limit
