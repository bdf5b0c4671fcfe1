"""The Python client: submit, list, stop and follow workloads of a server, over HTTP.

    async with Client("http://127.0.0.1:8000", token) as client:
        workload = await client.submit(["make", "test"])
        async for record in client.follow(workload.id):
            match record:
                case Line(text=text):
                    print(text)
                case End(outcome=outcome):
                    print(outcome.status)

`follow` reconnects and resumes by itself, without loss or duplicate. `Client` runs on Trio and,
through anyio, on asyncio; `SyncClient` has the same methods for scripts without either.
"""

from ..records import End, Gap, Outcome, Reset, Status, Stop, Unfinished
from .client import Client
from .errors import ClientError, RefusedError, UnreachableError
from .records import (
    ChangeRecord,
    Code,
    Counts,
    Ending,
    Gone,
    Head,
    Hit,
    Line,
    LogRecord,
    LogRecords,
    MatchesEnd,
    MatchRecord,
    Node,
    Progress,
    SearchEnd,
    SearchRecord,
    Tile,
    Version,
    Workload,
    WorkloadChanged,
    WorkloadDeleted,
    WorkloadProgress,
)
from .sync import SyncClient

__all__ = [
    "ChangeRecord",
    "Client",
    "ClientError",
    "Code",
    "Counts",
    "End",
    "Ending",
    "Gap",
    "Gone",
    "Head",
    "Hit",
    "Line",
    "LogRecord",
    "LogRecords",
    "MatchRecord",
    "MatchesEnd",
    "Node",
    "Outcome",
    "Progress",
    "RefusedError",
    "Reset",
    "SearchEnd",
    "SearchRecord",
    "Status",
    "Stop",
    "SyncClient",
    "Tile",
    "Unfinished",
    "UnreachableError",
    "Version",
    "Workload",
    "WorkloadChanged",
    "WorkloadDeleted",
    "WorkloadProgress",
]
