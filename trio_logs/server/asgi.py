"""ASGI apps: how the messages of an answer look on the wire, and which sends complete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

__all__ = ["ASGIApp", "finish_cleanly", "is_chunked", "shield_ends"]

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


def is_chunked(scope: Any, start: Any) -> bool:
    """Whether h11 sends the body of this answer in chunks; see RFC 9112, section 6.3."""
    return (
        scope["http_version"] == "1.1"
        and scope["method"] != "HEAD"
        and start["status"] >= 200
        and start["status"] not in (204, 304)
        and not any(name.lower() == b"content-length" for name, _ in start.get("headers", ()))
    )


def finish_cleanly(app: ASGIApp) -> ASGIApp:
    """Shield the first and the final send of an app, for servers other than this package's.

    During the final send, Hypercorn reports a disconnect, and Quart-Trio cancels itself before the
    connection is ready for its next request. Then it would never be closed or used again.
    """

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, shield_ends(send))

    return wrapped


def shield_ends(send: Any) -> Any:
    """A `send` whose first and last message can't be cancelled; the server bounds each write
    anyway. After half a head, Hypercorn would send another one."""

    async def shielding_send(message: Any) -> None:
        with trio.CancelScope(shield=not message.get("more_body")):
            await send(message)

    return shielding_send
