"""The representations of changes of workloads: JSON objects as events, or one a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from .. import formats, sse
from ..engine import ChangeRecord
from ..records import Change, Progress
from .bodies import WorkloadRecord

__all__ = ["EVENTS", "NDJSON", "EventFormat"]

_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True, eq=False)
class EventFormat:
    """One representation. `log` is the same representation of a log: both share the opening, the
    heartbeat, and all records but changes and progress."""

    media_type: str
    log: formats.Format
    frame: Callable[[str, int | None, bytes], bytes]

    def render(self, record: ChangeRecord) -> bytes:
        """A record in this format; a change is computed once for all readers."""
        if not isinstance(record, Change | Progress):
            return self.log.control(record)
        rendered = record.rendered.get(self)
        if rendered is None:
            position = record.position if isinstance(record, Change) else None
            name, fields = _event(record)
            rendered = record.rendered[self] = self.frame(name, position, _encode(fields))
        return rendered


def _event(record: Change | Progress) -> tuple[str, Any]:
    """The name of an event, and its data."""
    if isinstance(record, Progress):
        return "progress", {"id": record.id, "lines": record.lines, "bytes": record.bytes}
    if record.workload is None:
        return "deleted", {"id": record.id}
    return "workload", WorkloadRecord.of(record.workload)


def _sse_frame(name: str, position: int | None, data: bytes) -> bytes:
    return sse.event(data, event=name, event_id=None if position is None else str(position))


def _line(name: str, position: int | None, data: bytes) -> bytes:
    place = "" if position is None else f'"position":"{position}",'
    return f'{{"event":"{name}",{place}'.encode() + data[1:] + b"\n"


EVENTS = EventFormat("text/event-stream", formats.JSON_EVENTS, _sse_frame)
NDJSON = EventFormat("application/x-ndjson", formats.NDJSON, _line)
