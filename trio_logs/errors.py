"""The exceptions of `trio_logs`, ordered by whose fault they are."""

from __future__ import annotations

__all__ = [
    "BackendNotFoundError",
    "BusyError",
    "ConflictError",
    "DataFolderError",
    "FencedError",
    "IncompleteAnswerError",
    "InvalidRequestError",
    "InvalidSpecError",
    "LogClosedError",
    "NotReadyError",
    "NotStartedError",
    "OffsetError",
    "StoreError",
    "TrioLogsError",
    "WorkloadNotFoundError",
]


class TrioLogsError(Exception):
    """Base of every exception that this package raises on purpose."""


# The caller's fault.


class InvalidRequestError(TrioLogsError):
    """A parameter or header that can't be read; the message says what to write instead."""


class InvalidSpecError(TrioLogsError):
    """A workload that can't be run as described; the message names the field."""


class BackendNotFoundError(InvalidSpecError):
    """No backend has that name; the message lists those that are installed."""


class WorkloadNotFoundError(TrioLogsError):
    """No workload has that id: it never existed here, or it was deleted."""


class ConflictError(TrioLogsError):
    """The workload's state does not allow this, such as deleting one that runs."""


class OffsetError(ConflictError):
    """Bytes of a log that don't go on where the ones before ended; go on from `durable`."""

    def __init__(self, detail: str, durable: int) -> None:
        super().__init__(detail)
        self.durable = durable


class LogClosedError(TrioLogsError):
    """The log was closed, so nothing more can be written to it."""


class FencedError(LogClosedError):
    """Another writer has taken the log over, or the log has ended: this writer's epoch is past."""


# The moment's fault: try again later.


class BusyError(TrioLogsError):
    """A limit is reached; what is asked for can be had later."""


class NotReadyError(TrioLogsError):
    """The service is starting or shutting down."""


class IncompleteAnswerError(TrioLogsError):
    """An answer that has begun can't be completed. The server ends it in a way that the client can
    tell from its proper end."""


# The machine's or the operator's fault.


class DataFolderError(TrioLogsError):
    """The data folder can't be used: in use by another process, or not writable."""


class NotStartedError(TrioLogsError):
    """A workload could not be started: its command can't be run here, or the machine is at a limit.

    The message names the command, the folder or the limit. Raised by `Backend.run`; the workload's
    outcome is `failed` with the reason `not_started`.
    """


class StoreError(TrioLogsError):
    """The store could not commit or read; the cause is attached.

    The error is confined to the write or read that met it: the store goes on, and the same call
    may succeed later.
    """
