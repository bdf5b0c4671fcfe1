"""A connection whose waits have a bound, and can be interrupted from another thread."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg import generators, waiting
from psycopg.abc import PQGen

__all__ = ["ANSWER_SECONDS", "Connection", "Cursor", "Values"]

T = TypeVar("T")

ANSWER_SECONDS = 10.0
"""Seconds that a statement may take. The server ends it earlier, see `server.STATEMENT_SHARE`. A
server that is stopped, or that the network does not reach, can't do so: then the connection is
closed here."""

CANCEL_SECONDS = 2.0
"""Seconds that the request to end a statement in the server may take."""

Cursor = psycopg.Cursor[tuple[Any, ...]]
Values: TypeAlias = Sequence[Any] | dict[str, Any]


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that one thread uses at a time. `interrupt` is for all others."""

    answer_seconds: float | None = None
    """How long a statement may take; None: ANSWER_SECONDS."""

    first_epoch = 0
    """The least epoch that an owner of a log may get; see `server.open_writer`."""

    skipped_to = 0
    """Positions of changes up to here are given, or skipped; see `Transaction.commit`."""

    _alarm: tuple[int, int] | None = None
    _guard: threading.Lock

    def arm(self) -> None:
        """Let it be interrupted; `close` releases what that needs."""
        self._guard = threading.Lock()
        self._alarm = os.pipe()

    def interrupt(self) -> None:
        """Have the statement that runs in another thread end, or the next one, with an
        OperationalError."""
        # The guard keeps `close` from closing the pipe between the look and the write.
        with self._guard:
            if self._alarm is not None:
                os.write(self._alarm[1], b"!")

    def is_stale(self) -> bool:
        """Whether the server has closed it while no statement ran. It takes no round trip."""
        poll = select.poll()
        try:
            poll.register(self.fileno(), select.POLLIN)
        except psycopg.Error:
            return True
        # A server that is idle sends nothing, unless it ends.
        return bool(poll.poll(0))

    def together(self, statements: Sequence[tuple[str, Values]]) -> list[Cursor]:
        """Run statements in one round trip; return their cursors. Raises psycopg.Error for the
        first one that fails: those after it do not run."""
        cursors: list[Cursor] = []
        failure: psycopg.Error | None = None
        try:
            with self.pipeline():
                try:
                    for statement, values in statements:
                        cursors.append(self.cursor(binary=True).execute(statement, values or None))
                except psycopg.Error as error:
                    # Outside, psycopg would log what it meets when it ends the pipeline.
                    failure = error
        except psycopg.Error as error:
            raise (failure or error) from None
        if failure is not None:
            raise failure
        return cursors

    def wait(self, gen: PQGen[T], interval: float = 0.0, timeout: float | None = None) -> T:
        """Run one exchange with the server; psycopg calls this for each. Raises OperationalError if
        it lasts too long."""
        patience = timeout
        if patience is None:
            patience = self.answer_seconds or ANSWER_SECONDS
        deadline = time.monotonic() + patience
        poll = select.poll()
        if self._alarm is not None:
            poll.register(self._alarm[0], select.POLLIN)
        registered = 0
        try:
            wanted = next(gen)
            while True:
                events = 0
                if wanted & waiting.WAIT_R:
                    events |= select.POLLIN
                if wanted & waiting.WAIT_W:
                    events |= select.POLLOUT
                if events != registered:
                    poll.register(self.pgconn.socket, events)
                    registered = events
                left = deadline - time.monotonic()
                found = poll.poll(max(left, 0) * 1000)
                if not found:
                    self._give_up()
                    raise psycopg.OperationalError(
                        f"the server has not answered for {patience:g} s"
                    )
                ready = 0
                for descriptor, event in found:
                    if self._alarm is not None and descriptor == self._alarm[0]:
                        self._give_up()
                        raise psycopg.OperationalError("the statement was interrupted")
                    if event & ~select.POLLOUT:
                        ready |= waiting.READY_R
                    if event & ~select.POLLIN:
                        ready |= waiting.READY_W
                wanted = gen.send(ready)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            # If the exchange has not ended, its clean-up may want to send something.
            with suppress(psycopg.Error, RuntimeError):
                gen.close()

    def close(self) -> None:
        """Close it; a second call does nothing."""
        super().close()
        if self._alarm is not None:
            with self._guard:
                alarm, self._alarm = self._alarm, None
            for descriptor in alarm:
                os.close(descriptor)

    def _give_up(self) -> None:
        """End the statement in the server, if that answers, and the connection."""
        with suppress(psycopg.Error):
            # `cancel_safe` leaves the socket to the garbage collector if it times out.
            request = self.pgconn.cancel_conn()
            try:
                request.start()
                waiting.wait_conn(generators.cancel(request), timeout=CANCEL_SECONDS)
            finally:
                request.finish()
        self.pgconn.finish()
