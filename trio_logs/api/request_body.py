"""Request bodies of any length, read as they arrive.

Quart buffers a body whether its view reads it or not. So Quart sees these requests with an empty
body, and their views read the real body themselves. While a view does not read, the server's queue
fills, the server stops reading, and the client has to wait.
"""

from __future__ import annotations

from typing import Any, Self

import trio

from ..server import ASGIApp
from .routes import RouteTable

__all__ = ["BODY", "RequestBody", "with_streamed_bodies"]

BODY = "trio_logs.body"
"""The ASGI extension that holds the `RequestBody` of a request whose route streams it."""


def with_streamed_bodies(app: ASGIApp, table: RouteTable) -> ASGIApp:
    """The app, with a `RequestBody` in the scope of requests whose route streams the body."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        route = table.of_scope(scope)
        if route is None or not route.streams_body:
            await app(scope, receive, send)
            return
        body = RequestBody(receive)
        scope["extensions"] = {**scope.get("extensions", {}), BODY: body}

        async def send_and_drop(message: Any) -> None:
            # The view has answered and reads no more. A queue that stays full would delay the end
            # of the request.
            body.drop()
            await send(message)

        await app(scope, body.receive, send_and_drop)

    return wrapped


class RequestBody:
    """The pieces of a body, for one reader. It buffers none of them."""

    def __init__(self, receive: Any) -> None:
        self._receive = receive
        self._ended = False
        self._disconnected = False
        self._begun = False
        self._dropped = trio.Event()

    def drop(self) -> None:
        """Discard the rest of the body as it arrives."""
        self._dropped.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._ended:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._disconnected = True
                self.drop()
                # The disconnect cancels the request, and this wait with it.
                await trio.sleep_forever()
            self._ended = not message.get("more_body", False)
            if message["body"]:
                return bytes(message["body"])
        raise StopAsyncIteration

    async def receive(self) -> Any:
        """The `receive` of the app: an empty body, and then the disconnect."""
        if not self._begun:
            self._begun = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._dropped.wait()
        while not self._disconnected:
            message = await self._receive()
            self._disconnected = message["type"] == "http.disconnect"
        return {"type": "http.disconnect"}
