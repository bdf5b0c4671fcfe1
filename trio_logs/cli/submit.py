"""Submit or rerun a workload exactly once."""

from __future__ import annotations

import math
import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import httpx2
import trio

from ..client import Client, RefusedError, UnreachableError, Workload
from ..client.backoff import is_temporary
from ..client.requests import SubmitOptions

__all__ = ["rerun", "submit"]

RETRIES = (0.2, 1.0, 3.0, 5.0)
"""Seconds before each retry of a submission without an answer."""

WAIT_SECONDS = 15.0
"""The most seconds that a writer waits before it learns that its output is not kept."""


async def submit(
    client: Client, command: Sequence[str], options: SubmitOptions, *, waits: bool = False
) -> Workload:
    """Submit a workload exactly once, also if a request arrived and its answer was lost.

    With `waits`, also retry while no server listens, or while it is busy or shuts down. Otherwise
    raise these errors at once. Raises UnreachableError and RefusedError.
    """
    options = {**options, "idempotency_key": _new_key()}
    return await _once(partial(client.submit, command, **options), waits=waits)


async def rerun(client: Client, workload_id: str) -> Workload:
    """Rerun a workload exactly once, as `submit` does."""
    call = partial(client.rerun, workload_id, idempotency_key=_new_key())
    return await _once(call, waits=False)


def _new_key() -> str:
    return secrets.token_urlsafe(16)


async def _once(call: Callable[[], Awaitable[Workload]], *, waits: bool) -> Workload:
    with trio.move_on_after(WAIT_SECONDS if waits else math.inf):
        for attempt, delay in enumerate(RETRIES):
            try:
                return await call()
            except UnreachableError as error:
                if not waits and attempt == 0 and isinstance(error.__cause__, httpx2.ConnectError):
                    # No server listens, so nothing was sent.
                    raise
            except RefusedError as error:
                if not (waits and is_temporary(error.status)):
                    raise
            await trio.sleep(delay)
        return await call()
    raise UnreachableError(f"the server gave no answer for {WAIT_SECONDS:.0f} s")
