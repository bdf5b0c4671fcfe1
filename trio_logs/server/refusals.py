"""Refusals of connections over a limit."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus

import trio

from .problems import problem

__all__ = ["Refusals", "refusals_beside"]

REFUSAL_SECONDS = 2.0
"""How long a client over a limit has to read its refusal."""

MAX_REFUSALS = 100
"""Refusals under way at once."""


def refusals_beside(connections: int) -> int:
    """How many refusals may be under way beside so many open connections. The server closes further
    connections without an answer."""
    return min(MAX_REFUSALS, connections // 10 + 1)


class Refusals:
    """Tells clients that there is no room for their connections. `bound`: refusals at once."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._under_way = 0

    def start(
        self, nursery: trio.Nursery, accepted: trio.socket.SocketType, status: HTTPStatus
    ) -> bool:
        """Refuse a connection, and close it, in a task of the nursery. False: no task was started,
        since too many refusals are under way."""
        if self._under_way >= self._bound:
            return False
        self._under_way += 1
        nursery.start_soon(self._refuse, accepted, status)
        return True

    async def _refuse(self, accepted: trio.socket.SocketType, status: HTTPStatus) -> None:
        answer = problem(status, "too many connections are open: try again later")
        try:
            with suppress(OSError), trio.move_on_after(REFUSAL_SECONDS):
                await accepted.send(answer)
                accepted.shutdown(trio.socket.SHUT_WR)
                # A close resets unread data, so the answer would be lost: discard it first.
                while await accepted.recv(4096):
                    pass
        finally:
            self._under_way -= 1
            accepted.close()
