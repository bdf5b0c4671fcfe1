"""`trio-logs complete`: the workloads that a shell offers for a word. Scripts of `completion` call
it."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import trio
from cyclopts import Parameter

from ..client import Client, Status
from ..client.requests import ListOptions
from ..errors import TrioLogsError
from .connection import Connect, find_connection
from .controls import one_line
from .table import short_ids

__all__ = ["complete"]

OFFERED = 100
"""The newest workloads among which candidates are looked for."""

PATIENCE = 5.0
"""Seconds after which a shell offers nothing."""

STATUSES = {
    "stop": [status for status in Status if not status.final],
    "rm": [status for status in Status if status.final],
    "rerun": [status for status in Status if status.final],
}
"""Commands that have no use for other workloads."""


async def complete(
    command: Annotated[str, Parameter(help="The command.")],
    word: Annotated[str, Parameter(allow_leading_hyphen=True, help="What is typed.")] = "",
    /,
    *,
    connect: Connect = None,
) -> int:
    """Print names and ids of workloads that begin with a word, newest first.

    It prints nothing if the server does not answer at once: a message would end up in the line that
    is being typed.
    """
    with trio.move_on_after(PATIENCE), suppress(TrioLogsError, UnicodeError):
        async with find_connection(connect).client() as client:
            for candidate in await _candidates(client, command, word):
                print(candidate)
    return 0


async def _candidates(client: Client, command: str, word: str) -> list[str]:
    options: ListOptions = {"status": STATUSES.get(command, ())}
    if word:
        options["search"] = word
    listed = [each async for each in client.list(limit=OFFERED, **options)]
    found: dict[str, None] = {}
    for workload, short in zip(listed, short_ids(listed), strict=True):
        name = workload.name
        # A name that can't be printed as it is can't be typed either.
        if name and name.startswith(word) and one_line(name) == name:
            found[name] = None
        elif short.startswith(word) and (word or not name):
            found[short] = None
        elif word and workload.id.startswith(word):
            found[workload.id] = None
    return [*found]
