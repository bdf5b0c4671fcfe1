"""The representations of several logs: JSON objects with the id of their workload, without I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from .. import sse
from ..broker import Gone, PartRecord
from ..formats import remember
from ..records import Batch
from . import event_format
from .event_format import EventFormat

__all__ = ["EVENTS", "NDJSON", "SeveralFormat"]


@dataclass(frozen=True, slots=True, eq=False)
class SeveralFormat:
    """One representation. `events` is the same representation of changes of workloads: both share
    the opening, the heartbeat, and the form of an event. `frames` makes it of objects, each ended
    by `\\n`; `end` ends that of each object. `position` makes it of the id of a position."""

    events: EventFormat
    frames: Callable[[bytes], bytes]
    end: bytes
    position: Callable[[str], bytes]

    def render(self, workload_id: str, record: PartRecord) -> bytes:
        """A record of the workload's log; a batch is computed once for all readers."""
        if isinstance(record, Batch):
            return remember(record, self, partial(self._lines, workload_id))
        fields: dict[str, Any] = {"workload": workload_id}
        name = "gone"
        if not isinstance(record, Gone):
            name, of_record = sse.control(record)
            fields |= of_record
        return self.events.frame(name, None, msgspec.json.encode(fields))

    def _lines(self, workload_id: str, batch: Batch) -> bytes:
        # An id needs no escape, and an object has no line end in it.
        start = b'{"workload":"%b",' % workload_id.encode()
        objects = sse.json_lines(batch)[1:].replace(b"\n{", b"\n" + start)
        return self.frames(start + objects)


def _event_frames(objects: bytes) -> bytes:
    frames = objects.replace(b"\n", b"\n\ndata: ")
    # The field after the last object belongs before the first one.
    return b"data: " + frames[: -len(b"data: ")]


def _event(name: str, position: int | None, data: bytes) -> bytes:
    # An id would stand for the place in the logs, too.
    return sse.event(data, event=name)


def _position_object(event_id: str) -> bytes:
    return b'{"event":"position","id":"%b"}\n' % event_id.encode()


EVENTS = SeveralFormat(
    replace(event_format.EVENTS, frame=_event),
    _event_frames,
    b"\n\n",
    lambda event_id: b"id: %b\n\n" % event_id.encode(),
)
NDJSON = SeveralFormat(event_format.NDJSON, lambda objects: objects, b"\n", _position_object)
