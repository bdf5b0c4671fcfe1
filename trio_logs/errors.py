"""The exceptions of `trio_logs`, ordered by whose fault they are."""

from __future__ import annotations

__all__ = [
    "BackendNotFoundError",
    "BehindError",
    "BusyError",
    "ConflictError",
    "DataFolderError",
    "FencedError",
    "IncompleteAnswerError",
    "InvalidRequestError",
    "InvalidSpecError",
    "LogClosedError",
    "NodeLostError",
    "NotReadyError",
    "NotStartedError",
    "OffsetError",
    "StoreError",
    "TokenMismatchError",
    "TrioLogsError",
    "WorkloadNotFoundError",
]


class TrioLogsError(Exception):
    """Base of every exception that this package raises on purpose."""


# The caller's fault.


class InvalidRequestError(TrioLogsError):
    """A parameter or header is malformed; the message says what to write instead."""


class InvalidSpecError(TrioLogsError):
    """A workload can't run as its specification says; the message names the field."""


class BackendNotFoundError(InvalidSpecError):
    """No backend has that name; the message lists the installed backends."""


class WorkloadNotFoundError(TrioLogsError):
    """No workload has that id: it never existed here, or it was deleted."""


class ConflictError(TrioLogsError):
    """The workload's state does not allow the request, such as deleting a running workload."""


class OffsetError(ConflictError):
    """Pushed bytes leave a hole before them: send again from offset `durable`, in bytes.

    For an end that does not fit, `durable` is the offset of stdout, and `stderr` that of stderr.
    """

    def __init__(self, detail: str, durable: int, stderr: int | None = None) -> None:
        super().__init__(detail)
        self.durable = durable
        self.stderr = stderr


class LogClosedError(TrioLogsError):
    """The log was closed, so it takes no more writes."""


class FencedError(LogClosedError):
    """Another writer has taken the log over, or the log has ended: stop writing to it."""


# The moment's fault: try again later.


class BusyError(TrioLogsError):
    """A limit is reached: repeat the request later."""


class NotReadyError(TrioLogsError):
    """The service is starting or shutting down."""


class IncompleteAnswerError(TrioLogsError):
    """An answer that has begun can't be completed. The server cuts it, so that the client does not
    take it for complete."""


# The machine's or the operator's fault.


class DataFolderError(TrioLogsError):
    """The data folder is in use by another process, can't be used, or was deleted meanwhile."""


class NodeLostError(TrioLogsError):
    """The other nodes of a shared store took this node for dead, so it owns nothing any more."""


class TokenMismatchError(TrioLogsError):
    """The nodes of a shared store have other tokens than this service."""


class NotStartedError(TrioLogsError):
    """A workload could not start: its command can't run here, or the machine is at a limit.

    `Backend.run` raises it, with the command, the folder or the limit in the message. The
    workload's outcome is then `failed` with the reason `not_started`.
    """


class StoreError(TrioLogsError):
    """The store could not commit or read; the cause is attached.

    The error is confined to the write or read that met it: the store goes on, and the same call
    may succeed later.
    """


class BehindError(TrioLogsError):
    """A shared store lacks lines that it had: it was replaced by a replica that is behind.

    `lines` is the number of the last line that it has. Its lines go on from there.
    """

    def __init__(self, detail: str, lines: int) -> None:
        super().__init__(detail)
        self.lines = lines
