"""Real Chromium on all cores, and what it tells about the memory of a page and its worker."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, ViewportSize

__all__ = ["PROBE", "heap", "longest_task", "missing", "opened_browser", "signed_in"]

PROBE = Path(__file__).parent / "page_probe.js"
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
VIEW: ViewportSize = {"width": 1280, "height": 760}
PATIENCE_MS = 60_000
ANSWER_POLLS = 500
POLL_MS = 10


def missing() -> str | None:
    """What keeps it from running here."""
    if find_spec("playwright") is None:
        return "needs the Python package playwright (make bench installs it)"
    if shutil.which("chromium-headless-shell") is None:
        return "needs chromium-headless-shell"
    return None


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """A browser that may use each core: it has a process or more for each thing that it does."""
    # Imported here: the other suites run without it.
    from playwright.sync_api import sync_playwright

    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        with sync_playwright() as play:
            browser = play.chromium.launch(
                executable_path=shutil.which("chromium-headless-shell"), args=list(ARGUMENTS)
            )
            try:
                yield browser
            finally:
                browser.close()
    finally:
        os.sched_setaffinity(0, ours)


def signed_in(browser: Browser, origin: str, token: str) -> Page:
    """An empty tab in a profile of its own that has the key, but none of the page's modules."""
    page = browser.new_context(viewport=VIEW).new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.add_init_script(path=PROBE)
    page.goto(f"{origin}/page/icons/list.svg")
    page.evaluate("key => localStorage.setItem('trio-logs-key', key)", token)
    return page


def heap(browser: Browser, page: Page) -> int:
    """Bytes of JavaScript, of the DOM and of buffers that the page and all workers hold after a
    garbage collection. Source: Chrome DevTools Protocol, Runtime.getHeapUsage."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    total = _sum(session.send("Runtime.getHeapUsage"))
    session.detach()
    root = browser.new_browser_cdp_session()
    targets = root.send("Target.getTargets", {"filter": [{}]})["targetInfos"]
    for target in targets:
        if target["type"] in ("shared_worker", "worker"):
            total += _heap_of_worker(root, page, target["targetId"])
    root.detach()
    return total


def _heap_of_worker(root: Any, page: Page, target: str) -> int:
    """Playwright has no session for a SharedWorker, so messages go through the browser's."""
    answers: dict[int, Any] = {}

    def hear(event: dict[str, Any]) -> None:
        message = json.loads(event["message"])
        if event["sessionId"] == session and "id" in message:
            answers[message["id"]] = message

    attach = {"targetId": target, "flatten": False}
    session = root.send("Target.attachToTarget", attach)["sessionId"]
    root.on("Target.receivedMessageFromTarget", hear)
    for number, method in ((1, "HeapProfiler.collectGarbage"), (2, "Runtime.getHeapUsage")):
        message = json.dumps({"id": number, "method": method})
        root.send("Target.sendMessageToTarget", {"sessionId": session, "message": message})
    for _ in range(ANSWER_POLLS):
        if 2 in answers:
            return _sum(answers[2]["result"])
        page.wait_for_timeout(POLL_MS)
    raise RuntimeError("the worker of the page did not answer")


def _sum(usage: dict[str, float]) -> int:
    parts = ("usedSize", "embedderHeapUsedSize", "backingStorageSize")
    return int(sum(usage.get(part, 0) for part in parts))


def longest_task(trace: bytes) -> float:
    """The most CPU time, in milliseconds, that a task of a page's thread took. Unlike the time by
    the clock, it grows little with what else the machine does. The trace has the category
    `toplevel`. Source: the Trace Event Format."""
    events = json.loads(trace)["traceEvents"]
    pages = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    times = [event.get("tdur", 0) for event in events if (event["pid"], event.get("tid")) in pages]
    return max(times, default=0) / 1e3
