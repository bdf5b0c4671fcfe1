"""A record of a log as the row of a table, with compressed data if that saves space."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import zstandard

from ..records import Batch, Gap, Run

__all__ = ["COLUMNS", "GAP", "PARTIAL", "Row", "decode", "encode", "to_run"]

COLUMNS = "first, count, time, stream, flags, data"
Row: TypeAlias = tuple[int, int, int, str, int, bytes]
"""One row of `COLUMNS`. The `stream` of a gap is its reason, and its `data` is empty."""

PARTIAL, CONTINUES, ZSTD, GAP = 1, 2, 4, 8
"""The bits of `flags`."""

WORTH_COMPRESSING = 256
"""Bytes. Shorter data gains too little to pay for its compression."""


def encode(record: Batch | Gap, compress: Callable[[bytes], bytes]) -> Row:
    """The row of a record."""
    if isinstance(record, Gap):
        count = record.last + 1 - record.first
        return record.first, count, record.time, record.reason, GAP, b""
    flags = (PARTIAL if record.partial else 0) | (CONTINUES if record.continues else 0)
    data = record.data
    if len(data) >= WORTH_COMPRESSING:
        data = compress(data)
        flags |= ZSTD
    return record.first, record.count, record.time, record.stream, flags, data


def decode(row: Row, decompress: Callable[[bytes], bytes]) -> Batch | Gap:
    """The record of a row; if its data is damaged, a gap that says so."""
    first, count, time, stream, flags, data = row
    if flags & GAP:
        return Gap(first, first + count - 1, stream, time)
    if flags & ZSTD:
        try:
            data = decompress(data)
        except (zstandard.ZstdError, MemoryError):
            # MemoryError: a damaged header may announce more bytes than there is memory for.
            return Gap(first, first + count - 1, "damaged", time)
    return Batch(first, count, time, stream, data, bool(flags & PARTIAL), bool(flags & CONTINUES))


def to_run(first: int, count: int, time: int, stream: str, flags: int) -> Run:
    """The run of a row that is no gap."""
    return Run(first, count, time, stream, bool(flags & PARTIAL), bool(flags & CONTINUES))
