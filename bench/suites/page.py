"""The page in real Chromium: how soon it shows lines of long logs, and what a burst does to it."""

from __future__ import annotations

import http.client
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..browser import PROBE, heap, longest_task, missing, opened_browser, signed_in
from ..machine import percentile
from ..programs import OURS, Running, Source, started
from ..scale import Scale

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, ViewportSize

__all__ = ["TITLE", "run"]

TITLE = "The page"

MIB = 2**20
TABS = 10
AT_FIRST = 500
"""Lines of a live log that are there before it is opened."""

SELECTED = 400
WHEEL = (90, -250, 40, 700, -600, 130, -9, 333)
MOST_TURNS = 200
NARROW: ViewportSize = {"width": 900, "height": 760}
"""Here, lines of 100 bytes wrap."""

FILL_SECONDS = 600.0


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    """Rows for each length of a log, then rows for live lines and for ten tabs."""
    if trouble := missing():
        yield {"measure": "all", "skipped": trouble}
        return
    with started(OURS, scale.cores) as running, opened_browser() as browser:
        bench = _Bench(scale, running, browser)
        for lines in scale.page_lines:
            yield from bench.at_rest(lines)
        yield from bench.exact(scale.page_lines[0])
        yield from bench.burst()
        yield from bench.tabs()


def _row(
    measure: str,
    lines: int,
    values: Sequence[float],
    unit: str,
    bound: tuple[str, float] | None = None,
) -> dict[str, Any]:
    """`bound` is the figure that is bound, and its limit."""
    found = sorted(values)
    row: dict[str, Any] = {
        "measure": measure,
        "lines": lines,
        "taken": len(found),
        "p50": percentile(found, 0.5),
        "p90": percentile(found, 0.9),
        "max": found[-1],
        "unit": unit,
    }
    if bound:
        name, limit = bound
        row["bound"] = f"{name} ≤ {limit:g}"
        row["met"] = row[name] <= limit
    return row


@dataclass(frozen=True, slots=True)
class _Bench:
    scale: Scale
    running: Running
    browser: Browser

    def at_rest(self, lines: int) -> Iterator[dict[str, Any]]:
        """Opening a log that has ended, and jumps all over it."""
        workload = self._stored(lines)
        first, again = [], []
        for _ in range(self.scale.page_opens):
            page = self._blank()
            page.goto(self._address(workload), wait_until="commit")
            first.append(page.evaluate("probe.first()"))
            page.reload(wait_until="commit")
            again.append(page.evaluate("probe.first()"))
            page.context.close()
        yield _row("first lines, first visit", lines, first, "ms", ("p50", 300))
        yield _row("first lines, later visit", lines, again, "ms", ("p50", 300))
        page = self._open(workload)
        chosen = random.Random(lines)
        jumps = [[chosen.randint(1, lines), chosen.random()] for _ in range(self.scale.page_jumps)]
        found = page.evaluate("lines => probe.jumps(lines)", jumps)
        used = heap(self.browser, page) / MIB
        page.context.close()
        yield _row("a jump to a line", lines, found["took"][::2], "ms", ("p90", 100))
        yield _row("a jump by the scroll bar", lines, found["took"][1::2], "ms", ("p90", 100))
        yield _row("rows that are elements", lines, [found["most"]], "", ("max", 150))
        yield _row("heap of page and worker after the jumps", lines, [used], "MiB", ("max", 40))

    def exact(self, lines: int) -> Iterator[dict[str, Any]]:
        """The wheel over wrapped lines, the way to both ends, and a copy of many lines."""
        workload = self._stored(lines)
        page = self._open(workload, f"?wrap=true#L{lines // 2}")
        page.set_viewport_size(NARROW)
        page.evaluate("probe.settled()")
        errors = []
        for pixels in WHEEL:
            before = page.evaluate("probe.places()")
            self._wheel(page, pixels)
            after = page.evaluate("probe.places()")
            errors += [abs(before[n] - after[n] - pixels) for n in before.keys() & after.keys()]
        yield _row("the wheel's error with wrap on", lines, errors, "px", ("max", 0.5))
        turns = []
        for near, end, pixels in ((60, 1, -700), (lines - 60, lines, 700)):
            page.evaluate("line => { location.hash = `#L${line}` }", near)
            turns.append(self._wheel_to(page, end, pixels))
        yield _row("turns of the wheel over 60 lines to an end", lines, turns, "")
        page.context.close()
        yield self._copied(workload, lines // 2)

    def _copied(self, workload: str, start: int) -> dict[str, Any]:
        """Select from a line to one that is far below, and compare what a copy has."""
        end = start + SELECTED - 1
        page = self._open(workload, f"#L{start}")
        page.evaluate("line => probe.select(line, 5, true)", start)
        self._wheel_to(page, end, 600)
        page.evaluate("line => probe.select(line, 9, false)", end)
        copied = str(page.evaluate("probe.copied()")).split("\n")
        page.context.close()
        written = self._get(f"/v1/workloads/{workload}/logs?from={start}&to={end}").split("\n")[:-1]
        written = [written[0][5:], *written[1:-1], written[-1][:9]]
        wrong = sum(one != other for one, other in zip_longest(copied, written))
        return _row("lines that a copy gets wrong", SELECTED, [wrong], "", ("max", 0))

    def burst(self) -> Iterator[dict[str, Any]]:
        """Lines at full speed while the page follows, and while it is scrolled up."""
        lines = self.scale.page_burst
        found: list[dict[str, float]] = []
        cpu: list[float] = []
        moved: list[float] = []
        for is_following in (True, False) * self.scale.page_bursts:
            workload, gate = self._live(lines)
            page = self._open(workload)
            if not is_following:
                self._wheel(page, -300)
            self.browser.start_tracing(page=page, categories=["toplevel"])
            page.evaluate("() => { globalThis.stop = probe.watch() }")
            if is_following:
                page.evaluate("lines => { globalThis.over = probe.end(lines) }", AT_FIRST + lines)
            else:
                page.evaluate("lines => { globalThis.over = probe.below(lines) }", lines)
            gate.touch()
            page.evaluate("over")
            found.append(page.evaluate("stop()"))
            cpu.append(longest_task(self.browser.stop_tracing()))
            if not is_following:
                moved.append(found[-1]["moved"])
            page.context.close()
        longest = [each["longest"] for each in found]
        latest = [each["latest"] for each in found]
        yield _row("the longest task during a burst", lines, longest, "ms", ("max", 100))
        yield _row("the most CPU time of a task during a burst", lines, cpu, "ms", ("max", 100))
        yield _row("the latest timer during a burst", lines, latest, "ms")
        yield _row("what moves while scrolled up", lines, moved, "px", ("max", 0))

    def tabs(self) -> Iterator[dict[str, Any]]:
        """Ten tabs, each with a log of its own, over the six connections of HTTP/1.1."""
        logs = [self._live(AT_FIRST) for _ in range(TABS)]
        pages = [self._open(logs[0][0])]
        for workload, _ in logs[1:]:
            page = pages[0].context.new_page()
            page.add_init_script(path=PROBE)
            page.goto(self._address(workload))
            page.evaluate("probe.first()")
            pages.append(page)
        for _, gate in logs:
            gate.touch()
        took = []
        for page in pages:
            # A browser draws only the tab in front.
            page.bring_to_front()
            start = time.monotonic()
            page.evaluate("lines => probe.end(lines)", 2 * AT_FIRST)
            took.append((time.monotonic() - start) * 1e3)
        pages[0].context.close()
        yield _row("ten tabs, from a switch to one to its last line", AT_FIRST, took, "ms")

    def _stored(self, lines: int) -> str:
        """The id of a workload that has written so many lines and has ended."""
        _, gate = self.running.offer(Source(lines))
        gate.touch()
        workload = str(self.running.last["id"])
        # It follows until the workload has ended.
        self._get(f"/v1/workloads/{workload}/logs?tail=0&follow=true")
        return workload

    def _live(self, lines: int) -> tuple[str, Path]:
        """A workload that has written some lines, and the gate before so many more."""
        gate = self.running.folder / f"live-{time.monotonic_ns()}"
        command = ["bench.source", str(AT_FIRST + lines), "0", str(gate), str(AT_FIRST)]
        made = self.running.request(
            "POST", "/v1/workloads", {"backend": "function", "command": command}
        )
        return str(made["id"]), gate

    def _address(self, workload: str, state: str = "") -> str:
        host, port = self.running.address
        return f"http://{host}:{port}/w/{workload}{state}"

    def _blank(self) -> Page:
        host, port = self.running.address
        return signed_in(self.browser, f"http://{host}:{port}", self.running.token)

    def _open(self, workload: str, state: str = "") -> Page:
        """A tab that shows lines of the log."""
        page = self._blank()
        page.goto(self._address(workload, state), wait_until="commit")
        page.evaluate("probe.first()")
        return page

    def _wheel(self, page: Page, pixels: float) -> None:
        """Turn the wheel over the log, and wait until it has scrolled."""
        box = page.get_by_role("log").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.evaluate("() => { globalThis.scrolled = probe.scrolled() }")
        page.mouse.wheel(0, pixels)
        page.evaluate("scrolled")

    def _wheel_to(self, page: Page, line: int, pixels: float) -> int:
        """Turn the wheel until a line shows wholly; return how often it was turned."""
        for turn in range(MOST_TURNS):
            if page.evaluate("line => probe.isShown(line)", line):
                return turn
            self._wheel(page, pixels)
        raise RuntimeError(f"the wheel did not reach line {line}")

    def _get(self, path: str) -> str:
        connection = http.client.HTTPConnection(*self.running.address, timeout=FILL_SECONDS)
        authorization = {"Authorization": f"Bearer {self.running.token}", "Accept": "text/plain"}
        connection.request("GET", path, headers=authorization)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"GET {path}: {answer.status} {body[:200]!r}")
        return body.decode()
