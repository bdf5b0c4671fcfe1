"""`trio-logs rerun`: run workloads again."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from . import submit
from .choose import choose_all
from .connection import Connect, find_connection

__all__ = ["rerun"]


async def rerun(
    *ids: Annotated[str, Parameter(help="Ids, names, or starts or ends of ids.")],
    connect: Connect = None,
) -> int:
    """Run workloads again, and print the ids of the new ones.

    A new workload has the same command, environment and options. It is queued; the command does not
    wait for its end. A workload that was kept by `pipe` can't run again here.
    """
    async with find_connection(connect).client() as client:
        for workload in await choose_all(client, "rerun", ids):
            print((await submit.rerun(client, workload.id)).id)
    return 0
