"""The logs of workloads that the user has named, each through a connection of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing

import trio

from ..client import Client, End, Workload
from ..client.requests import FollowOptions
from ..errors import TrioLogsError
from .choose import deletion_is_told, options_are_named
from .exits import FAILED
from .outcomes import exit_code, outcome_of, tell_unended
from .outputs import Outputs
from .prefixes import Prefixes
from .printer import Look, Printer

__all__ = ["WORDS", "make_printers", "print_named"]

WORDS = {"since": "--since", "until": "--until", "filter": "--grep"}
"""The options whose values the server checks, by its names for them."""


async def print_named(
    client: Client,
    outputs: Outputs,
    workloads: Sequence[Workload],
    printers: Sequence[Printer],
    options: FollowOptions,
    *,
    exit_status: bool,
) -> int:
    """Print the logs of these workloads, each by its printer, side by side. Returns the exit code;
    with `exit_status`, that of the first workload whose code is not 0."""
    ends: dict[str, End] = {}
    async with trio.open_nursery() as watching:
        watching.start_soon(outputs.stdout.watch)
        async with trio.open_nursery() as printing:
            for workload, printer in zip(workloads, printers, strict=True):
                own = options.copy()
                # A finished log arrives faster without following.
                own["follow"] = options["follow"] and not workload.status.final
                printing.start_soon(_print, client, workload.id, own, printer, ends)
        watching.cancel_scope.cancel()
    return await _code(client, outputs, workloads, ends) if exit_status else 0


def make_printers(outputs: Outputs, look: Look, workloads: Sequence[Workload]) -> Sequence[Printer]:
    """A printer for each of these workloads; if there are several, their names are prefixes."""
    if len(workloads) == 1:
        return [Printer(outputs, look, workloads[0].id)]
    return [
        Printer(outputs, look, each.id, prefix, colour)
        for each, (prefix, colour) in zip(workloads, Prefixes().add(workloads), strict=True)
    ]


async def _print(
    client: Client,
    workload_id: str,
    options: FollowOptions,
    printer: Printer,
    ends: dict[str, End],
) -> None:
    """Print one log, and add its end to `ends`."""
    end: End | None = None
    try:
        with deletion_is_told(workload_id), options_are_named(WORDS):
            async with aclosing(client.batches(workload_id, **options)) as batches:
                async for records in batches:
                    await printer.print(records)
                    if isinstance(records[-1], End):
                        end = ends[workload_id] = records[-1]
    except TrioLogsError:
        await printer.finish()
        raise
    await printer.finish(end)


async def _code(
    client: Client, outputs: Outputs, workloads: Sequence[Workload], ends: Mapping[str, End]
) -> int:
    """The exit code of the first of these workloads whose code is not 0."""
    for workload in workloads:
        if workload.id in ends:
            code = exit_code(ends[workload.id].outcome)
        elif (found := await client.get(workload.id)).status.final:
            # Its log was not read to the end, as with --to.
            code = exit_code(outcome_of(found))
        else:
            await outputs.notice(tell_unended(workload.id))
            code = FAILED
        if code:
            return code
    return 0
