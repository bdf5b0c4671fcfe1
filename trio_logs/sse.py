"""Records to Server-Sent Events, without I/O.

Source: the WHATWG HTML standard, section 9.2 (server-sent events). A blank line ends a frame. CR,
LF and CRLF each end a field, so a line with a CR in it takes several `data` fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from .errors import InvalidRequestError
from .records import Batch, Detached, End, Gap, Position, Reset, Stop, Unfinished, rfc3339

__all__ = [
    "END_ID",
    "KEEP_ALIVE",
    "OPENING",
    "STOP_ID",
    "LogLine",
    "control",
    "control_frame",
    "event",
    "json_frames",
    "json_lines",
    "parse_last_event_id",
    "text_frames",
]

END_ID: Final = "end"
"""The id of the `end` event: a client that sends this id back has the whole log."""

STOP_ID: Final = "stop"
"""The id of the `stop` event: a client that sends this id back has all that it asked for."""

OPENING: Final = b": open\nretry: 2000\n\n"
"""The first bytes of a stream, sent before any line exists."""

KEEP_ALIVE: Final = b": keep-alive\n\n"
"""The heartbeat of a quiet stream."""

_NEVER = 10**18

_LAST_DIGITS = tuple([b"%04d" % number for number in range(10_000)])


def event(
    data: bytes,
    *,
    event: str | None = None,
    event_id: str | None = None,
    retry: int | None = None,
) -> bytes:
    """One frame. `retry` is in milliseconds.

    Raises ValueError if `event` or `event_id` holds CR, LF or NUL. CR and LF would end the field
    early, and clients ignore an id with NUL.
    """
    fields = b""
    for name, value in (("event", event), ("retry", retry), ("id", event_id)):
        if value is not None:
            text = str(value)
            if any(c in text for c in "\r\n\0"):
                raise ValueError(f"an SSE {name} can't hold CR, LF or NUL: {text!r}")
            fields += f"{name}: {text}\n".encode()
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    return b"%bdata: %b\n\n" % (fields, lines)


def text_frames(batch: Batch, *, times: bool = False) -> bytes:
    """One frame a line: its number as `id`, its text as `data`; `times` prefixes the time."""
    text = batch.text
    if times:
        time = rfc3339(batch.time).encode() + b" "
        text = text.removesuffix(b"\n").replace(b"\n", b"\n" + time) + b"\n"
        text = text if batch.continues else time + text
    return _frames(batch.first, batch.count, text)


def _frames(first: int, count: int, text: bytes) -> bytes:
    """Frames for the `count` lines in `text`, each of which ends in `\n`."""
    # The text becomes one format string, and the numbers become its arguments. This makes no object
    # for each line, and none for its number if all numbers share the digits before the last four.
    page, start = divmod(first, len(_LAST_DIGITS))
    numbers: Sequence[bytes | int]
    if page and start + count <= len(_LAST_DIGITS):
        field, numbers = b"id: %d%%b\ndata: " % page, _LAST_DIGITS[start : start + count]
    else:
        field, numbers = b"id: %d\ndata: ", range(first, first + count)
    frames = text.replace(b"%", b"%%").replace(b"\n", b"\n\n" + field)
    if b"\r" in frames:
        frames = frames.replace(b"\r", b"\ndata: ")
    # The field after the last line belongs before the first one.
    return b"".join((field, memoryview(frames)[: -len(field)])) % tuple(numbers)


class LogLine(msgspec.Struct, omit_defaults=True):
    """A line in JSON. `partial`: the line goes on in the next object of its stream."""

    seq: int
    time: str
    stream: str
    text: str
    partial: bool = False


_encoder = msgspec.json.Encoder()


def json_lines(batch: Batch) -> bytes:
    """One JSON object a line, each ended by `\\n`."""
    time = rfc3339(batch.time)
    return _encoder.encode_lines(
        [
            LogLine(seq, time, batch.stream, line.decode(), batch.partial)
            for seq, line in enumerate(batch.text.split(b"\n")[:-1], batch.first)
        ]
    )


def json_frames(batch: Batch) -> bytes:
    """One frame a line: its number as `id`, its JSON object as `data`."""
    return _frames(batch.first, batch.count, json_lines(batch))


Control = Gap | End | Detached | Reset | Position | Stop | Unfinished


def control(record: Control) -> tuple[str, dict[str, Any]]:
    """The name of a control event and the fields of its data."""
    match record:
        case Gap(first, last, reason):
            return "gap", {"from": first, "to": last, "reason": reason}
        case End(outcome, lines, size):
            return "end", {
                "status": outcome.status,
                "reason": outcome.reason,
                "exit_code": outcome.exit_code,
                "signal": outcome.signal,
                "error": outcome.error,
                "lines": lines,
                "bytes": size,
            }
        case Detached():
            detail = "the server is shutting down: resume after the last id"
            return "shutdown", {"reason": "draining", "detail": detail}
        case Reset(reason, detail):
            return "reset", {"reason": reason, "detail": detail}
        case Position(line):
            return "position", {"id": str(line)}
        case Stop(reason, following):
            return "stop", {"reason": reason, "next": following}
        case Unfinished(stream, text):
            return "unfinished", {"stream": stream, "text": text}


def control_frame(record: Control) -> bytes:
    """A control event. Only `end` and `stop` have an id, so no other event moves a client's resume
    point. A position is an id alone, which dispatches no event."""
    if isinstance(record, Position):
        return b"id: %d\n\n" % record.line
    name, data = control(record)
    return event(
        _encoder.encode(data),
        event=name,
        event_id=name if name in (END_ID, STOP_ID) else None,
        retry=record.retry if isinstance(record, Detached) else None,
    )


def parse_last_event_id(text: str) -> int | Literal["end", "stop"]:
    """The sequence number of the last line that a client has, or `end` or `stop`.

    Raises InvalidRequestError for a text that is no event id.
    """
    if text == END_ID:
        return "end"
    if text == STOP_ID:
        return "stop"
    if not (text.isascii() and text.isdigit()):
        raise InvalidRequestError(
            f"{text[:80]!r} is not an event id: send back the last `id` of this log, or none"
        )
    # Longer numbers exceed every log; `int` of thousands of digits would be slow.
    return int(text) if len(text) <= 18 else _NEVER
