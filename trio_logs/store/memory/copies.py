"""What the store in memory hands out of its records."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ...records import Batch, Gap, Run
from .. import Visitor

__all__ = ["run_of", "show", "size_of", "without_forms"]


def show(records: Sequence[Batch | Gap], visitor: Visitor) -> bool:
    """In a thread: show records to a visitor. Whether it wants more of them."""
    for record in records:
        run = run_of(record) if isinstance(record, Batch) else record
        if not visitor.visit(run, partial(without_forms, record)):
            return False
    return True


def run_of(batch: Batch) -> Run:
    return Run(batch.first, batch.count, batch.time, batch.stream, batch.partial, batch.continues)


def without_forms(record: Batch | Gap) -> Batch | Gap:
    """The record without cached wire forms: only the window bounds their memory."""
    if isinstance(record, Gap):
        return record
    b = record
    return Batch(b.first, b.count, b.time, b.stream, b.data, b.partial, b.continues)


def size_of(record: Batch | Gap) -> int:
    """The bytes of a record that count as history."""
    return len(record.data) if isinstance(record, Batch) else 0
