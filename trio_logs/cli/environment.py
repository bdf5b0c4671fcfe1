"""The options of `serve` as environment variables, as services in containers are configured."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cyclopts import App, ArgumentCollection, Token

__all__ = ["fill_options", "variable"]


def variable(option: str) -> str:
    """The variable of an option: TRIO_LOGS_MAX_RUNNING for `--max-running`."""
    return "TRIO_LOGS_" + option.lstrip("-").replace("-", "_").upper()


def fill_options(
    app: App,
    commands: tuple[str, ...],
    arguments: ArgumentCollection,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """A `config` of cyclopts: an option that is not on the command line takes its variable.

    An empty variable counts as absent. Commas separate the values of an option that may be
    repeated, and spaces around them do not count.
    """
    for argument in arguments:
        name = variable(argument.name)
        given = environ.get(name, "").strip()
        if argument.tokens:
            continue
        _, may_repeat = argument.token_count()
        values = [part.strip() for part in given.split(",")] if may_repeat else [given]
        for value in filter(None, values):
            argument.append(Token(keyword=name, value=value))
