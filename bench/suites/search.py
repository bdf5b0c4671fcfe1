"""Search: how fast the matches in a stored log are found, and what live readers notice of it."""

from __future__ import annotations

import http.client
import json
import shlex
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ..followers import connect, drain
from ..lines import LINE_BYTES
from ..machine import percentile
from ..programs import OURS, Running, Source, started
from ..scale import Scale

__all__ = ["TITLE", "run"]

TITLE = "Search"

NEEDLE_EVERY = 10_000
FIRST_NEEDLE = 2_500
SEARCHES = 8
RATE = 100.0
CHECK_SECONDS = 0.02
ASKED = 50
NDJSON = "application/x-ndjson"

QUERIES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("a text, sparse", "plain", {"filter": "needle"}),
    ("a text, sparse, case ignored", "plain", {"filter": "NEEDLE", "case": "false"}),
    ("`status=(failed|lost)`", "plain", {"filter": "status=(failed|lost)", "regex": "true"}),
    ("`[0-9]+ WARN`", "plain", {"filter": "[0-9]+ WARN", "regex": "true"}),
    ("a text in each line", "plain", {"filter": "INFO"}),
    ("an expression for each line", "plain", {"filter": "I.FO", "regex": "true"}),
    ("`(a+)+$`", "plain", {"filter": "(a+)+$", "regex": "true"}),
    ("a text, sparse, lines with colours", "coloured", {"filter": "needle"}),
    ("a text in each line, colours", "coloured", {"filter": "INFO"}),
)


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    """A row for each search, and one of live lines without searches and one with eight."""
    with (
        tempfile.TemporaryDirectory(prefix="trio-logs-bench-") as name,
        started(OURS, scale.cores) as running,
    ):
        lines = scale.replay_lines
        folder = Path(name)
        paths = {
            kind: _stored(running, folder / kind, lines, coloured=kind == "coloured")
            for kind in ("plain", "coloured")
        }
        for title, kind, query in QUERIES:
            yield _row(running, title, f"{paths[kind]}/matches?{urlencode(query)}", lines)
        query = {"filter": "needle", "workload": paths["plain"].rpartition("/")[2]}
        yield _row(running, "over logs, sparse", f"/v1/search?{urlencode(query)}", lines)
        plain = f"{paths['plain']}/logs?follow=false"
        yield _asked(running, "256 lines by number", f"{plain}&limit=256&from=", lines, 256)
        yield _asked(running, "the next match", f"{plain}&limit=1&filter=needle&from=", lines, 1)
        for searches in (0, SEARCHES):
            yield _live(
                scale, running, f"{paths['plain']}/matches?filter=I.FO&regex=true", searches
            )


def _stored(running: Running, file: Path, lines: int, *, coloured: bool) -> str:
    """The path of a workload that has printed so many lines of 100 bytes and has ended."""
    start, stop = (b"\x1b[32m", b"\x1b[0m") if coloured else (b"", b"")
    with file.open("wb") as out:
        for number in range(lines):
            word = b"needle" if number % NEEDLE_EVERY == FIRST_NEEDLE else b"nothing"
            line = b"%09d %bINFO%b worker status=ok, %b" % (number, start, stop, word)
            out.write(line.ljust(LINE_BYTES - 1, b".") + b"\n")
    command = ["sh", "-c", f"exec cat {shlex.quote(str(file))}"]
    workload = running.request("POST", "/v1/workloads", {"command": command})
    path = f"/v1/workloads/{workload['id']}"
    # It follows until the workload has ended.
    _get(running, f"{path}/logs?tail=0&follow=true", NDJSON)
    return path


def _row(running: Running, title: str, path: str, lines: int) -> dict[str, Any]:
    cpu = running.cpu_seconds()
    start = time.monotonic()
    found = _get(running, path)
    seconds = time.monotonic() - start
    end = json.loads(found.rstrip(b"\n").rpartition(b"\n")[2])
    assert end["event"] == "end", end
    return {
        "search": title,
        "lines": lines,
        "matches": end["count"],
        "seconds": seconds,
        "lines_per_second": lines / seconds,
        "cpu_seconds": running.cpu_seconds() - cpu,
    }


def _asked(running: Running, title: str, path: str, lines: int, wanted: int) -> dict[str, Any]:
    """Answers of the log itself, from lines all over it on."""
    seconds = []
    for asked in range(ASKED):
        start = time.monotonic()
        body = _get(running, f"{path}{1 + lines // 2 * asked // ASKED}", NDJSON)
        seconds.append(time.monotonic() - start)
        found = body.count(b'"seq"')
        assert found == wanted or lines < NEEDLE_EVERY, (path, found)
    seconds.sort()
    return {
        "search": title,
        "lines": lines,
        "answer_p50_ms": percentile(seconds, 0.5) * 1e3,
        "answer_p99_ms": percentile(seconds, 0.99) * 1e3,
    }


def _live(scale: Scale, running: Running, path: str, searches: int) -> dict[str, Any]:
    """Lines of a live log, and answers of `/healthz`, while so many searches run."""
    lines = scale.search_live_lines
    head, gate = running.offer(Source(lines, RATE))
    followers = connect(running.address, head, 1)
    with _searching(running, path, searches), _checking(running) as checks:
        gate.touch()
        summary = drain(followers, lines, seconds=scale.timeout)
    followers[0].socket.close()
    checks.sort()
    return {
        "search": f"live lines beside {searches} searches",
        "lines": lines,
        "lost": summary.lost,
        "latency_p50_ms": percentile(summary.latencies, 0.5) / 1e6,
        "latency_p99_ms": percentile(summary.latencies, 0.99) / 1e6,
        "healthz_p99_ms": percentile(checks, 0.99) * 1e3,
    }


@contextmanager
def _searching(running: Running, path: str, searches: int) -> Iterator[None]:
    """So many clients that search again and again."""
    stop = threading.Event()

    def search() -> None:
        while not stop.is_set():
            _get(running, path)

    threads = [threading.Thread(target=search) for _ in range(searches)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def _checking(running: Running) -> Iterator[list[float]]:
    """A client that asks for `/healthz` fifty times a second; the seconds that each answer took."""
    stop = threading.Event()
    seconds: list[float] = []

    def check() -> None:
        while not stop.is_set():
            start = time.monotonic()
            _get(running, "/healthz")
            seconds.append(time.monotonic() - start)
            stop.wait(CHECK_SECONDS)

    thread = threading.Thread(target=check)
    thread.start()
    try:
        yield seconds
    finally:
        stop.set()
        thread.join()


def _get(running: Running, path: str, accept: str = "*/*") -> bytes:
    """The body of an answer; of a search that is refused, nothing."""
    connection = http.client.HTTPConnection(*running.address, timeout=60)
    headers = {"Authorization": f"Bearer {running.token}", "Accept": accept}
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status not in (200, 429):
        raise RuntimeError(f"GET {path}: {answer.status} {body[:200]!r}")
    return body
