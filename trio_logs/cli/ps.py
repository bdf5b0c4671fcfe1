"""`trio-logs ps`: list workloads."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from ..client import Client, Workload
from .choose import tell
from .connection import Connect, find_connection
from .exits import UsageError
from .given import number, pairs, text
from .objects import encode_object
from .sinks import can_draw, columns_of, has_colour
from .table import make_table
from .times import current_time, instant
from .wanted import AnyStatus, Labels, Wanted

__all__ = ["print_table", "ps"]

SHOWN = 50
"""Workloads that are listed without -a or --limit."""


async def ps(
    *,
    all_: Annotated[
        bool, Parameter(name=["--all", "-a"], negative="", help="All workloads.")
    ] = False,
    limit: Annotated[
        int | None,
        Parameter(
            name=["--limit", "-n"],
            validator=number(1),
            metavar="N",
            show_default=lambda _: str(SHOWN),
            help="Only the newest N.",
        ),
    ] = None,
    status: AnyStatus = (),
    label: Labels = (),
    name: Annotated[str | None, Parameter(help="Only workloads with exactly this name.")] = None,
    since: Annotated[
        str | None,
        Parameter(
            metavar="TIME",
            help="Only workloads created since a time, or a duration back, such as 2d.",
        ),
    ] = None,
    quiet: Annotated[
        bool, Parameter(name=["--quiet", "-q"], negative="", help="Print only ids.")
    ] = False,
    watch: Annotated[
        bool,
        Parameter(
            name=["--watch", "-w"],
            negative="",
            help="Keep the table up to date, until Ctrl-C.",
        ),
    ] = False,
    json: Annotated[
        bool, Parameter(negative="", help="Print each workload as a JSON object.")
    ] = False,
    connect: Connect = None,
) -> int:
    """List workloads, newest first: 50, unless -a or --limit is given.

    On a terminal, an id is its last characters, which other commands understand; in a pipe, with -q
    and with --json, it is whole.
    """
    if watch and (json or quiet or not can_draw(sys.stdout.fileno())):
        raise UsageError("ps --watch needs a terminal that is not dumb; a script may use ps --json")
    if json and quiet:
        raise UsageError("ps: give --json or -q, not both")
    wanted = Wanted(
        statuses=status,
        labels=pairs("--label", label),
        name=None if name is None else text("--name", name),
        since=None if since is None else instant("--since", since),
    )
    if watch:
        # Few lists are watched.
        from .board import Board
        from .watching import watch_workloads

        return await watch_workloads(find_connection(connect), Board(wanted, limit))
    is_cut = limit is None and not all_
    async with find_connection(connect).client() as client:
        shown = await _print(client, wanted, SHOWN if is_cut else limit, json=json, quiet=quiet)
        sys.stdout.flush()
        if is_cut and shown == SHOWN:
            more = (await client.count(**wanted.options)).total - shown
            if more > 0:
                await tell(f"{more:,} more: -a lists all of them")
    return 0


async def _print(
    client: Client, wanted: Wanted, limit: int | None, *, json: bool, quiet: bool
) -> int:
    """Print the workloads; return how many."""
    listed = client.list(limit=limit, **wanted.options)
    if not (json or quiet):
        found = [each async for each in listed]
        print_table(found)
        return len(found)
    count = 0
    async for each in listed:
        line = encode_object(each) if json else f"{each.id}\n".encode()
        sys.stdout.buffer.write(line)
        count += 1
    return count


def print_table(workloads: Sequence[Workload]) -> None:
    """Print a table on standard output."""
    output = sys.stdout.fileno()
    columns = columns_of(output) if os.isatty(output) else None
    lines = make_table(workloads, current_time(), columns, colour=has_colour(output))
    print("\n".join(lines))
