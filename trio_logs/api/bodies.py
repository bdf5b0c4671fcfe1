"""The bodies of requests and answers, as msgspec types.

The app decodes and encodes with them, and the OpenAPI document has their JSON Schema.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from ..records import Reason, Status, Workload, rfc3339
from ..store.shared import Node

__all__ = [
    "FinishRequest",
    "Health",
    "NodeList",
    "NodeRecord",
    "Page",
    "Problem",
    "RerunRequest",
    "ResizeRequest",
    "StopRequest",
    "Submission",
    "Version",
    "WorkloadRecord",
]

# No argument of a process can hold NUL. The backend checks this; the pattern documents it.
Text = Annotated[
    str,
    msgspec.Meta(description="text without NUL", extra_json_schema={"pattern": "^[^\\u0000]*$"}),
]
_PROGRAM = {"type": "string", "pattern": "^[^\\u0000]+$"}
Command = Annotated[
    list[Text],
    msgspec.Meta(extra_json_schema={"prefixItems": [_PROGRAM]}),
]
Environment = Annotated[
    dict[str, Text],
    msgspec.Meta(extra_json_schema={"propertyNames": {"pattern": "^[^=\\u0000]+$"}}),
]
Name = Annotated[str, msgspec.Meta(max_length=200)]
# Without `=`: the list of workloads filters by `name=value`.
LabelName = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern="^[^=]+$")]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]
# The kernel keeps the size of a terminal in 16 bits: ioctl_tty(2).
Cells = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
SignalName = Annotated[str, msgspec.Meta(pattern="^SIG[A-Z0-9+-]{1,20}$")]
Moment = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
EndReason = Annotated[
    str,
    msgspec.Meta(
        description=f"one of {', '.join(f'`{each}`' for each in Reason)};"
        " later versions may have others",
    ),
]


class Submission(msgspec.Struct, forbid_unknown_fields=True):
    """A workload to run. `command` is an argument vector, never a shell line; every backend but
    `push` needs it. `timeout` is in seconds. `backend` is the name of an installed backend."""

    command: Command | msgspec.UnsetType = msgspec.UNSET
    name: Name | None = None
    env: Environment | None = None
    cwd: Text | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None
    labels: dict[LabelName, Name] | None = None
    backend: str = "process"
    pty: bool = False


class StopRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How to stop a workload: KILL follows `signal` after `grace` seconds. Null takes TERM, and the
    grace of the service."""

    grace: Seconds | None = None
    signal: SignalName | None = None


class RerunRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A rerun has no fields: the new workload has the specification of the old one."""


class ResizeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The size of a terminal, in characters."""

    columns: Cells
    rows: Cells


class FinishRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How a workload ended that ran elsewhere. `exit_code` and `signal` are those of its record,
    both null if unknown. `bytes` is the length of its log, line ends and both streams included."""

    exit_code: Annotated[int, msgspec.Meta(ge=0, le=255)] | None = None
    signal: SignalName | None = None
    bytes: Count | None = None


class WorkloadRecord(msgspec.Struct):
    """A workload. A field that does not apply yet is null, never absent; times are RFC 3339 in UTC.
    `reason` says for programs why the workload ended, `error` says it for people. `lines` is the
    number of the last line; `bytes` is the length of the output, line ends included. `timeout` is
    in seconds. `node` names the service instance that runs the workload, `rerun_of` the workload
    that it repeats."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    name: str | None
    backend: str
    command: tuple[str, ...]
    cwd: str | None
    timeout: float | None
    pty: bool
    labels: dict[str, str]
    status: Status
    reason: EndReason | None
    exit_code: int | None
    signal: str | None
    error: str | None
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    lines: Count
    bytes: Count
    node: str | None
    rerun_of: str | None
    logs_url: Annotated[str, msgspec.Meta(extra_json_schema={"format": "uri-reference"})]

    @classmethod
    def of(cls, workload: Workload) -> WorkloadRecord:
        """The record as clients see it."""

        def moment(time: int | None) -> str | None:
            return None if time is None else rfc3339(time)

        return cls(
            id=workload.id,
            name=workload.spec.name,
            backend=workload.spec.backend,
            command=workload.spec.command,
            cwd=workload.spec.cwd,
            timeout=workload.spec.timeout,
            pty=workload.spec.pty,
            labels=workload.spec.labels,
            status=workload.status,
            reason=workload.reason,
            exit_code=workload.exit_code,
            signal=workload.signal,
            error=workload.error,
            created_at=rfc3339(workload.created_at),
            started_at=moment(workload.started_at),
            finished_at=moment(workload.finished_at),
            lines=workload.lines,
            bytes=workload.bytes,
            node=workload.node,
            rerun_of=workload.rerun_of,
            logs_url=f"/v1/workloads/{workload.id}/logs",
        )


class Page(msgspec.Struct):
    """Workloads, newest first. Send `next` as `before` to get the next page; it is null on the last
    page, and on no other. Changes after `position` of the first page may be missing in the list: to
    get them, resume the events from there. With `counts=true`, `total` is the number of workloads
    that match, on all pages, and `counts` are those that match apart from their status, by status.
    """

    workloads: list[WorkloadRecord]
    next: str | None
    position: Annotated[str, msgspec.Meta(pattern="^[0-9]+$")]
    total: Count | msgspec.UnsetType = msgspec.UNSET
    counts: dict[Status, Count] | msgspec.UnsetType = msgspec.UNSET


class Version(msgspec.Struct):
    """The version of the service, and that of this interface, which its paths begin with."""

    version: str
    api: Literal[1] = 1


class NodeRecord(msgspec.Struct):
    """A service that runs workloads. `id` is the `node` of their records, and `address` is where it
    answers, for operators. `running` counts its workloads, and `queued` those that wait: with a
    shared store, for any node. `seen_at` is when it was heard of last. A node that is `draining`
    takes no more work, and ends."""

    id: str
    address: str | None
    started_at: Moment
    seen_at: Moment
    running: Count
    queued: Count
    draining: bool

    @classmethod
    def of(cls, node: Node) -> NodeRecord:
        """Of a node, as its store has it."""
        return cls(
            id=node.id,
            address=node.address,
            started_at=rfc3339(node.started_at),
            seen_at=rfc3339(node.seen_at),
            running=node.running,
            queued=node.queued,
            draining=node.draining,
        )


class NodeList(msgspec.Struct):
    """All nodes, by id; a service without a shared store is the only one."""

    nodes: list[NodeRecord]


class Health(msgspec.Struct):
    """The service answers."""

    status: Literal["ok"] = "ok"


class Problem(msgspec.Struct, kw_only=True):
    """RFC 9457 problem details: `title` is the status in words, `detail` says what is wrong and
    what to do. `reason` tells programs why the service is not ready."""

    type: Literal["about:blank"] = "about:blank"
    title: str
    status: Annotated[int, msgspec.Meta(ge=400, le=599)]
    detail: str
    reason: Literal["draining", "store"] | msgspec.UnsetType = msgspec.UNSET
