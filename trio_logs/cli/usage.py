"""What is wrong with the arguments of a command, in words for people who do not know Python."""

from __future__ import annotations

from cyclopts import CycloptsError
from cyclopts.exceptions import (
    CoercionError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnusedCliTokensError,
)

__all__ = ["sentence"]

_KINDS: dict[object, str] = {int: "a whole number", bool: "true or false"}

_COMMANDS = {
    "attach": "logs -f ID",
    "cat": "logs ID",
    "delete": "rm ID",
    "describe": "inspect ID",
    "exec": "run -- COMMAND",
    "follow": "logs -f ID",
    "kill": "stop --signal KILL ID",
    "list": "ps",
    "remove": "rm ID",
    "search": "grep PATTERN",
    "show": "inspect ID",
    "start": "serve",
    "status": "ps",
    "tail": "logs -n 10 ID",
    "top": "ps --watch",
    "watch": "ps --watch",
}
"""What does here what a command of another tool does there."""


def sentence(error: CycloptsError) -> str:
    """The error as a sentence."""
    command = " ".join(error.command_chain or ())
    match error:
        case UnusedCliTokensError(unused_tokens=[first, *_]):
            return (
                f"{command}: {first!r} is one argument too many; `trio-logs {command} --help` shows"
                " which it takes"
            )
        case UnknownCommandError(unused_tokens=[str(word), *_]) if word in _COMMANDS:
            return f"there is no command {word!r}; use: trio-logs {_COMMANDS[word]}"
        case CoercionError(msg=None, target_type=kind, token=token) if token and kind in _KINDS:
            return f"{token.keyword or command} {token.value!r}: give {_KINDS[kind]}"
        case CoercionError(msg=str(what), token=token) if token:
            return f"{token.keyword or command} {token.value!r}: {what}"
        case MissingArgumentError(argument=argument) if argument:
            name = error.keyword or argument.name
            if name.startswith("-"):
                return f"{command}: {name} needs a value"
            return f"{command}: {name} is missing; `trio-logs {command} --help` explains it"
        case RepeatArgumentError(token=token):
            return f"{token.keyword} is given twice, or together with its opposite"
    return str(error)
