"""The app: the routes of the table, behind the checks of `auth`, with problems for failures."""

from __future__ import annotations

from functools import partial
from typing import Any

import structlog
from quart import Response
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection

from ..errors import IncompleteAnswerError, StoreError
from ..server import Server
from ..service import Service
from .answers import problem_of, protected
from .auth import Guard, session_stream
from .request_body import with_streamed_bodies
from .routes import AppContext
from .session_streams import with_session_streams
from .slots import StreamSlots, with_slots
from .table import TABLE

__all__ = ["create_app"]

BODY_SECONDS = 60
"""How long a body may take that its view reads as a whole, as all do but a push."""

_log = structlog.get_logger("trio_logs.api")


def create_app(service: Service, server: Server | None = None) -> QuartTrio:
    """An ASGI app that serves the whole wire contract; `/metrics` reads the statistics of `server`.

    Give `body_limit(service.settings)` to `Server.serve` with it.
    """
    app = QuartTrio("trio_logs", static_folder=None)
    app.asgi_http_class = _HTTPConnection
    app.config["MAX_CONTENT_LENGTH"] = service.settings.max_body
    app.config["BODY_TIMEOUT"] = BODY_SECONDS
    # `/v1//workloads` is an unknown path: the router would answer it with a redirect.
    app.url_map.merge_slashes = False
    context = AppContext(service, server, TABLE)
    for route in TABLE:
        view = partial(route.view, context)
        app.add_url_rule(route.rule, route.name, view, methods=[route.method])
    guard = Guard(service, TABLE)

    @app.before_request
    async def check() -> None:
        await guard.check()

    @app.after_request
    async def protect(response: Response) -> Response:
        if stream := session_stream():
            stream.has_answer = True
        return protected(response)

    @app.errorhandler(Exception)
    async def fail(error: Exception) -> Response:
        return problem_of(error)

    slots = StreamSlots(service.settings.max_streams)
    wrapped = with_slots(with_streamed_bodies(app.asgi_app, TABLE), TABLE, slots)
    wrapped = with_session_streams(wrapped, TABLE, service.sessions)
    app.asgi_app = wrapped  # type: ignore[assignment,method-assign]
    return app


class _HTTPConnection(TrioASGIHTTPConnection):
    async def _send_response(self, send: Any, response: Any) -> None:
        # Quart 0.23 raises when it answers a client that disconnected; 0.22 has no such flag.
        if getattr(self, "_disconnected", False):
            return
        try:
            await super()._send_response(send, response)
        except* StoreError as group:
            # The answer has begun, so its status can't tell. Log no traceback: it would come once
            # for each open stream.
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            _log.warning("answer cut short", path=self.scope["path"], reason=str(error))
            raise IncompleteAnswerError("the store failed during this answer") from error
