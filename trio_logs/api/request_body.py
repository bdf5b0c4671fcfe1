"""Request bodies of any length, read as they come.

Quart takes what comes of a body whether it is asked for or not. So it is told that these requests
have none, and their views read them by themselves: while a view does not, the server's queue fills,
the server reads no more, and the client has to wait.
"""

from __future__ import annotations

import re
from typing import Any, Self

import trio

from ..server import ASGIApp

__all__ = ["BODY", "RequestBody", "with_streamed_bodies"]

BODY = "trio_logs.body"
"""The extension of an ASGI scope that holds the request's `RequestBody`."""

# Quart takes several slashes at the start for one.
_PATHS = re.compile("/+v1/workloads/[^/]+/logs")


def with_streamed_bodies(app: ASGIApp) -> ASGIApp:
    """The app, with a `RequestBody` in the scope of requests that have one."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if (
            scope["type"] != "http"
            or scope["method"] != "POST"
            or not _PATHS.fullmatch(scope["path"])
        ):
            await app(scope, receive, send)
            return
        body = RequestBody(receive)
        scope["extensions"] = {**scope.get("extensions", {}), BODY: body}

        async def send_and_drop(message: Any) -> None:
            # Nobody will read on; and a queue that stays full would hold up the end of the request.
            body.drop()
            await send(message)

        await app(scope, body.receive, send_and_drop)

    return wrapped


class RequestBody:
    """The pieces of a body, for one reader. It holds none of them."""

    def __init__(self, receive: Any) -> None:
        self._receive = receive
        self._ended = False
        self._disconnected = False
        self._begun = False
        self._dropped = trio.Event()

    def drop(self) -> None:
        """What still comes is not wanted."""
        self._dropped.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._ended:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._disconnected = True
                self.drop()
                # Whose request it is will be cancelled.
                await trio.sleep_forever()
            self._ended = not message.get("more_body", False)
            if message["body"]:
                return bytes(message["body"])
        raise StopAsyncIteration

    async def receive(self) -> Any:
        """As the app's `receive`: an empty body, and then the disconnect."""
        if not self._begun:
            self._begun = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._dropped.wait()
        while not self._disconnected:
            message = await self._receive()
            self._disconnected = message["type"] == "http.disconnect"
        return {"type": "http.disconnect"}
