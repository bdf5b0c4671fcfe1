"""Where the service is found: by commands of this machine, and by a browser."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import structlog

from ..data_folder import write_address
from ..server import Bind, TCPBind

__all__ = ["address_of", "leave_address", "page_url"]

_log = structlog.get_logger("trio_logs.cli")


def leave_address(folder: Path, url: str, bind: Bind) -> None:
    """Write the address of the service to its data folder, where local commands look for it."""
    if url.startswith("unix:"):
        url = f"unix:{Path(url.removeprefix('unix:')).absolute()}"
    try:
        write_address(folder, _here(url, bind))
    except OSError as error:
        _log.warning(
            "can't write the address file: give local commands --server",
            folder=str(folder),
            reason=str(error),
        )


def page_url(public_url: str | None, urls: Sequence[str], bind: Bind) -> str | None:
    """The origin of the page; None if no browser can reach the service. `bind` is what the first of
    the `urls` comes from."""
    if public_url is not None or not urls:
        return public_url
    first, *rest = urls
    others = (_here(url) for url in rest if not url.startswith("unix:"))
    return next(others, None) if first.startswith("unix:") else _here(first, bind)


def address_of(url: str, bind: Bind) -> str:
    """The URL by which other machines reach the service, as far as it knows: a wildcard address
    stands for this host."""
    if isinstance(bind, TCPBind) and bind.host in ("0.0.0.0", "::"):
        scheme, _, address = url.partition("://")
        return f"{scheme}://{platform.node()}:{address.rpartition(':')[2]}"
    return url


def _here(url: str, bind: Bind | None = None) -> str:
    """The URL by which this machine reaches the service.

    A certificate names the host that the service binds, and may not name the address to which this
    resolves. So the URL has the host's name.
    """
    if isinstance(bind, TCPBind) and not url.startswith("unix:"):
        scheme, _, address = url.partition("://")
        url = f"{scheme}://{_host(bind)}:{address.rpartition(':')[2]}"
    # A wildcard address includes loopback, and a client can't connect to a wildcard.
    return url.replace("://0.0.0.0:", "://127.0.0.1:").replace("://[::]:", "://[::1]:")


def _host(bind: TCPBind) -> str:
    """The host in the form of a URL."""
    return f"[{bind.host}]" if ":" in bind.host else bind.host.lower()
