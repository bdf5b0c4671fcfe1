"""The bytes of an answer of several logs to records, without I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec

from .changes import ChangeParser
from .events import DATA, LINES, EventParser
from .records import Gone, LogRecords

__all__ = ["Mark", "SeveralParser"]

_MARK = re.compile(rb"^id: ([0-9]+(?:\.(?:[0-9]+|end))*)\n\n", re.MULTILINE)
"""A position frame: text of a line never stands at a line's start."""


class _Named(msgspec.Struct):
    workload: str


class _Maybe(msgspec.Struct):
    workload: str | None = None


_NAMES = msgspec.json.Decoder(_Named)


class Mark(msgspec.Struct, frozen=True):
    """The place in the changes of workloads, and in each log: the number before its next line, or
    None after its end."""

    changes: str
    places: Sequence[int | None]


class SeveralParser(ChangeParser):
    """For an event stream. Its records are `LogRecords`, changes of workloads, and `Mark`."""

    _kind = "a stream of logs"
    # The place in the changes of workloads.
    _position = "0"

    def _read(self, view: memoryview) -> Sequence[Any]:
        # Positions stand between many lines, which are read at once.
        records: list[Any] = []
        for number, piece in enumerate(_MARK.split(bytes(view))):
            if number % 2:
                records.append(self._mark(piece.decode()))
            elif piece:
                records += super()._read(memoryview(piece))
            if self.broken is not None:
                break
        return records

    def _mark(self, text: str) -> Mark:
        self.heard = True
        self._position, *places = text.split(".")
        return Mark(self._position, [None if each == "end" else int(each) for each in places])

    def _objects(self, view: memoryview) -> bytes | None:
        data = bytes(view)
        if b"event: " in data or b"retry: " in data:
            return None
        found = DATA.findall(data)
        # A line's event is its data and an empty line; any other line is something else.
        return b"\n".join(found) if data.count(b"\n") == 2 * len(found) else None

    def _event(self, event: bytes) -> Sequence[Any]:
        # Changes have no id here.
        return EventParser._event(self, event)

    def _lines(self, objects: bytes | memoryview) -> Sequence[Any]:
        lines = LINES.decode_lines(objects)
        if not lines:
            return []
        self.heard = True
        # A second pass over the bytes is faster than an object of Python for each line.
        names = [each.workload for each in _NAMES.decode_lines(objects)]
        if len(set(names)) == 1:
            return [LogRecords(names[0], lines)]
        groups = groupby(zip(names, lines, strict=True), itemgetter(0))
        return [LogRecords(name, [line for _, line in group]) for name, group in groups]

    def _control(self, name: str, data: bytes) -> Sequence[Any]:
        if name == "workload":
            return super()._control(name, data)
        workload = msgspec.json.decode(data, type=_Maybe).workload
        if workload is None:
            return super()._control(name, data)
        records = [Gone()] if name == "gone" else EventParser._control(self, name, data)
        return [LogRecords(workload, records)] if records else []
