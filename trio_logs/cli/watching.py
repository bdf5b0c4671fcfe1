"""`trio-logs ps --watch`: a table that follows the changes of workloads."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import aclosing
from textwrap import wrap

import trio

from ..client import Client, RefusedError, UnreachableError
from ..client.backoff import is_temporary
from .board import Board
from .connection import Connection
from .controls import one_line
from .row import cut
from .sinks import has_colour
from .table import make_table
from .times import current_time

__all__ = ["watch_workloads"]

DRAW_SECONDS = 0.25
"""The least seconds from one redraw to the next."""

TICK_SECONDS = 1.0
"""The most: durations of workloads that wait or run grow. Also the pause before a request that
failed is repeated."""


async def watch_workloads(connection: Connection, board: Board) -> int:
    """Draw the table until cancelled. While the server is away, the last table stays, and a line
    below it says so."""
    return await _Watch(board).run(connection)


class _Watch:
    """The board, and why the server gives no answer."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._screen = _Screen()
        self._complaint = ""
        # Whether there has been a list: before that, there is nothing to show.
        self._is_listed = False
        self._changed = trio.Event()
        self._stale = trio.Event()
        self._room = 1

    async def run(self, connection: Connection) -> int:
        async with connection.client(self._tell_away) as client, trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, client)
            nursery.start_soon(self._keep_listed, client)
            nursery.start_soon(self._notice_size)
            with self._screen:
                while True:
                    self._draw()
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

    async def _notice_size(self) -> None:
        with trio.open_signal_receiver(signal.SIGWINCH) as resized:
            async for _ in resized:
                self._changed.set()

    def _draw(self) -> None:
        self._changed = trio.Event()
        size = self._screen.size
        # The title takes one line, and so does a complaint.
        self._room = self._board.make_room(max(size.lines - 2, 1))
        if self._board.is_stale:
            self._stale.set()
        if not (self._is_listed or self._complaint):
            return
        rows, colour = self._board.rows, self._screen.colour
        lines = make_table(rows, current_time(), size.columns, colour=colour)
        # `wrap` counts letters, and a letter may take two cells.
        said = wrap(f"trio-logs: {one_line(self._complaint)}", size.columns)
        complaint = [cut(line, size.columns) for line in said] if self._complaint else []
        self._screen.draw([*lines[: max(size.lines - len(complaint), 0)], *complaint])

    async def _keep_listed(self, client: Client) -> None:
        """List whenever a row is unknown. The table is drawn meanwhile: an answer may take long."""
        while True:
            await self._stale.wait()
            self._stale = trio.Event()
            await self._list(client)

    async def _list(self, client: Client) -> None:
        board = self._board
        board.begin_list()
        try:
            found = client.list(limit=self._room, **board.wanted.options)
            async with aclosing(found) as workloads:
                listed = [each async for each in workloads]
        except (UnreachableError, RefusedError) as error:
            board.is_stale = True
            self._excuse(error)
            self._changed.set()
            await trio.sleep(TICK_SECONDS)
        else:
            board.fill(listed)
            self._is_listed = True
            self._complaint = ""
            self._changed.set()

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


class _Screen:
    """The whole terminal, of which each line is drawn anew: a terminal that changes its size moves
    what it shows. Nothing in it needs to be reset, however this process ends.

    The sequences are CUP and ED of ECMA-48, section 8.3.
    """

    def __init__(self) -> None:
        self.colour = has_colour(sys.stdout.fileno())

    def __enter__(self) -> None:
        # What the terminal shows scrolls away, and is kept.
        self._write("\n" * self.size.lines)

    def __exit__(self, *_: object) -> None:
        # What follows goes below the table.
        self._write("\n")

    @property
    def size(self) -> os.terminal_size:
        """In cells."""
        try:
            columns, lines = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            # The terminal has gone: the next write says so.
            columns = lines = 0
        return os.terminal_size((columns or 80, lines or 24))

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines, and nothing else."""
        # Erased first: behind the last column, a terminal would erase what stands there.
        self._write("\x1b[H\x1b[J" + "\r\n".join(lines))

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
