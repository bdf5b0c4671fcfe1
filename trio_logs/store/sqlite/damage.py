"""What can still be read of a file with damaged pages.

SQLite stops a statement at a damaged page, https://sqlite.org/howtocorrupt.html. Each function here
repeats a query row by row, and leaves out what can't be read. That is slow, so a query first runs
as usual. The first damage since the file was opened is one line in the service's log.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import apsw
import structlog

__all__ = ["DAMAGE", "forget", "next_readable", "records", "tell"]

DAMAGE = (apsw.CorruptError, apsw.NotADBError)
"""What a statement raises at a damaged page."""

_log = structlog.get_logger("trio_logs.store")

# Bound: one for each open store.
_told: set[str] = set()
_lock = threading.Lock()


def tell(connection: apsw.Connection) -> None:
    """Say that the file is damaged, once. Any thread may call it."""
    path = connection.filename
    with _lock:
        is_new = path not in _told
        _told.add(path)
    if is_new:
        _log.error(
            "the database has damaged pages: lines that can't be read are shown as gaps; restore a"
            " backup, or rescue what is left with the .recover command of sqlite3",
            path=path,
        )


def forget(path: str) -> None:
    """The file is opened anew: tell its damage again."""
    _told.discard(path)


def next_readable(is_readable: Callable[[int], bool], place: int, last: int) -> int:
    """About the first place after `place` that is readable; last + 1 if there is none.

    It takes steps that double, and then halves the last one: a damaged page holds a run of places.
    """
    step = 1
    bad = place
    while not is_readable(bad + step):
        bad += step
        step *= 2
        if bad + step > last:
            if bad >= last or not is_readable(last):
                return last + 1
            step = last - bad
    good = bad + step
    while good - bad > 1:
        middle = (bad + good) // 2
        if is_readable(middle):
            good = middle
        else:
            bad = middle
    return good


def records(
    connection: apsw.Connection,
    columns: str,
    terms: Sequence[str] = ("TRUE",),
    values: Sequence[Any] = (),
) -> Iterator[tuple[Any, ...]]:
    """The rows of `workloads` that can be read and fit all terms, those added last first. No index
    is used: it may be damaged, too."""
    tell(connection)

    def at(number: int) -> int | None:
        found = connection.execute(
            "SELECT number, status FROM workloads NOT INDEXED WHERE number <= ?"
            " ORDER BY number DESC LIMIT 1",
            (number,),
        ).fetchone()
        return None if found is None else int(found[0])

    def is_readable(place: int) -> bool:
        try:
            at(-place)
        except DAMAGE:
            return False
        return True

    place = _largest(connection)
    while place > 0:
        try:
            number = at(place)
            if number is None:
                return
            place = number
            row = connection.execute(
                f"SELECT {columns} FROM workloads NOT INDEXED WHERE number = ?"
                f" AND {' AND '.join(terms)}",
                (number, *values),
            ).fetchone()
        except DAMAGE:
            # Places are numbers that fall.
            place = -next_readable(is_readable, -place, 0)
            continue
        place -= 1
        if row is not None:
            yield row


def _largest(connection: apsw.Connection) -> int:
    """A number that no row exceeds by much."""
    with suppress(*DAMAGE):
        return int(connection.execute("SELECT max(number) FROM workloads").get or 0)
    return int(connection.execute("SELECT max(log) FROM batches INDEXED BY position").get or 0)
