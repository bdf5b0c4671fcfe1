"""Arrays as parameters, in PostgreSQL's binary format.

psycopg takes a list as text, and its type from the values. Here the type says it, so that a
statement has one plan whatever the values are, and bytes are sent as they are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psycopg
from psycopg.adapt import AdaptersMap, Dumper
from psycopg.pq import Format
from psycopg.types.numeric import Int8BinaryDumper

__all__ = ["ADAPTERS", "Bigints", "Binaries", "Texts", "columns"]


class _Array:
    """The parameter of an array; `values` are its elements."""

    __slots__ = ("values",)

    def __init__(self, values: Iterable[Any]) -> None:
        self.values = list(values)


class Bigints(_Array):
    """Of `bigint`; no element is None."""


class Binaries(_Array):
    """Of `bytea`; None is NULL."""


class Texts(_Array):
    """Of `text`; no element is None."""


def columns(
    rows: Sequence[tuple[Any, ...]], kinds: Sequence[Callable[[Iterable[Any]], _Array]]
) -> list[_Array]:
    """The columns of rows as arrays, for `unnest`."""
    return [kind(column) for kind, column in zip(kinds, zip(*rows, strict=True), strict=True)]


class _ArrayDumper(Dumper):
    format = Format.BINARY
    element = 0

    def dump(self, obj: _Array) -> bytes:
        values = obj.values
        if not values:
            return struct.pack(">iii", 0, 0, self.element)
        has_null = int(None in values)
        # One dimension; whether there are NULLs; the type; how many, from index 1.
        header = struct.pack(">iiiii", 1, has_null, self.element, len(values), 1)
        return header + self._elements(values)

    def _elements(self, values: list[Any]) -> bytes:
        raise NotImplementedError


class _BigintsDumper(_ArrayDumper):
    oid, element = 1016, 20

    def _elements(self, values: list[int]) -> bytes:
        fields = [8] * (2 * len(values))
        fields[1::2] = values
        return struct.pack(">" + "iq" * len(values), *fields)


class _BinariesDumper(_ArrayDumper):
    oid, element = 1001, 17

    def _elements(self, values: list[bytes | None]) -> bytes:
        pieces = []
        for value in values:
            if value is None:
                pieces.append(b"\xff\xff\xff\xff")
            else:
                pieces += (len(value).to_bytes(4, "big"), value)
        return b"".join(pieces)


class _TextsDumper(_BinariesDumper):
    oid, element = 1009, 25

    def _elements(self, values: list[Any]) -> bytes:
        return super()._elements([value.encode() for value in values])


ADAPTERS = AdaptersMap(psycopg.adapters)
"""psycopg's own, and these. All integers are `bigint`, for the same reason."""

ADAPTERS.register_dumper(int, Int8BinaryDumper)
ADAPTERS.register_dumper(Bigints, _BigintsDumper)
ADAPTERS.register_dumper(Binaries, _BinariesDumper)
ADAPTERS.register_dumper(Texts, _TextsDumper)
