"""The service as `trio-logs serve` runs it: where it listens, and its end by a signal."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import structlog
import trio

from ..api import body_limit, create_app
from ..errors import StoreError
from ..logging import LogFormat
from ..quiet_exit import is_opening
from ..server import Bind, Server
from ..service import Service, open_service
from ..settings import Settings
from .address import address_of, leave_address, page_url

__all__ = ["serve_until_signal"]

INVITATION_SECONDS = 3600.0
"""How long the address that `serve` prints can sign a browser in."""

INVITATION_PATIENCE = 10.0
"""How long to wait for the store that keeps it, in seconds."""

ADDRESS_SECONDS = 2.0
"""How long the start waits for the address file, in seconds."""

START_SECONDS = 5.0
"""How long the start may go on after a signal, in seconds."""

_log = structlog.get_logger("trio_logs.cli")


async def serve_until_signal(
    settings: Settings, server: Server, binds: Mapping[str, Bind], log_format: LogFormat
) -> None:
    """Run the service, with a server that listens on `binds`, which are keyed by their texts.

    Returns after the shutdown that SIGTERM or SIGINT starts. Raises OSError if the server can't
    listen, and the errors of `open_service`.
    """
    asked, drained, stop, opened = [trio.Event() for _ in range(4)]
    async with trio.open_nursery() as nursery:
        steps = (asked, drained) if settings.drain else (asked,)
        await nursery.start(_watch_signals, steps, nursery.cancel_scope)
        nursery.start_soon(_cut_start, asked, opened, nursery.cancel_scope)
        async with open_service(settings) as service, trio.open_nursery() as serving:
            opened.set()
            app = create_app(service, server)
            try:
                limit = body_limit(settings)
                urls = await serving.start(server.serve, app, list(binds.values()), stop, limit)
            except OSError as error:
                raise OSError(_cant_listen(binds, error)) from error
            first = next(iter(binds.values()))
            await _leave_address(settings.data, urls[0], first)
            service.listen_at(address_of(urls[0], first))
            for url in urls:
                if log_format == "json":
                    _log.info("listening", url=url)
                else:
                    print(f"Listening on {url}", file=sys.stderr, flush=True)
            page = page_url(settings.public_url, urls, first)
            # A log in JSON goes to a collector, which must not have the code.
            if page is not None and log_format == "text" and sys.stderr.isatty():
                serving.start_soon(_invite, service, page)
            await asked.wait()
            if settings.drain:
                await _drain(service, drained)
            drained.set()
            stop.set()
            # The server closes its listeners, and each stream tells its client to reconnect later.
            service.drain()
            if running := service.statistics().engine.running:
                grace = settings.engine.grace
                how = "a second signal does not wait for them"
                _log.info(
                    "shutting down: stopping workloads", running=running, grace=grace, hint=how
                )
        nursery.cancel_scope.cancel()


def _cant_listen(addresses: Iterable[str], error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        reason += "; --bind 127.0.0.1:0 takes a free port"
    return f"can't listen on {' or '.join(addresses)}: {reason}"


async def _leave_address(folder: Path, url: str, bind: Bind) -> None:
    """In a thread: a disk that does not answer must hold up neither requests nor the shutdown."""
    reason = "the disk does not answer"
    with trio.move_on_after(ADDRESS_SECONDS):
        try:
            leave = partial(leave_address, folder, url, bind)
            await trio.to_thread.run_sync(leave, abandon_on_cancel=True)
        except RuntimeError as error:
            # A limit on processes stops the start of a thread.
            reason = str(error)
        else:
            return
    _log.warning("no address file yet", folder=str(folder), reason=reason)


async def _cut_start(stop: trio.Event, opened: trio.Event, everything: trio.CancelScope) -> None:
    """After a signal during the start, the start may take a few seconds more, and no longer."""
    await stop.wait()
    with trio.move_on_after(START_SECONDS):
        await opened.wait()
        return
    _log.warning("the start was cut short: the disk did not answer in time")
    everything.cancel(reason="a signal during the start")


async def _invite(service: Service, url: str) -> None:
    """Print an address that signs a browser in, for the person at the terminal."""
    sessions = service.sessions
    # A store that hangs must not hold up the shutdown.
    with trio.move_on_after(INVITATION_PATIENCE):
        try:
            code, _ = await sessions.make_code(read_only=False, seconds=INVITATION_SECONDS)
        except StoreError as error:
            _log.warning("no address to sign in: use `trio-logs open`", reason=str(error))
        else:
            print(f"Open {url}/#code={code}", file=sys.stderr, flush=True)


async def _drain(service: Service, cut: trio.Event) -> None:
    """Give workloads their time to finish, until a signal cuts it."""
    hint = "a second signal stops workloads now"
    _log.info("draining", seconds=service.settings.drain, hint=hint)
    async with trio.open_nursery() as nursery:

        async def wind_down() -> None:
            await service.wind_down()
            nursery.cancel_scope.cancel()

        nursery.start_soon(wind_down)
        await cut.wait()
        nursery.cancel_scope.cancel(reason="a signal during the drain")


async def _watch_signals(
    steps: Sequence[trio.Event],
    everything: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """Set the next of these events at each signal; cancel everything at a signal after them."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        is_opening()
        task_status.started()
        async for number in signals:
            step = next((each for each in steps if not each.is_set()), None)
            if step is None:
                everything.cancel(reason="a second signal")
                return
            _log.info("shutting down", signal=signal.Signals(number).name)
            step.set()
