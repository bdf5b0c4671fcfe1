"""The page in real Chromium, against a server process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.server_process import ServerProcess
from tests.test_clients import CHROMIUM_ARGUMENTS, PATIENCE, _program

__all__ = ["LONG", "LONG_SCRIPT", "Tab", "finished", "open_browser", "submit"]

LONG = 100_000
"""Lines of a log that tests share; each 1,000th has a needle."""

LONG_SCRIPT = f"""
for number in range(1, {LONG} + 1):
    print(f"line {{number}}", "needle" if number % 1000 == 0 else "")
"""

expect.set_options(timeout=PATIENCE * 1000)

# Where the rows are, in pixels from the top of the view.
ROWS_IN_VIEW = """log => {
    const view = log.getBoundingClientRect()
    const found = {}
    for (const row of log.querySelectorAll(".row[id]:not(.pinned)")) {
        const { top, bottom } = row.getBoundingClientRect()
        if (bottom > view.top && top < view.bottom) found[row.dataset.line] = top - view.top
    }
    return found
}"""


@contextmanager
def open_browser(*arguments: str, **options: Any) -> Iterator[Browser]:
    """Chromium, with more arguments for its command line. `options` are Playwright's own."""
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=_program("chromium-headless-shell"),
            args=[*CHROMIUM_ARGUMENTS, *arguments],
            timeout=PATIENCE * 1000,
            **options,
        )
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Tab:
    """A tab that is signed in; `complaints` is what the browser and the page reported as errors."""

    page: Page
    server: ServerProcess
    complaints: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, browser: Browser, server: ServerProcess, path: str, **options: Any) -> Tab:
        """Open a path in a profile of its own."""
        options.setdefault("viewport", {"width": 1280, "height": 760})
        context = browser.new_context(**options)
        # The key is there before the page is, but does not come back after a sign-out.
        context.add_init_script(
            "if (!localStorage.getItem('tests-key')) {"
            + "".join(
                f"localStorage.setItem('{name}', '{server.token}');"
                for name in ("tests-key", "trio-logs-key")
            )
            + "}"
        )
        page = context.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        tab = cls(page, server)
        page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        page.on("console", lambda message: tab._note(message.type, message.text))
        page.goto(f"{server.url}{path}")
        return tab

    def _note(self, kind: str, text: str) -> None:
        # What a restart of the server or a missing route does is not the page's fault.
        if kind in ("error", "warning") and "Failed to load resource" not in text:
            self.complaints.append(text)

    @property
    def log(self) -> Locator:
        return self.page.get_by_role("log")

    def line(self, number: int) -> Locator:
        return self.page.locator(f"#L{number}")

    def text(self, number: int) -> Locator:
        return self.line(number).locator(".text")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def status(self, name: str) -> Locator:
        return self.page.get_by_role("status", name=name)

    def rows_in_view(self) -> dict[int, float]:
        """The places of the lines that show, in pixels from the top of the view."""
        found: dict[str, float] = self.log.evaluate(ROWS_IN_VIEW)
        return {int(number): top for number, top in found.items()}

    def settle(self) -> None:
        """Wait until two frames have been drawn."""
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def wheel(self, pixels: float) -> None:
        """Turn the wheel over the log, and wait until it has scrolled."""
        box = self.log.bounding_box()
        assert box is not None
        self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self.log.evaluate(
            "log => { log.ended = new Promise(done => log.addEventListener('scrollend', done,"
            " { once: true })) }"
        )
        self.page.mouse.wheel(0, pixels)
        self.log.evaluate("log => Promise.race([log.ended, new Promise(d => setTimeout(d, 1000))])")
        self.settle()


def submit(server: ServerProcess, script: str, **fields: Any) -> str:
    """Run a Python script as a workload; return its id."""
    command = [sys.executable, "-c", script]
    answer = server.post("/v1/workloads", {"command": command, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def finished(server: ServerProcess, script: str, **fields: Any) -> str:
    """Likewise, and wait for its end."""
    workload = submit(server, script, **fields)
    server.get(f"/v1/workloads/{workload}/logs?follow=true&tail=0")
    return workload
