"""The log view of the page in real Chromium: what one sees, and that nothing moves or is lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.browsing import LONG, Tab, finished, open_browser, submit
from tests.server_process import ServerProcess, running_server

pytestmark = pytest.mark.page

OpenTab = Callable[..., Tab]
WIDE = """
for number in range(1, 3001):
    print(f"line {number}", "x" * (number * 37 % 900))
"""
# What a copy of the selection takes.
COPY = """log => {
    const clipboardData = new DataTransfer()
    const options = { clipboardData, bubbles: true, cancelable: true }
    const event = new ClipboardEvent("copy", options)
    ;(getSelection().focusNode.parentElement ?? log).dispatchEvent(event)
    return clipboardData.getData("text/plain")
}"""
HOSTILE = r"""
print("<img src=x onerror=alert(1)><script>alert(1)</script><b id=L1>bold</b>")
print("\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07 \x1b]8;;https://example.org/a\x07there\x1b]8;;\x07")
print("\x1b[31mred\x1b[0m \x1b[38;2;1;2;3mtrue\x1b[0m see https://example.org/b.")
print(" 10%\r 20%\r100%\x1b[K done")
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[OpenTab]:
    """Opens tabs, each in a profile of its own, and closes them after the test."""
    tabs: list[Tab] = []

    def opener(server: ServerProcess, path: str, **options: Any) -> Tab:
        tabs.append(Tab.open(browser, server, path, **options))
        return tabs[-1]

    yield opener
    for tab in tabs:
        tab.page.context.close()


@pytest.fixture
def server(page_server: ServerProcess) -> ServerProcess:
    return page_server


@pytest.fixture
def long(long_log: str) -> str:
    return long_log


def written(gate: Path, before: int, after: int) -> str:
    """A script that writes some lines, waits for a file, and writes more."""
    return f"""
import os, time
for number in range(1, {before} + 1):
    print(f"line {{number}}", flush=number == {before})
while not os.path.exists({str(gate)!r}):
    time.sleep(0.005)
for number in range({before} + 1, {before} + {after} + 1):
    print(f"line {{number}}")
"""


def test_a_log_opens_at_its_end_with_few_rows(
    open_tab: OpenTab, server: ServerProcess, long: str
) -> None:
    tab = open_tab(server, f"/w/{long}")
    expect(tab.text(LONG)).to_be_in_viewport()
    expect(tab.text(LONG)).to_have_text(f"line {LONG} needle")
    expect(tab.log.locator(".row.end")).to_contain_text("succeeded")
    expect(tab.status("Log")).to_contain_text("100,000 lines")
    expect(tab.status("Connection")).to_have_text("live")
    expect(tab.page).to_have_title("✓ long")
    expect(tab.log).to_have_attribute("aria-label", "Log of long")
    assert tab.log.locator(".row").count() < 150
    # Each request costs a browser milliseconds, so a module more must not be one more.
    assert tab.page.evaluate("performance.getEntriesByType('resource').length") < 20
    assert tab.complaints == []


def test_a_permalink_shows_its_lines(open_tab: OpenTab, server: ServerProcess, long: str) -> None:
    tab = open_tab(server, f"/w/{long}#L50000-L50002")
    expect(tab.text(50_001)).to_be_in_viewport()
    for number, is_in in ((49_999, False), (50_000, True), (50_002, True), (50_003, False)):
        expect(tab.line(number)).to_have_class(re.compile(r"\btarget\b" if is_in else r"^row$"))
    # Another one on the same page, by its number; Back goes back.
    tab.line(50_004).locator(".number").click()
    expect(tab.page).to_have_url(re.compile("#L50004$"))
    expect(tab.line(50_004)).to_have_class(re.compile("target"))
    tab.line(50_006).locator(".number").click(modifiers=["Shift"])
    expect(tab.page).to_have_url(re.compile("#L50004-L50006$"))
    tab.page.go_back()
    tab.page.go_back()
    expect(tab.line(50_001)).to_have_class(re.compile("target"))
    tab.page.keyboard.press(":")
    tab.page.get_by_role("textbox", name="Go to line").fill("7")
    tab.page.keyboard.press("Enter")
    expect(tab.text(7)).to_be_in_viewport()
    expect(tab.text(7)).to_have_text("line 7")
    assert tab.complaints == []


@pytest.mark.parametrize("wrap", ["", "?wrap=true"])
def test_the_wheel_is_exact_and_reaches_both_ends(
    open_tab: OpenTab, server: ServerProcess, wrap: str
) -> None:
    wide = finished(server, WIDE)
    tab = open_tab(server, f"/w/{wide}{wrap}#L1500")
    expect(tab.text(1500)).to_be_in_viewport()
    for pixels in (90, -250, 40):
        before = tab.rows_in_view()
        tab.wheel(pixels)
        after = tab.rows_in_view()
        both = before.keys() & after.keys()
        assert both
        assert {round(before[number] - after[number]) for number in both} == {pixels}
    tab.log.focus()
    for key, number in (("Home", 1), ("End", 3000)):
        tab.page.keyboard.press(key)
        expect(tab.line(number).locator(".number")).to_be_in_viewport(ratio=0.9)
    # By the wheel alone, too, from some way off.
    for line, end, pixels in ((30, 1, -700), (2970, 3000, 700)):
        tab.page.goto(re.sub(r"#.*", f"#L{line}", tab.page.url))
        expect(tab.text(line)).to_be_in_viewport()
        for _ in range(60):
            tab.wheel(pixels)
            if tab.line(end).count() and tab.line(end).evaluate(
                "e => { const r = e.getBoundingClientRect(), v = e.closest('.log')"
                ".getBoundingClientRect(); return r.top >= v.top - 1 && r.bottom <= v.bottom + 1 }"
            ):
                break
        else:
            pytest.fail(f"the wheel did not reach line {end}")
    assert tab.complaints == []


def test_a_line_that_is_still_fetched_is_revealed_where_it_belongs(
    open_tab: OpenTab, server: ServerProcess
) -> None:
    """Until its lines come, each row has the height of one line."""
    wide = finished(server, WIDE)
    tab = open_tab(server, f"/w/{wide}?wrap=true#L30")
    expect(tab.text(30)).to_be_in_viewport()
    held: list[Route] = []
    lines = re.compile(r"/logs\?follow=false&from=")
    tab.page.route(lines, lambda route: held.append(route))
    for line in (2970, 1500):
        with tab.page.expect_request(lines):
            tab.page.evaluate(f"location.hash = '#L{line}'")
        expect(tab.line(line)).to_be_attached()
        tab.settle()
        while held:
            held.pop().continue_()
        expect(tab.text(line)).not_to_be_empty()
        expect(tab.line(line).locator(".number")).to_be_in_viewport(ratio=0.9)
        tab.settle()
        # A third of the view is above it.
        assert {int(number): top for number, top in tab.rows_in_view().items()}[line] > 100
    assert tab.complaints == []


def test_scrolled_up_nothing_moves_while_lines_come(
    open_tab: OpenTab, server: ServerProcess, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    workload = submit(server, written(gate, 500, 3000))
    tab = open_tab(server, f"/w/{workload}")
    expect(tab.text(500)).to_be_in_viewport()
    expect(tab.button("Follow")).to_have_attribute("aria-pressed", "true")
    tab.wheel(-400)
    expect(tab.button("Follow")).to_have_attribute("aria-pressed", "false")
    before = tab.rows_in_view()
    gate.touch()
    expect(tab.button("3,000 new lines")).to_be_visible()
    assert tab.rows_in_view() == before
    tab.button("3,000 new lines").click()
    expect(tab.text(3500)).to_be_in_viewport()
    # Lines that the burst left out are there once one looks.
    tab.wheel(-20_000)
    number = next(iter(tab.rows_in_view()))
    expect(tab.text(number)).to_have_text(f"line {number}")
    assert tab.complaints == []


def test_find_looks_at_all_lines(open_tab: OpenTab, server: ServerProcess, long: str) -> None:
    tab = open_tab(server, f"/w/{long}#L40500")
    expect(tab.text(40_500)).to_be_in_viewport()
    tab.page.keyboard.press("/")
    find = tab.page.get_by_role("searchbox", name="Find in log")
    expect(find).to_be_focused()
    # Enter counts also before the search that it starts has an answer.
    find.fill("NEEDLE")
    find.press("Enter")
    expect(tab.status("Matches")).to_have_text("41 of 100")
    expect(tab.text(41_000)).to_be_in_viewport()
    find.press("Shift+Enter")
    expect(tab.status("Matches")).to_have_text("40 of 100")
    expect(tab.text(40_000)).to_be_in_viewport()
    # A row is marked in the step that shows its text.
    expect(tab.text(40_000)).to_have_text("line 40000 needle")
    shown = "() => [...CSS.highlights].map(([name, ranges]) => [name, [...ranges].map(String)])"
    assert dict(tab.page.evaluate(shown))["find-now"] == ["needle"]
    tab.button("Match case").click()
    expect(tab.status("Matches")).to_have_text("no match")
    find.fill("^line [12]5$")
    tab.button("Match case").click()
    tab.button("Regular expression").click()
    expect(tab.status("Matches")).to_have_text("no match")
    find.fill("^line [12]5 $")
    expect(tab.status("Matches")).to_have_text(re.compile("2( matches)?$"))
    expect(tab.page).to_have_url(re.compile(r"find=.*&regex=true"))
    find.fill("(")
    expect(tab.status("Matches")).to_contain_text("missing")
    assert tab.complaints == []


def test_matches_only_lead_to_their_context(
    open_tab: OpenTab, server: ServerProcess, long: str
) -> None:
    tab = open_tab(server, f"/w/{long}?find=needle&only=true")
    # The choice of a first match moves nothing: all rows that show are matches.
    expect(tab.status("Matches")).to_have_text(re.compile(r"^\d+ of 100$"))
    expect(tab.text(100_000)).to_be_in_viewport()
    tab.log.focus()
    tab.page.keyboard.press("Home")
    expect(tab.text(1000)).to_be_in_viewport()
    assert list(tab.rows_in_view())[:3] == [1000, 2000, 3000]
    expect(tab.text(2000)).to_have_text("line 2000 needle")
    tab.line(7000).locator(".number").click()
    expect(tab.text(7001)).to_be_in_viewport()
    expect(tab.line(7000)).to_have_class(re.compile("target"))
    expect(tab.page).to_have_url(re.compile(r"\?find=needle#L7000$"))
    assert tab.complaints == []


def test_dense_matches_only(open_tab: OpenTab, server: ServerProcess, long: str) -> None:
    """More than the service names in one tile."""
    tab = open_tab(server, f"/w/{long}?find=5&only=true")
    count = sum("5" in str(number) for number in range(1, LONG + 1))
    expect(tab.status("Matches")).to_contain_text(f"{count:,}")
    tab.log.focus()
    tab.page.keyboard.press("Home")
    expect(tab.text(15)).to_have_text("line 15 ")
    assert list(tab.rows_in_view())[:4] == [5, 15, 25, 35]
    expect(tab.text(59)).to_have_text("line 59 ")
    assert tab.complaints == []


def test_many_selected_lines_copy_exactly(
    open_tab: OpenTab, server: ServerProcess, long: str
) -> None:
    tab = open_tab(server, f"/w/{long}#L1000")
    expect(tab.text(1000)).to_be_in_viewport()
    tab.text(1000).evaluate(
        "e => getSelection().setBaseAndExtent(e.firstChild, 2, e.firstChild, 2)"
    )
    for _ in range(12):
        tab.wheel(600)
    last = max(tab.rows_in_view()) - 3
    assert last > 1390
    expect(tab.text(last)).to_have_text(re.compile(f"line {last}"))
    assert tab.log.locator(".row").count() < 150
    tab.text(last).evaluate("e => getSelection().extend(e.firstChild, 6)")
    copied = tab.log.evaluate(COPY)
    lines = [f"line {n} {'needle' if n % 1000 == 0 else ''}" for n in range(1000, last + 1)]
    assert copied == "\n".join([lines[0][2:], *lines[1:-1], lines[-1][:6]])
    assert tab.complaints == []


def test_all_lines_of_a_log_are_selected_and_copied(
    open_tab: OpenTab, server: ServerProcess
) -> None:
    """Those without a row, too, and nothing of the page around them."""
    log = finished(server, "for number in range(1, 3001): print('line', number)")
    tab = open_tab(server, f"/w/{log}")
    expect(tab.text(3000)).to_be_in_viewport()
    tab.log.press("Control+a")
    # Until the lines have come, a copy says so.
    lines = "\n".join(f"line {number}" for number in range(1, 3001))
    tab.page.wait_for_function(
        f"lines => ({COPY})(document.querySelector('.log')) === lines", arg=lines
    )
    tab.log.press("Home")
    expect(tab.text(1)).to_be_in_viewport()
    shown = "getSelection().containsNode(document.querySelector('#L1 .text'), true)"
    tab.page.wait_for_function(shown)
    assert tab.complaints == []


def test_a_log_is_only_ever_text(open_tab: OpenTab, server: ServerProcess) -> None:
    tab = open_tab(server, f"/w/{finished(server, HOSTILE)}")
    expect(tab.text(1)).to_have_text(
        "<img src=x onerror=alert(1)><script>alert(1)</script><b id=L1>bold</b>"
    )
    assert tab.page.locator("#L1").count() == 1
    assert tab.log.locator("img, script, b").count() == 0
    expect(tab.text(2)).to_have_text("click there")
    links = tab.log.locator(".text a")
    assert [link.get_attribute("href") for link in links.all()] == [
        "https://example.org/a",
        "https://example.org/b",
    ]
    assert {link.get_attribute("rel") for link in links.all()} == {"noopener noreferrer"}
    expect(tab.text(3)).to_have_text("red true see https://example.org/b.")
    expect(tab.text(4)).to_have_text("100% done")
    expect(tab.text(3).locator(".c1")).to_have_text("red")
    colour = "e => getComputedStyle(e).color"
    assert tab.text(3).get_by_text("true").evaluate(colour) == "rgb(1, 2, 3)"
    assert tab.complaints == []


def test_how_rows_look_is_in_the_address(
    open_tab: OpenTab, server: ServerProcess, long: str
) -> None:
    tab = open_tab(server, f"/w/{long}", timezone_id="Asia/Tokyo")
    expect(tab.text(LONG)).to_be_in_viewport()
    time = tab.line(LONG).locator(".time")
    local = time.text_content()
    tab.button("Times").click()
    tab.page.get_by_role("menuitemradio", name="UTC").click()
    expect(time).not_to_have_text(local or "")
    utc = time.text_content()
    assert local is not None
    assert utc is not None
    assert (int(local[:2]) - int(utc[:2])) % 24 == 9
    assert local[2:] == utc[2:]
    tab.button("Wrap").click()
    expect(tab.page).to_have_url(re.compile(r"\?wrap=true&times=utc$"))
    expect(tab.button("Wrap")).to_have_attribute("aria-pressed", "true")
    tab.page.reload()
    expect(time).to_have_text(utc)
    expect(tab.button("Wrap")).to_have_attribute("aria-pressed", "true")
    tab.page.keyboard.press("t")
    tab.page.keyboard.press("t")
    expect(time).to_have_text("")
    assert tab.complaints == []


def test_standard_error_is_told_apart(open_tab: OpenTab, server: ServerProcess) -> None:
    script = "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(3)"
    tab = open_tab(server, f"/w/{finished(server, script)}")
    expect(tab.log.locator(".row.end")).to_contain_text("failed with exit code 3 after")
    streams = [row.get_attribute("data-stream") for row in tab.log.locator(".row[id]").all()]
    assert sorted(map(str, streams)) == ["stderr", "stdout"]


def test_lines_survive_a_restart_of_the_server(open_tab: OpenTab, tmp_path: Path) -> None:
    """A push goes on over the restart, and so does the page: no line is lost or doubled."""
    with running_server(tmp_path) as first:
        address = first.url.rpartition("//")[2]
        made = first.post("/v1/workloads", {"command": [], "backend": "push", "name": "pushed"})
        workload = made.json()["id"]
        path = f"/v1/workloads/{workload}/logs"
        push(first, path, 0, "one\ntwo\n")
        tab = open_tab(first, f"/w/{workload}")
        expect(tab.text(2)).to_have_text("two")
        tab.page.locator("html").evaluate("e => { e.dataset.build = 'another one' }")
        assert first.stop() == 0
        expect(tab.status("Connection")).to_have_text("reconnecting")
        tab.button("Download").click()
        expect(tab.page.get_by_role("alert")).to_have_text("The server does not answer.")
    with running_server(tmp_path, "--bind", address) as second:
        push(second, path, 8, "three\n")
        expect(tab.text(3)).to_have_text("three")
        expect(tab.status("Connection")).to_have_text("live")
        expect(tab.page.get_by_text("The server was upgraded.")).to_be_visible()
        # Other notices come and go.
        for _ in range(2):
            tab.button("Copy link").click()
        expect(tab.page.get_by_text("The link is copied.")).to_be_visible()
        expect(tab.page.get_by_text("The server was upgraded.")).to_be_visible()
        push(second, path, 14, "four\n")
        expect(tab.text(4)).to_have_text("four")
        assert second.post(f"/v1/workloads/{workload}/finish", {"exit_code": 0}).is_success
        expect(tab.log.locator(".row.end")).to_contain_text("succeeded")
        assert tab.log.locator(".row[id]").all_inner_texts()[3].endswith("four")
        assert tab.log.locator(".row[id]").count() == 4
        assert tab.complaints == []


def test_new_lines_are_those_that_show(open_tab: OpenTab, server: ServerProcess) -> None:
    """Of the matches alone, lines that do not match are none to go to."""
    made = server.post("/v1/workloads", {"command": [], "backend": "push", "name": "pushed"})
    path = f"/v1/workloads/{made.json()['id']}/logs"
    push(server, path, 0, "needle\n")
    tab = open_tab(server, f"/w/{made.json()['id']}?find=needle&only=true")
    expect(tab.text(1)).to_have_text("needle")
    tab.button("Follow").click()
    push(server, path, 7, "other\n" * 50)
    expect(tab.status("Log")).to_contain_text("51 lines")
    new = tab.page.get_by_role("button", name=re.compile("new lines?$"))
    expect(new).to_have_count(0)
    push(server, path, 307, "needle\n")
    expect(tab.status("Matches")).to_contain_text("2")
    expect(new).to_have_text("1 new line")
    # The lines between two matches have no rows.
    tab.text(1).evaluate("e => getSelection().setPosition(e.firstChild, 0)")
    tab.text(52).evaluate("e => getSelection().extend(e.lastChild, e.lastChild.length)")
    assert tab.log.evaluate(COPY) == "needle\nneedle"
    # Where all lines show, they count again.
    tab.button("Matches only").click()
    expect(new).to_have_count(0)
    push(server, path, 314, "other\nother\n")
    expect(new).to_have_text("2 new lines")
    assert server.post(f"{path.removesuffix('logs')}finish", {"exit_code": 0}).is_success
    assert tab.complaints == []


def push(server: ServerProcess, path: str, offset: int, text: str) -> None:
    with server.client() as client:
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/octet-stream"}
        assert client.post(path, content=text.encode(), headers=headers).status_code == 204


def test_logs_side_by_side(open_tab: OpenTab, server: ServerProcess) -> None:
    ids = [finished(server, f"print('this is {name}')", name=name) for name in ("left", "right")]
    tab = open_tab(server, f"/w/{','.join(ids)}#{ids[1]}:L1")
    for name, workload in zip(("left", "right"), ids, strict=True):
        region = tab.page.get_by_role("region", name=name)
        expect(region.get_by_role("log", name=f"Log of {name}")).to_be_visible()
        row = region.locator(f"[id='{workload}:L1']")
        expect(row.locator(".text")).to_have_text(f"this is {name}")
        expect(row).to_have_class("row target" if name == "right" else "row")
    tab.page.get_by_role("region", name="left").locator("a.number").click()
    expect(tab.page).to_have_url(re.compile(f"#{ids[0]}:L1$"))
    assert tab.complaints == []


def test_many_tabs_share_one_connection(
    open_tab: OpenTab, server: ServerProcess, tmp_path: Path
) -> None:
    """A browser opens six connections of HTTP/1.1 to a host, so a stream for each tab would stall
    the seventh."""
    gate = tmp_path / "gate"
    ids = [submit(server, written(gate, 1, 1)) for _ in range(2)]
    first = open_tab(server, f"/w/{ids[0]}")
    pages = [first.page, *(first.page.context.new_page() for _ in range(6))]
    for place, page in enumerate(pages[1:], 1):
        page.goto(f"{server.url}/w/{ids[place % 2]}")
    for page in pages:
        expect(page.locator("#L1 .text")).to_have_text("line 1")
    gate.touch()
    for page in pages:
        expect(page.locator("#L2 .text")).to_have_text("line 2")
        expect(page.locator(".row.end")).to_contain_text("succeeded")
    assert first.complaints == []
