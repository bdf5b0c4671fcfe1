"""The conditions of a list of workloads in SQL, and the columns that they look at.

SQLite's LIKE and its JSON functions stop at NUL, and a scan that parses each specification is slow.
So the texts that a list looks for have columns of their own, and `instr` compares their bytes.
"""

from __future__ import annotations

from typing import Any

from ...records import Workload
from .. import WorkloadQuery
from ..query import lower

__all__ = ["conditions", "labels_of", "words_of"]

_APART = b"\xff"
"""Separates texts: no UTF-8 text holds this byte."""


def words_of(workload: Workload) -> bytes:
    """The texts that `search` looks at."""
    spec = workload.spec
    return _APART.join(map(lower, (spec.name or "", workload.id, " ".join(spec.command))))


def labels_of(workload: Workload) -> bytes | None:
    """The labels, each between two separators. The name of a label has no `=`."""
    labels = workload.spec.labels
    return _APART + b"".join(map(_label, labels, labels.values())) if labels else None


def _label(name: str, value: str) -> bytes:
    return f"{name}={value}".encode(errors="surrogatepass") + _APART


def conditions(query: WorkloadQuery) -> tuple[list[str], list[Any]]:
    """The terms of WHERE for all but the status and the page, and their values."""
    terms, values = ["spec IS NOT NULL"], list[Any]()

    def require(term: str, *given: Any) -> None:
        terms.append(term)
        values.extend(given)

    if query.name is not None:
        require("name = ?", query.name)
    if query.id:
        require(
            "(id >= ? AND id < ? OR substr(id, ?) = ?)",
            query.id,
            # No id has this character.
            query.id + "\x7f",
            -len(query.id),
            query.id,
        )
    if query.since is not None:
        require("created_at >= ?", query.since)
    if query.until is not None:
        require("created_at <= ?", query.until)
    for name, value in query.labels.items():
        require("instr(labels, ?)", _APART + _label(name, value))
    if query.search:
        require("instr(words, ?)", lower(query.search))
    return terms, values
