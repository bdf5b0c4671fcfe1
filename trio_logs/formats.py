"""The representations of a log: the bytes of batches and control records in each, without I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import msgspec

from . import sse
from .records import Batch, Detached, rfc3339

__all__ = [
    "JSON_EVENTS",
    "NDJSON",
    "TEXT",
    "TEXT_EVENTS",
    "TIMED_TEXT",
    "TIMED_TEXT_EVENTS",
    "Format",
    "remember",
]


MAX_FORMS = 2
"""How many wire forms of a batch stay cached: most logs are read in one or two formats."""


@dataclass(frozen=True, slots=True, eq=False)
class Format:
    """One representation. `opening` are its first bytes; `keep_alive` is its heartbeat, empty if
    the format can't have one."""

    content_type: str
    frames: Callable[[Batch], bytes]
    control: Callable[[sse.Control], bytes]
    opening: bytes = b""
    keep_alive: bytes = b""

    def render(self, batch: Batch) -> bytes:
        """The batch in this format, computed once for all readers."""
        return remember(batch, self, self.frames)


def remember(batch: Batch, form: object, frames: Callable[[Batch], bytes]) -> bytes:
    """The batch in the wire form that `frames` makes, computed once for all readers; `form`
    identifies it."""
    rendered = batch.rendered.get(form)
    if rendered is None:
        if len(batch.rendered) == MAX_FORMS:
            del batch.rendered[next(iter(batch.rendered))]
        rendered = batch.rendered[form] = frames(batch)
    return rendered


def _plain_text(batch: Batch) -> bytes:
    return batch.data


def _timed_text(batch: Batch) -> bytes:
    time = rfc3339(batch.time).encode() + b" "
    first = b"" if batch.continues else time
    whole = batch.data.removesuffix(b"\n")
    return first + whole.replace(b"\n", b"\n" + time) + batch.data[len(whole) :]


def _no_control(record: sse.Control) -> bytes:
    return b""


def _control_object(record: sse.Control) -> bytes:
    name, fields = sse.control(record)
    if isinstance(record, Detached):
        fields["retry"] = record.retry
    return msgspec.json.encode({"event": name, **fields}) + b"\n"


_events = partial(
    Format,
    "text/event-stream; charset=utf-8",
    control=sse.control_frame,
    opening=sse.OPENING,
    keep_alive=sse.KEEP_ALIVE,
)
_text = partial(Format, "text/plain; charset=utf-8", control=_no_control)

TEXT_EVENTS = _events(sse.text_frames)
TIMED_TEXT_EVENTS = _events(partial(sse.text_frames, times=True))
JSON_EVENTS = _events(sse.json_frames)
NDJSON = Format(
    "application/x-ndjson",
    sse.json_lines,
    _control_object,
    keep_alive=b'{"event":"heartbeat"}\n',
)
TEXT = _text(_plain_text)
TIMED_TEXT = _text(_timed_text)
