"""A sample build, and two readers who follow it over HTTP, in five seconds."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import trio
from rich.console import Console
from rich.text import Text

__all__ = ["follow_sample", "submit_sample"]

LATE_SECONDS = 2.5
"""Seconds from the start of the first reader to that of the second one."""

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


async def submit_sample(client: httpx2.AsyncClient) -> str:
    """Run the sample; return the path of its log."""
    body = {"command": ["sh", "-c", SAMPLE], "name": "sample-build"}
    answer = await client.post("/v1/workloads", json=body)
    answer.raise_for_status()
    return str(answer.json()["logs_url"])


async def follow_sample(client: httpx2.AsyncClient, logs_url: str, console: Console) -> None:
    """Print what the two readers of the sample get.

    The second reader starts `LATE_SECONDS` later. Raises RuntimeError if the readers differ.
    """
    console.print(
        "A sample build runs, and two readers follow its log: 'early' from the start,\n"
        f"and 'late' from {LATE_SECONDS} s on. Each does what this command does:"
    )
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
