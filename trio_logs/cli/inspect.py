"""`trio-logs inspect`: all that is known of workloads."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from .choose import choose_all
from .connection import Connect, find_connection
from .objects import format_workload

__all__ = ["inspect"]


async def inspect(
    *ids: Annotated[str, Parameter(help="Ids, names, or starts or ends of ids.")],
    connect: Connect = None,
) -> int:
    """Print all that is known of workloads, each as a JSON object over several lines.

    A name means the newest workload of that name.
    """
    async with find_connection(connect).client() as client:
        for workload in await choose_all(client, "inspect", ids):
            sys.stdout.buffer.write(format_workload(workload))
    return 0
