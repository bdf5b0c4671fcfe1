"""A workload that this process represents: its output, its end, and the signals to it."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress

import trio

from ..client import Client, ClientError, End, Status, UnreachableError, Workload
from ..errors import WorkloadNotFoundError
from .choose import deletion_is_told
from .outcomes import count_lines, exit_code, tell, why_stopped
from .outputs import Outputs
from .printer import Printer
from .resizing import Size, follow_size
from .sinks import OutputError
from .table import duration

__all__ = ["PATIENCE", "Foreground", "goes_on"]

PATIENCE = 300.0
"""Seconds without a log after which a follower gives up. A restart takes less."""

ASK_SECONDS = 2.0
"""Seconds that the server may take to tell how long the workload ran."""

QUEUED_SECONDS = 1.0
"""Seconds without a log after which the command asks whether the workload is still queued."""


def goes_on(workload_id: str) -> str:
    """The end of an error whose cause has left a workload alone."""
    return f"{workload_id} goes on: `trio-logs logs` prints its output, `trio-logs stop` ends it"


class Foreground:
    """One workload; call `run` once. If its terminal is to be as large as that of this process,
    `size` is the size that it has. With `quiet`, success is not told."""

    def __init__(
        self,
        client: Client,
        workload: Workload,
        outputs: Outputs,
        printer: Printer,
        size: Size | None,
        *,
        quiet: bool = False,
    ) -> None:
        self._client = client
        self._workload = workload
        self._outputs = outputs
        self._printer = printer
        self._size = size
        self._quiet = quiet
        self._is_silent = True
        self._end: End | None = None
        self._signal: int | None = None
        # Whether the server has accepted to stop it; None: its answer is outstanding.
        self._stops: bool | None = None
        self._start = trio.current_time()

    async def run(self) -> int:
        """Print its log to the end, then one line on its outcome; return the exit code."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._obey, signals, nursery)
                    nursery.start_soon(self._outputs.stdout.watch)
                    nursery.start_soon(self._tell_queue)
                    if self._size is not None:
                        nursery.start_soon(follow_size, self._client, self._workload.id, self._size)
                    await self._follow()
                    nursery.cancel_scope.cancel()
            except* BrokenPipeError:
                # A local command would not outlive the reader of its output either.
                with trio.move_on_after(5):
                    await self._stop()
                raise
            except* OutputError as group:
                raise OutputError(f"{_first(group)}; {goes_on(self._workload.id)}") from None
        if self._end is None:
            await self._outputs.notice(f"{self._workload.id} {self._fate()}")
            return 128 + (self._signal or 0)
        outcome = self._end.outcome
        was_stopped = outcome.status is Status.STOPPED
        if not (self._quiet and outcome.status is Status.SUCCEEDED):
            why = why_stopped(outcome) if self._signal is None else ""
            size = f"({count_lines(self._end.lines)}, {_took(await self._seconds())})"
            await self._outputs.notice(f"{self._workload.id} {tell(outcome)} {size}{why}")
        if was_stopped and self._signal is not None:
            return 128 + self._signal
        return exit_code(outcome)

    def _fate(self) -> str:
        """What becomes of the workload, which this command leaves."""
        if self._stops:
            return "is being stopped by the server, which kills it when its grace is over"
        if self._stops is None:
            return "may go on: the server has not confirmed yet that it stops it"
        return "goes on without this command"

    async def _follow(self) -> None:
        log = self._client.batches(
            self._workload.id, patience=PATIENCE, unfinished=self._outputs.draws
        )
        try:
            with deletion_is_told(self._workload.id):
                async with aclosing(log) as batches:
                    async for records in batches:
                        self._is_silent = False
                        await self._printer.print(records)
                        if isinstance(records[-1], End):
                            self._end = records[-1]
        except WorkloadNotFoundError:
            await self._printer.finish()
            raise
        except UnreachableError as error:
            await self._printer.finish()
            raise UnreachableError(
                f"{self._workload.id} may still run; this command can't follow it: {error}"
            ) from error
        await self._printer.finish()

    async def _tell_queue(self) -> None:
        """Say that the workload waits for others, which looks as if it hung."""
        await trio.sleep(QUEUED_SECONDS)
        with suppress(ClientError):
            status = (await self._get()).status
            if self._is_silent and status is Status.QUEUED:
                await self._outputs.notice(
                    f"{self._workload.id} is queued: it starts once other workloads have ended"
                )

    async def _get(self) -> Workload:
        return await self._client.get(self._workload.id)

    async def _seconds(self) -> float:
        """The seconds that it ran, or, without an answer, the seconds that this command waited."""
        with suppress(ClientError), trio.move_on_after(ASK_SECONDS):
            found = await self._get()
            if found.started_at is not None and found.finished_at is not None:
                return (found.finished_at - found.started_at).total_seconds()
        return trio.current_time() - self._start

    async def _obey(self, signals: AsyncIterator[int], nursery: trio.Nursery) -> None:
        async for number in signals:
            if self._signal is not None:
                nursery.cancel_scope.cancel(reason="a second signal")
                return
            self._signal = number
            nursery.start_soon(
                self._stop,
                f"stopping {self._workload.id}; interrupt again to leave it",
            )

    async def _stop(self, notice: str = "") -> None:
        try:
            await self._client.stop(self._workload.id)
        except ClientError as error:
            self._stops = False
            notice = f"can't stop {self._workload.id}: {error}; interrupt again to leave it running"
        else:
            self._stops = True
        if notice:
            await self._outputs.notice(notice)


def _took(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def _first(group: BaseExceptionGroup[OutputError]) -> BaseException:
    """The first error of a group, however deep it is."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
