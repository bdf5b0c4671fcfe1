"""`trio-logs serve`: the service, until a signal."""

from __future__ import annotations

import gc
import importlib
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token

from ..data_folder import default_data_folder
from ..engine import EngineLimits
from ..logging import LogFormat, configure_logging
from ..quiet_exit import exit_quietly
from ..server import Bind, Server, ServerLimits, TCPBind, load_tls
from ..settings import DAY, GIB, Settings, parse_node, parse_public_url, parse_store
from ..store import Retention
from .descriptors import fit, per_peer
from .exits import UsageError
from .given import LONGEST, Seconds, number
from .serving import serve_until_signal

__all__ = ["serve"]

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


def _folder(_: Any, tokens: Sequence[Token]) -> Path:
    """The value of --data. An empty one is an unset variable of a script, not this folder."""
    [token] = tokens
    if not token.value:
        raise ValueError("The folder's name is empty: give a folder.")
    return Path(token.value)


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
            converter=_folder,
            show_default=lambda _: str(default_data_folder()),
            help="The data folder: history and token. [env: TRIO_LOGS_DATA]",
        ),
    ] = None,
    allowed_host: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help="Host name that clients may use; repeatable. By default any; on loopback,"
            " localhost.",
        ),
    ] = (),
    public_url: Annotated[
        str | None,
        Parameter(help="URL at which browsers reach the service, such as that of its proxy."),
    ] = None,
    store: Annotated[
        str | None,
        Parameter(
            help="A PostgreSQL database that several nodes share, instead of the data folder's."
        ),
    ] = None,
    node: Annotated[
        str | None, Parameter(help="The name of this service among its nodes; by default the host.")
    ] = None,
    drain: Annotated[
        Seconds,
        Parameter(
            validator=number(0, DAY),
            help="Seconds that running workloads have to finish, after SIGTERM.",
        ),
    ] = 0.0,
    import_: Annotated[
        tuple[str, ...],
        Parameter(
            name="--import",
            negative="",
            help="Python module with functions that can run as workloads; repeatable.",
        ),
    ] = (),
    max_running: Annotated[
        int, Parameter(validator=number(1), help="Workloads that run at once; more are queued.")
    ] = 100,
    grace: Annotated[
        Seconds, Parameter(validator=number(0, of_seconds=True), help="Time between TERM and KILL.")
    ] = 10.0,
    store_patience: Annotated[
        Seconds,
        Parameter(
            validator=number(0.1, of_seconds=True), help="How long to wait for a store that fails."
        ),
    ] = 30.0,
    write_timeout: Annotated[
        Seconds,
        Parameter(
            validator=number(1, DAY, of_seconds=True), help="How long a client may read nothing."
        ),
    ] = 30.0,
    certfile: Annotated[
        Path | None, Parameter(help="Serve TLS with the certificate chain in this file.")
    ] = None,
    keyfile: Annotated[
        Path | None, Parameter(help="File with the key of --certfile, unless that file has it.")
    ] = None,
    max_connections: Annotated[
        int, Parameter(validator=number(1), help="Connections open at once.")
    ] = 11_000,
    max_connections_per_peer: Annotated[
        int | None,
        Parameter(
            validator=number(1),
            help="Of one address; by default 1000 or half of all, and on loopback no limit.",
        ),
    ] = None,
    history_bytes: Annotated[
        int,
        Parameter(
            validator=number(1),
            show_default=lambda size: f"{size}, {size / GIB:g} GiB",
            help="How much history is kept, in bytes; over it, the oldest lines go.",
        ),
    ] = 10 * GIB,
    history_age: Annotated[
        Seconds,
        Parameter(
            validator=number(1, LONGEST, of_seconds=True),
            help="How long history is kept, as in 30d.",
        ),
    ] = 30 * DAY,
    record_count: Annotated[
        int | None,
        Parameter(
            validator=number(1),
            help="How many workloads are kept; those that ended first are deleted first.",
        ),
    ] = None,
    record_age: Annotated[
        Seconds | None,
        Parameter(
            validator=number(0, LONGEST, of_seconds=True),
            help="Delete workloads that long after their end, such as 90d.",
        ),
    ] = None,
    log_format: Annotated[
        LogFormat, Parameter(help="Form of the service's own log, on standard error.")
    ] = "text",
    access_log: Annotated[
        bool, Parameter(negative="", help="Log each request when its answer has ended.")
    ] = False,
) -> int:
    """Run the service until SIGTERM or SIGINT; a second one cuts the shutdown short.

    Each option is also a variable: TRIO_LOGS_MAX_RUNNING for --max-running.
    """
    configure_logging(log_format=log_format)
    # A parent passes on which signals it blocks or ignores. A service that blocks SIGTERM is deaf.
    exit_quietly()
    # A parent that ignores SIGCHLD passes this on, and then the kernel reports no exit status.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for module in import_:
        _import(module)
    binds = [Bind.parse(text) for text in bind]
    allowed = frozenset(allowed_host)
    is_loopback = all(each.is_loopback for each in binds)
    names = {each.host for each in binds if isinstance(each, TCPBind)}
    if allowed or (names and is_loopback):
        # Refuse other names: a web page could reach the service through a domain of its own that
        # resolves to this address (DNS rebinding). Local commands use loopback names.
        allowed |= LOOPBACK_NAMES | names
    if keyfile is not None and certfile is None:
        raise UsageError("--keyfile: give its certificate with --certfile, too")
    settings = Settings(
        data=data or default_data_folder(),
        allowed_hosts=allowed,
        public_url=parse_public_url(public_url) if public_url else None,
        store=None if store is None else parse_store(store),
        node=None if node is None else parse_node(node),
        drain=drain,
        store_patience=store_patience,
        engine=EngineLimits(running=max_running, grace=grace),
        retention=Retention(history_bytes, history_age, record_count, record_age),
    )
    limits = ServerLimits(
        write_timeout=write_timeout,
        connections=max_connections,
        connections_per_peer=max_connections_per_peer,
    )
    limits, settings = fit(limits, settings)
    if max_connections_per_peer is None and not is_loopback:
        limits = replace(limits, connections_per_peer=per_peer(limits.connections))
    tls = load_tls(certfile, keyfile) if certfile else None
    server = Server(limits, tls=tls, access_log=access_log)
    # Objects that exist now live until the end. Without this, each collection looks at them again,
    # which took 7 % of the time of a busy stream.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)
    await serve_until_signal(settings, server, dict(zip(bind, binds, strict=True)), log_format)
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
