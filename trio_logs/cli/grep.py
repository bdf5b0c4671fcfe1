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
from .given import flag, number, pairs
from .grepping import Grepping
from .hits import HitLook
from .outputs import Outputs
from .patterns import Pattern
from .times import wire_time
from .wanted import AnyStatus, Labels

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
        bool, flag("Patterns are texts, not expressions.", "--fixed-strings", "-F")
    ] = False,
    ignore_case: Annotated[
        bool, flag("Upper and lower case match.", "--ignore-case", "-i")
    ] = False,
    word_regexp: Annotated[
        bool, flag("Patterns match whole words only.", "--word-regexp", "-w")
    ] = False,
    line_regexp: Annotated[
        bool, flag("Patterns match whole lines only.", "--line-regexp", "-x")
    ] = False,
    invert_match: Annotated[bool, flag("Lines that do not match.", "--invert-match", "-v")] = False,
    only_matching: Annotated[
        bool, flag("Print only the parts that match.", "--only-matching", "-o")
    ] = False,
    line_number: Annotated[
        bool, flag("Print the number of each line.", "--line-number", "-n")
    ] = False,
    with_filename: Annotated[
        bool, flag("Print the name of the log of each line.", "--with-filename", "-H")
    ] = False,
    no_filename: Annotated[
        bool, flag("Do not print names of logs.", "--no-filename", "-h")
    ] = False,
    count: Annotated[bool, flag("Print how many lines of each log.", "--count", "-c")] = False,
    files_with_matches: Annotated[
        bool, flag("Print only the names of logs.", "--files-with-matches", "-l")
    ] = False,
    files_without_match: Annotated[
        bool,
        flag("Print only the names of the other logs.", "--files-without-match", "-L"),
    ] = False,
    quiet: Annotated[
        bool, flag("Print no lines; the exit code says whether one matches.", "--quiet", "-q")
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
    label: Labels = (),
    status: AnyStatus = (),
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
    json: Annotated[bool, flag("Print each line, log or count as a JSON object.")] = False,
    extended_regexp: Annotated[
        bool, Parameter(name=["--extended-regexp", "-E"], negative="", show=False)
    ] = False,
    connect: Connect = None,
) -> int:
    """Search the logs of workloads, newest workload first, and print the lines that match.

    Options are those of grep(1), and may be combined, as in -inC2. Exit codes: 0 a line matches, 1
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
    whole_logs = count or files_with_matches or files_without_match or quiet
    _check_combination(
        ("--limit", limit is not None, whole_logs, "-c, -l, -L or -q"),
        ("--resume", resume is not None, whole_logs, "-c, -l, -L or -q"),
        ("-o", only_matching, json, "--json"),
        ("-l", files_with_matches, files_without_match, "-L"),
        ("-H", with_filename, no_filename, "-h"),
    )
    look = HitLook(
        Pattern(
            option,
            regexp,
            fixed=fixed_strings,
            ignore_case=ignore_case,
            # As in grep, -x wins over -w.
            whole="line" if line_regexp else "word" if word_regexp else None,
        ),
        invert=invert_match,
        only_matching=only_matching,
        line_numbers=line_number,
        names=True if with_filename else False if no_filename else None,
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
                    # As in grep, -q wins over -l, and that over -c.
                    if quiet:
                        await grepping.look()
                    elif files_with_matches:
                        await grepping.names()
                    elif files_without_match:
                        await grepping.names_without()
                    elif count:
                        await grepping.count()
                    else:
                        await grepping.lines(limit, resume)
                    nursery.cancel_scope.cancel()
    if errors and not (quiet and grepping.found):
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
