"""The words of a command line, in the form that the parser takes; without I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from cyclopts import UNSET, App

__all__ = ["begin_with_command", "separate", "spell_out"]

ALIASES = {"ls": "ps"}
"""Other names of commands."""

FLAGS = {"help": "--help", "version": "--version"}
"""Words that other tools take for commands, and the option that does the same here."""

SWITCHES = "EFHLchilnoqvwx"
"""The letters of `grep` that take no value."""

GLOBAL = ("--server", "--token")
"""Options that may also stand before the command."""


def begin_with_command(arguments: Sequence[str]) -> list[str]:
    """The arguments, with options that stand before the command moved behind it, and the command's
    own name."""
    rest = list(arguments)
    options: list[str] = []
    while rest and rest[0].partition("=")[0] in GLOBAL:
        taken = 1 if "=" in rest[0] else 2
        options += rest[:taken]
        del rest[:taken]
    if not rest or rest[0].startswith("-"):
        # The help, or the version.
        return rest
    command, *others = rest
    if command in FLAGS:
        # Other tools have a command for it.
        return [*others[:1], FLAGS[command]] if command == "help" else [FLAGS[command]]
    return [ALIASES.get(command, command), *options, *others]


def separate(app: App, arguments: list[str]) -> list[str]:
    """The arguments, with `--` before the command of `run` or `pipe`. As with env(1), everything
    after the command belongs to it, also what looks like an option."""
    if arguments[:1] not in (["run"], ["pipe"]):
        return arguments
    for position in _words(app, arguments):
        if not arguments[position].startswith("-"):
            return [*arguments[:position], "--", *arguments[position:]]
    return arguments


def spell_out(app: App, arguments: list[str]) -> list[str]:
    """The arguments, with two forms of grep(1) that the parser would take for others: `-NUM` is
    `--context=NUM`, also behind other letters, and `-e=x` looks for `=x`."""
    if arguments[:1] != ["grep"]:
        return arguments
    spelled = list(arguments)
    switches: list[str] = []
    for position in _words(app, arguments):
        argument = arguments[position]
        if found := re.fullmatch(rf"-([{SWITCHES}]*)([0-9]+)([{SWITCHES}]*)", argument):
            letters = found[1] + found[3]
            spelled[position] = f"--context={found[2]}"
            if letters:
                switches.append(f"-{letters}")
        elif argument.startswith("-e="):
            spelled[position] = f"--regexp={argument[2:]}"
    return [*spelled[:1], *switches, *spelled[1:]]


def _words(app: App, arguments: list[str]) -> Iterator[int]:
    """The positions of the arguments up to `--`, without the values of options."""
    options = app[arguments[0]].assemble_argument_collection()
    rest = iter(range(1, len(arguments)))
    for position in rest:
        if arguments[position] == "--":
            break
        yield position
        if not arguments[position].startswith("-"):
            continue
        try:
            _, _, implied = options.match(arguments[position])
        except ValueError:
            # It holds its value, as in --name=x, or is no option of the command.
            continue
        if implied is UNSET:
            # The next argument is its value.
            next(rest, None)
