"""`trio-logs demo`: a sample build and two readers over HTTP, in five seconds."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx2
import trio
from rich.console import Console
from rich.text import Text

from .api import create_app
from .logging import configure_logging
from .server import Server, TCPBind
from .service import open_service
from .settings import Settings

__all__ = ["run_demo"]

LATE_SECONDS = 2.5
"""How long after the first reader the second one starts."""

SAMPLE = r"""
step() { printf '\033[1;36m==> %s\033[0m\n' "$1"; }
step 'Resolving dependencies'
for package in trio hypercorn quart-trio apsw; do
    sleep 0.25; printf '    \033[32mok\033[0m %s\n' "$package"
done
step 'Compiling'
for i in 1 2 3 4 5 6 7 8; do
    sleep 0.2; printf '    [%d/8] module_%d.c\n' "$i" "$i"
    [ "$i" = 5 ] && printf '\033[33mmodule_5.c:42: warning: unused variable\033[0m\n' >&2
done
step 'Testing'
for suite in broker store stream; do
    sleep 0.4; printf '    \033[32mPASS\033[0m test_%s\n' "$suite"
done
sleep 0.4; printf '\033[33m1 test took longer than a second\033[0m\n' >&2
step 'Done'
"""
"""A shell script that prints like a build, in colour and with warnings on stderr, for 5 s."""


async def run_demo() -> None:
    """Start a service on a free port, run the sample, and follow it with two readers.

    The second reader starts `LATE_SECONDS` later. Raises RuntimeError if the readers differ.
    """
    configure_logging()
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="trio-logs-demo-") as folder:
        stop = trio.Event()
        settings = Settings(data=Path(folder))
        async with open_service(settings) as service, trio.open_nursery() as nursery:
            [url] = await nursery.start(
                Server().serve, create_app(service), [TCPBind("127.0.0.1", 0)], stop
            )
            print(f"Listening on {url}", file=sys.stderr, flush=True)
            headers = {"Authorization": f"Bearer {service.token}"}
            # A transport of its own makes the client ignore the environment's proxies, which must
            # not see the token.
            async with httpx2.AsyncClient(
                base_url=url, headers=headers, timeout=30, transport=httpx2.AsyncHTTPTransport()
            ) as client:
                await _play(client, console)
            stop.set()


async def _play(client: httpx2.AsyncClient, console: Console) -> None:
    body = {"command": ["sh", "-c", SAMPLE], "name": "sample-build"}
    answer = await client.post("/v1/workloads", json=body)
    answer.raise_for_status()
    logs_url: str = answer.json()["logs_url"]
    # A wrapped command can't be copied.
    console.print(
        f"$ curl -N -H 'Authorization: Bearer ...' {client.base_url.join(logs_url)}",
        soft_wrap=True,
    )
    received: dict[str, list[str]] = {"early": [], "late": []}

    async def follow(reader: str, colour: str, delay: float) -> None:
        await trio.sleep(delay)
        async with client.sse(logs_url, params={"format": "json"}) as events:
            async for event in events:
                if not event.data:
                    continue  # this client yields an event for the `retry` at the start
                line = json.loads(event.data)
                if event.event == "message":
                    received[reader].append(line["text"])
                    console.print(_shown(reader, colour, line))
                else:
                    console.print(f"[bold {colour}]{reader:>5}[/] {event.event}: {line['status']}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, "early", "cyan", 0)
        nursery.start_soon(follow, "late", "magenta", LATE_SECONDS)
    count = len(received["early"])
    if received["early"] != received["late"]:
        raise RuntimeError(f"the readers differ: {received}")
    console.print(
        f"[bold green]Both readers got the same {count} lines[/]; the late one came"
        f" {LATE_SECONDS} s after the start and missed none."
    )


def _shown(reader: str, colour: str, line: dict[str, Any]) -> Text:
    shown = Text(f"{reader:>5} {line['seq']:>3} ", style=f"bold {colour}")
    if line["stream"] == "stderr":
        shown.append("stderr ", style="yellow")
    # Only this module's sample writes here, so its escape sequences are harmless.
    return shown.append_text(Text.from_ansi(line["text"]))
