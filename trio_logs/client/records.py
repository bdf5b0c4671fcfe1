"""The values that the client returns, read from the wire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

import msgspec

from ..records import End, Gap, Reset, Status, Stop, Unfinished

__all__ = [
    "ChangeRecord",
    "Code",
    "Counts",
    "Ending",
    "Gone",
    "Head",
    "Hit",
    "Line",
    "LogRecord",
    "LogRecords",
    "MatchRecord",
    "MatchesEnd",
    "Node",
    "Progress",
    "SearchEnd",
    "SearchRecord",
    "Tile",
    "Version",
    "Workload",
    "WorkloadChanged",
    "WorkloadDeleted",
    "WorkloadProgress",
]


class Line(msgspec.Struct, frozen=True, gc=False):
    """A line of a log, without its newline. `partial`: the line is longer than 64 KiB, and the next
    record of its stream continues it."""

    seq: int
    time: datetime
    stream: str
    text: str
    partial: bool = False


class Head(msgspec.Struct, frozen=True):
    """`line` is the number of the last line that was known when an answer began, whatever a filter
    hides; 0 if there was none. It comes again when the client has reconnected."""

    line: int


LogRecord: TypeAlias = Line | Gap | Reset | End | Stop | Unfinished | Head
"""A record of a followed log; see `trio_logs.records` for all but `Line` and `Head`. `Stop` is the
last record if `last` or `limit` ended the log early. `Unfinished` and `Head` come only to a caller
that asks for them."""


class Hit(msgspec.Struct, frozen=True, gc=False):
    """A line that a search found in the log of `workload`; see `Line` for the other fields. With
    `context`, it only is near a line that was found."""

    seq: int
    time: datetime
    stream: str
    text: str
    workload: str
    partial: bool = False
    context: bool = False


class Progress(msgspec.Struct, frozen=True):
    """The log of `workload` is searched now; `lines` of all logs were searched so far."""

    workload: str
    lines: int


class SearchEnd(msgspec.Struct, frozen=True):
    """The last record of a search: `count` lines were found, and `workloads` logs were searched. If
    the limit ended the search, it is not `complete`, and `before=next` goes on from there. After a
    broken connection, `workloads` counts only the logs that were searched since."""

    count: int
    workloads: int
    complete: bool
    next: str | None


SearchRecord: TypeAlias = Hit | Progress | SearchEnd


class Tile(msgspec.Struct, frozen=True):
    """Lines `first` to `last` of a log have `count` matches. `at` has the numbers of all of them,
    or of 200 that are evenly spread."""

    first: int = msgspec.field(name="from")
    last: int = msgspec.field(name="to")
    count: int
    at: list[int]


class MatchesEnd(msgspec.Struct, frozen=True):
    """The last record of the matches in a log: `count` of them, among its `lines` when the search
    began."""

    count: int
    lines: int


MatchRecord: TypeAlias = Tile | MatchesEnd


class Gone(msgspec.Struct, frozen=True):
    """The last record of one of several logs that is unknown, or was deleted."""


class LogRecords(msgspec.Struct, frozen=True):
    """Records of one of several logs that are followed together. The last one of a log is its `End`
    or `Gone`."""

    workload: str
    records: Sequence[LogRecord | Gone]


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


class Node(msgspec.Struct, frozen=True):
    """A service that runs workloads; `id` is the `node` of their records. `running` counts its
    workloads, and `queued` those that wait: with a shared store, for any node."""

    id: str
    address: str | None
    started_at: datetime
    seen_at: datetime
    running: int
    queued: int
    draining: bool


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


class WorkloadChanged(msgspec.Struct, frozen=True):
    """A workload was created, or more of it has changed than `lines` and `bytes`."""

    workload: Workload
    position: str


class WorkloadDeleted(msgspec.Struct, frozen=True):
    """A workload was deleted."""

    id: str
    position: str


class WorkloadProgress(msgspec.Struct, frozen=True):
    """The log of a running workload has grown."""

    id: str
    lines: int
    bytes: int


ChangeRecord: TypeAlias = WorkloadChanged | WorkloadDeleted | WorkloadProgress | Reset
"""A record of `Client.events`; see `trio_logs.records` for Reset."""


class Ending(msgspec.Struct):
    """How a pushed workload ended. Both None means unknown, and counts as success. `signal` is a
    name such as `SIGINT`."""

    exit_code: int | None = None
    signal: str | None = None
