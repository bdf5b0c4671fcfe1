"""The keys of the page, and its look at each width, in real Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browsing import Tab, finished, open_browser, submit
from tests.server_process import ServerProcess, running_server

pytestmark = pytest.mark.page

LINES = 'print("\\n".join(f"line {n}" + " needle" * (n % 100 == 0) for n in range(1, 1001)))'
GATED = """
import os, time
print("begin", flush=True)
while not os.path.exists({!r}):
    time.sleep(0.005)
"""

# What of the buttons, the fields and the titles is outside of the window, or under something else.
# A narrow window shows no labels, which are names nevertheless.
BAD_PLACES = """() => [...document.querySelectorAll("button, a.brand, h1, input, [role=status]")]
    .filter(element => element.checkVisibility() && !element.closest("[role=menu]"))
    .filter(element => element.getBoundingClientRect().width > 1)
    .filter(element => {
        const { left, top, right, bottom } = element.getBoundingClientRect()
        const [x, y] = [(left + right) / 2, (top + bottom) / 2]
        const isIn = left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight
        const found = [left + 2, x, right - 2].map(each => document.elementFromPoint(each, y))
        return !isIn || !found.every(each => element.contains(each))
    })
    .map(element => element.getAttribute("aria-label") || element.textContent)
"""
PLACES = """names => Object.fromEntries(names.map(name => {
    const shown = [...document.querySelectorAll("main button")].find(element =>
        (element.getAttribute("aria-label") || element.textContent) === name)
    const { left, width } = shown.getBoundingClientRect()
    return [name, [left, width]]
}))"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("look")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def test_each_key_does_what_the_help_says(browser: Browser, server: ServerProcess) -> None:
    older, log = (finished(server, LINES, name=name) for name in ("older", "log"))
    permissions = ["clipboard-read", "clipboard-write"]
    tab = Tab.open(browser, server, f"/w/{log}?find=needle", permissions=permissions)
    page, press = tab.page, tab.page.keyboard.press
    find = page.get_by_role("searchbox", name="Find in log")
    expect(tab.status("Matches")).to_contain_text("10")
    press("g")
    expect(tab.text(1)).to_be_in_viewport(ratio=0.9)
    top = tab.rows_in_view()[1]
    press("j")
    tab.settle()
    assert tab.rows_in_view()[2] == top
    press("k")
    tab.settle()
    assert tab.rows_in_view()[1] == top
    press("Space")
    expect(tab.text(1)).not_to_be_in_viewport()
    press("Shift+Space")
    expect(tab.text(1)).to_be_in_viewport(ratio=0.9)
    # The first match was the current one when the log opened.
    press("n")
    expect(tab.status("Matches")).to_have_text(re.compile("^[0-9]+ of 10$"))
    number = int((tab.status("Matches").text_content() or "").split()[0])
    press("N")
    expect(tab.status("Matches")).to_have_text(f"{(number - 2) % 10 + 1} of 10")
    press("m")
    expect(tab.button("Matches only")).to_have_attribute("aria-pressed", "true")
    press("m")
    expect(tab.button("Matches only")).to_have_attribute("aria-pressed", "false")
    press("w")
    expect(tab.button("Wrap")).to_have_attribute("aria-pressed", "true")
    press("w")
    press("t")
    expect(page).to_have_url(re.compile(r"[?&]times=utc$"))
    press("G")
    expect(tab.text(1000)).to_be_in_viewport(ratio=0.9)
    for key in (":", "Control+g"):
        press(key)
        page.get_by_role("textbox", name="Go to line").fill("500")
        press("Enter")
        expect(tab.text(500)).to_be_in_viewport()
        expect(page).to_have_url(re.compile("#L500$"))
        page.go_back()
        expect(page).not_to_have_url(re.compile("#L500$"))
        press("g")
    press("y")
    expect(page.get_by_role("alert")).to_have_text("The link is copied.")
    assert page.evaluate("navigator.clipboard.readText()") == f"{page.url}#L1"
    press("[")
    expect(page).to_have_url(re.compile(f"/w/{log}"))
    press("]")
    expect(page).to_have_url(re.compile(f"/w/{older}"))
    press("[")
    expect(page).to_have_url(re.compile(f"/w/{log}"))
    expect(tab.text(1000)).to_be_in_viewport()
    for key, name in (("r", "Run log again?"), ("c", "Run a workload")):
        press(key)
        expect(page.get_by_role("dialog", name=name)).to_be_visible()
        press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    press("/")
    expect(find).to_be_focused()
    find.fill("line 7")
    press("Enter")
    expect(tab.status("Matches")).to_have_text("1 of 111")
    press("Shift+Enter")
    expect(tab.status("Matches")).to_have_text("111 of 111")
    press("Escape")
    expect(tab.log).to_be_focused()
    press("?")
    shown = page.get_by_role("dialog", name="Keys").locator("kbd").all_inner_texts()
    assert {*"/nNjkgG:fwtmy[]src?", "Space", "Shift-Space", "Ctrl-G"} <= set(shown)
    press("Escape")
    # In a field, each of them is a letter.
    press("/")
    find.fill("")
    before = page.url
    page.keyboard.type("njkgG:fwtmy[]src? /N")
    expect(find).to_have_value("njkgG:fwtmy[]src? /N")
    expect(tab.status("Matches")).to_have_text("no match")
    assert page.url.partition("?")[0] == before.partition("?")[0]
    assert page.get_by_role("dialog").count() == 0
    expect(tab.button("Wrap")).to_have_attribute("aria-pressed", "false")
    assert tab.complaints == []
    page.context.close()


def test_keys_of_a_running_log(browser: Browser, server: ServerProcess, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    tab = Tab.open(browser, server, f"/w/{submit(server, GATED.format(str(gate)), name='gated')}")
    page, press = tab.page, tab.page.keyboard.press
    expect(tab.text(1)).to_have_text("begin")
    for state in ("false", "true"):
        press("f")
        expect(tab.button("Follow")).to_have_attribute("aria-pressed", state)
    # Nothing moves when a log is searched, or ends.
    buttons = [
        "Download",
        "Copy link",
        "Delete",
        "Matches only",
        "Match case",
        "Regular expression",
    ]
    buttons += ["Times", "Wrap", "Follow"]
    before = page.evaluate(PLACES, buttons)
    page.keyboard.type("/begin")
    expect(tab.status("Matches")).to_contain_text("1")
    assert page.evaluate(PLACES, buttons) == before
    press("Escape")
    press("s")
    question = page.get_by_role("dialog", name="Stop gated?")
    question.get_by_role("button", name="Stop").click()
    expect(tab.log.locator(".row.end")).to_contain_text("stopped after")
    assert page.evaluate(PLACES, buttons) == before
    assert tab.complaints == []
    page.context.close()


def test_it_fits_each_width(browser: Browser, server: ServerProcess) -> None:
    log = finished(server, LINES, name="a-workload-with-quite-a-long-name")
    tab = Tab.open(browser, server, f"/w/{log}?find=line+1#L500", color_scheme="light")
    expect(tab.status("Matches")).to_contain_text("112")
    # Of a log that was there before, no line is new.
    assert tab.page.get_by_role("button", name=re.compile("new lines?$")).count() == 0
    for width, height in ((1440, 900), (1024, 768), (800, 600), (390, 844), (360, 640)):
        tab.page.set_viewport_size({"width": width, "height": height})
        tab.settle()
        assert tab.page.evaluate(BAD_PLACES) == [], width
        # Also where no label shows.
        expect(tab.button("Delete")).to_be_enabled()
        expect(tab.button("Wrap")).to_be_enabled()
    assert tab.complaints == []
    tab.page.context.close()


def test_a_name_is_cut_before_the_outcome(browser: Browser, server: ServerProcess) -> None:
    is_cut = "element => element.scrollWidth > element.clientWidth"
    for name, cuts in (("", [True, False]), ("p2", [False, False])):
        log = finished(server, f"print(1)  # {'long ' * 40}", **({"name": name} if name else {}))
        tab = Tab.open(browser, server, f"/w/{log}")
        title, outcome = (tab.page.locator(f".head {each}") for each in ("h1", ".meta"))
        expect(outcome).to_contain_text("succeeded after")
        assert [each.evaluate(is_cut) for each in (title, outcome)] == cuts
        # The outcome stands beside a short name.
        boxes = [each.bounding_box() for each in (title, outcome)]
        assert boxes[0] is not None
        assert boxes[1] is not None
        assert boxes[1]["x"] - boxes[0]["x"] - boxes[0]["width"] < 10
        assert name == "" or boxes[0]["width"] < 30
        assert tab.complaints == []
        tab.page.context.close()


def test_an_empty_service_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        server.token = (tmp_path / "token.read-only").read_text().strip()
        # A phone shows what to do, too, where nothing has run.
        tab = Tab.open(browser, server, "/", viewport={"width": 360, "height": 640})
        tab.page.get_by_label("Sign out").click()
        tab.page.get_by_label("Token").fill(server.token)
        tab.page.keyboard.press("Enter")
        expect(tab.page.get_by_text("Nothing has run yet.")).to_be_in_viewport()
        expect(tab.button("Run")).to_be_disabled()
        assert tab.page.evaluate(BAD_PLACES) == []
        assert tab.complaints == []
        tab.page.context.close()
