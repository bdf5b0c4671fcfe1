"""The lives of nodes: joining, beats, burying, and what dead nodes leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ...errors import FencedError, TokenMismatchError
from ...records import Outcome, WorkloadSpec
from ..shared import LIVING_SECONDS, Node, Remains
from .appends import finish
from .arrays import Bigints, Binaries
from .connection import Connection
from .rows import binary, text
from .transaction import Transaction

__all__ = ["beat", "buried", "bury", "forget_remains", "join", "leave", "nodes", "remains"]

_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

_NODES = """
SELECT id, host, address, started_at, seen_at, counter,
    (SELECT count(*) FROM logs AS l JOIN workloads AS w USING (number)
     WHERE l.owner = nodes.id AND w.status = 'running'),
    (SELECT count(*) FROM logs WHERE queued),
    draining,
    (SELECT coalesce(sum(octet_length(spec)), 0)::bigint
     FROM logs JOIN workloads USING (number) WHERE queued)
FROM nodes ORDER BY id
"""

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('trio-logs join ' || current_schema(), 0))"


def join(transaction: Transaction, node: Node, marks: Mapping[str, bytes]) -> None:
    """Add a node; see `SharedStore.join`."""
    # Two nodes with different tokens that join at once would not see each other.
    transaction.execute(_LOCK)
    living = transaction.execute(
        f"SELECT id, marks FROM nodes WHERE seen_at > {_NOW} - %s",
        [int(LIVING_SECONDS * 1_000_000)],
    ).fetchall()
    ours = {kind: mark.hex() for kind, mark in marks.items()}
    for living_id, theirs in living:
        if msgspec.json.decode(theirs, type=dict[str, str]) != ours:
            raise TokenMismatchError(
                f"node {living_id} has other tokens: give all nodes the same TRIO_LOGS_TOKEN and"
                " TRIO_LOGS_READ_ONLY_TOKEN"
            )
    transaction.execute(
        "INSERT INTO nodes (id, host, address, started_at, seen_at, counter, draining, marks)"
        f" VALUES (%s, %s, %s, %s, {_NOW}, %s, %s, %s)",
        (
            node.id,
            node.host,
            node.address,
            node.started_at,
            node.counter,
            node.draining,
            msgspec.json.encode(ours),
        ),
    )


def beat(
    connection: Connection, node: str | None, address: str | None, draining: bool
) -> Sequence[Node]:
    """Raise a node's counter; see `SharedStore.beat`."""
    moved = connection.execute(
        f"UPDATE nodes SET counter = counter + 1, seen_at = {_NOW}, address = %s, draining = %s"
        " WHERE id = %s",
        (address, draining, node),
    )
    if not moved.rowcount:
        raise buried(node)
    return nodes(connection)


def buried(node: str | None) -> FencedError:
    """The error for a node that is gone."""
    return FencedError(f"node {node} was taken for dead, and owns nothing any more")


def nodes(connection: Connection) -> Sequence[Node]:
    """All nodes, by id."""
    return [Node(*row) for row in connection.cursor(binary=True).execute(_NODES)]


def bury(
    transaction: Transaction, node_id: str, counter: int, outcome: Outcome, at: int
) -> Sequence[str] | None:
    """Remove a node, and end what it owns; see `SharedStore.bury`."""
    removed = transaction.execute(
        "DELETE FROM nodes WHERE id = %s AND counter = %s RETURNING host", (node_id, counter)
    ).fetchone()
    if removed is None:
        return None
    left = _let_go(transaction, node_id)
    ended = [(number, workload_id) for number, workload_id, pushed in left if not pushed]
    numbers = [number for number, _ in ended]
    handles = transaction.execute(
        "SELECT id, spec, handle FROM workloads WHERE number = ANY(%s) AND handle IS NOT NULL",
        [Bigints(numbers)],
    ).fetchall()
    for workload_id, spec, handle in handles:
        backend = msgspec.json.decode(spec, type=WorkloadSpec).backend
        transaction.later(
            "INSERT INTO remains (id, host, backend, handle) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (id) DO UPDATE SET host = excluded.host, handle = excluded.handle",
            (workload_id, removed[0], binary(backend), handle),
        )
    for number in numbers:
        finish(transaction, number, outcome, at, recorded=True)
    return [workload_id for _, workload_id in ended]


def leave(transaction: Transaction) -> None:
    """Remove this node; see `SharedStore.leave`."""
    removed = transaction.execute(
        "DELETE FROM nodes WHERE id = %s AND NOT EXISTS (SELECT FROM logs JOIN workloads USING"
        " (number) WHERE owner = %s AND NOT pushed AND status = 'running')",
        (transaction.node, transaction.node),
    )
    if not removed.rowcount:
        return
    left = _let_go(transaction, transaction.node or "")
    waiting = [number for number, _, pushed in left if not pushed]
    transaction.later("UPDATE logs SET queued = TRUE WHERE number = ANY(%s)", [Bigints(waiting)])


def _let_go(transaction: Transaction, node_id: str) -> list[tuple[int, str, bool]]:
    """Take from a node what it owns. Returns the number and id of each, and whether a client pushes
    it."""
    # In one order, as appends lock them.
    transaction.execute("SELECT 1 FROM logs WHERE owner = %s ORDER BY number FOR UPDATE", [node_id])
    rows = transaction.execute(
        "UPDATE logs SET owner = NULL, epoch = epoch + 1 WHERE owner = %s"
        " RETURNING number, id, pushed",
        [node_id],
    ).fetchall()
    left = [(int(number), text(log_id) or "", bool(pushed)) for number, log_id, pushed in rows]
    transaction.bell.all_nodes.update(log_id for _, log_id, _ in left)
    transaction.bell.work = True
    return sorted(left, key=lambda each: each[1])


def remains(connection: Connection, host: str) -> Sequence[Remains]:
    """What nodes that are gone have left on a host."""
    rows = connection.cursor(binary=True).execute(
        "SELECT id, backend, handle FROM remains WHERE host = %s ORDER BY id", [host]
    )
    return [Remains(*(text(value) or "" for value in row)) for row in rows]


def forget_remains(transaction: Transaction, workload_ids: Sequence[str]) -> None:
    """Forget what is ended, or can't be."""
    ids = Binaries(binary(each) for each in workload_ids)
    transaction.execute("DELETE FROM remains WHERE id = ANY(%s)", [ids])
