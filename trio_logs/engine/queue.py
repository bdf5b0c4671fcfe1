"""The queue: the workloads that wait, how many run, and whether there is room for another."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import BusyError
from .job import Job
from .limits import EngineLimits

__all__ = ["Queue"]


class Queue:
    """First in, first out. All changes are plain functions, so each change is atomic on Trio.

    `running` counts local workloads that have left the queue, `remote` those that run elsewhere;
    both count until `release`.
    """

    def __init__(self, limits: EngineLimits) -> None:
        self._limits = limits
        self._waiting: deque[Job] = deque()
        self._submitting = {True: 0, False: 0}  # by whether they run elsewhere
        self._submitting_bytes = 0
        self._waiting_bytes = 0
        self.running = 0
        self.remote = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """The weight of the workloads that wait."""
        return self._waiting_bytes

    @contextmanager
    def room_for(self, weight: int, *, remote: bool) -> Iterator[None]:
        """Count a workload that is being submitted. Raises BusyError if there is no room for it."""
        submitting = self._submitting[remote]
        weight = 0 if remote else weight
        if remote:
            if self.remote + submitting >= self._limits.remote:
                raise BusyError(
                    f"{self._limits.remote} workloads run elsewhere: submit again later"
                )
        elif len(self) + submitting >= self.capacity:
            raise BusyError(f"{self._limits.queued} workloads are waiting: submit again later")
        elif len(self) + submitting >= self.free and self.is_full_with(weight):
            raise BusyError(
                f"the workloads that wait have {self.waiting_bytes} bytes of specifications, and"
                f" {self._limits.queued_bytes} is the limit: submit again later"
            )
        self._submitting[remote] += 1
        self._submitting_bytes += weight
        try:
            yield
        finally:
            self._submitting[remote] -= 1
            self._submitting_bytes -= weight

    def is_full_with(self, weight: int) -> bool:
        """Whether a workload of this weight is beyond the bytes that may wait."""
        return self.waiting_bytes + self._submitting_bytes + weight > self._limits.queued_bytes

    async def refresh(self, weight: int) -> None:
        """Learn how many workloads wait, if that is not known here, and if there seems to be no
        room for one of this weight. Raises StoreError."""

    def add(self, job: Job) -> None:
        """Put a job at the end of the queue."""
        self._waiting.append(job)
        self._waiting_bytes += job.weight

    def take(self) -> list[Job]:
        """The jobs that may start now, oldest first; they count as running."""
        ready = [self._waiting.popleft() for _ in range(min(self.free, len(self._waiting)))]
        self.running += len(ready)
        self._waiting_bytes -= sum(job.weight for job in ready)
        return ready

    def hold(self, job: Job) -> None:
        """Count a job that does not wait: it runs elsewhere, or waited in the store."""
        if job.remote:
            self.remote += 1
        else:
            self.running += 1

    def release(self, job: Job) -> None:
        """The job runs no more, so another job may."""
        if job.remote:
            self.remote -= 1
        else:
            self.running -= 1

    def remove(self, job: Job) -> None:
        """Take a job that waits out of the queue."""
        self._waiting.remove(job)
        self._waiting_bytes -= job.weight

    def clear(self) -> None:
        """Forget the jobs that wait."""
        self._waiting.clear()
        self._waiting_bytes = 0

    @property
    def capacity(self) -> int:
        """How many workloads may wait, with those that can start at once."""
        return self._limits.queued + self.free

    @property
    def free(self) -> int:
        """How many more workloads may run here."""
        return max(0, self._limits.running - self.running)

    @property
    def free_remote(self) -> int:
        """How many more workloads that run elsewhere this node may have."""
        return max(0, self._limits.remote - self.remote)
