"""`trio-logs ps`: list workloads."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import trio
from cyclopts import Parameter
from rich.console import Console
from rich.live import Live

from ..client import Client, UnreachableError, Workload
from .connection import Connect, find_connection
from .exits import UsageError
from .given import number, pairs
from .objects import encode_object
from .table import current_time, make_table

__all__ = ["ps"]

WATCH_SECONDS = 1.0
WIDE = 10_000
"""Columns of the table in a pipe, which takes lines of any length."""


async def ps(
    *,
    status: Annotated[
        Literal["queued", "running", "succeeded", "failed", "stopped", "timed_out", "lost"] | None,
        Parameter(help="Only workloads with this status."),
    ] = None,
    label: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="Only workloads with this label, K=V; repeatable."),
    ] = (),
    limit: Annotated[int | None, Parameter(validator=number(1), help="Only the newest N.")] = None,
    watch: Annotated[bool, Parameter(negative="", help="List again every second.")] = False,
    json: Annotated[
        bool, Parameter(negative="", help="Print each workload as a JSON object.")
    ] = False,
    connect: Connect = None,
) -> int:
    """List workloads, newest first."""
    if watch and (json or not sys.stdout.isatty()):
        raise UsageError("ps --watch needs a terminal; a script may use ps --json")
    labels = pairs("--label", label)
    async with find_connection(connect).client() as client:
        if watch:
            await _watch(client, status, labels, limit)
        found = await _list(client, status, labels, limit)
    if json:
        sys.stdout.buffer.write(b"".join(map(encode_object, found)))
    else:
        is_terminal = sys.stdout.isatty()
        console = Console(width=None if is_terminal else WIDE, highlight=False)
        with console.capture() as capture:
            console.print(make_table(found, current_time(), is_terminal=is_terminal))
        # Rich pads each line to the longest one.
        print("\n".join(line.rstrip() for line in capture.get().splitlines()))
    return 0


async def _list(
    client: Client, status: str | None, labels: dict[str, str], limit: int | None
) -> list[Workload]:
    return [each async for each in client.list(status=status, labels=labels, limit=limit)]


async def _watch(
    client: Client, status: str | None, labels: dict[str, str], limit: int | None
) -> None:
    """List until Ctrl-C; wait for a server that is away."""
    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            # The header and the cursor take one line each.
            room = max(console.height - 2, 1)
            try:
                found = await _list(client, status, labels, min(room, limit or room))
            except UnreachableError as error:
                live.update(str(error), refresh=True)
            else:
                live.update(make_table(found, current_time()), refresh=True)
            await trio.sleep(WATCH_SECONDS)
