"""The selection of a list of workloads in SQL, and the columns and tables that it looks at.

SQLite's LIKE and its JSON functions stop at NUL, and a scan that parses each specification is slow.
So the texts that a list looks for have columns of their own, and `instr` compares their bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import apsw

from ...records import Workload
from .. import WorkloadQuery
from ..query import lower

__all__ = [
    "LABELS_TABLE",
    "Selected",
    "add_labels",
    "change_labels",
    "labels_of_6",
    "remove_labels",
    "select",
    "words_of",
]

LABELS_TABLE = """
CREATE TABLE IF NOT EXISTS labels (
    label BLOB NOT NULL,             -- NAME=VALUE
    workload TEXT NOT NULL,          -- workloads.id
    state TEXT NOT NULL,             -- workloads.status
    PRIMARY KEY (label, workload)
) WITHOUT ROWID;
"""

_APART = b"\xff"
"""Separates texts: no UTF-8 text holds this byte."""

_ENOUGH = 1000
"""A label or a name that more workloads have counts as common."""


def words_of(workload: Workload) -> bytes:
    """The texts that `search` looks at."""
    spec = workload.spec
    return _APART.join(map(lower, (spec.name or "", workload.id, " ".join(spec.command))))


def add_labels(connection: apsw.Connection, workload: Workload) -> None:
    """Have lists find a new workload by its labels."""
    connection.executemany(
        "INSERT INTO labels VALUES (?, ?, ?)",
        [(label, workload.id, workload.status) for label in _labels(workload)],
    )


def change_labels(connection: apsw.Connection, workload: Workload) -> None:
    """The status of the workload has changed."""
    connection.executemany(
        "UPDATE labels SET state = ? WHERE label = ? AND workload = ?",
        [(workload.status, label, workload.id) for label in _labels(workload)],
    )


def remove_labels(connection: apsw.Connection, workload: Workload) -> None:
    """The workload is deleted."""
    connection.executemany(
        "DELETE FROM labels WHERE label = ? AND workload = ?",
        [(label, workload.id) for label in _labels(workload)],
    )


def labels_of_6(connection: apsw.Connection) -> None:
    """Fill the table from the column that the versions 4 to 6 had: each label between two 0xff."""
    rows: Iterable[Any] = connection.execute(
        "SELECT id, status, labels FROM workloads WHERE labels IS NOT NULL AND spec IS NOT NULL"
    )
    connection.executemany(
        "INSERT INTO labels VALUES (?, ?, ?)",
        (
            (label, workload_id, status)
            for workload_id, status, labels in rows
            for label in labels[1:-1].split(_APART)
        ),
    )


def _labels(workload: Workload) -> list[bytes]:
    return [_label(name, value) for name, value in workload.spec.labels.items()]


def _label(name: str, value: str) -> bytes:
    # The name of a label has no `=`.
    return f"{name}={value}".encode(errors="surrogatepass")


@dataclass(slots=True)
class Selected:
    """The workloads that a query selects, whatever their status and page. `source` stands after
    FROM; `terms` stand in WHERE, with `values`. `id` and `status` are the columns for these."""

    source: str
    id: str
    status: str
    terms: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def require(self, term: str, *values: Any) -> None:
        """Add a term."""
        self.terms.append(term)
        self.values += values

    @property
    def condition(self) -> str:
        """All terms."""
        return " AND ".join(self.terms)


def select(connection: apsw.Connection, query: WorkloadQuery, *, records: bool) -> Selected:
    """The SQL of a selection, with all columns of `workloads` if it is for `records`."""
    labels = [_label(name, value) for name, value in query.labels.items()]
    rarest = _rarest(connection, labels, query.name)
    if rarest is None:
        found = Selected("workloads", "workloads.id", "workloads.status")
        # A record that is deleted has no name.
        found.require("spec IS NOT NULL" if query.name is None else "name IS NOT NULL")
    else:
        found = Selected("labels", "labels.workload", "labels.state")
        found.require("label = ?", rarest)
        labels.remove(rarest)
    for label in labels:
        found.require(
            "EXISTS (SELECT 1 FROM labels AS other"
            f" WHERE other.label = ? AND other.workload = {found.id})",
            label,
        )
    of_labels = len(found.terms)
    _require_texts(found, query)
    if rarest is not None and (records or len(found.terms) > of_labels):
        # CROSS: in this order.
        found.source = "labels CROSS JOIN workloads ON id = workload"
    return found


def _rarest(connection: apsw.Connection, labels: Sequence[bytes], name: str | None) -> bytes | None:
    """The label that the fewest workloads have; None if there is none, or if the name is rarer."""
    if len(labels) + (name is not None) < 2:
        return labels[0] if labels else None
    best = min(labels, key=lambda label: _count(connection, "labels WHERE label = ?", label))
    if name is not None and _count(connection, "workloads WHERE name = ?", name) <= _count(
        connection, "labels WHERE label = ?", best
    ):
        return None
    return best


def _count(connection: apsw.Connection, rows: str, value: bytes | str) -> int:
    """How many such rows there are; beyond `_ENOUGH`, no matter how many."""
    counted = f"SELECT count(*) FROM (SELECT 1 FROM {rows} LIMIT {_ENOUGH})"
    return int(connection.execute(counted, (value,)).get)


def _require_texts(found: Selected, query: WorkloadQuery) -> None:
    if query.name is not None:
        found.require("name = ?", query.name)
    if query.id:
        found.require(
            f"({found.id} >= ? AND {found.id} < ? OR substr({found.id}, ?) = ?)",
            query.id,
            # No id has this character.
            query.id + "\x7f",
            -len(query.id),
            query.id,
        )
    if query.since is not None:
        found.require("created_at >= ?", query.since)
    if query.until is not None:
        found.require("created_at <= ?", query.until)
    if query.search:
        found.require("instr(words, ?)", lower(query.search))
