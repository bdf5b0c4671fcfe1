"""Find workloads by id, by name, or by the start of an id."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ..client import Client, RefusedError, Workload
from ..errors import WorkloadNotFoundError
from .exits import UsageError

__all__ = ["choose_all", "choose_each", "deletion_is_told", "options_are_named"]

SHOWN = 5
"""Candidates that an error lists at most."""


@contextmanager
def deletion_is_told(workload_id: str) -> Iterator[None]:
    """Turn a 404 into WorkloadNotFoundError: the workload was there before, so it was deleted."""
    try:
        yield
    except RefusedError as error:
        if error.status != 404:
            raise
        raise WorkloadNotFoundError(
            f"{workload_id} was deleted before its log was read to the end"
        ) from error


@contextmanager
def options_are_named(names: Mapping[str, str]) -> Iterator[None]:
    """Turn a 400 that is about a parameter into UsageError, which names the option. `names` has the
    options by the names of their parameters."""
    try:
        yield
    except RefusedError as error:
        parameter, colon, what = str(error).partition(": ")
        if error.status != 400 or not colon or parameter not in names:
            raise
        raise UsageError(f"{names[parameter]}: {what}") from error


async def choose_all(client: Client, command: str, texts: Sequence[str]) -> list[Workload]:
    """The workloads that the texts name, each once. Raises UsageError for no text or an empty one,
    and WorkloadNotFoundError for a text that names no workload, or several."""
    if not texts:
        raise UsageError(f"{command}: give an id or a name; `trio-logs ps` lists them")
    chosen, errors = await choose_each(client, command, texts)
    if errors:
        raise errors[0]
    return chosen


async def choose_each(
    client: Client, command: str, texts: Sequence[str]
) -> tuple[list[Workload], list[WorkloadNotFoundError]]:
    """The workloads that the texts name, each once, and an error for each text that names none, or
    several. Raises UsageError for an empty text."""
    if "" in texts:
        raise UsageError(f"{command}: an id is empty; check that its variable is set")
    chosen: dict[str, Workload] = {}
    errors: list[WorkloadNotFoundError] = []
    for text in texts:
        try:
            workload = await _choose(client, text)
        except WorkloadNotFoundError as error:
            errors.append(error)
        else:
            chosen.setdefault(workload.id, workload)
    return list(chosen.values()), errors


async def _choose(client: Client, text: str) -> Workload:
    """The one workload with that id or name. Raises WorkloadNotFoundError for none or several."""
    if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        try:
            return await client.get(text)
        except RefusedError as error:
            if error.status != 404:
                raise
    named, begun = [], []
    async for workload in client.list():
        if workload.name == text:
            named.append(workload)
        elif workload.id.startswith(text):
            begun.append(workload)
    found = named or begun
    if len(found) != 1:
        raise WorkloadNotFoundError(_explain(text, found))
    return found[0]


def _explain(text: str, found: Sequence[Workload]) -> str:
    if not found:
        return f"no workload has the id or name {text!r}: `trio-logs ps` lists them"
    shown = [_short(workload) for workload in found[:SHOWN]]
    if len(found) > SHOWN:
        shown.append(f"and {len(found) - SHOWN} more")
    return f"{text!r} fits {', '.join(shown)}: give more of the id"


def _short(workload: Workload) -> str:
    name = f"{workload.name!r}, " if workload.name else ""
    return f"{workload.id} ({name}{workload.status}, {workload.created_at:%Y-%m-%d %H:%M:%S})"
