"""`trio-logs stop`: stop workloads."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated

from cyclopts import Parameter

from ..client import Client
from .choose import Rule, choose_all, deletion_is_told
from .connection import Connect, find_connection
from .foreground import PATIENCE
from .given import Seconds, number, signal_name

__all__ = ["stop", "wait_for_end"]


async def stop(
    *ids: Annotated[str, Parameter(help="Ids, names, or starts or ends of ids.")],
    grace: Annotated[
        Seconds | None,
        Parameter(
            name=["--grace", "-t"],
            validator=number(0, of_seconds=True),
            help="Time until KILL; the server has a default.",
        ),
    ] = None,
    signal: Annotated[
        str | None,
        Parameter(
            name=["--signal", "-s"], help="Signal to send instead of TERM, such as INT or SIGINT."
        ),
    ] = None,
    connect: Connect = None,
) -> int:
    """Stop workloads, wait until they have ended, and print their ids.

    TERM, or the given signal, goes to the whole process group now, KILL after the grace. A name
    means the only workload of that name that has not ended.
    """
    name = None if signal is None else signal_name(signal)
    async with find_connection(connect).client() as client:
        workloads = await choose_all(client, "stop", ids, rule=Rule.UNENDED)
        for workload in workloads:
            await client.stop(workload.id, grace=grace, signal=name)
        for workload in workloads:
            with deletion_is_told(workload.id):
                await wait_for_end(client, workload.id)
            print(workload.id)
    return 0


async def wait_for_end(client: Client, workload_id: str) -> None:
    """Return once the workload has ended."""
    async with aclosing(client.batches(workload_id, tail=0, patience=PATIENCE)) as batches:
        async for _ in batches:
            pass
