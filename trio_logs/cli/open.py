"""`trio-logs open`: the page in a browser, signed in."""

from __future__ import annotations

import os
import sys
import webbrowser
from html import escape
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated

import trio
from cyclopts import Parameter

from ..client import Client, Code
from .choose import choose_all
from .connection import Connect, find_connection
from .exits import UsageError

__all__ = ["open_page"]

LOOK_SECONDS = 0.5
"""Seconds between two looks whether the code was used."""


async def open_page(
    workload: Annotated[
        str | None, Parameter(name="ID", help="An id, a name, or the start or end of an id.")
    ] = None,
    /,
    *,
    connect: Connect = None,
) -> int:
    """Print an address that shows the page, or one log, and signs a browser in, once.

    With a terminal and a display, the command also opens a browser there, and waits until the
    browser is signed in.
    """
    async with find_connection(connect).client() as client:
        path = "/"
        if workload is not None:
            [found] = await choose_all(client, "open", [workload])
            path = f"/w/{found.id}"
        code = await client.make_code()
        if code.url is None:
            raise UsageError(
                "a browser can't reach the service at a unix socket: start the service with"
                " --public-url, the address of the proxy before it"
            )
        origin, _, rest = code.url.partition("/#")
        url = f"{origin}{path}#{rest}"
        print(url, flush=True)
        if sys.stdout.isatty() and _has_display():
            await _show(client, code, url)
    return 0


def _has_display() -> bool:
    if sys.platform == "darwin":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


async def _show(client: Client, code: Code, url: str) -> None:
    """Open a browser, and wait until the code was used or has expired.

    Other users can read the command line of the browser, so that names a file which only this user
    can read. The file leads to the address.
    """
    with NamedTemporaryFile("w", prefix="trio-logs-", suffix=".html") as file:
        file.write(_page(url))
        file.flush()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_browse, Path(file.name).as_uri(), nursery.cancel_scope)
            while await client.is_unused(code):  # noqa: ASYNC110 - another process uses it
                await trio.sleep(LOOK_SECONDS)
            nursery.cancel_scope.cancel()


async def _browse(url: str, waiting: trio.CancelScope) -> None:
    # Some browsers return only when they are closed.
    if not await trio.to_thread.run_sync(webbrowser.open, url, abandon_on_cancel=True):
        print("trio-logs: no browser starts here: open the address", file=sys.stderr)
        waiting.cancel()


def _page(url: str) -> str:
    address = escape(url)
    return (
        '<!doctype html><meta charset="utf-8"><title>trio-logs</title>'
        '<meta name="referrer" content="no-referrer">'
        f'<meta http-equiv="refresh" content="0; url={address}">'
        f'<a href="{address}">Open the logs</a>\n'
    )
