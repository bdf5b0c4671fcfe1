"""`trio-logs logs`: read and follow."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Annotated, Literal, cast

import trio
from cyclopts import Parameter

from ..client import Client, Workload
from ..client.requests import FollowOptions, SeveralOptions
from ..errors import TrioLogsError
from .choose import Rule, choose_all, deletion_is_told, options_are_named
from .connection import Connect, find_connection
from .exits import UsageError
from .foreground import PATIENCE
from .given import number, pairs, text
from .outputs import Outputs
from .prefixes import Prefixes
from .printer import Look, Printer
from .several import print_matching
from .times import wire_time

__all__ = ["logs"]

WORDS = {"since": "--since", "until": "--until", "filter": "--grep"}
"""The options whose values the server checks, by its names for them."""


async def logs(
    *ids: Annotated[str, Parameter(help="Ids, names, or starts or ends of ids.")],
    label: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help="Instead of IDS, all workloads with this label, K=V; repeatable.",
        ),
    ] = (),
    follow: Annotated[
        bool | None,
        Parameter(
            name=["--follow", "-f"],
            show_default=lambda _: "True",
            help="Follow until the workload ends; given with --label, also those created later.",
        ),
    ] = None,
    previous: Annotated[
        bool,
        Parameter(
            name=["--previous", "-p"],
            negative="",
            help="The workload of the same name before this one.",
        ),
    ] = False,
    tail: Annotated[
        int | None,
        Parameter(name=["--tail", "-n"], validator=number(0), help="Only the last N lines."),
    ] = None,
    first: Annotated[
        int | None,
        Parameter(name="--from", validator=number(1), help="Only lines from this number on."),
    ] = None,
    last: Annotated[
        int | None,
        Parameter(
            name="--to",
            validator=number(1),
            help="Only lines up to this number; does not follow.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        Parameter(
            help="Lines since a time, such as '2026-01-31 12:00', or a duration back, such as 10m."
        ),
    ] = None,
    until: Annotated[
        str | None, Parameter(help="Lines until a time, in the forms of --since.")
    ] = None,
    stream: Annotated[
        Literal["stdout", "stderr"] | None, Parameter(help="Only this stream.")
    ] = None,
    grep: Annotated[
        str | None,
        Parameter(allow_leading_hyphen=True, help="Only lines that match, as an RE2 expression."),
    ] = None,
    fixed: Annotated[bool, Parameter(negative="", help="The pattern of --grep is a text.")] = False,
    ignore_case: Annotated[
        bool, Parameter(negative="", help="--grep takes upper and lower case for the same.")
    ] = False,
    invert: Annotated[
        bool, Parameter(negative="", help="Only lines that do not match --grep.")
    ] = False,
    timestamps: Annotated[
        bool,
        Parameter(
            name=["--timestamps", "-t"], negative="", help="Print the time before each line."
        ),
    ] = False,
    color: Annotated[
        Literal["auto", "always", "never"],
        Parameter(help="Show colours, and colour what --grep matches."),
    ] = "auto",
    raw: Annotated[bool, Parameter(negative="", help="Print all control sequences.")] = False,
    json: Annotated[
        bool,
        Parameter(
            negative="", help="Print each line as a JSON object, with number, time and stream."
        ),
    ] = False,
    connect: Connect = None,
) -> int:
    """Print the logs of workloads: history first, then live.

    A line that a workload wrote to standard error goes to standard error, any other to standard
    output. Control sequences are removed, except colours. The command outlives restarts of the
    server. --grep looks for lines in these logs; `trio-logs grep` also searches all logs.
    """
    options: FollowOptions = {"patience": PATIENCE}
    for name, value in (
        ("first", first),
        ("last", last),
        ("since", None if since is None else wire_time("--since", since)),
        ("until", None if until is None else wire_time("--until", until)),
        ("stream", stream),
        ("tail", tail),
    ):
        if value is not None:
            text(f"--{name}", str(value))
            options[name] = value  # type: ignore[literal-required]
    if first is not None and last is not None and first > last:
        raise UsageError(f"--from {first} is after --to {last}")
    labels = pairs("--label", label)
    if labels and ids:
        raise UsageError("logs: give ids or --label, not both")
    if labels and previous:
        raise UsageError("logs: --previous is about one workload; give its id or name")
    if labels and not first is last is None:
        raise UsageError("logs: --from and --to are numbers of one log's lines; give its id")
    highlighted = None
    if grep is not None:
        # RE2 loads slowly.
        from .patterns import Pattern

        pattern = Pattern("--grep", [grep], fixed=fixed, ignore_case=ignore_case)
        options["filter"], options["regex"] = pattern.filter, pattern.regex
        options["case"], options["invert"] = not ignore_case, invert
        highlighted = None if invert else pattern
    for option, is_given in (("fixed", fixed), ("ignore-case", ignore_case), ("invert", invert)):
        if is_given and grep is None:
            raise UsageError(f"--{option}: give --grep, too; it says what to look for")
    with Outputs.open(color=color) as outputs:
        async with find_connection(connect).client(outputs.tell_away) as client:
            look = Look(timestamps, raw, json, highlighted)
            options["unfinished"] = outputs.draws and not json
            if labels:
                several = cast(SeveralOptions, {**options, "follow": follow is not False})
                with options_are_named(WORDS):
                    return await print_matching(
                        client, outputs, look, labels, several, later=follow is True
                    )
            rule = Rule.PREVIOUS if previous else Rule.NEWEST
            workloads = await choose_all(client, "logs", ids, rule=rule, notice=outputs.notice)
            printers = _printers(outputs, look, workloads)
            async with trio.open_nursery() as watching:
                watching.start_soon(outputs.stdout.watch)
                async with trio.open_nursery() as printing:
                    for workload, printer in zip(workloads, printers, strict=True):
                        # A finished log arrives faster without following.
                        is_over = last is not None or workload.status.final
                        options["follow"] = follow is not False and not is_over
                        printing.start_soon(_print, client, workload.id, options.copy(), printer)
                watching.cancel_scope.cancel()
    return 0


def _printers(outputs: Outputs, look: Look, workloads: Sequence[Workload]) -> list[Printer]:
    if len(workloads) == 1:
        return [Printer(outputs, look, workloads[0].id)]
    return [
        Printer(outputs, look, each.id, prefix, colour)
        for each, (prefix, colour) in zip(workloads, Prefixes().add(workloads), strict=True)
    ]


async def _print(
    client: Client, workload_id: str, options: FollowOptions, printer: Printer
) -> None:
    try:
        with deletion_is_told(workload_id), options_are_named(WORDS):
            async with aclosing(client.batches(workload_id, **options)) as batches:
                async for records in batches:
                    await printer.print(records)
    except TrioLogsError:
        await printer.finish()
        raise
    await printer.finish()
