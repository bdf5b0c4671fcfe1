"""Find workloads by id, by name, or by the start or end of an id. The server looks them up."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from enum import Enum
from typing import Unpack

from ..client import Client, RefusedError, Status, Workload
from ..client.requests import ListOptions
from ..errors import WorkloadNotFoundError
from .controls import one_line
from .exits import UsageError
from .given import text
from .times import local_time

__all__ = [
    "Rule",
    "choose_all",
    "choose_each",
    "deletion_is_told",
    "describe",
    "options_are_named",
    "tell",
]

SHOWN = 5
"""Candidates that an error lists at most."""

UNENDED = (Status.QUEUED, Status.RUNNING)


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


class Rule(Enum):
    """Which workload a name means if several have it."""

    NEWEST = "newest"
    """The newest; a notice says so. For commands that read."""

    PREVIOUS = "previous"
    """The one before the newest; for an id, the one of the same name before that."""

    UNENDED = "unended"
    """The only one that has not ended, also if just one has the name. For commands that stop."""

    ONLY = "only"
    """None of them. For commands that delete."""


async def tell(notice: str) -> None:
    """Print a notice on standard error."""
    # It may quote the server.
    print(f"trio-logs: {one_line(notice)}", file=sys.stderr, flush=True)


async def choose_all(
    client: Client,
    command: str,
    texts: Sequence[str],
    *,
    rule: Rule = Rule.NEWEST,
    notice: Callable[[str], Awaitable[None]] = tell,
) -> list[Workload]:
    """The workloads that the texts name, each once. Raises UsageError for no text or an empty one,
    and WorkloadNotFoundError for a text that names no workload, or several, by the rule."""
    chosen, errors = await choose_each(client, command, texts, rule=rule, notice=notice)
    if errors:
        raise errors[0]
    return chosen


async def choose_each(
    client: Client,
    command: str,
    texts: Sequence[str],
    *,
    rule: Rule = Rule.NEWEST,
    notice: Callable[[str], Awaitable[None]] = tell,
) -> tuple[list[Workload], list[WorkloadNotFoundError]]:
    """As `choose_all`, with an error for each text that names no workload, or several."""
    if not texts:
        raise UsageError(f"{command}: give an id or a name; `trio-logs ps` lists them")
    if "" in texts:
        raise UsageError(f"{command}: an id is empty; check that its variable is set")
    chosen: dict[str, Workload] = {}
    errors: list[WorkloadNotFoundError] = []
    for each in texts:
        try:
            workload = await _choose(client, text(command, each), rule, notice)
            if rule is Rule.PREVIOUS:
                workload = await _previous(client, workload)
        except WorkloadNotFoundError as error:
            errors.append(error)
        else:
            chosen.setdefault(workload.id, workload)
    return list(chosen.values()), errors


async def _choose(
    client: Client, given: str, rule: Rule, notice: Callable[[str], Awaitable[None]]
) -> Workload:
    """The workload with that id, or else with that name, or else with that start or end of its id.
    Raises WorkloadNotFoundError for none or several."""
    is_id = re.fullmatch(r"[A-Za-z0-9_-]{1,64}", given) is not None
    if is_id:
        try:
            return await client.get(given)
        except RefusedError as error:
            if error.status != 404:
                raise
    if named := await _some(client, name=given):
        return await _of_name(client, given, named, rule, notice)
    found = await _some(client, id=given) if is_id else []
    if not found:
        raise WorkloadNotFoundError(
            f"no workload has the id or name {given!r}: `trio-logs ps` lists them"
        )
    if len(found) > 1:
        raise WorkloadNotFoundError(f"{given!r} fits {_listed(found)}: give more of the id")
    return found[0]


async def _of_name(
    client: Client,
    name: str,
    named: Sequence[Workload],
    rule: Rule,
    notice: Callable[[str], Awaitable[None]],
) -> Workload:
    newest = named[0]
    if rule in (Rule.NEWEST, Rule.PREVIOUS):
        if len(named) > 1 and rule is Rule.NEWEST:
            several = f"several workloads are named {name!r}"
            await notice(f"{several}: this is the newest, {describe(newest, name)}")
        return newest
    if rule is Rule.UNENDED:
        named = await _some(client, name=name, status=UNENDED)
        if not named:
            raise WorkloadNotFoundError(
                f"no workload named {name!r} is queued or runs;"
                f" the newest is {describe(newest, name)}"
            )
    if len(named) > 1:
        raise WorkloadNotFoundError(f"{name!r} fits {_listed(named)}: give an id")
    return named[0]


async def _previous(client: Client, workload: Workload) -> Workload:
    """The newest of the workloads with the same name that are older than this one."""
    if workload.name is None:
        raise WorkloadNotFoundError(f"{workload.id} has no name: --previous looks for the same one")
    created_at = workload.created_at.isoformat()
    async with aclosing(client.list(name=workload.name, until=created_at)) as found:
        async for each in found:
            # Ids sort by the time of creation, which two workloads may share.
            if each.id < workload.id:
                return each
    raise WorkloadNotFoundError(
        f"no workload named {workload.name!r} is older than {describe(workload, workload.name)}"
    )


async def _some(client: Client, **options: Unpack[ListOptions]) -> list[Workload]:
    """The newest of the workloads that match: one more than an error shows."""
    return [each async for each in client.list(limit=SHOWN + 1, **options)]


def _listed(found: Sequence[Workload]) -> str:
    shown = [describe(workload) for workload in found[:SHOWN]]
    if len(found) > SHOWN:
        shown.append("and more")
    return ", ".join(shown)


def describe(workload: Workload, said: str = "") -> str:
    """Its id, name, status and time of creation, for a sentence. `said` is the name that the
    sentence has already."""
    name = f"{workload.name!r}, " if workload.name and workload.name != said else ""
    return f"{workload.id} ({name}{workload.status}, {local_time(workload.created_at)})"
