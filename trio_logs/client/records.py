"""The values that the client returns, read from the wire."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import msgspec

from ..records import End, Gap, Reset, Status

__all__ = ["Code", "Counts", "Ending", "Line", "LogRecord", "Version", "Workload"]


class Line(msgspec.Struct, frozen=True, gc=False):
    """A line of a log, without its newline. `partial`: the line is longer than 64 KiB, and the next
    record of its stream continues it."""

    seq: int
    time: datetime
    stream: str
    text: str
    partial: bool = False


LogRecord: TypeAlias = Line | Gap | Reset | End
"""A record of a followed log; see `trio_logs.records` for the other three."""


class Workload(msgspec.Struct, frozen=True):
    """A workload as the server shows it. A field that does not apply yet is None.

    `reason` is one of `trio_logs.records.Reason`, or a word of a later version of the service. It
    is None until the workload has ended. `node` names the service instance that runs the workload,
    `rerun_of` the workload that it repeats. A service before version 0.2 has none of the fields
    from `reason` on.
    """

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
    cwd: str | None = None
    timeout: float | None = None
    pty: bool = False
    node: str | None = None
    rerun_of: str | None = None


class Version(msgspec.Struct, frozen=True):
    """The version of a server, and that of its HTTP interface."""

    version: str
    api: int


class Code(msgspec.Struct, frozen=True):
    """A code that signs a browser in, once, until `expires_at`. `url` is where a browser uses it;
    None if the server does not know its own address. `location` is the path that tells whether the
    code was used."""

    code: str
    expires_at: datetime
    url: str | None
    location: str = ""


class Counts(msgspec.Struct, frozen=True):
    """How many workloads match: `total` of them, and `counts` by status, whatever statuses were
    asked for."""

    total: int
    counts: dict[Status, int]


class Ending(msgspec.Struct):
    """How a pushed workload ended. Both None means unknown, and counts as success. `signal` is a
    name such as `SIGINT`."""

    exit_code: int | None = None
    signal: str | None = None
