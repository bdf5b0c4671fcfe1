"""The bytes of an answer to records, without I/O: of an event stream with `format=json`, and of
NDJSON, which has no sign of life for quiet logs, but costs a third less.

Source: the WHATWG HTML standard, section 9.2.6 (interpreting an event stream), of which the service
uses a part: `\\n` ends a line, fields have a space after the colon, and data is one line.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import msgspec

from ..records import End, Gap, Outcome, Reset, Status
from .records import Line, LogRecord

__all__ = ["EventParser", "ObjectParser", "Parser"]

_LINES = msgspec.json.Decoder(Line)
_DATA = re.compile(rb"^data: (.*)$", re.MULTILINE)
_CONTROL = re.compile(rb"^event: (.*)$", re.MULTILINE)


class Parser(ABC):
    """Takes the bytes of one answer as they come. It holds at most one unfinished event.

    `last_id` is what to send as Last-Event-ID to go on after what was handed out; it lasts over
    answers, so give it to the parser of the next. `retry` is what the server asks for, in seconds.
    `shutting_down`: the server said so; resume later.
    """

    _end: bytes

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self.retry = 2.0
        self.shutting_down = False
        self._rest = b""

    def feed(self, *pieces: bytes) -> Sequence[LogRecord]:
        """The records that these bytes complete."""
        data = b"".join((self._rest, *pieces))
        whole = data.rfind(self._end) + len(self._end)
        if whole < len(self._end):
            self._rest = data
            return []
        self._rest = data[whole:]
        # Not copied: with each copy of much that comes at once, the kernel finds new memory for it.
        return self._whole(memoryview(data)[:whole])

    @abstractmethod
    def _whole(self, data: memoryview) -> Sequence[LogRecord]:
        """The records in what ends with an end of one."""

    def _decode(self, objects: bytes | memoryview) -> Sequence[Line]:
        lines = _LINES.decode_lines(objects)
        if lines:
            self.last_id = str(lines[-1].seq)
        return lines

    def _control(self, name: str, data: Any) -> Sequence[LogRecord]:
        match name:
            case "end":
                self.last_id = "end"
                outcome = Outcome(
                    Status(data["status"]), data["exit_code"], data["signal"], data["error"]
                )
                return [End(outcome, data["lines"], data["bytes"])]
            case "gap":
                # It has no id of its own: a resume from before it would only tell of it again.
                self.last_id = str(data["to"])
                return [Gap(data["from"], data["to"], data["reason"])]
            case "reset":
                self.last_id = None
                return [Reset(data["reason"])]
            case "shutdown":
                self.shutting_down = True
        return []


class EventParser(Parser):
    """For an event stream."""

    _end = b"\n\n"

    def _whole(self, view: memoryview) -> Sequence[LogRecord]:
        data = bytes(view)
        if b"event: " not in data and b"retry: " not in data:
            # The common case, many lines at once.
            return self._lines(data)
        records: list[LogRecord] = []
        for event in data.split(b"\n\n"):
            records += self._event(event)
        return records

    def _lines(self, events: bytes) -> Sequence[Line]:
        return self._decode(b"\n".join(_DATA.findall(events)))

    def _event(self, event: bytes) -> Sequence[LogRecord]:
        for field in event.split(b"\n"):
            if field.startswith(b"retry: "):
                self.retry = int(field[7:]) / 1000
        # A line's own text may look like a field's name, but never stands at a line's start.
        name = _CONTROL.search(event)
        if name is None:
            return self._lines(event)
        [data] = _DATA.findall(event)
        return self._control(name[1].decode(), msgspec.json.decode(data))


class ObjectParser(Parser):
    """For NDJSON."""

    _end = b"\n"

    def _whole(self, view: memoryview) -> Sequence[LogRecord]:
        try:
            # The common case, many lines at once.
            return self._decode(view)
        except msgspec.ValidationError:
            # A control event has nothing of a line.
            pass
        records: list[LogRecord] = []
        for line in bytes(view).splitlines():
            # A line's own text may look like an object, but never stands at a line's start.
            if line.startswith(b'{"event":'):
                fields = msgspec.json.decode(line)
                records += self._control(fields["event"], fields)
            else:
                records += self._decode(line)
        return records
