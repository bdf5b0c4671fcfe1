"""`trio-logs prune`: delete old workloads."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Annotated, Literal

from cyclopts import Parameter

from ..client import Client, RefusedError, Status, Workload
from .choose import tell
from .connection import Connect, find_connection
from .exits import UsageError
from .given import LONGEST, Seconds, number, pairs
from .ps import print_table
from .times import current_time
from .wanted import Labels, Wanted

__all__ = ["prune"]

ENDED = tuple(str(status) for status in Status if status.final)


async def prune(
    *,
    older_than: Annotated[
        Seconds | None,
        Parameter(
            validator=number(0, LONGEST, of_seconds=True),
            help="Only workloads that ended that long ago, such as 30d or 12h.",
        ),
    ] = None,
    status: Annotated[
        tuple[Literal["succeeded", "failed", "stopped", "timed_out", "lost"], ...],
        Parameter(negative="", help="Only workloads with this status; repeatable: any of them."),
    ] = (),
    label: Labels = (),
    dry_run: Annotated[
        bool, Parameter(negative="", help="Delete nothing; print a table of what would be deleted.")
    ] = False,
    connect: Connect = None,
) -> int:
    """Delete workloads that have ended, with their logs, and print their ids.

    At least one of --older-than, --status and --label says which; a workload must match all of
    them. Workloads that are queued or run stay.
    """
    if older_than is None and not status and not label:
        raise UsageError(
            "prune: say which workloads, with --older-than, --status or --label; --dry-run shows"
            " them"
        )
    wanted = Wanted(statuses=status or ENDED, labels=pairs("--label", label))
    before = None
    if older_than is not None:
        before = current_time() - timedelta(seconds=older_than)
    errors: list[RefusedError] = []
    count = 0
    async with (
        find_connection(connect).client() as client,
        aclosing(_ended(client, wanted, before)) as found,
    ):
        if dry_run:
            listed = [each async for each in found]
            print_table(listed)
            count = len(listed)
        else:
            async for each in found:
                try:
                    await client.delete(each.id)
                except RefusedError as error:
                    # Another client has deleted it.
                    if error.status != 404:
                        errors.append(RefusedError(error.status, f"{each.id}: {error}"))
                else:
                    print(each.id)
                    count += 1
    sys.stdout.flush()
    what = "1 workload" if count == 1 else f"{count:,} workloads"
    await tell(f"{what} would be deleted" if dry_run else f"{what} deleted")
    if errors:
        raise ExceptionGroup("not all are deleted", errors)
    return 0


async def _ended(
    client: Client, wanted: Wanted, before: datetime | None
) -> AsyncGenerator[Workload, None]:
    """The workloads that are wanted and ended before that time."""
    options = wanted.options
    if before is not None:
        # A workload does not end before it is created.
        options["until"] = before.isoformat()
    async with aclosing(client.list(**options)) as listed:
        async for each in listed:
            if each.finished_at is not None and (before is None or each.finished_at <= before):
                yield each
