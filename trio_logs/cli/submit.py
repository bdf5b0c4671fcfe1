"""Submit or rerun a workload exactly once."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import httpx2
import trio

from ..client import Client, RefusedError, UnreachableError, Workload
from ..client.backoff import is_temporary
from ..client.requests import SubmitOptions
from .connection import Connection
from .outputs import trying_again

__all__ = ["rerun", "submit"]

START_DELAYS = (0.1, 0.2, 0.3, 0.4, *[0.5] * 18)
"""Seconds before each retry of a submission, while the server may be starting: 10 s in all."""

DELAYS = (0.2, 1.0, 3.0, 5.0)
"""Seconds before each retry of a rerun without an answer."""

WAIT_SECONDS = 15.0
"""The most seconds before a command learns that its workload was not submitted. A writer into
`pipe` waits meanwhile."""

TOLD_SECONDS = 1.0
"""Seconds that the server may be away before the command says so."""

Tell = Callable[[str], Awaitable[None]]


async def submit(
    stack: AsyncExitStack,
    find: Callable[[], Connection],
    command: Sequence[str],
    choose_options: Callable[[Connection], SubmitOptions],
    *,
    on_outage: Tell,
    on_wait: Tell | None = None,
) -> tuple[Client, Workload]:
    """Submit a workload exactly once, also if a request arrived and its answer was lost. Return it
    with the client that did so, which the stack closes.

    While no server listens, is busy or shuts down, try for 10 to 15 s. A service that is just
    starting leaves its address and its token where `find` finds them, so look for both before each
    attempt. `on_wait` gets a sentence when that takes more than a second.

    Raises UsageError, UnreachableError and RefusedError.
    """
    key = _new_key()
    connection, start = find(), trio.current_time()
    client = await stack.enter_async_context(connection.client(on_outage))
    with trio.move_on_after(WAIT_SECONDS):
        for delay in (*START_DELAYS, None):
            options: SubmitOptions = {**choose_options(connection), "idempotency_key": key}
            try:
                workload = await client.submit(command, **options)
            except UnreachableError as error:
                failure: UnreachableError | RefusedError = error
            except RefusedError as error:
                if not (is_temporary(error.status) or find() != connection):
                    raise
                failure = error
            else:
                return client, workload
            if delay is None:
                raise failure
            if on_wait is not None and trio.current_time() - start >= TOLD_SECONDS:
                await on_wait(trying_again(str(failure)))
                on_wait = None
            await trio.sleep(delay)
            if (found := find()) != connection:
                connection = found
                client = await stack.enter_async_context(connection.client(on_outage))
    raise UnreachableError(f"the server gave no answer for {WAIT_SECONDS:.0f} s")


async def rerun(client: Client, workload_id: str) -> Workload:
    """Rerun a workload exactly once, as `submit` does, but do not wait for a server that does not
    listen."""
    key = _new_key()
    for attempt, delay in enumerate(DELAYS):
        try:
            return await client.rerun(workload_id, idempotency_key=key)
        except UnreachableError as error:
            if attempt == 0 and isinstance(error.__cause__, httpx2.ConnectError):
                # Nothing was sent.
                raise
        await trio.sleep(delay)
    return await client.rerun(workload_id, idempotency_key=key)


def _new_key() -> str:
    return secrets.token_urlsafe(16)
