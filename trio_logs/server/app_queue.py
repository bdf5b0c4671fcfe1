"""The queue from a connection to its app: a memory channel that Hypercorn opens for each request.

It holds 10 messages: pieces of the body, and the disconnect. Hypercorn passes on the methods of its
two ends, `send` and `receive`, but not the ends themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio

__all__ = ["close", "put", "put_nowait"]


async def put(send: Callable[[Any], Awaitable[None]], message: Any) -> None:
    """Wait until the queue has room for the message. Drop the message if the app has ended."""
    with suppress(trio.BrokenResourceError):
        await send(message)


def put_nowait(send: Any, message: Any) -> bool:
    """Like `put`, but return False if the queue is full."""
    try:
        with suppress(trio.BrokenResourceError):
            send.__self__.send_nowait(message)
    except trio.WouldBlock:
        return False
    return True


def close(receive: Any) -> None:
    """The app has ended: drop the queue's messages, and those that wait for room."""
    receive.__self__.close()
