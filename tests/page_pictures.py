"""`python -m tests.page_pictures`: draw docs/page/ from the page, with the demo's workloads."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from playwright.sync_api import Browser, expect

from tests.browsing import Tab, open_browser
from tests.server_process import ServerProcess, running_server
from trio_logs.demo.workloads import RUNNING, workloads

DOCS = Path(__file__).parent.parent / "docs" / "page"
MOST = 200_000
"""Bytes of a picture."""

WIDE = {"width": 1280, "height": 760}
PHONE = {"width": 390, "height": 760}
HOST = "logs.example.com"


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(Path(folder), "--max-running", str(RUNNING)) as server,
        # Readers of the docs see what a person sees.
        open_browser(ignore_default_args=["--hide-scrollbars"]) as browser,
    ):
        with opened(browser, server, "/", "dark") as tab:
            # The browser is there before the build is, whose progress bar it is to show.
            expect(tab.page.get_by_text("Nothing has run yet.")).to_be_visible()
            ids = {body["name"]: submit(server, body) for body in workloads()}
            tab.page.goto(f"{server.url}/w/{ids['build-web']}")
            draw_log(tab)
        draw_find(browser, server, ids["build-web"])
        draw_split(browser, server, ids["train-resnet50"], ids["api-integration"])
        draw_list(browser, server)
        draw_phone(browser, server, ids["build-web"])


@contextmanager
def opened(
    browser: Browser,
    server: ServerProcess,
    path: str,
    theme: Literal["dark", "light"],
    **options: Any,
) -> Iterator[Tab]:
    options.setdefault("viewport", WIDE)
    tab = Tab.open(browser, server, path, color_scheme=theme, locale="en-GB", **options)
    name_host(tab)
    try:
        yield tab
        assert tab.complaints == []
    finally:
        tab.page.context.close()


def name_host(tab: Tab) -> None:
    """The address in the head names a host, not the free port of this run."""
    tab.page.locator(".host").evaluate("(element, host) => { element.textContent = host }", HOST)


def submit(server: ServerProcess, body: dict[str, Any]) -> str:
    answer = server.post("/v1/workloads", body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def draw_log(tab: Tab) -> None:
    """A build that runs, with a progress bar in its last line; in both themes."""
    name_host(tab)
    expect(tab.log.locator("[data-unfinished]")).to_contain_text(re.compile("[3-6][0-9]%"))
    for theme in ("dark", "light"):
        tab.page.emulate_media(color_scheme=theme)
        save(tab, f"log-{theme}")


def draw_find(browser: Browser, server: ServerProcess, build: str) -> None:
    with opened(browser, server, f"/w/{build}", "light") as tab:
        expect(tab.log.locator(".row.end")).to_contain_text("failed with exit code 2")
        tab.page.keyboard.press("/")
        tab.page.keyboard.type("error")
        expect(tab.status("Matches")).to_contain_text("4")
        tab.page.keyboard.press("Enter")
        expect(tab.status("Matches")).to_contain_text("of 4")
        expect(tab.status("Log")).to_contain_text("searched in")
        save(tab, "find")


def draw_split(browser: Browser, server: ServerProcess, *ids: str) -> None:
    with opened(browser, server, f"/w/{','.join(ids)}", "dark") as tab:
        for log in tab.log.all():
            expect(log.locator(".row[id]").nth(30)).to_be_visible()
        save(tab, "split")


def draw_list(browser: Browser, server: ServerProcess) -> None:
    """The list, and beside it the newest workload that runs."""
    with opened(browser, server, "/", "dark") as tab:
        expect(tab.page.get_by_role("navigation").get_by_text("timed out")).to_have_count(1)
        expect(tab.log).to_have_accessible_name("Log of api-integration")
        expect(tab.log.locator(".row[id]").nth(30)).to_be_visible()
        save(tab, "list")


def draw_phone(browser: Browser, server: ServerProcess, build: str) -> None:
    """The list and a log, as a phone shows them one at a time."""
    shots = []
    for path, shown in (("/", "li"), (f"/w/{build}", ".row.end")):
        with opened(browser, server, path, "dark", viewport=PHONE) as tab:
            expect(tab.page.locator(shown).first).to_be_visible()
            shots.append(shot(tab))
    width, height = shots[0].size
    both = Image.new("RGB", (2 * width + 20, height), "white")
    for place, image in enumerate(shots):
        both.paste(image, (place * (width + 20), 0))
    write(both, "phone")


def shot(tab: Tab) -> Image.Image:
    tab.settle()
    # An animation would differ from run to run.
    return Image.open(io.BytesIO(tab.page.screenshot(animations="disabled", caret="hide")))


def save(tab: Tab, name: str) -> None:
    write(shot(tab), name)


def write(image: Image.Image, name: str) -> None:
    path = DOCS / f"{name}.png"
    # Other methods drop colours that few pixels have, such as those of the log.
    colours = image.convert("RGB").quantize(
        256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    )
    colours.save(path, optimize=True)
    size = path.stat().st_size
    assert size < MOST, f"{path.name} has {size} bytes"
    print(f"{path.name}: {image.width} x {image.height}, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
