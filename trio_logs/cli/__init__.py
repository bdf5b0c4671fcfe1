"""The command line: `trio-logs`. A command's module is imported when the command runs."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import Any

from cyclopts import App, CycloptsError, Parameter

from .. import __version__
from ..errors import TrioLogsError
from ..stderr import drain
from .arguments import begin_with_command, separate, spell_out
from .connection import describe
from .environment import fill_options
from .exits import BROKEN_PIPE, FAILED, INTERRUPTED, USAGE, complain

__all__ = ["CLIENTS", "OTHERS", "create_app", "main"]

CLIENTS = {
    "run": "Run a command on the server, print its output, and exit with its exit code.",
    "logs": "Print the logs of workloads: history first, then live.",
    "wait": "Wait until workloads have ended, print how, and exit as `run` would.",
    "pipe": "Run a command here, or copy standard input, and keep the output as a log.",
    "grep": "Search the logs of workloads, and print the lines that match.",
    "ps": "List workloads, newest first.",
    "inspect": "Print all that is known of workloads, as JSON.",
    "stop": "Stop workloads, wait until they have ended, and print their ids.",
    "rerun": "Run workloads again, and print the ids of the new ones.",
    "rm": "Delete workloads that have ended, their logs too, and print their ids.",
    "prune": "Delete old workloads, their logs too, and print their ids.",
    "nodes": "List the nodes that share the server's store.",
    "open": "Open the page in a browser, signed in, or print an address that does it.",
    "token": "Print the token that the other commands send.",
}
"""The commands that talk to a server, in the order of the help."""

OTHERS = {
    "serve": "Run the service until SIGTERM or SIGINT; a second one cuts the shutdown short.",
    "demo": "Start a service, run a sample build in it, and follow its log with two readers.",
    "completion": "Print a script that completes commands, options, names and ids.",
}
"""The commands that are a service themselves, or need no server."""

HELP = """Run a workload, watch its log live, and never lose a line.

`trio-logs serve` starts the service. `trio-logs run -- COMMAND` then runs a command in it, as a
workload, and `trio-logs logs ID` follows its log. `trio-logs COMMAND --help` tells more.
"""

FUNCTIONS = {"open": "open_page"}
"""The functions of commands whose name is that of a builtin."""

USAGES = {
    "run": "[OPTIONS] [--] COMMAND...",
    "logs": "[OPTIONS] IDS...",
    "wait": "[OPTIONS] IDS...",
    "pipe": "[OPTIONS] [[--] COMMAND...]",
    "grep": "[OPTIONS] PATTERN [IDS...]",
    "stop": "[OPTIONS] IDS...",
    "rerun": "[OPTIONS] IDS...",
    "inspect": "[OPTIONS] IDS...",
    "rm": "[OPTIONS] IDS...",
    "open": "[OPTIONS] [ID]",
}
"""The usage of commands with arguments; that of cyclopts does not name the arguments."""


def create_app(arguments: list[str]) -> App:
    """The commands, for these arguments: if they ask for help, it names the server in use."""
    app = App(
        name="trio-logs",
        help=HELP,
        version=__version__,
        backend="trio",
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        # The default of a flag or an empty list has no information.
        default_parameter=Parameter(show_default=_default),
    )
    epilogue = describe(arguments) if {"--help", "-h"} & set(arguments) else None
    for place, (name, text) in enumerate({**CLIENTS, **OTHERS}.items()):
        app.command(
            f"trio_logs.cli.{name}:{FUNCTIONS.get(name, name)}",
            name=name,
            # The docstring of the command that runs tells more.
            help=None if name in arguments[:1] else text,
            usage=f"Usage: trio-logs {name} {USAGES[name]}" if name in USAGES else None,
            sort_key=place,
            config=fill_options if name == "serve" else None,
            # In grep(1), -h leaves out the names.
            **({"help_flags": ["--help"]} if name == "grep" else {}),
            help_epilogue=epilogue if name in CLIENTS else None,
        )
    app.command("trio_logs.cli.complete:complete", name="complete", show=False)
    return app


def _default(value: Any) -> str | None:
    if isinstance(value, tuple):
        value = " ".join(value)
    return str(value) if value and value is not True else None


def main() -> None:
    """The entry point. It prints an error as one line that says what to do; see `exits`."""
    _fill_standard_descriptors()
    arguments = begin_with_command(sys.argv[1:])
    try:
        app = create_app(arguments)
        code = app(spell_out(app, separate(app, arguments)))
        sys.stdout.flush()
    except* BrokenPipeError:
        code = BROKEN_PIPE
        _drop_output()
    except* (CycloptsError, TrioLogsError, OSError) as group:
        failed = USAGE if arguments[:1] == ["grep"] else FAILED
        code = complain(group, partial(_explain, arguments), failed=failed)
    except* KeyboardInterrupt:
        code = INTERRUPTED
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
    drain()
    sys.exit(code)


def _explain(arguments: list[str], error: BaseException) -> str:
    # It needs the client, which loads slowly.
    from .diagnosis import explain

    return explain(arguments, error)


def _drop_output() -> None:
    """Python flushes standard output when it exits, and would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fill_standard_descriptors() -> None:
    """Open /dev/null for each closed standard descriptor. Otherwise the next file or socket takes
    its number, and output goes there."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            # open(2) takes the lowest free number, which is this one.
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
