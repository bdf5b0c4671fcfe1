"""How a follower of changes of workloads reads answers, and resumes after its stream broke; without
I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..records import Reset
from .events import ID, EventParser
from .records import Workload, WorkloadChanged, WorkloadDeleted, WorkloadProgress
from .resume import Resume

__all__ = ["ChangeParser", "ChangesResume"]


class _Deleted(msgspec.Struct):
    id: str


class _Reset(msgspec.Struct):
    reason: str
    detail: str = ""


class ChangeParser(EventParser):
    """For an event stream of changes."""

    _kind = "a stream of changes"
    # A workload has the command of its submission, whose bound the server sets.
    _max_bytes = 16 * 1024 * 1024

    _position: str | None = None

    def _objects(self, view: memoryview) -> bytes | None:
        return None

    def _event(self, event: bytes) -> Sequence[Any]:
        found = ID.search(event)
        self._position = None if found is None else found[1].decode()
        if self._position is not None and not (
            self._position.isascii() and self._position.isdigit()
        ):
            raise msgspec.ValidationError(f"{self._position!r} is no position")
        records = super()._event(event)
        self.last_id = self._position or self.last_id
        return records

    def _lines(self, objects: bytes | memoryview) -> Sequence[Any]:
        if objects:
            raise msgspec.ValidationError("an event has no name")
        return []

    def _control(self, name: str, data: bytes) -> Sequence[Any]:
        decode = msgspec.json.decode
        match name:
            case "workload":
                return [WorkloadChanged(decode(data, type=Workload), self._placed)]
            case "deleted":
                return [WorkloadDeleted(decode(data, type=_Deleted).id, self._placed)]
            case "progress":
                return [decode(data, type=WorkloadProgress)]
            case "reset":
                # The next frame has the position from which the stream goes on. Before it comes, a
                # resume must be told of the reset again.
                reset = decode(data, type=_Reset)
                return [Reset(reset.reason, reset.detail)]
            case "shutdown":
                return super()._control(name, data)
        # Later versions of the service may have events of other names.
        return []

    @property
    def _placed(self) -> str:
        if self._position is None:
            raise msgspec.ValidationError("a change has no position")
        return self._position


class ChangesResume(Resume):
    """The state of one follower of changes over all its connections. See `Resume`."""

    def __init__(self, after: str | None, patience: float | None, address: str) -> None:
        super().__init__({} if patience is None else {"patience": patience}, address)
        self._query = {}
        self._parser = self._new_parser(after)

    def _new_parser(self, last_id: str | None) -> ChangeParser:
        return ChangeParser(last_id)
