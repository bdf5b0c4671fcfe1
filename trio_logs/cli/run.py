"""`trio-logs run`: run a command on the server as if it ran here."""

from __future__ import annotations

import os
import shutil
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..client.requests import SubmitOptions
from .connection import Connect, Connection, find_connection
from .exits import UsageError
from .foreground import Foreground, goes_on
from .given import Seconds, flag, number, pairs, text
from .outputs import Outputs
from .printer import Look, Printer
from .resizing import terminal_size
from .sinks import OutputError
from .submit import submit
from .variables import collect_variables

__all__ = ["run"]

PROCESS = "process"
"""The backend that runs commands on the machine of the service."""


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
    env_file: Annotated[
        tuple[Path, ...],
        Parameter(negative="", help="File with a variable on each line; repeatable."),
    ] = (),
    cwd: Annotated[
        Path | None,
        Parameter(help="Folder on the server to run in; by default this one, if it is there."),
    ] = None,
    timeout: Annotated[
        Seconds | None,
        Parameter(
            validator=number(0.001, of_seconds=True), help="Stop the command after 90 s, 5m, 1h30m."
        ),
    ] = None,
    label: Annotated[tuple[str, ...], Parameter(negative="", help="Label, K=V; repeatable.")] = (),
    pty: Annotated[
        bool,
        Parameter(
            name=["--pty", "--tty", "-t"],
            negative="",
            help="Run the command in a pseudo-terminal, of the size of this one.",
        ),
    ] = False,
    backend: Annotated[str, Parameter(help="The backend of the service that runs it.")] = PROCESS,
    detach: Annotated[
        bool,
        Parameter(
            name=["--detach", "-d"],
            negative="",
            help="Print the workload's id, and do not wait for its end.",
        ),
    ] = False,
    raw: Annotated[bool, Parameter(negative="", help="Print all control sequences.")] = False,
    merge: Annotated[
        bool, Parameter(negative="", help="Print lines of stderr on standard output, too.")
    ] = False,
    quiet: Annotated[
        bool, flag("Print a line of its own only if something fails.", "--quiet", "-q")
    ] = False,
    interactive: Annotated[
        bool, Parameter(name=["--interactive", "-i"], negative="", show=False)
    ] = False,
    connect: Connect = None,
) -> int:
    """Run a command on the server, print its output, and exit with its exit code.

    If the server is on this machine, the command runs in this folder. It inherits only PATH, HOME
    and LANG of the service: `-e PATH` gives it the PATH of this shell. Ctrl-C stops the command and
    prints its last output; a second Ctrl-C does not wait for that. A signal that ended the command
    gives 128 plus its number. Other exit codes: 2 usage, 66 deleted, 69 server unreachable, 77
    unauthorised, 123 stopped by another client, 124 timed out, 125 lost with its server, 127 could
    not be started.
    """
    if interactive:
        raise UsageError(
            "run: -i can't work, because the standard input of a command is always empty: leave it"
            " out, or have the command read a file, as in: sh -c 'COMMAND < FILE'"
        )
    if not command:
        raise UsageError("run: give a command, such as: trio-logs run -- make test")
    for argument in command:
        text("run", argument)
    variables = collect_variables(env_file, env)
    size = None
    if pty:
        if not {"COLUMNS", "LINES"} & variables.keys():
            size = terminal_size()
        variables = {**_terminal(), **variables}
    options: SubmitOptions = {
        "env": variables,
        "labels": pairs("--label", label),
        "pty": pty,
        "backend": text("--backend", backend),
    }
    if name is not None:
        options["name"] = text("--name", name)
    if timeout is not None:
        options["timeout"] = timeout
    if cwd is not None:
        options["cwd"] = text("--cwd", str(cwd.absolute()))
    takes_folder = cwd is None and backend == PROCESS
    with Outputs.open() as outputs:
        async with AsyncExitStack() as stack:
            client, workload = await submit(
                stack,
                partial(find_connection, connect),
                command,
                partial(_in_this_folder, options) if takes_folder else lambda _: options,
                on_outage=outputs.tell_away,
                on_wait=outputs.notice,
            )
            if detach:
                await _print_id(outputs, workload.id)
                return 0
            printer = Printer(outputs, Look(raw=raw, merge=merge), workload.id)
            foreground = Foreground(client, workload, outputs, printer, size, quiet=quiet)
            return await foreground.run()


async def _print_id(outputs: Outputs, workload_id: str) -> None:
    try:
        await outputs.write(outputs.stdout, f"{workload_id}\n".encode())
    except OutputError as error:
        raise OutputError(f"{error}; {goes_on(workload_id)}") from error


def _terminal() -> dict[str, str]:
    """The variables of a terminal that has the size and kind of this one."""
    here = shutil.get_terminal_size()
    size = {"COLUMNS": str(here.columns), "LINES": str(here.lines)}
    kind = os.environ.get("TERM")
    return {**size, "TERM": kind} if kind else size


def _in_this_folder(options: SubmitOptions, connection: Connection) -> SubmitOptions:
    """The options, with the folder of this process if the server has it, too."""
    if not connection.is_local:
        return options
    try:
        folder = text("run: this folder", str(Path.cwd()))
    except OSError as error:
        raise UsageError(f"run: this folder is gone ({error.strerror}); give --cwd") from error
    return {**options, "cwd": folder}
