"""`trio-logs serve`: the service, until a signal."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import resource
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import structlog
import trio
from cyclopts import Parameter

from ..api import body_limit, create_app
from ..data_folder import default_data_folder
from ..engine import EngineLimits
from ..errors import StoreError
from ..logging import configure_logging
from ..server import Bind, Server, ServerLimits, TCPBind, load_tls
from ..service import Service, open_service
from ..settings import DAY, GIB, Settings, parse_public_url
from ..store import Retention
from .address import leave_address, page_url
from .exits import UsageError
from .given import number
from .times import duration

__all__ = ["serve"]

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

DESCRIPTORS = 65_536
"""The limit on open files that the service asks for. Workloads inherit the limit, and some programs
close every descriptor up to it when they start, so it is not higher."""

CONNECTIONS_PER_PEER = 1000
"""Open connections of one address, if the service listens on more than loopback."""

INVITATION_SECONDS = 3600.0
"""How long the address that `serve` prints can sign a browser in."""

INVITATION_PATIENCE = 10.0
"""How long to wait for the store that keeps it, in seconds."""

_log = structlog.get_logger("trio_logs.cli")


async def serve(
    *,
    bind: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help="HOST:PORT (port 0 takes a free one), unix:PATH or fd://N; may be repeated.",
        ),
    ] = ("127.0.0.1:8000",),
    data: Annotated[
        Path | None,
        Parameter(
            show_default=lambda _: str(default_data_folder()),
            help="The data folder: history and token. [env: TRIO_LOGS_DATA]",
        ),
    ] = None,
    allowed_host: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="A name that requests may use; on loopback: localhost."),
    ] = (),
    public_url: Annotated[
        str | None,
        Parameter(
            help="Where browsers find the service, as behind a proxy. [env: TRIO_LOGS_PUBLIC_URL]"
        ),
    ] = None,
    import_: Annotated[
        tuple[str, ...],
        Parameter(name="--import", negative="", help="A module with functions to run."),
    ] = (),
    max_running: Annotated[
        int, Parameter(validator=number(1), help="Workloads at once; more are queued.")
    ] = 100,
    grace: Annotated[
        float, Parameter(validator=number(0), help="Seconds between TERM and KILL.")
    ] = 10.0,
    store_patience: Annotated[
        float, Parameter(validator=number(0.1), help="Seconds to wait for a store that fails.")
    ] = 30.0,
    write_timeout: Annotated[
        float,
        Parameter(validator=number(1, DAY), help="Seconds that a client may read nothing."),
    ] = 30.0,
    certfile: Annotated[Path | None, Parameter(help="A certificate chain: serve TLS.")] = None,
    keyfile: Annotated[
        Path | None, Parameter(help="The key of --certfile, unless that file has it.")
    ] = None,
    max_connections: Annotated[
        int, Parameter(validator=number(1), help="Connections open at once.")
    ] = 11_000,
    max_connections_per_peer: Annotated[
        int | None,
        Parameter(
            validator=number(1), help="Of one address; by default 1000, and on loopback no limit."
        ),
    ] = None,
    history_bytes: Annotated[
        int, Parameter(validator=number(1), help="How much history is kept, in bytes.")
    ] = 10 * GIB,
    history_age: Annotated[
        float,
        Parameter(validator=number(1, 36_500 * DAY), help="How long history is kept, in seconds."),
    ] = 30 * DAY,
    record_count: Annotated[
        int | None,
        Parameter(
            validator=number(1), help="Workloads kept; those that ended first are deleted first."
        ),
    ] = None,
    record_age: Annotated[
        str | None,
        Parameter(help="Delete workloads that long after their end, such as 90d."),
    ] = None,
) -> int:
    """Run the service until SIGTERM or SIGINT; a second one cuts the shutdown short."""
    configure_logging()
    # A parent that ignores SIGCHLD passes this on, and then the kernel reports no exit status.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for module in import_:
        _import(module)
    public_url = public_url or os.environ.get("TRIO_LOGS_PUBLIC_URL")
    binds = [Bind.parse(text) for text in bind]
    allowed = frozenset(allowed_host)
    is_loopback = all(each.is_loopback for each in binds)
    names = {each.host for each in binds if isinstance(each, TCPBind)}
    if allowed or (names and is_loopback):
        # Refuse other names: a web page could reach the service through a domain of its own that
        # resolves to this address (DNS rebinding). Local commands use loopback names.
        allowed |= LOOPBACK_NAMES | names
    if max_connections_per_peer is None and not is_loopback:
        max_connections_per_peer = CONNECTIONS_PER_PEER
    max_record_age = None
    if record_age is not None:
        max_record_age = min(duration("--record-age", record_age), 36_500 * DAY)
    if keyfile is not None and certfile is None:
        raise UsageError("--keyfile: give its certificate with --certfile, too")
    server = Server(
        ServerLimits(
            write_timeout=write_timeout,
            connections=max_connections,
            connections_per_peer=max_connections_per_peer,
        ),
        tls=load_tls(certfile, keyfile) if certfile else None,
    )
    settings = Settings(
        data=data or default_data_folder(),
        allowed_hosts=allowed,
        public_url=parse_public_url(public_url) if public_url else None,
        store_patience=store_patience,
        engine=EngineLimits(running=max_running, grace=grace),
        retention=Retention(history_bytes, history_age, record_count, max_record_age),
    )
    # Objects that exist now live until the end. Without this, each collection looks at them again,
    # which took 7 % of the time of a busy stream.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)
    # Each stream takes a descriptor, and a common soft limit is about a thousand.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, DESCRIPTORS)), hard))
    await _serve(settings, server, dict(zip(bind, binds, strict=True)))
    return 0


def _import(module: str) -> None:
    """Import a module with functions. Raises UsageError if it can't be imported."""
    if not all(part.isidentifier() for part in module.split(".")):
        raise UsageError(f"--import {module!r}: give a module's name, such as jobs.nightly")
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"--import {module}: {error}; it must be importable, as from here with PYTHONPATH=."
        ) from error


async def _serve(settings: Settings, server: Server, binds: Mapping[str, Bind]) -> None:
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(_watch_signals, stop, nursery.cancel_scope)
        async with open_service(settings) as service, trio.open_nursery() as serving:
            app = create_app(service, server)
            try:
                limit = body_limit(settings)
                urls = await serving.start(server.serve, app, list(binds.values()), stop, limit)
            except OSError as error:
                raise OSError(_cant_listen(binds, error)) from error
            first = next(iter(binds.values()))
            leave_address(settings.data, urls[0], first)
            for url in urls:
                print(f"Listening on {url}", file=sys.stderr, flush=True)
            page = page_url(settings.public_url, urls, first)
            if page is not None and sys.stderr.isatty():
                serving.start_soon(_invite, service, page)
            await stop.wait()
            # The server closes its listeners, and each stream tells its client to reconnect later.
            service.drain()
        nursery.cancel_scope.cancel()


def _cant_listen(addresses: Iterable[str], error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        reason += "; --bind 127.0.0.1:0 takes a free port"
    return f"can't listen on {' or '.join(addresses)}: {reason}"


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


async def _watch_signals(
    stop: trio.Event, everything: trio.CancelScope, *, task_status: trio.TaskStatus[None]
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            if stop.is_set():
                everything.cancel(reason="a second signal")
                return
            _log.info("shutting down", signal=signal.Signals(number).name)
            stop.set()
