"""`trio-logs ps --watch`: a table that follows the changes of workloads."""

from __future__ import annotations

from contextlib import aclosing

import trio
from rich.console import Console
from rich.live import Live

from ..client import Client, RefusedError, UnreachableError
from ..client.backoff import is_temporary
from .board import Board
from .connection import Connection
from .table import current_time, make_table

__all__ = ["watch_workloads"]

DRAW_SECONDS = 0.25
"""The least seconds from one redraw to the next."""

TICK_SECONDS = 1.0
"""The most: durations of workloads that wait or run grow. Also the pause before a request that
failed is repeated."""


async def watch_workloads(connection: Connection, board: Board) -> None:
    """Draw the table until cancelled. While the server is away, wait for it."""
    await _Watch(board).run(connection)


class _Watch:
    """The board, and what is drawn in its place: why the server gives no answer."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._console = Console(highlight=False)
        self._complaint = ""
        self._changed = trio.Event()

    async def run(self, connection: Connection) -> None:
        async with connection.client(self._tell_away) as client, trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, client)
            with Live(console=self._console, auto_refresh=False) as live:
                while True:
                    await self._draw(client, live)
                    await trio.sleep(DRAW_SECONDS)
                    with trio.move_on_after(TICK_SECONDS - DRAW_SECONDS):
                        await self._changed.wait()

    async def _follow(self, client: Client) -> None:
        position = None
        while position is None:
            try:
                position = await client.position()
            except (UnreachableError, RefusedError) as error:
                self._excuse(error)
                await trio.sleep(TICK_SECONDS)
        # The board lists after this, so no change is missed in between.
        self._board.is_stale = True
        self._changed.set()
        async with aclosing(client.events(position)) as events:
            async for record in events:
                self._board.change(record)
                self._changed.set()

    async def _draw(self, client: Client, live: Live) -> None:
        self._changed = trio.Event()
        # The header and the cursor take one line each.
        room = self._board.make_room(max(self._console.height - 2, 1))
        if self._board.is_stale:
            await self._list(client, room)
        shown = self._complaint or make_table(self._board.rows, current_time())
        live.update(shown, refresh=True)

    async def _list(self, client: Client, room: int) -> None:
        board = self._board
        board.begin_list()
        try:
            found = client.list(status=board.status, labels=board.labels, limit=room)
            async with aclosing(found) as workloads:
                listed = [each async for each in workloads]
        except (UnreachableError, RefusedError) as error:
            board.is_stale = True
            self._excuse(error)
        else:
            board.fill(listed)
            self._complaint = ""

    def _excuse(self, error: UnreachableError | RefusedError) -> None:
        """Show why the server gives no answer, if it may give one later; otherwise raise that."""
        if isinstance(error, RefusedError) and not is_temporary(error.status):
            raise error
        self._complaint = str(error)

    async def _tell_away(self, message: str) -> None:
        self._complaint = message
        # The first list that succeeds shows that the server is back.
        self._board.is_stale = True
        self._changed.set()
