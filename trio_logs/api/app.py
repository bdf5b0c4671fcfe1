"""The app: its routes, who may use them, and how it fails."""

from __future__ import annotations

import hmac
from contextlib import ExitStack
from typing import Any

from quart import Response, request
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection

from ..server import Server
from ..service import Service
from .answers import MisdirectedError, UnauthorizedError, problem_of
from .logs import AT_END, log_routes
from .metrics import health_routes
from .openapi import description_routes
from .push import push_routes
from .request_body import with_streamed_bodies
from .workloads import workload_routes

__all__ = ["create_app"]


def create_app(service: Service, server: Server | None = None) -> QuartTrio:
    """An ASGI app that serves the whole wire contract; `server` is asked for its statistics."""
    app = QuartTrio("trio_logs")
    app.asgi_http_class = _HTTPConnection
    app.config["MAX_CONTENT_LENGTH"] = service.settings.max_body
    # One spelling for each route, or the check below could be walked around.
    app.url_map.merge_slashes = False
    hosts = {_in_header(name) for name in service.settings.allowed_hosts}
    token = f"Bearer {service.token}".encode()

    @app.before_request
    async def check() -> None:
        host = request.headers.get("Host")
        # Without one it is HTTP/1.0: a load balancer's check, and no page in a browser.
        if hosts and host and _host_name(host) not in hosts:
            raise MisdirectedError(f"this server does not answer for the host {host!r}")
        if request.path.startswith("/v1/") or request.path in ("/v1", "/metrics"):
            given = request.headers.get("Authorization", "")
            scheme, _, credentials = given.partition(" ")
            given = f"Bearer {credentials.strip()}" if scheme.lower() == "bearer" else ""
            if not hmac.compare_digest(given.encode(), token):
                raise UnauthorizedError

    @app.after_request
    async def protect(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    @app.errorhandler(Exception)
    async def fail(error: Exception) -> Response:
        return problem_of(error)

    app.register_blueprint(workload_routes(service))
    app.register_blueprint(log_routes(service))
    app.register_blueprint(push_routes(service))
    app.register_blueprint(health_routes(service, server))
    app.register_blueprint(description_routes())
    app.asgi_app = with_streamed_bodies(app.asgi_app)  # type: ignore[assignment,method-assign]
    return app


class _HTTPConnection(TrioASGIHTTPConnection):
    async def __call__(self, receive: Any, send: Any) -> None:
        scope: Any = self.scope
        with ExitStack() as stack:
            scope["extensions"] = {**scope.get("extensions", {}), AT_END: stack}
            await super().__call__(receive, send)

    async def _send_response(self, send: Any, response: Any) -> None:
        # Quart 0.23 raises when it is about to answer a client that left; 0.22 has no such flag.
        if not getattr(self, "_disconnected", False):
            await super()._send_response(send, response)


def _in_header(name: str) -> str:
    """A name or address as `_host_name` finds it; an IPv6 address may lack its brackets."""
    name = name.lower()
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


def _host_name(host: str) -> str:
    """The name or address in a Host header, without the port."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()
