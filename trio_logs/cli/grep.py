"""`trio-logs grep`: search the logs of many workloads."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated, Literal

import trio
from cyclopts import Parameter

from ..client import Client
from ..client.search_requests import SearchOptions
from ..errors import TrioLogsError
from .choose import choose_each
from .connection import Connect, find_connection
from .exits import UsageError
from .foreground import PATIENCE
from .given import number, pairs
from .grepping import Grepping
from .hits import HitLook
from .outputs import Outputs
from .patterns import Pattern
from .times import wire_time

__all__ = ["grep"]

NO_MATCH = 1


async def grep(
    pattern: Annotated[str | None, Parameter(help="What to look for: an RE2 expression.")] = None,
    /,
    *ids: Annotated[
        str,
        Parameter(help="Ids, names, or starts or ends of ids; without any, all logs are searched."),
    ],
    regexp: Annotated[
        tuple[str, ...],
        Parameter(
            name=["--regexp", "-e"],
            negative="",
            allow_leading_hyphen=True,
            help="A pattern, also one that begins with a hyphen; repeatable: any of them.",
        ),
    ] = (),
    fixed_strings: Annotated[
        bool,
        Parameter(
            name=["--fixed-strings", "-F"], negative="", help="Patterns are texts, not expressions."
        ),
    ] = False,
    ignore_case: Annotated[
        bool,
        Parameter(name=["--ignore-case", "-i"], negative="", help="Upper and lower case match."),
    ] = False,
    invert_match: Annotated[
        bool,
        Parameter(name=["--invert-match", "-v"], negative="", help="Lines that do not match."),
    ] = False,
    only_matching: Annotated[
        bool,
        Parameter(
            name=["--only-matching", "-o"], negative="", help="Print only the parts that match."
        ),
    ] = False,
    line_number: Annotated[
        bool,
        Parameter(name=["--line-number", "-n"], negative="", help="Print the number of each line."),
    ] = False,
    count: Annotated[
        bool,
        Parameter(name=["--count", "-c"], negative="", help="Print how many lines of each log."),
    ] = False,
    files_with_matches: Annotated[
        bool,
        Parameter(
            name=["--files-with-matches", "-l"], negative="", help="Print only the names of logs."
        ),
    ] = False,
    max_count: Annotated[
        int | None,
        Parameter(
            name=["--max-count", "-m"],
            metavar="N",
            validator=number(0),
            help="At most N matches of each log.",
        ),
    ] = None,
    after_context: Annotated[
        int | None,
        Parameter(
            name=["--after-context", "-A"],
            metavar="N",
            validator=number(0),
            help="Also N lines after each match.",
        ),
    ] = None,
    before_context: Annotated[
        int | None,
        Parameter(
            name=["--before-context", "-B"],
            metavar="N",
            validator=number(0),
            help="Also N lines before each match.",
        ),
    ] = None,
    context: Annotated[
        int | None,
        Parameter(
            name=["--context", "-C"],
            metavar="N",
            validator=number(0),
            help="Also N lines before and after each match.",
        ),
    ] = None,
    label: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="Only workloads with this label, K=V; repeatable."),
    ] = (),
    status: Annotated[
        tuple[
            Literal["queued", "running", "succeeded", "failed", "stopped", "timed_out", "lost"], ...
        ],
        Parameter(negative="", help="Only workloads with this status; repeatable: any of them."),
    ] = (),
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
        Literal["stdout", "stderr", "system"] | None, Parameter(help="Only this stream.")
    ] = None,
    limit: Annotated[
        int | None,
        Parameter(metavar="N", validator=number(1), help="At most N matches of all logs together."),
    ] = None,
    resume: Annotated[
        str | None,
        Parameter(help="Go on after --limit ended a search: the position that grep printed."),
    ] = None,
    color: Annotated[
        Literal["auto", "always", "never"], Parameter(help="Colour what matches.")
    ] = "auto",
    json: Annotated[
        bool, Parameter(negative="", help="Print each line, log or count as a JSON object.")
    ] = False,
    connect: Connect = None,
) -> int:
    """Search the logs of workloads, newest workload first, and print the lines that match.

    Options are those of grep(1), and may be combined, as in -in. Exit codes: 0 a line matches, 1
    none does, 2 or more an error, also if a line matches.
    """
    option = "-e"
    if pattern is not None and regexp:
        # As in grep, all arguments are logs then.
        ids = (pattern, *ids)
    elif pattern is not None:
        option, regexp = "PATTERN", (pattern,)
    if not regexp:
        raise UsageError("grep: give a pattern, such as: trio-logs grep error")
    _check_combination(
        ("--limit", limit is not None, count or files_with_matches, "-c or -l"),
        ("--resume", resume is not None, count or files_with_matches, "-c or -l"),
        ("-o", only_matching, json, "--json"),
    )
    look = HitLook(
        Pattern(option, regexp, fixed=fixed_strings, ignore_case=ignore_case),
        invert=invert_match,
        only_matching=only_matching,
        line_numbers=line_number,
        before=context if before_context is None else before_context,
        after=context if after_context is None else after_context,
    )
    options: SearchOptions = {
        "labels": pairs("--label", label),
        "status": status,
        "patience": PATIENCE,
    }
    if since is not None:
        options["since"] = wire_time("--since", since)
    if until is not None:
        options["until"] = wire_time("--until", until)
    if stream is not None:
        options["stream"] = stream
    if max_count == 0:
        return NO_MATCH
    with Outputs.open(color=color) as outputs:
        async with find_connection(connect).client(outputs.tell_away) as client:
            chosen, unknown = (
                await choose_each(client, "grep", ids, notice=outputs.notice) if ids else ([], [])
            )
            errors: list[TrioLogsError] = [*unknown]
            grepping = Grepping(
                client, outputs, look, options, chosen, errors, max_count, json=json
            )
            # A server that is away is not waited for, unless a search has begun.
            if chosen or (not ids and await _has_any(client, options)):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(outputs.stdout.watch)
                    # As in grep, -l wins over -c.
                    if files_with_matches:
                        await grepping.names()
                    elif count:
                        await grepping.count()
                    else:
                        await grepping.lines(limit, resume)
                    nursery.cancel_scope.cancel()
    if errors:
        raise ExceptionGroup("not all logs are searched", errors)
    return 0 if grepping.found else NO_MATCH


async def _has_any(client: Client, options: SearchOptions) -> bool:
    """Whether there is a workload to search."""
    workloads = client.list(labels=options["labels"], status=options["status"], limit=1)
    async with aclosing(workloads):
        return await anext(workloads, None) is not None


def _check_combination(*checks: tuple[str, bool, bool, str]) -> None:
    """Raises UsageError for options of which one has no meaning with the other."""
    for option, is_given, conflicts, other in checks:
        if is_given and conflicts:
            raise UsageError(f"grep: {option} has no meaning with {other}; leave one of them out")
