"""The bytes of an answer to records, without I/O.

There are two parsers: for event streams with `format=json`, and for NDJSON, which costs a third
less.

Source: the WHATWG HTML standard, section 9.2.6 (interpreting an event stream). The service uses a
part of it: `\\n` ends a line, fields have a space after the colon, and data is one line.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec

from ..records import End, Gap, Outcome, Reset, Status, Stop, Unfinished
from .answers import MALFORMED, MAX_SHOWN
from .records import Line, LogRecord

__all__ = ["DATA", "ID", "LINES", "EventParser", "ObjectParser", "Parser"]

MAX_EVENT_BYTES = 1024 * 1024
"""More than any event of the service: a line is 64 KiB, and a byte at most 6 bytes of JSON."""

LINES = msgspec.json.Decoder(Line)
DATA = re.compile(rb"^data: (.*)$", re.MULTILINE)
_CONTROL = re.compile(rb"^event: (.*)$", re.MULTILINE)
ID = re.compile(rb"^id: (.*)$", re.MULTILINE)
# No server sends a number of milliseconds with more digits.
_RETRY = re.compile(rb"^retry: ([0-9]{1,9})$", re.MULTILINE)
_LINE = re.compile(rb"id: [^\n]*\ndata: ([^\n]*)\n\n")
"""The event of a line."""

_EVENT = re.compile(rb"(?:(?::|(?:id|event|data|retry): )[^\n]*\n?)+")
"""The lines of an event: comments and fields."""


class _Named(msgspec.Struct):
    event: str


class _Position(msgspec.Struct):
    id: str


class _End(msgspec.Struct):
    status: Status
    exit_code: int | None
    signal: str | None
    error: str | None
    lines: int
    bytes: int
    reason: str | None = None


class _Gap(msgspec.Struct):
    first: int = msgspec.field(name="from")
    last: int = msgspec.field(name="to")
    reason: str


class _Reset(msgspec.Struct):
    reason: str
    detail: str = ""


class _Stop(msgspec.Struct):
    reason: str
    next: int


class _Unfinished(msgspec.Struct):
    stream: str
    text: str


class _Shutdown(msgspec.Struct):
    reason: str
    detail: str = ""
    # NDJSON has it here, in milliseconds.
    retry: int | None = None


class Parser(ABC):
    """Takes the bytes of one answer as they come. It holds one unfinished event,
    of `_max_bytes` at most.

    `last_id` is the Last-Event-ID that resumes after the last record; pass it to the parser of the
    next answer. `retry` is the delay that the server asks for, in seconds. `heard`: the answer has
    had an event, a comment or an object of the service. `shutdown`: the server shuts down, in its
    words. `deleted`: a gap told that the workload was deleted. `broken`: why the answer can't be
    read any further; bytes that follow are ignored.
    """

    _end: bytes
    _kind = "a log"
    _max_bytes = MAX_EVENT_BYTES

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self.retry = 2.0
        self.heard = False
        self.shutdown: str | None = None
        self.deleted = False
        self.broken: str | None = None
        self._rest = b""

    def feed(self, *pieces: bytes) -> Sequence[LogRecord]:
        """The records that these bytes complete, up to where the answer is broken."""
        if self.broken is not None:
            return []
        data = b"".join((self._rest, *pieces))
        whole = data.rfind(self._end) + len(self._end)
        if whole < len(self._end):
            whole = 0
        self._rest = data[whole:]
        # A copy of much data at once would cost the kernel new memory each time.
        records = self._read(memoryview(data)[:whole]) if whole else []
        if len(self._rest) > self._max_bytes:
            self._break(f"an event of more than {self._max_bytes:,} bytes")
        return records

    def finish(self) -> None:
        """The answer is complete."""
        if self._rest.lstrip(b"\n"):
            self._break("it ends within an event")

    def _break(self, why: str) -> None:
        self.broken = self.broken or f"the answer is not {self._kind}: {why[:MAX_SHOWN]}"
        self._rest = b""

    def _read(self, view: memoryview) -> Sequence[LogRecord]:
        # The common case, many lines at once.
        objects = self._objects(view)
        if objects is not None:
            try:
                return self._lines(objects)
            except MALFORMED:
                pass
        records: list[LogRecord] = []
        try:
            for event in bytes(view).split(self._end):
                # An empty line more is no event; it must not matter how the bytes are cut.
                if event := event.lstrip(b"\n"):
                    records += self._event(event)
                    self.heard = True
        except MALFORMED as error:
            self._break(str(error))
        return records

    @abstractmethod
    def _objects(self, view: memoryview) -> bytes | memoryview | None:
        """The lines in whole events as JSON objects, or None if there may be other events."""

    @abstractmethod
    def _event(self, event: bytes) -> Sequence[LogRecord]:
        """The records in one event. Raises one of MALFORMED."""

    def _lines(self, objects: bytes | memoryview) -> Sequence[Line]:
        lines = LINES.decode_lines(objects)
        if lines:
            self.heard = True
            self.last_id = str(lines[-1].seq)
        return lines

    def _control(self, name: str, data: bytes) -> Sequence[LogRecord]:
        decode = msgspec.json.decode
        match name:
            case "end":
                end = decode(data, type=_End)
                self.last_id = "end"
                outcome = Outcome(end.status, end.exit_code, end.signal, end.error, end.reason)
                return [End(outcome, end.lines, end.bytes)]
            case "gap":
                gap = decode(data, type=_Gap)
                # It has no id of its own: a resume from before it would only tell of it again.
                self.last_id = str(gap.last)
                self.deleted = gap.reason == "deleted"
                return [Gap(gap.first, gap.last, gap.reason)]
            case "reset":
                reset = decode(data, type=_Reset)
                self.last_id = None
                return [Reset(reset.reason, reset.detail)]
            case "stop":
                stop = decode(data, type=_Stop)
                self.last_id = "stop"
                return [Stop(stop.reason, stop.next)]
            case "unfinished":
                unfinished = decode(data, type=_Unfinished)
                return [Unfinished(unfinished.stream, unfinished.text)]
            case "shutdown":
                shutdown = decode(data, type=_Shutdown)
                self.shutdown = shutdown.detail or shutdown.reason
                if shutdown.retry is not None:
                    self.retry = shutdown.retry / 1000
            case "position":
                self.last_id = decode(data, type=_Position).id
        # Others are heartbeats, and events of later versions of the service.
        return []


class EventParser(Parser):
    """For an event stream."""

    _end = b"\n\n"

    def _objects(self, view: memoryview) -> bytes | None:
        data = bytes(view)
        if b"event: " in data or b"retry: " in data:
            return None
        found = _LINE.findall(data)
        # Nothing else stands before, between or behind these events.
        if data.startswith(b"id: ") and data.count(b"\n\nid: ") + 1 == len(found):
            return b"\n".join(found) if data.count(b"\n") == 3 * len(found) else None
        return None

    def _event(self, event: bytes) -> Sequence[LogRecord]:
        if not _EVENT.fullmatch(event):
            raise msgspec.ValidationError(f"{event!r} is no event")
        if retry := _RETRY.search(event):
            self.retry = int(retry[1]) / 1000
        # A line's own text may look like a field's name, but never stands at a line's start.
        name = _CONTROL.search(event)
        data = DATA.findall(event)
        if name is None:
            if not data and (position := ID.search(event)):
                self.last_id = position[1].decode()
            return self._lines(b"\n".join(data))
        return self._control(name[1].decode(), b"\n".join(data))


class ObjectParser(Parser):
    """For NDJSON."""

    _end = b"\n"

    def _objects(self, view: memoryview) -> memoryview:
        return view

    def _event(self, event: bytes) -> Sequence[LogRecord]:
        # A line's own text may look like an object, but never stands at a line's start.
        if event.startswith(b'{"event":'):
            return self._control(msgspec.json.decode(event, type=_Named).event, event)
        return self._lines(event)
