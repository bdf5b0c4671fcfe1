"""Several logs from their first lines to their ends, over any number of connections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar, Unpack

import anyio
import httpx2

from ..records import Reset
from . import following
from .backoff import Backoff, is_temporary
from .connection import Connection
from .errors import RefusedError, UnreachableError
from .records import LogRecords, Workload, WorkloadChanged, WorkloadDeleted
from .requests import REQUEST_DELAYS, ListOptions, SeveralOptions
from .several_state import SeveralState

__all__ = ["SeveralLogs"]

T = TypeVar("T")


class SeveralLogs(ABC):
    """The part of `Client` that reads several logs at once."""

    _connection: Connection

    @abstractmethod
    def list(
        self, *, limit: int | None = None, **options: Unpack[ListOptions]
    ) -> AsyncGenerator[Workload, None]: ...

    @abstractmethod
    async def position(self) -> str: ...

    def follow_several(
        self, workload_ids: Sequence[str], **options: Unpack[SeveralOptions]
    ) -> AsyncGenerator[Sequence[LogRecords], None]:
        """Several logs over one connection: what is stored in the order of its arrival, and then
        lines as they come; each log to its end, and each line once, also over broken connections.

        Of more than 128 logs, the later ones wait until others have ended. An answer that is not of
        logs counts against `patience`. Raises RefusedError with status 404 if all are unknown.
        """
        state = SeveralState(workload_ids, options, self._connection.address)
        return _follow(self._connection, state)

    async def follow_matching(
        self, labels: Mapping[str, str], *, later: bool = False, **options: Unpack[SeveralOptions]
    ) -> AsyncGenerator[Sequence[Workload | LogRecords], None]:
        """The logs of all workloads with these labels, as `follow_several`; each workload comes
        before its first record.

        With `later`, also the logs of those that are created later, each from its first line on: it
        never ends, so close it with `contextlib.aclosing`. Raises UnreachableError at once if the
        server can't be reached at the start.
        """
        patience = options.get("patience")
        list_all = partial(self._oldest_first, labels)
        # The events after it tell of all that the list lacks.
        position = await self._patiently(self.position, patience) if later else None
        matching = _Matching(labels)
        workloads = matching.meet(await self._patiently(list_all, patience))
        if workloads:
            yield workloads
        ids = [each.id for each in workloads]
        state = SeveralState(ids, options, self._connection.address, events=position)
        async with aclosing(_follow(self._connection, state, is_known=True)) as batches:
            async for records in batches:
                found = matching.take(records)
                if any(isinstance(each, Reset) for each in records):
                    # Changes are missing.
                    listed = await self._patiently(list_all, patience, is_known=True)
                    found += matching.meet(listed)
                for each in found:
                    if isinstance(each, Workload):
                        state.add(each.id)
                if found:
                    yield found

    async def _patiently(
        self,
        ask: Callable[[], Awaitable[T]],
        patience: float | None,
        *,
        is_known: bool = False,
    ) -> T:
        """Ask again after each failure. A server that can't be reached is waited for only if it
        `is_known` to have been there."""
        backoff = Backoff(patience, self._connection.address)
        while True:
            try:
                return await ask()
            except UnreachableError as error:
                away = isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout)
                if away and not is_known:
                    raise
                reason = str(error.__cause__ or error)
            except RefusedError as error:
                if not is_temporary(error.status):
                    raise
                reason = f"the server answers {error.status}"
            await self._connection.pause(backoff.delay(reason, *REQUEST_DELAYS), reason)

    async def _oldest_first(self, labels: Mapping[str, str]) -> Sequence[Workload]:
        async with aclosing(self.list(labels=labels)) as workloads:
            return [each async for each in workloads][::-1]


class _Matching:
    """Which workloads with these labels are known; without I/O."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = labels
        # Bound: the workloads with these labels that were not deleted.
        self._known: set[str] = set()

    def take(self, records: Sequence[Any]) -> list[Workload | LogRecords]:
        """The new workloads, and the records of their logs."""
        found: list[Workload | LogRecords] = []
        for record in records:
            match record:
                case LogRecords():
                    found.append(record)
                case WorkloadChanged(workload=workload):
                    found += self.meet([workload])
                case WorkloadDeleted(id=workload_id):
                    self._known.discard(workload_id)
        return found

    def meet(self, workloads: Sequence[Workload]) -> list[Workload]:
        """Those of these workloads that have the labels and are not known yet."""
        found = [
            each
            for each in workloads
            if each.id not in self._known and self._labels.items() <= each.labels.items()
        ]
        self._known.update(each.id for each in found)
        return found


async def _follow(
    connection: Connection, state: SeveralState, *, is_known: bool = False
) -> AsyncGenerator[Sequence[Any], None]:
    """The records of the logs, with changes of workloads if the state follows them. `is_known`:
    the service has known one of the logs."""
    while not state.done:
        try:
            answers: AsyncGenerator[Sequence[Any], None]
            answers = following.follow(connection, "/v1/logs", state)
            async with aclosing(answers) as batches:
                while True:
                    # To leave an answer loses nothing: the next request goes on behind what came.
                    with anyio.move_on_after(state.stale_in) as waiting:
                        records = await anext(batches, None)
                    if waiting.cancelled_caught or records is None:
                        break
                    is_known = True
                    yield records
        except RefusedError as error:
            if error.status != httpx2.codes.NOT_FOUND or not is_known:
                raise
            yield state.all_gone()
        else:
            if not state.done and (cleared := state.clear()):
                yield cleared
