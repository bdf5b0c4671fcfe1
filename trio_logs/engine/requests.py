"""Requests that reach another node than the workload's owner: the owner reads them in the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec
import structlog
import trio

from ..backends import Backend, Resizable
from ..broker import Bell
from ..errors import ConflictError, FencedError, NotReadyError, StoreError
from ..records import Status, Workload
from ..store.shared import PUSHED, Request, SharedStore
from .claims import Claims
from .job import Job, Phase
from .jobs import Jobs
from .store_calls import StoreCalls

__all__ = ["Elsewhere", "Requests"]

_log = structlog.get_logger("trio_logs.nodes")

ATTEMPTS = 10
"""How often a workload may change its owner while a request looks for the owner."""


class Stop(msgspec.Struct, tag="stop"):
    """Stop the workload. `grace` is in seconds; null takes that of the owner."""

    grace: float | None = None
    signal: str | None = None


class Resize(msgspec.Struct, tag="resize"):
    """Give its terminal another size, in characters."""

    columns: int
    rows: int


_decoder = msgspec.json.Decoder(Stop | Resize)


class Elsewhere:
    """Asks the owner of a workload that has no job here. `get` reads a record from the store."""

    def __init__(
        self,
        store: SharedStore,
        claims: Claims,
        calls: StoreCalls,
        get: Callable[[str], Awaitable[Workload]],
    ) -> None:
        self._store = store
        self._claims = claims
        self._calls = calls
        self._get = get

    async def stop(
        self, workload: Workload, grace: float | None, signal: str | None
    ) -> tuple[Workload, Job | None]:
        """Have the owner stop a workload. A queued workload ends here. If nobody owns the log that
        a client pushes, returns a job for the caller to stop. Raises StoreError."""
        workload_id = workload.id
        for _ in range(ATTEMPTS):
            if workload.status.final:
                return workload, None
            if workload.status is Status.QUEUED and await self._claims.withdraw(workload_id):
                return workload, None
            # The workload may have an owner now: it runs, or another node is withdrawing it. If the
            # owner dies, the node that buries it ends the workload.
            if await self._ask(workload_id, Stop(grace, signal)):
                return workload, None
            if workload.spec.backend == PUSHED and workload.status is Status.RUNNING:
                job = await self._claims.take(workload_id)
                if job is not None:
                    return workload, job
            workload = await self._get(workload_id)
        raise NotReadyError("the workload changes its node again and again: stop it again")

    async def is_here(self, job: Job) -> bool:
        """Whether this node still owns the workload of a job. Raises StoreError."""
        return not job.remote or await self._claims.owns(job)

    async def resize(self, workload_id: str, columns: int, rows: int) -> bool:
        """Have the owner resize a terminal; False if nobody owns it. Raises StoreError."""
        return await self._ask(workload_id, Resize(columns, rows))

    async def _ask(self, workload_id: str, what: Stop | Resize) -> bool:
        async def ask() -> bool:
            return await self._store.request(workload_id, msgspec.json.encode(what))

        return await self._calls.once("tell the workload's node", ask)


class Requests:
    """Does what clients of other nodes ask. `grace` is in seconds, for a stop that has none. Ring
    the `bell` when there may be a request."""

    def __init__(
        self,
        store: SharedStore,
        jobs: Jobs,
        backends: Mapping[str, Backend],
        grace: float,
        bell: Bell,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._backends = backends
        self._grace = grace
        self._bell = bell
        # The requests that were answered, for the next call. Bound: those of one call.
        self._answered: list[int] = []

    async def run(self) -> None:
        """Answer requests until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._bell.wait()
                try:
                    found = await self._store.requests(self._answered)
                except (StoreError, FencedError) as error:
                    # The next beat looks again, or ends this node.
                    _log.debug("requests not read: trying again", error=str(error))
                    continue
                self._answered = []
                for request in found:
                    # A workload that has no job yet was claimed just now: look again.
                    if (job := self._jobs.get(request.workload_id)) is not None:
                        self._answered.append(request.number)
                        self._answer(job, request, nursery)
                if self._answered:
                    self._bell.ring()

    def _answer(self, job: Job, request: Request, nursery: trio.Nursery) -> None:
        try:
            what = _decoder.decode(request.content)
        except msgspec.DecodeError:
            # A node of a later version asks; it has answered its client.
            _log.warning("request not understood", workload=job.workload.id)
            return
        match what:
            case Stop(grace, signal):
                self._jobs.stop(job, self._grace if grace is None else grace, signal)
            case Resize(columns, rows):
                if job.phase is Phase.RUNNING:
                    nursery.start_soon(self._resize, job, columns, rows)

    async def _resize(self, job: Job, columns: int, rows: int) -> None:
        backend = self._backends.get(job.workload.spec.backend)
        if isinstance(backend, Resizable):
            try:
                await backend.resize(job.workload.id, columns, rows)
            except ConflictError:
                pass  # it has just ended
            except Exception:
                # The fault of the backend must not end this node.
                _log.exception("terminal not resized", workload=job.workload.id)
