"""The table of routes: one row, beside its view, has everything about a route.

The rows feed the router, auth, the limits of the server, and the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from quart import Response
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from ..server import Server
from ..service import Service

__all__ = ["API_PREFIX", "AppContext", "Route", "RouteTable", "route"]

API_PREFIX = "/v1"
"""Every path at or below this one needs the token, even without a route."""

View: TypeAlias = Callable[..., Awaitable[Response]]


UNREAD_BYTES = 4096
"""The most bytes of a body that no view reads. Some clients send a short one with any request."""


@dataclass(frozen=True, slots=True)
class AppContext:
    """The first argument of a view. `server` is None if another server runs the app."""

    service: Service
    server: Server | None
    table: RouteTable


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One row. A route for GET answers HEAD, too.

    `path` is written as in OpenAPI, `/v1/workloads/{workload_id}`; its parameters are arguments of
    the view. `description` is the OpenAPI operation, without what the other fields say.
    `is_open`: it needs no token.
    `is_for_all`: it is also for the read-only token, although it is no GET.
    `streams_body`: the view reads the body as it arrives, by `RequestBody`, at any length.
    `max_body`: the most bytes of the body, if they are fewer than `Settings.max_body`. Views
    for GET and DELETE ignore the body, of which they take UNREAD_BYTES: Quart holds it as long as
    the answer lasts.
    `takes_code`: with the parameter `code`, it needs no token; see `Sessions.open_download`.
    `takes_slot`: an answer counts as one of the `Settings.max_streams` that may be open; the view
    takes the `StreamSlot` of its request.
    """

    method: str
    path: str
    view: View
    description: dict[str, Any]
    is_open: bool = False
    is_for_all: bool = False
    streams_body: bool = False
    max_body: int | None = None
    takes_slot: bool = False
    takes_code: bool = False

    @property
    def name(self) -> str:
        """A name that no other route has; the endpoint of the router."""
        return f"{self.method} {self.path}"

    @property
    def rule(self) -> str:
        """The path as the router writes it."""
        return self.path.replace("{", "<").replace("}", ">")

    def body_limit(self, max_body: int) -> int | None:
        """The most bytes of the body, or None for any number, under this `Settings.max_body`."""
        if self.streams_body:
            return None
        if self.method in ("GET", "DELETE"):
            return min(UNREAD_BYTES, max_body)
        return max_body if self.max_body is None else min(self.max_body, max_body)


def route(
    method: str,
    path: str,
    description: dict[str, Any],
    *,
    is_open: bool = False,
    is_for_all: bool = False,
    streams_body: bool = False,
    max_body: int | None = None,
    takes_slot: bool = False,
    takes_code: bool = False,
) -> Callable[[View], Route]:
    """Make the decorated view a row; the fields are those of `Route`."""

    def make(view: View) -> Route:
        return Route(
            method,
            path,
            view,
            description,
            is_open=is_open,
            is_for_all=is_for_all,
            streams_body=streams_body,
            max_body=max_body,
            takes_slot=takes_slot,
            takes_code=takes_code,
        )

    return make


class RouteTable:
    """All routes. Finds the route of a request exactly as the router of the app does."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Raises ValueError if two rows are for the same method and path."""
        self._routes: dict[str, Route] = {}
        for each in routes:
            if each.name in self._routes:
                raise ValueError(f"the route table has two rows for {each.name}")
            self._routes[each.name] = each
        rules = [Rule(each.rule, methods=[each.method], endpoint=each.name) for each in self]
        self._adapter = Map(rules).bind("")

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes.values())

    def named(self, name: str) -> Route:
        """The route of an endpoint."""
        return self._routes[name]

    def find(self, method: str, path: str) -> Route | None:
        """The route of a request; `path` is decoded, and without the query. None: there is none."""
        try:
            name, _ = self._adapter.match(path, method)
        except HTTPException:
            return None
        return self._routes[str(name)]

    def of_scope(self, scope: Any) -> Route | None:
        """The route of an ASGI scope; None also for a scope that is no HTTP request."""
        if scope["type"] != "http":
            return None
        path, root = scope["path"], scope.get("root_path", "")
        if root and not path.startswith(root):
            return None
        return self.find(scope["method"], path.removeprefix(root))

    def is_open(self, path: str) -> bool:
        """Whether a request that matches no route, by its path or method, needs no token."""
        routes = [self.find(method, path) for method in self._adapter.allowed_methods(path)]
        if routes:
            return all(each is not None and each.is_open for each in routes)
        return path != API_PREFIX and not path.startswith(f"{API_PREFIX}/")
