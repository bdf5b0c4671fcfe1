"""`trio-logs run`: run a command on the server as if it ran here."""

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
from .outputs import Outputs
from .printer import Look, Printer
from .submit import submit

__all__ = ["run"]


async def run(
    *command: Annotated[str, Parameter(help="A program and its arguments.")],
    name: Annotated[str | None, Parameter(help="Name of the workload.")] = None,
    env: Annotated[
        tuple[str, ...],
        Parameter(
            name=["--env", "-e"],
            negative="",
            help="Variable, K=V, or K to copy it from here; repeatable.",
        ),
    ] = (),
    cwd: Annotated[Path | None, Parameter(help="Folder on the server to run in.")] = None,
    timeout: Annotated[
        float | None,
        Parameter(validator=number(0.001), help="Seconds until the command is stopped."),
    ] = None,
    label: Annotated[tuple[str, ...], Parameter(negative="", help="Label, K=V; repeatable.")] = (),
    pty: Annotated[
        bool, Parameter(negative="", help="Run the command in a pseudo-terminal.")
    ] = False,
    detach: Annotated[
        bool, Parameter(negative="", help="Print the workload's id, and do not wait for its end.")
    ] = False,
    raw: Annotated[bool, Parameter(negative="", help="Print all control sequences.")] = False,
    connect: Connect = None,
) -> int:
    """Run a command on the server, print its output, and exit with its exit code.

    Ctrl-C stops the command and prints its last output; a second Ctrl-C leaves it running. A signal
    that ended the command gives 128 plus its number. Other exit codes: 2 usage, 66 deleted, 69
    server unreachable, 77 unauthorised, 123 stopped by another client, 124 timed out, 125 lost with
    its server, 127 could not be started.
    """
    if not command:
        raise UsageError("run: give a command, such as: trio-logs run -- make test")
    for argument in command:
        text("run", argument)
    variables = _environment(env)
    if pty:
        # The workload's terminal has the size and kind of this one, unless --env overrides them.
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
                raise UsageError(f"--env {each}: {each} is not set here; give {each}=VALUE")
            each = f"{each}={os.environ[each]}"
        complete.append(each)
    return pairs("--env", complete)
