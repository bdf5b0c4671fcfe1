"""What the demo does: a service, its page, and two readers of a sample build."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

import httpx2
import trio
from rich.console import Console

from ..api import create_app
from ..engine import EngineLimits
from ..logging import configure_logging
from ..server import Server, TCPBind
from ..service import Service, open_service
from ..settings import Settings
from .readers import follow_sample, submit_sample
from .workloads import RUNNING, workloads

__all__ = ["run_demo"]

CODE_SECONDS = 3600.0
"""How long the address of the page can sign a browser in."""

GRACE = 1.0
"""Seconds between TERM and KILL when the demo ends."""


async def run_demo() -> None:
    """Start a service on a free port, and follow a sample build in it with two readers.

    On a terminal, the service also runs the workloads for the page, and goes on until SIGINT or
    SIGTERM; a second signal cuts the shutdown short. Raises RuntimeError if the readers differ.
    """
    configure_logging()
    with tempfile.TemporaryDirectory(prefix="trio-logs-demo-") as folder:
        settings = Settings(
            data=Path(folder),
            # A page of another origin could have its own name resolve to this address.
            allowed_hosts=frozenset({"127.0.0.1", "localhost"}),
            engine=EngineLimits(running=RUNNING, grace=GRACE),
        )
        show = trio.CancelScope()
        if not sys.stdout.isatty():
            await _perform(settings, show, stays=False)
            return
        async with trio.open_nursery() as nursery:
            await nursery.start(_watch_signals, show, nursery.cancel_scope)
            await _perform(settings, show, stays=True)
            nursery.cancel_scope.cancel(reason="the demo is over")


async def _perform(settings: Settings, show: trio.CancelScope, *, stays: bool) -> None:
    stop = trio.Event()
    async with open_service(settings) as service, trio.open_nursery() as nursery:
        [url] = await nursery.start(
            Server().serve, create_app(service), [TCPBind("127.0.0.1", 0)], stop
        )
        print(f"Listening on {url}", file=sys.stderr, flush=True)
        console = Console(highlight=False)
        with show:
            await _show(service, url, console, stays=stays)
        if show.cancelled_caught:
            # The terminal has echoed ^C.
            console.print("\nThe demo ends.")
        service.drain()
        stop.set()


async def _show(service: Service, url: str, console: Console, *, stays: bool) -> None:
    code, _ = await service.sessions.make_code(read_only=False, seconds=CODE_SECONDS)
    page = f"{url}/#code={code}"
    # A wrapped address can't be opened.
    console.print(f"Open {page}", soft_wrap=True)
    headers = {"Authorization": f"Bearer {service.token}"}
    # A transport of its own makes the client ignore the environment's proxies, which must not see
    # the token.
    async with httpx2.AsyncClient(
        base_url=url, headers=headers, timeout=30, transport=httpx2.AsyncHTTPTransport()
    ) as client:
        logs_url = await submit_sample(client)
        for body in workloads() if stays else ():
            (await client.post("/v1/workloads", json=body)).raise_for_status()
        await follow_sample(client, logs_url, console)
    if stays:
        # The log has scrolled the address out of a terminal of 24 lines.
        console.print(f"The page has more to look at: {page}", soft_wrap=True)
        console.print("Ctrl-C ends the demo.")
        await trio.sleep_forever()


async def _watch_signals(
    show: trio.CancelScope,
    everything: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            if show.cancel_called:
                everything.cancel(reason="a second signal")
                return
            show.cancel(reason="a signal")
