"""The values that the client hands out, read from the wire."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import msgspec

from ..records import End, Gap, Reset, Status

__all__ = ["Ending", "Line", "LogRecord", "Workload"]


class Line(msgspec.Struct, frozen=True, gc=False):
    """A line of a log, without its end. `partial`: it is longer than 64 KiB and goes on in the next
    one of its stream."""

    seq: int
    time: datetime
    stream: str
    text: str
    partial: bool = False


LogRecord: TypeAlias = Line | Gap | Reset | End
"""What a followed log is made of; see `trio_logs.records` for the other three."""


class Workload(msgspec.Struct, frozen=True):
    """A workload as the server shows it. What does not apply yet is None."""

    id: str
    name: str | None
    backend: str
    command: list[str]
    labels: dict[str, str]
    status: Status
    exit_code: int | None
    signal: str | None
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    lines: int
    bytes: int
    logs_url: str
    reason: str | None = None


class Ending(msgspec.Struct):
    """How a pushed workload ended: both None if that is not known, which counts as success.
    `signal` is a name such as `SIGINT`."""

    exit_code: int | None = None
    signal: str | None = None
