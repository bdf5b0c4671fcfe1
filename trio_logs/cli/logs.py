"""`trio-logs logs`: read and follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, cast

from cyclopts import Parameter

from ..client.requests import FollowOptions, SeveralOptions
from .choose import Rule, choose_all
from .connection import Connect, find_connection
from .exits import UsageError
from .foreground import PATIENCE
from .given import number, pairs, text
from .named import make_printers, print_named
from .outputs import Outputs
from .printer import Look, Printer
from .raw import RawPrinter
from .several import print_matching
from .times import wire_time

__all__ = ["logs"]


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
        Parameter(
            name=["--tail", "-n"],
            metavar="N",
            validator=number(0),
            help="Only the last N lines.",
        ),
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
            metavar="TIME",
            help="Lines since a time, such as '2026-01-31 12:00', or a duration back, such as 10m.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        Parameter(metavar="TIME", help="Lines until a time, in the forms of --since."),
    ] = None,
    stream: Annotated[
        Literal["stdout", "stderr"] | None, Parameter(help="Only this stream.")
    ] = None,
    grep: Annotated[
        str | None,
        Parameter(allow_leading_hyphen=True, help="Only lines that match this RE2 expression."),
    ] = None,
    fixed: Annotated[
        bool, Parameter(negative="", help="Take the pattern of --grep as plain text.")
    ] = False,
    ignore_case: Annotated[bool, Parameter(negative="", help="Ignore case in --grep.")] = False,
    invert: Annotated[
        bool, Parameter(negative="", help="Print the lines that do not match --grep.")
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
    output: Annotated[
        Literal["text", "json", "raw"] | None,
        Parameter(
            help="Lines as text, as JSON objects, or one log's exact bytes.",
            show_default=lambda _: "text",
        ),
    ] = None,
    json: Annotated[bool, Parameter(negative="", help="The same as --output json.")] = False,
    merge: Annotated[
        bool, Parameter(negative="", help="Print lines of stderr on standard output, too.")
    ] = False,
    exit_status: Annotated[
        bool,
        Parameter(negative="", help="Exit as `run` would; of several: the first that is not 0."),
    ] = False,
    connect: Connect = None,
) -> int:
    """Print the logs of workloads: history first, then live.

    A line that a workload wrote to standard error goes to standard error, any other to standard
    output. Control sequences are removed, except colours. If a workload did not succeed, a last
    line on standard error says how it ended. The command outlives restarts of the server. --grep
    looks for lines in these logs; `trio-logs grep` also searches all logs.
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
    if json and output not in (None, "json"):
        raise UsageError(f"logs: give --json or --output {output}, not both")
    json = json or output == "json"
    if output == "raw" and (labels or len(ids) > 1 or timestamps):
        raise UsageError(
            "--output raw: it has the bytes of one log and nothing else, so give one id, without"
            " --label and --timestamps"
        )
    with Outputs.open(color=color) as outputs:
        async with find_connection(connect).client(outputs.tell_away) as client:
            look = Look(timestamps, raw, json, highlighted, merge)
            options["unfinished"] = outputs.draws and not json and output != "raw"
            if labels:
                several = cast(SeveralOptions, {**options, "follow": follow is not False})
                return await print_matching(
                    client,
                    outputs,
                    look,
                    labels,
                    several,
                    later=follow is True,
                    exit_status=exit_status,
                )
            options["follow"] = follow is not False and last is None
            rule = Rule.PREVIOUS if previous else Rule.NEWEST
            workloads = await choose_all(client, "logs", ids, rule=rule, notice=outputs.notice)
            if output == "raw":
                printers: Sequence[Printer] = [
                    RawPrinter(client, outputs, look, each.id, options) for each in workloads
                ]
            else:
                printers = make_printers(outputs, look, workloads)
            return await print_named(
                client, outputs, workloads, printers, options, exit_status=exit_status
            )
