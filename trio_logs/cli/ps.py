"""`trio-logs ps`: list workloads."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from .board import Board
from .connection import Connect, find_connection
from .exits import UsageError
from .given import number, pairs
from .objects import encode_object
from .table import current_time, make_table
from .watching import watch_workloads

__all__ = ["ps"]

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
    watch: Annotated[
        bool, Parameter(negative="", help="Keep the table up to date, until Ctrl-C.")
    ] = False,
    json: Annotated[
        bool, Parameter(negative="", help="Print each workload as a JSON object.")
    ] = False,
    connect: Connect = None,
) -> int:
    """List workloads, newest first."""
    if watch and (json or not sys.stdout.isatty()):
        raise UsageError("ps --watch needs a terminal; a script may use ps --json")
    labels = pairs("--label", label)
    if watch:
        await watch_workloads(find_connection(connect), Board(status, labels, limit))
    async with find_connection(connect).client() as client:
        found = [each async for each in client.list(status=status, labels=labels, limit=limit)]
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
