"""`trio-logs serve`: the service, until a signal."""

from __future__ import annotations

import gc
import importlib
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token

from ..data_folder import default_data_folder
from ..engine import EngineLimits
from ..logging import LogFormat, configure_logging
from ..open_files import raise_limit
from ..quiet_exit import exit_quietly
from ..server import Bind, Server, ServerLimits, TCPBind, load_tls
from ..settings import DAY, GIB, Settings, parse_node, parse_public_url, parse_store
from ..store import Retention
from .exits import UsageError
from .given import LONGEST, Seconds, number
from .serving import serve_until_signal

__all__ = ["serve"]

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

DESCRIPTORS = 65_536
"""The limit on open files that the service asks for; the commands that it runs don't get it."""

CONNECTIONS_PER_PEER = 1000
"""Open connections of one address, if the service listens on more than loopback."""


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
        Parameter(negative="", help="A name that requests may use; on loopback: localhost."),
    ] = (),
    public_url: Annotated[
        str | None,
        Parameter(help="Where browsers find the service, as behind a proxy."),
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
        Parameter(name="--import", negative="", help="A module with functions to run."),
    ] = (),
    max_running: Annotated[
        int, Parameter(validator=number(1), help="Workloads at once; more are queued.")
    ] = 100,
    grace: Annotated[
        Seconds, Parameter(validator=number(0), help="Seconds between TERM and KILL.")
    ] = 10.0,
    store_patience: Annotated[
        Seconds, Parameter(validator=number(0.1), help="Seconds to wait for a store that fails.")
    ] = 30.0,
    write_timeout: Annotated[
        Seconds,
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
        Seconds,
        Parameter(validator=number(1, LONGEST), help="How long history is kept, as in 30d."),
    ] = 30 * DAY,
    record_count: Annotated[
        int | None,
        Parameter(
            validator=number(1), help="Workloads kept; those that ended first are deleted first."
        ),
    ] = None,
    record_age: Annotated[
        Seconds | None,
        Parameter(
            validator=number(0, LONGEST),
            help="Delete workloads that long after their end, such as 90d.",
        ),
    ] = None,
    log_format: Annotated[
        LogFormat, Parameter(help="The service's own log, on standard error.")
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
    if max_connections_per_peer is None and not is_loopback:
        max_connections_per_peer = CONNECTIONS_PER_PEER
    if keyfile is not None and certfile is None:
        raise UsageError("--keyfile: give its certificate with --certfile, too")
    server = Server(
        ServerLimits(
            write_timeout=write_timeout,
            connections=max_connections,
            connections_per_peer=max_connections_per_peer,
        ),
        tls=load_tls(certfile, keyfile) if certfile else None,
        access_log=access_log,
    )
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
    # Objects that exist now live until the end. Without this, each collection looks at them again,
    # which took 7 % of the time of a busy stream.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)
    # Each stream takes a descriptor, and a common soft limit is about a thousand.
    raise_limit(DESCRIPTORS)
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
