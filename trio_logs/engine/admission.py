"""Submissions: ids, Idempotency-Keys, and records that failed submissions leave in the store."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import msgspec
import trio

from ..errors import ConflictError, FencedError, InvalidSpecError, NotReadyError, StoreError
from ..records import Workload, WorkloadSpec, now
from ..store import WorkloadStore
from ..store.shared import SharedStore
from .key_locks import KeyLocks
from .queue import Queue
from .store_calls import StoreCalls

__all__ = ["Admission", "Submission", "fingerprint_of", "fingerprint_of_rerun"]


MAX_UNSETTLED = 10_000
"""Failed submissions whose records are still to be deleted; further submissions are refused."""


@dataclass(slots=True, eq=False)
class Submission:
    """A workload that a client wants to run. Once `decided` is set, `workload` has the record; if
    it is None, the submission failed with `error`.

    `specify` returns what to run, or raises what speaks against it. It is not called if the key was
    used before. `fingerprint` tells this request from others with the same key. The initial `error`
    is for a failure of the task that decides.
    """

    specify: Callable[[], Awaitable[WorkloadSpec]]
    key: str | None
    fingerprint: bytes
    rerun_of: str | None = None
    decided: trio.Event = field(default_factory=trio.Event)
    workload: Workload | None = None
    created: bool = False
    error: Exception = field(
        default_factory=lambda: NotReadyError("the service failed: submit again when it is back")
    )


class _KeyTakenError(Exception):
    """Another node has created a workload with the same Idempotency-Key meanwhile."""


def fingerprint_of(spec: WorkloadSpec) -> bytes:
    """The fingerprint of a submission. Raises InvalidSpecError for a text that is not Unicode."""
    try:
        encoded = msgspec.json.encode(spec, order="deterministic")
    except UnicodeEncodeError as error:
        raise InvalidSpecError(f"a text is not Unicode: {error}") from error
    return hashlib.sha256(encoded).digest()


def fingerprint_of_rerun(workload_id: str) -> bytes:
    """The fingerprint of a rerun. No submission has it: those are of JSON objects."""
    return hashlib.sha256(f"rerun {workload_id}".encode(errors="surrogatepass")).digest()


class Admission:
    """Creates the records of new workloads, each once.

    After a failed call, the store may have the record all the same. The next start would run it,
    although the service told its client to submit again. Such a record is *unsettled* until
    `settle` has deleted it. A submission with the same key deletes it first, so a key never runs
    twice. Without a key, a workload runs twice if the service dies before `settle` has deleted the
    record.

    With a `shared` store, another node may have claimed such a record already. So a record with a
    key stays, and the next submission with the key finds it, at any node. One without a key is
    deleted if it still waits.
    """

    def __init__(
        self,
        store: WorkloadStore,
        queue: Queue,
        calls: StoreCalls,
        is_remote: Callable[[WorkloadSpec], bool],
        shared: SharedStore | None = None,
    ) -> None:
        self._store = store
        self._queue = queue
        self._calls = calls
        self._is_remote = is_remote
        self._shared = shared
        self._max_unsettled = MAX_UNSETTLED
        self._keys = KeyLocks()
        # The keys of unsettled records by workload id, oldest first.
        self._unsettled: dict[str, str | None] = {}
        self._changed = trio.Event()
        self._last_id = 0
        self.submitted = 0

    @property
    def unsettled(self) -> int:
        """How many records of failed submissions the store may still have."""
        return len(self._unsettled)

    async def admit(self, submission: Submission) -> tuple[Workload, bool]:
        """The record of the workload, and whether it is new.

        Raises InvalidSpecError for a key that was used for another request, what `specify` raises,
        BusyError, and StoreError, at the latest after the store's patience.
        """
        return await self._calls.once(
            "take the submission", partial(self._find_or_create, submission)
        )

    async def _find_or_create(self, submission: Submission) -> tuple[Workload, bool]:
        if submission.key is None:
            return await self._create(submission), True
        async with self._keys.hold(submission.key):
            while True:
                found = await self._find(submission.key, submission.fingerprint)
                if found is not None:
                    return found, False
                with suppress(_KeyTakenError):
                    return await self._create(submission), True

    async def _find(self, key: str, fingerprint: bytes) -> Workload | None:
        """The workload of an earlier submission with the key; None if that failed."""
        known = await self._store.find_key(key)
        if known is None:
            return None
        workload_id, known_fingerprint = known
        if workload_id in self._unsettled:
            await self._store.delete(workload_id)
            self._settled(workload_id)
            return None
        if known_fingerprint != fingerprint:
            raise InvalidSpecError(
                "Idempotency-Key: it was used for another request; take a new key"
            )
        # None if the workload was deleted a moment ago, with its key.
        return await self._store.workload(workload_id)

    async def _create(self, submission: Submission) -> Workload:
        spec = await submission.specify()
        if self.unsettled >= self._max_unsettled:
            raise StoreError(
                f"the store did not settle {self.unsettled} earlier submissions: submit again later"
            )
        moment = now()
        workload = Workload(self._new_id(moment), spec, moment, rerun_of=submission.rerun_of)
        await self._queue.refresh(workload.weight)
        with self._queue.room_for(workload.weight, remote=self._is_remote(spec)):
            try:
                await self._store.create(
                    workload, key=submission.key, fingerprint=submission.fingerprint
                )
            except ConflictError as error:
                raise _KeyTakenError from error
            except (StoreError, trio.Cancelled):
                if self._shared is None or submission.key is None:
                    self._unsettled[workload.id] = submission.key
                    self._notify()
                raise
        self.submitted += 1
        return workload

    def _new_id(self, moment: int) -> str:
        """An id that sorts by time: microseconds, each used once, and six random digits."""
        self._last_id = max(moment, self._last_id + 1)
        return f"{self._last_id:014x}{secrets.token_hex(3)}"

    async def settle(self) -> None:
        """Delete the records of failed submissions, until cancelled."""
        while True:
            while self._unsettled:
                workload_id, key = next(iter(self._unsettled.items()))
                if key is None:
                    await self._delete(workload_id)
                else:
                    # A submission with the key must not find a record that is being deleted.
                    async with self._keys.hold(key):
                        await self._delete(workload_id)
            await self._changed.wait()

    async def until_settled(self) -> None:
        """Return once the store has no record of a failed submission."""
        while self._unsettled:
            await self._changed.wait()

    async def _delete(self, workload_id: str) -> None:
        if workload_id not in self._unsettled:
            return  # another submission with the key was faster
        await self._calls.until_done(
            f"delete the failed submission {workload_id}", partial(self._discard, workload_id)
        )
        self._settled(workload_id)

    async def _discard(self, workload_id: str) -> None:
        try:
            if self._shared is not None and await self._shared.withdraw(workload_id) is None:
                record = await self._store.workload(workload_id)
                if record is None or record.started_at is not None:
                    return  # it is gone, or a node has begun it
        except FencedError:
            return  # this node was buried: its next beat ends it
        await self._store.delete(workload_id)

    def _settled(self, workload_id: str) -> None:
        del self._unsettled[workload_id]
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
