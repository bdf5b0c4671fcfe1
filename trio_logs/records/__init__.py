"""The values that travel through the service. All are frozen; times are integers, in microseconds
since the Unix epoch."""

from .log import Batch, Detached, End, Gap, Position, Record, Reset, Run, Stop, Unfinished
from .outcome import Outcome, Reason, Status
from .times import now, rfc3339
from .workload import Change, Progress, Workload, WorkloadSpec

__all__ = [
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
    "now",
    "rfc3339",
]
