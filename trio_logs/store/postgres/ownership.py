"""Who owns a workload, and what other nodes ask of its owner."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ...errors import FencedError
from ...records import Progress, Status
from ..shared import Owned, Request
from .arrays import Bigints
from .connection import Connection
from .nodes import buried
from .rows import WORKLOAD, binary, text, to_workload
from .transaction import Transaction

__all__ = [
    "adopt",
    "answered",
    "claim",
    "owned",
    "progress",
    "remember_owned",
    "request",
    "requests",
    "take",
    "withdraw",
]

_OWN = (
    "UPDATE logs SET owner = %s, epoch = greatest(epoch + 1, %s), queued = FALSE"
    " WHERE number = ANY(ARRAY({}))"
    " RETURNING number"
)

_OWNED = (
    f"SELECT l.epoch, {WORKLOAD} FROM logs AS l JOIN workloads AS w USING (number)"
    " WHERE {} ORDER BY w.id"
)

_QUEUED = "SELECT number FROM logs WHERE queued ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED"

_ABANDONED = (
    "SELECT number FROM logs WHERE pushed AND owner IS NULL AND outcome IS NULL"
    " ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED"
)

_WAITING = (
    "SELECT number FROM logs WHERE id = %s AND owner IS NULL AND (queued OR pushed AND EXISTS"
    " (SELECT 1 FROM workloads AS w WHERE w.number = logs.number AND w.status = 'queued'))"
    " FOR UPDATE"
)

_UNFINISHED = "SELECT number FROM logs WHERE id = %s AND recorded AND outcome IS NULL FOR UPDATE"


def claim(transaction: Transaction, limit: int, started_at: int) -> Sequence[Owned]:
    """Own the oldest queued workloads; see `SharedStore.claim`."""
    return _own(transaction, _QUEUED, limit, started_at)


def adopt(transaction: Transaction, limit: int, started_at: int) -> Sequence[Owned]:
    """Own pushed logs that no node owns; see `SharedStore.adopt`."""
    return _own(transaction, _ABANDONED, limit, started_at)


def withdraw(transaction: Transaction, workload_id: str) -> Owned | None:
    """Own a queued workload before it runs; see `SharedStore.withdraw`."""
    return next(iter(_own(transaction, _WAITING, binary(workload_id), None)), None)


def take(transaction: Transaction, workload_id: str, started_at: int) -> Owned | None:
    """Own a pushed log, whoever owned it; see `SharedStore.take`."""
    return next(iter(_own(transaction, _UNFINISHED, binary(workload_id), started_at)), None)


def _own(
    transaction: Transaction, which: str, value: Any, started_at: int | None
) -> Sequence[Owned]:
    """Own these logs. With a time, the queued ones are marked as running here."""
    # The lock keeps `bury` from removing the node before this ends.
    node = transaction.execute(
        "SELECT 1 FROM nodes WHERE id = %s FOR KEY SHARE", [transaction.node]
    ).fetchone()
    if node is None:
        raise buried(transaction.node)
    values = (transaction.node, transaction.first_epoch, value)
    rows = transaction.execute(_OWN.format(which), values).fetchall()
    numbers = Bigints(row[0] for row in rows)
    if not numbers.values:
        return []
    if started_at is not None:
        moved = transaction.execute(
            "UPDATE workloads SET node = %s, status = 'running',"
            " started_at = CASE WHEN status = 'queued' THEN %s ELSE started_at END"
            " WHERE number = ANY(%s) AND (status = 'queued' OR node IS DISTINCT FROM %s)"
            " RETURNING number",
            (binary(transaction.node), started_at, numbers, binary(transaction.node)),
        ).fetchall()
        for (number,) in sorted(moved):
            transaction.change(number)
    transaction.bell.work = True
    owned = _owned(transaction.execute(_OWNED.format("l.number = ANY(%s)"), [numbers]).fetchall())
    transaction.bell.logs.update(each.workload.id for each in owned)
    return owned


def _owned(rows: Sequence[tuple[Any, ...]]) -> list[Owned]:
    return [Owned(to_workload(*row), epoch) for epoch, *row in rows]


def owned(connection: Connection, node: str | None) -> Sequence[Owned]:
    """What this node owns; see `SharedStore.owned`."""
    statement = _OWNED.format("l.owner = %s")
    return _owned(connection.cursor(binary=True).execute(statement, [node]).fetchall())


def remember_owned(transaction: Transaction, workload_id: str, epoch: int, handle: str) -> None:
    """Keep the handle of a workload, for its owner; see `SharedStore.remember_owned`."""
    found = transaction.execute(
        "SELECT number FROM logs WHERE id = %s AND epoch = %s AND owner = %s AND outcome IS NULL"
        " FOR UPDATE",
        (binary(workload_id), epoch, transaction.node),
    ).fetchone()
    if found is None:
        raise FencedError(f"workload {workload_id} has another owner, or has ended")
    transaction.later(
        "UPDATE workloads SET handle = %s WHERE number = %s", (binary(handle), found[0])
    )


def request(transaction: Transaction, workload_id: str, content: bytes) -> bool:
    """Leave a request to the owner of a workload; see `SharedStore.request`."""
    # The lock waits for an append that ends the log: else that would miss this request, which would
    # stay for ever.
    found = transaction.execute(
        "INSERT INTO requests (log, content) SELECT number, %s FROM"
        " (SELECT number FROM logs WHERE id = %s AND owner IS NOT NULL FOR SHARE) AS owned"
        " RETURNING number",
        (content, binary(workload_id)),
    ).fetchone()
    transaction.bell.work |= found is not None
    return found is not None


def answered(transaction: Transaction, numbers: Collection[int]) -> None:
    """Remove these requests."""
    transaction.execute("DELETE FROM requests WHERE number = ANY(%s)", [Bigints(numbers)])


def requests(connection: Connection, node: str | None) -> Sequence[Request]:
    """The requests to a node; see `SharedStore.requests`."""
    rows = connection.cursor(binary=True).execute(
        "SELECT r.number, l.id, r.content FROM requests AS r JOIN logs AS l ON l.number = r.log"
        " WHERE l.owner = %s ORDER BY r.number",
        [node],
    )
    return [Request(number, text(log_id) or "", content) for number, log_id, content in rows]


def progress(connection: Connection) -> Sequence[Progress]:
    """How far the logs of running workloads have come; see `SharedStore.progress`."""
    rows = connection.cursor(binary=True).execute(
        "SELECT w.id, l.lines, l.bytes FROM workloads AS w JOIN logs AS l USING (number)"
        " WHERE w.status = %s",
        [Status.RUNNING],
    )
    return [Progress(text(workload_id) or "", lines, size) for workload_id, lines, size in rows]
