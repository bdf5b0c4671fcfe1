"""`trio-logs run`: a command elsewhere, as if it ran here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..client.requests import SubmitOptions
from .connection import Connect, find_connection
from .exits import UsageError
from .foreground import Foreground
from .given import number, pairs, text
from .printer import Look, Outputs, Printer
from .submit import submit

__all__ = ["run"]


async def run(
    *command: Annotated[str, Parameter(help="A program; what follows it is its own.")],
    name: Annotated[str | None, Parameter(help="To find it by.")] = None,
    env: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="A variable, K=V, or K to take it from here; repeatable."),
    ] = (),
    cwd: Annotated[Path | None, Parameter(help="The folder to run in, on the server.")] = None,
    timeout: Annotated[
        float | None, Parameter(validator=number(0.001), help="Seconds that it may take.")
    ] = None,
    label: Annotated[
        tuple[str, ...], Parameter(negative="", help="A label, K=V; repeatable.")
    ] = (),
    pty: Annotated[bool, Parameter(negative="", help="Give it a terminal.")] = False,
    detach: Annotated[
        bool, Parameter(negative="", help="Print its id, and leave it to itself.")
    ] = False,
    raw: Annotated[
        bool, Parameter(negative="", help="Let control sequences through to the terminal.")
    ] = False,
    connect: Connect = None,
) -> int:
    """Run a command on the server, print what it prints, and exit with its exit code.

    Ctrl-C stops it, and shows what it still prints; a second one leaves it. A signal that ended it
    counts as 128 and its number. Other exit codes: 2 usage, 69 server unreachable, 77 unauthorised,
    123 stopped by somebody else, 124 timed out, 125 lost with its server, 127 could not be started.
    """
    if not command:
        raise UsageError("run: give a command, such as: trio-logs run -- make test")
    for argument in command:
        text("run", argument)
    variables = _environment(env)
    if pty:
        # As large as this one, and of its kind, unless it is told otherwise.
        here = shutil.get_terminal_size()
        size = {"COLUMNS": str(here.columns), "LINES": str(here.lines)}
        kind = os.environ.get("TERM")
        variables = {**size, **({"TERM": kind} if kind else {}), **variables}
    options: SubmitOptions = {
        "env": variables,
        "labels": pairs("--label", label),
        "pty": pty,
    }
    if name is not None:
        options["name"] = text("--name", name)
    if cwd is not None:
        options["cwd"] = text("--cwd", str(cwd.absolute()))
    if timeout is not None:
        options["timeout"] = timeout
    with Outputs.open() as outputs:
        async with find_connection(connect).client(outputs.tell_away) as client:
            workload = await submit(client, command, options)
            if detach:
                print(workload.id)
                return 0
            printer = Printer(outputs, Look(raw=raw), workload.id)
            return await Foreground(client, workload, outputs, printer).run()


def _environment(given: Sequence[str]) -> dict[str, str]:
    complete = []
    for each in given:
        if "=" not in each:
            if each not in os.environ:
                raise UsageError(f"--env {each}: it is not set here; give {each}=VALUE")
            each = f"{each}={os.environ[each]}"
        complete.append(each)
    return pairs("--env", complete)
