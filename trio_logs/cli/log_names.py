"""What the lines of many logs are prefixed with: names that `trio-logs logs` would accept."""

from __future__ import annotations

from collections.abc import Sequence

from ..client import Client, RefusedError, Workload
from .controls import one_line

__all__ = ["LogNames"]


class LogNames:
    """Finds the name of a log: that of its workload if no other one has it, else the workload's id.

    `chosen` are the workloads that the user named; then, only these count as others. Bound: a name
    for each log that had a line, and one entry for each different name.
    """

    def __init__(self, client: Client, chosen: Sequence[Workload] = ()) -> None:
        self._client = client
        self._chosen = chosen
        self._shared: dict[str, bool] = {}
        self._found: dict[str, str] = {}

    async def of(self, workload_id: str) -> str:
        """The name of the log of a workload, safe for a terminal. Raises ClientError."""
        if workload_id not in self._found:
            self._found[workload_id] = workload_id
            workload = await self._workload(workload_id)
            name = None if workload is None else workload.name
            # A name that can't be printed as it is can't be typed either.
            if name and one_line(name) == name and not await self._is_shared(name):
                self._found[workload_id] = name
        return self._found[workload_id]

    async def _workload(self, workload_id: str) -> Workload | None:
        for workload in self._chosen:
            if workload.id == workload_id:
                return workload
        try:
            return await self._client.get(workload_id)
        except RefusedError as error:
            if error.status != 404:
                raise
            # It was deleted after its line was found.
            return None

    async def _is_shared(self, name: str) -> bool:
        if self._chosen:
            return [workload.name for workload in self._chosen].count(name) > 1
        if name not in self._shared:
            found = [each async for each in self._client.list(name=name, limit=2)]
            self._shared[name] = len(found) > 1
        return self._shared[name]
