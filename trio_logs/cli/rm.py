"""`trio-logs rm`: delete workloads."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ..client import RefusedError
from ..errors import TrioLogsError
from .choose import Rule, choose_each
from .connection import Connect, find_connection
from .given import flag
from .stop import wait_for_end

__all__ = ["rm"]


async def rm(
    *ids: Annotated[str, Parameter(help="Ids, names, or starts or ends of ids.")],
    force: Annotated[bool, flag("Stop workloads that run.", "--force", "-f")] = False,
    connect: Connect = None,
) -> int:
    """Delete workloads that have ended, with their logs, and print their ids.

    If one is unknown or can't be deleted, the others still are. A name must fit one workload only.
    """
    async with find_connection(connect).client() as client:
        chosen, unknown = await choose_each(client, "rm", ids, rule=Rule.ONLY)
        errors: list[TrioLogsError] = [*unknown]
        for workload in chosen:
            try:
                if force and not workload.status.final:
                    await client.stop(workload.id)
                    await wait_for_end(client, workload.id)
                await client.delete(workload.id)
            except RefusedError as error:
                hint = "; `rm --force` stops it" if error.status == 409 and not force else ""
                errors.append(RefusedError(error.status, f"{workload.id}: {error}{hint}"))
            else:
                print(workload.id)
    if errors:
        raise ExceptionGroup("not all are deleted", errors)
    return 0
