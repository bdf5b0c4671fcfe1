"""Requests that may last, and end when their session does."""

from __future__ import annotations

from typing import Any

import trio

from ..errors import IncompleteAnswerError
from ..server import ASGIApp
from ..sessions import Sessions, SessionStream
from .answers import problem_of, protected
from .auth import STREAM, UnauthorizedError
from .routes import RouteTable

__all__ = ["with_session_streams"]


def with_session_streams(app: ASGIApp, table: RouteTable, sessions: Sessions) -> ASGIApp:
    """The app, with a `SessionStream` in the scope of requests that may last: those that count as
    streams, and those that stream their body.

    An answer that has begun is cut without its terminal chunk: no client takes it for complete.
    """

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        route = table.of_scope(scope)
        if route is None or not (route.takes_slot or route.streams_body):
            await app(scope, receive, send)
            return
        stream = SessionStream()
        scope["extensions"] = {**scope.get("extensions", {}), STREAM: stream}
        try:
            with stream.scope:
                await app(scope, receive, send)
        finally:
            sessions.leave(stream)
        if stream.scope.cancelled_caught:
            if stream.has_answer:
                raise IncompleteAnswerError("the session has ended")
            async with trio.open_nursery() as nursery:
                # The app, which took the body, was cancelled. A server's queue that stays full may
                # delay the end of the final send for ever.
                nursery.start_soon(_discard, receive)
                await _refuse(send)
                nursery.cancel_scope.cancel()

    return wrapped


async def _discard(receive: Any) -> None:
    """Take the rest of a body, up to the disconnect."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refuse(send: Any) -> None:
    """Answer a request whose session ended before there was an answer."""
    response = protected(problem_of(UnauthorizedError("the session has ended: sign in again")))
    headers = [(name.encode(), value.encode()) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": await response.get_data()})
