"""The values that travel through the service. All are frozen; times are integers, in microseconds
since the Unix epoch."""

from .durations import parse_duration
from .keeping import KEEP_LABEL, kept_seconds
from .log import Batch, Detached, End, Gap, Position, Record, Reset, Run, Stop, Unfinished
from .outcome import Outcome, Reason, Status
from .times import (
    believed_now,
    elapsed,
    is_steady_since,
    not_before,
    now,
    rfc3339,
    steady_seconds,
)
from .workload import Change, Progress, Workload, WorkloadSpec

__all__ = [
    "KEEP_LABEL",
    "Batch",
    "Change",
    "Detached",
    "End",
    "Gap",
    "Outcome",
    "Position",
    "Progress",
    "Reason",
    "Record",
    "Reset",
    "Run",
    "Status",
    "Stop",
    "Unfinished",
    "Workload",
    "WorkloadSpec",
    "believed_now",
    "elapsed",
    "is_steady_since",
    "kept_seconds",
    "not_before",
    "now",
    "parse_duration",
    "rfc3339",
    "steady_seconds",
]
