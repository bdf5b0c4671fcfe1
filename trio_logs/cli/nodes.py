"""`trio-logs nodes`: the services that share a store."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from cyclopts import Parameter

from ..client import Node
from .connection import Connect, find_connection
from .controls import one_line
from .objects import encode_object
from .sinks import has_colour
from .table import duration
from .times import current_time

__all__ = ["nodes"]

TITLES = ("ID", "ADDRESS", "UP", "SEEN", "RUNNING", "QUEUED", "STATE")
GAP = "  "


async def nodes(
    *,
    json: Annotated[bool, Parameter(negative="", help="Print each node as a JSON object.")] = False,
    connect: Connect = None,
) -> int:
    """List the nodes that share the server's store; the server alone if it has its own.

    QUEUED counts the workloads that wait for any node.
    """
    async with find_connection(connect).client() as client:
        found = await client.nodes()
    if json:
        for node in found:
            sys.stdout.buffer.write(encode_object(node))
        return 0
    lines = make_lines(found, current_time())
    if os.isatty(sys.stdout.fileno()) and has_colour(sys.stdout.fileno()):
        lines[0] = f"\x1b[1m{lines[0]}\x1b[0m"
    print("\n".join(lines))
    return 0


def make_lines(found: Sequence[Node], now: datetime) -> list[str]:
    """The lines of a table: a title, and a row for each node."""
    rows = [TITLES, *(_cells(node, now) for node in found)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(TITLES))]
    return [
        GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _cells(node: Node, now: datetime) -> Sequence[str]:
    return (
        one_line(node.id),
        one_line(node.address or "-"),
        duration((now - node.started_at).total_seconds()),
        f"{duration((now - node.seen_at).total_seconds())} ago",
        str(node.running),
        str(node.queued),
        "draining" if node.draining else "up",
    )
