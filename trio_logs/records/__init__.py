"""The values that travel through the service. All are frozen; times are integers, in microseconds
since the Unix epoch."""

from .durations import parse_duration
from .keeping import KEEP_LABEL, kept_seconds
from .log import Batch, Detached, End, Gap, Position, Record, Reset, Run, Stop, Unfinished
from .outcome import Outcome, Reason, Status
from .times import now, rfc3339
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
    "kept_seconds",
    "now",
    "parse_duration",
    "rfc3339",
]
