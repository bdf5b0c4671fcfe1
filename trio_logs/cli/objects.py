"""Records as JSON, one object on each line, for scripts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from ..client import End, Gap, Line, LogRecord, Reset, Stop, Unfinished, Workload

__all__ = ["encode", "encode_object", "format_object", "format_workload"]

_UNESCAPED = re.compile(rb"\x7f|\xc2[\x80-\x9f]")
"""Controls that JSON need not escape, and that a terminal obeys."""

_WIRE_ORDER = (
    *("id", "name", "backend", "command", "cwd", "timeout", "pty", "labels", "status", "reason"),
    *("exit_code", "signal", "error", "created_at", "started_at", "finished_at", "lines", "bytes"),
    *("node", "rerun_of", "logs_url"),
)


def encode(workload_id: str, records: Sequence[LogRecord]) -> bytes:
    """The objects of the wire, each with the id of its workload."""
    return b"".join(encode_object(_fields(workload_id, record)) for record in records)


def encode_object(fields: Any) -> bytes:
    """One object and its newline, safe for a terminal."""
    return _UNESCAPED.sub(_escape, msgspec.json.encode(fields)) + b"\n"


def format_object(fields: Any) -> bytes:
    """As `encode_object`, over several lines."""
    return _UNESCAPED.sub(_escape, msgspec.json.format(msgspec.json.encode(fields))) + b"\n"


def format_workload(workload: Workload) -> bytes:
    """Likewise, with the fields in the order in which the service sends and documents them."""
    return format_object({name: getattr(workload, name) for name in _WIRE_ORDER})


def _escape(match: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(match[0].decode())


def _fields(workload_id: str, record: LogRecord) -> dict[str, Any]:
    fields: dict[str, Any]
    match record:
        case Line():
            fields = msgspec.structs.asdict(record)
            if not record.partial:
                del fields["partial"]
        case Gap(first, last, reason):
            fields = {"event": "gap", "from": first, "to": last, "reason": reason}
        case Reset(reason, detail):
            fields = {"event": "reset", "reason": reason, "detail": detail}
        case Stop(reason, following):
            fields = {"event": "stop", "reason": reason, "next": following}
        case Unfinished(stream, text):
            fields = {"event": "unfinished", "stream": stream, "text": text}
        case End(outcome, lines, size):
            fields = {
                "event": "end",
                "status": outcome.status,
                "reason": outcome.reason,
                "exit_code": outcome.exit_code,
                "signal": outcome.signal,
                "error": outcome.error,
                "lines": lines,
                "bytes": size,
            }
    return {"workload": workload_id, **fields}
