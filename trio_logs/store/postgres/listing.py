"""The conditions of a list of workloads in SQL, and the columns that they look at."""

from __future__ import annotations

from typing import Any

from ...records import Workload
from .. import WorkloadQuery
from ..query import lower
from .arrays import Binaries
from .rows import binary

__all__ = ["conditions", "labels_of", "words_of"]

_APART = b"\xff"
"""Separates texts: no UTF-8 text holds this byte."""


def words_of(workload: Workload) -> bytes:
    """The texts that `search` looks at."""
    spec = workload.spec
    return _APART.join(map(lower, (spec.name or "", workload.id, " ".join(spec.command))))


def labels_of(workload: Workload) -> Binaries | None:
    """The labels, which an index has one by one. The name of a label has no `=`."""
    labels = workload.spec.labels
    return Binaries(_label(*each) for each in labels.items()) if labels else None


def _label(name: str, value: str) -> bytes:
    return binary(f"{name}={value}")


def conditions(query: WorkloadQuery) -> tuple[list[str], list[Any]]:
    """The terms of WHERE for all but the status and the page, and their values."""
    terms, values = ["TRUE"], list[Any]()

    def require(term: str, *given: Any) -> None:
        terms.append(term)
        values.extend(given)

    if query.name is not None:
        require("w.name = %s", binary(query.name))
    if query.id:
        part = binary(query.id)
        # No text has the byte that ends the range.
        require(
            "(w.id >= %s AND w.id < %s OR substr(w.id, length(w.id) + 1 - %s::integer) = %s)",
            part,
            part + _APART,
            len(part),
            part,
        )
    if query.since is not None:
        require("w.created_at >= %s", query.since)
    if query.until is not None:
        require("w.created_at <= %s", query.until)
    if query.labels:
        labels = Binaries(_label(*each) for each in query.labels.items())
        require("w.labels @> %s", labels)
    if query.search:
        require("position(%s::bytea IN w.words) > 0", lower(query.search))
    return terms, values
