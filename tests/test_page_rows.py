"""Rows that are no plain lines, in real Chromium: sections, progress, one stream, gaps, states."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from playwright.sync_api import Browser, expect

from tests.browsing import Tab, finished, open_browser, submit
from tests.server_process import ServerProcess, running_server
from tests.test_clients import PATIENCE
from tests.test_page import push
from trio_logs.store.rows import GAP

pytestmark = pytest.mark.page

# Lines 2 to 10,006 are a section with another one in it, of which line 5,000 is a part.
SECTIONS = r"""
print("start")
print("::group::Install \x1b[36mpackages\x1b[0m")
for number in range(3, 4000):
    print(f"line {number}")
print("::group::Inner")
for number in range(4001, 6000):
    print(f"line {number}", "needle" * (number == 5000))
print("::endgroup::")
for number in range(6001, 10006):
    print(f"line {number}")
print("::endgroup::")
print("\x1b[0Ksection_start:1700000000:build[collapsed=true]\r\x1b[0K\x1b[36mBuild\x1b[0m")
print("line 10008")
print("section_end:1700000010:build\r\x1b[0K")
print("--- :docker: Push https://example.org/")
print("line 10011")
print("+++ Tests")
print("^^^ +++")
for number in range(10014, 10031):
    print(f"line {number}")
"""

COPY = """log => {
    const clipboardData = new DataTransfer()
    const options = { clipboardData, bubbles: true, cancelable: true }
    const event = new ClipboardEvent("copy", options)
    getSelection().focusNode.parentElement.dispatchEvent(event)
    return clipboardData.getData("text/plain")
}"""
SELECT = """([log, from, start, to, end]) => {
    const place = (line, offset) => {
        const text = log.querySelector(`[data-line="${line}"] .text`)
        const walker = document.createTreeWalker(text, NodeFilter.SHOW_TEXT)
        return [walker.nextNode(), offset]
    }
    getSelection().setBaseAndExtent(...place(from, start), ...place(to, end))
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("rows")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def copied(tab: Tab, start: tuple[int, int], end: tuple[int, int]) -> list[str]:
    """The lines that a copy has from a place in a line to another; both are elements."""
    log = tab.log.element_handle()
    tab.page.evaluate(SELECT, [log, *start, *end])
    text = tab.log.evaluate(COPY)
    assert isinstance(text, str)
    return text.split("\n")


def go_to(tab: Tab, line: int) -> None:
    tab.page.keyboard.press(":")
    tab.page.get_by_role("textbox", name="Go to line").fill(str(line))
    tab.page.keyboard.press("Enter")
    expect(tab.text(line)).to_be_in_viewport()
    expect(tab.text(line)).not_to_be_empty()


def ranges_in(url: str) -> list[tuple[int, int]]:
    """The lines that a request of rows is about."""
    return [(int(a), int(b)) for a, b in re.findall(r"logs\?follow=false&from=(\d+)&to=(\d+)", url)]


def expect_rows(tab: Tab, *numbers: int) -> None:
    """The lines that show are these, at first."""
    expect(tab.line(numbers[-1])).to_be_in_viewport()
    assert list(tab.rows_in_view())[: len(numbers)] == list(numbers)


def test_sections_fold(browser: Browser, server: ServerProcess) -> None:
    tab = Tab.open(browser, server, f"/w/{finished(server, SECTIONS)}")
    expect(tab.button("Tests")).to_have_attribute("aria-expanded", "true")
    assert "::" not in tab.log.inner_text()
    tab.log.focus()
    tab.page.keyboard.press("Home")
    install, inner = tab.button("Install packages"), tab.button("Inner")
    expect(install).to_have_attribute("aria-expanded", "true")
    expect(tab.line(2).locator(".text")).to_have_text("Install packages")
    expect(tab.line(2).locator(".text .c6")).to_have_text("packages")
    # Its end is far below what was loaded: the service has found it.
    expect(tab.line(2)).to_contain_text("10,003 lines")
    install.click()
    expect(install).to_have_attribute("aria-expanded", "false")
    expect_rows(tab, 1, 2, 10_007, 10_008, 10_009, 10_010)
    assert {key: round(top) for key, top in tab.rows_in_view().items()}[2] == 18
    assert tab.text(10_007).inner_text() == "Build"
    expect(tab.text(10_030)).to_have_text("line 10030")
    assert tab.log.locator(".row").count() < 60
    # Copying over it has all of its lines, as they were written. Those that are not here are
    # fetched once the selection is made.
    deadline = time.monotonic() + PATIENCE
    while len(whole := copied(tab, (1, 2), (10_010, 9))) < 10_010 and time.monotonic() < deadline:
        tab.settle()
    assert len(whole) == 10_010
    assert whole[:3] == ["art", "::group::Install packages", "line 3"]
    assert whole[10_004:] == [
        *("line 10005", "::endgroup::", "Build", "line 10008", "", "--- :docker: "),
    ]
    assert tab.line(10_010).locator(".text a").count() == 0
    assert copied(tab, (2, 3), (2, 7)) == ["tall"]
    # By keys: the button keeps the focus.
    install.focus()
    tab.page.keyboard.press("Enter")
    expect(tab.text(3)).to_have_text("line 3")
    expect(install).to_be_focused()
    tab.page.keyboard.press("Space")
    expect(tab.text(3)).to_have_count(0)
    # A match opens what it is in; what else is closed stays so.
    tab.button("Build").click()
    expect(tab.text(10_008)).to_have_count(0)
    tab.page.keyboard.press("/")
    tab.page.get_by_role("searchbox", name="Find in log").fill("needle")
    expect(tab.text(5000)).to_be_in_viewport()
    tab.page.get_by_role("searchbox", name="Find in log").press("Escape")
    # In the inner one: z closes it, z opens it; its title is at the top then. What is hidden is
    # not fetched, but for what is next to the rows.
    asked: list[tuple[int, int]] = []
    tab.page.on("request", lambda request: asked.extend(ranges_in(request.url)))
    tab.page.keyboard.press("z")
    expect(inner).to_have_attribute("aria-expanded", "false")
    expect_rows(tab, 4000, 6001, 6002)
    expect(tab.text(6002)).to_have_text("line 6002")
    assert asked
    assert all(to - start < 1000 for start, to in asked), asked
    tab.page.keyboard.press("z")
    expect_rows(tab, 4000, 4001, 4002)
    # Tab leads to the next one, also where it is below the view.
    go_to(tab, 3970)
    expect(inner).not_to_be_in_viewport()
    tab.log.focus()
    tab.page.keyboard.press("Tab")
    expect(inner).to_be_focused()
    expect(inner).to_be_in_viewport()
    tab.page.keyboard.press("Shift+Z")
    expect_rows(tab, 1, 2, 10_007, 10_010, 10_012)
    # A line that is linked opens both that it is in.
    go_to(tab, 5500)
    expect(tab.line(5500)).to_have_class(re.compile("target"))
    # Both ends are there, by the wheel, too.
    tab.page.keyboard.press("End")
    expect(tab.log.locator(".row.end")).to_be_in_viewport()
    assert tab.text(10_007).is_visible()
    # Opened at the end, it grows downwards: nobody follows then, and its title stays.
    expect(tab.button("Tests")).to_have_attribute("aria-expanded", "false")
    place = tab.line(10_012).bounding_box()
    tab.page.keyboard.press("w")
    assert tab.line(10_012).bounding_box() == place
    tab.button("Tests").click()
    expect(tab.text(10_014)).to_have_text("line 10014")
    assert tab.line(10_012).bounding_box() == place
    tab.page.keyboard.press("Shift+Z")
    tab.wheel(-3000)
    expect_rows(tab, 1, 2, 10_007)
    assert tab.complaints == []
    tab.page.context.close()


def test_lines_add_to_a_closed_section(
    browser: Browser, server: ServerProcess, tmp_path: Path
) -> None:
    made = server.post("/v1/workloads", {"command": [], "backend": "push", "name": "pushed"})
    path = f"/v1/workloads/{made.json()['id']}/logs"
    first = "before\n::group::Live\none\n"
    push(server, path, 0, first)
    tab = Tab.open(browser, server, f"/w/{made.json()['id']}")
    live = tab.button("Live")
    expect(tab.line(2)).to_contain_text("1 line")
    live.click()
    expect(tab.text(3)).to_have_count(0)
    # Far more than one message has: the service is asked for the marks in between.
    burst = "".join(f"line {number}\n" for number in range(1000))
    push(server, path, len(first), burst)
    expect(tab.line(2)).to_contain_text("1,001 lines")
    after = "::endgroup::\n" + "after\n" * 300
    push(server, path, len(first) + len(burst), after)
    expect(tab.text(1304)).to_have_text("after")
    tab.page.keyboard.press("Home")
    expect_rows(tab, 1, 2, 1005)
    live.click()
    expect(tab.text(3)).to_have_text("one")
    # Once a section around the view closes, its title is at the top; the bar is shorter by far.
    go_to(tab, 900)
    tab.page.keyboard.press("Shift+Z")
    tab.settle()
    expect_rows(tab, 2, 1005, 1006)
    assert tab.complaints == []
    tab.page.context.close()


def test_a_progress_bar_moves_in_its_row(
    browser: Browser, server: ServerProcess, tmp_path: Path
) -> None:
    """As tqdm draws one: on standard error, a carriage return before each state."""
    script = f"""
import os, sys, time
print("downloading", flush=True)
for part in range(0, 11, 5):
    bar = "\\x1b[32m" + "#" * part + "\\x1b[0m"
    sys.stderr.write(f"\\r {{10 * part:3d}}%|{{bar:<10}}| {{part}}/10")
    sys.stderr.flush()
    while not os.path.exists(os.path.join({str(tmp_path)!r}, str(part))):
        time.sleep(0.005)
sys.stderr.write("\\n")
sys.stdout.write("continue? ")
sys.stdout.flush()
while not os.path.exists(os.path.join({str(tmp_path)!r}, "answer")):
    time.sleep(0.005)
"""
    tab = Tab.open(browser, server, f"/w/{submit(server, script)}")
    bar = tab.log.locator("[data-unfinished]")
    places = []
    for part in (0, 5, 10):
        expect(bar.locator(".text")).to_contain_text(f"| {part}/10")
        expect(bar).to_have_attribute("data-stream", "stderr")
        places.append(bar.bounding_box())
        if part:
            expect(bar.locator(".c2")).to_have_text("#" * part)
        (tmp_path / str(part)).touch()
    assert places[1:] == places[:-1]
    assert bar.get_attribute("id") is None
    # Its line takes its place, and the prompt comes below.
    expect(tab.text(2)).to_have_text(re.compile(r"^ 100%\|#{10}\| 10/10$"))
    assert tab.line(2).bounding_box() == places[0]
    expect(bar).to_have_attribute("data-stream", "stdout")
    expect(bar.locator(".text")).to_have_text("continue? ")
    (tmp_path / "answer").touch()
    # A line without an end is a line all the same once the workload has ended.
    expect(tab.text(3)).to_have_text("continue? ")
    expect(bar).to_have_count(0)
    assert tab.complaints == []
    tab.page.context.close()


def test_one_stream(browser: Browser, server: ServerProcess) -> None:
    made = server.post("/v1/workloads", {"command": [], "backend": "push"})
    workload = made.json()["id"]
    path = f"/v1/workloads/{workload}/logs"
    push(server, path, 0, "".join(f"out {number}\n" for number in range(1, 3001)))
    errors, written = Errors(server, path), len("".join(f"out {n}\n" for n in range(1, 3001)))
    errors.push(50)
    tab = Tab.open(browser, server, f"/w/{workload}")
    expect(tab.text(3050)).to_be_in_viewport()
    tab.button("Streams").click()
    tab.page.get_by_role("menuitemradio", name="stderr").click()
    expect(tab.page).to_have_url(re.compile(r"\?stream=stderr$"))
    expect(tab.text(3000)).to_have_count(0)
    tab.page.keyboard.press("Home")
    expect_rows(tab, 3001, 3002, 3003)
    # Live, and with what is not the stream's left out.
    tab.page.keyboard.press("End")
    searches: list[str] = []
    tab.page.on("request", lambda request: searches.append(request.url))
    push(server, path, written, "out again\n")
    errors.push(1)
    expect(tab.text(3052)).to_have_text("err 51")
    assert tab.text(3051).count() == 0
    assert not [url for url in searches if "/matches" in url]
    assert copied(tab, (3049, 4), (3052, 5)) == ["49", "err 50", "err 5"]
    # Also a burst of which this tab hears the end only.
    tab.page.keyboard.press("k")
    push(server, path, written + len("out again\n"), "out\n" * 5)
    errors.push(2000)
    expect(tab.button("2,000 new lines")).to_be_visible()
    tab.button("2,000 new lines").click()
    expect(tab.text(5057)).to_have_text("err 2051")
    # The same by its address, with a find in it.
    other = Tab.open(browser, server, f"/w/{workload}?find=again&stream=stderr")
    expect(other.status("Matches")).to_have_text("no match")
    expect(other.text(5057)).to_have_text("err 2051")
    assert other.log.locator("[data-stream=stdout]").count() == 0
    other.button("Streams").click()
    other.page.get_by_role("menuitemradio", name="The service's own").click()
    expect(other.log).to_have_text("No line of system yet")
    assert tab.complaints == other.complaints == []
    for each in (tab, other):
        each.page.context.close()


def test_gaps_and_states(browser: Browser, tmp_path: Path) -> None:
    """What a service is after crashes and a restored disk; the page says each of it."""
    file, saved = tmp_path / "data" / "trio_logs.db", tmp_path / "saved.db"
    with running_server(file.parent, "--max-running", "1") as first:
        address = first.url.rpartition("//")[2]
        made = first.post("/v1/workloads", {"command": [], "backend": "push", "name": "pushed"})
        pushed = made.json()["id"]
        path = f"/v1/workloads/{pushed}/logs"
        push(first, path, 0, "one\ntwo\n")
        long = finished(first, "for number in range(8000): print('line', number + 1)")
        busy = submit(first, "import time; time.sleep(600)", name="busy")
        waits = submit(first, "print('at last')", name="waits")
        queued = Tab.open(browser, first, f"/w/{waits}")
        expect(queued.log).to_contain_text("Queued: it starts once other workloads have made room")
        expect(queued.status("Log")).to_contain_text("queued")
        lost = Tab.open(browser, first, f"/w/{busy}")
        expect(lost.log).to_have_text("No line yet")
        for each in (queued, lost):
            expect(each.status("Connection")).to_have_text("live")
        first.kill()
        shutil.copy(file, saved)
        for suffix in ("-wal", "-shm"):
            if (other := file.with_name(file.name + suffix)).exists():
                shutil.copy(other, saved.with_name(saved.name + suffix))
        expect(lost.status("Connection")).to_have_text("reconnecting")
        gaps = spoil(saved, long)
    with running_server(file.parent, "--bind", address) as second:
        push(second, path, 8, "three\nfour\n")
        tab = Tab.open(browser, first, f"/w/{pushed}")
        expect(tab.text(4)).to_have_text("four")
        made = second.post("/v1/workloads", {"command": [], "backend": "push"})
        gone = Tab.open(browser, first, f"/w/{made.json()['id']}")
        expect(gone.log).to_have_text("No line yet")
        expect(gone.status("Connection")).to_have_text("live")
        for each in (queued, lost):
            each.page.evaluate("dispatchEvent(new Event('online'))")
        expect(queued.text(1)).to_have_text("at last")
        expect(queued.log.locator(".row.end")).to_contain_text("succeeded after")
        expect(lost.log.locator(".row.end")).to_have_text(re.compile("lost: the service died"))
        expect(lost.status("Log")).to_contain_text("lost: the service died while it ran")
        expect(lost.status("Connection")).to_have_text("live")
        second.kill()
    for leftover in file.parent.glob(f"{file.name}*"):
        leftover.unlink()
    shutil.copy(saved, file)
    with running_server(file.parent, "--bind", address) as third:
        tab.page.evaluate("dispatchEvent(new Event('online'))")
        # After the last line that is left, once the page has asked which one that is.
        reset = tab.log.locator(".row").nth(2)
        expect(reset).to_contain_text(
            "lost lines that had shown here: this log goes to line 2 only"
        )
        push(third, path, 8, "another three\n")
        expect(tab.text(3)).to_have_text("another three")
        expect(gone.log).to_have_text("The workload was deleted, and its log with it")
        rows = [row.get_attribute("data-line") for row in tab.log.locator(".row").all()]
        assert rows == ["1", "2", None, "3"]
        tab.page.goto(f"{first.url}/w/{long}")
        expect(tab.text(8000)).to_be_in_viewport()
        # In the midst of what was removed: one row has all of it, and stays in view.
        tab.page.keyboard.press(":")
        tab.page.get_by_role("textbox", name="Go to line").fill("4000")
        tab.page.keyboard.press("Enter")
        for (start, end), words in gaps.items():
            row = tab.log.locator(f"[data-gap='{start}-{end}']")
            expect(row).to_be_in_viewport()
            expect(row).to_have_text(f"Lines {start:,} – {end:,} are missing: {words}")
            assert "gradient" in row.evaluate("row => getComputedStyle(row).backgroundImage")
        with third.client() as client:
            assert client.delete(f"/v1/workloads/{long}").status_code == 204
        # The page learns it from the events, or from the answer about lines that are not here.
        tab.page.keyboard.press(":")
        tab.page.get_by_role("textbox", name="Go to line").fill("7500")
        tab.page.keyboard.press("Enter")
        words = tab.log.get_by_text("The workload was deleted, and its log with it")
        deadline = time.monotonic() + PATIENCE
        while not words.count() and time.monotonic() < deadline:
            tab.wheel(4000)
        expect(words).to_be_in_viewport()
    for each in (queued, lost, gone, tab):
        assert each.complaints == []
        each.page.context.close()


def spoil(path: Path, log: str) -> dict[tuple[int, int], str]:
    """Have lines of a log be lost in three ways, but for its last batches; return the lines, and
    what the page says of them."""
    database = apsw.Connection(str(path))
    [(number,)] = database.execute("SELECT number FROM workloads WHERE id = ?", (log,))
    batches = "SELECT first, first + count - 1 FROM batches WHERE log = ? ORDER BY first"
    lines: list[tuple[int, int]] = list(database.execute(batches, (number,)))
    *removed, damaged, store = lines[:-2]
    one = "WHERE log = ? AND first = ?"
    database.execute("DELETE FROM batches WHERE log = ? AND first < ?", (number, damaged[0]))
    database.execute(f"UPDATE batches SET data = x'00' {one}", (number, damaged[0]))
    gap = f"UPDATE batches SET data = x'', stream = 'store', flags = {GAP} {one}"
    database.execute(gap, (number, store[0]))
    database.close()
    return {
        (1, removed[-1][1]): "removed to make room",
        damaged: "they can't be read",
        store: "the store had failed when they came",
    }


class Errors:
    """Pushes lines of standard error."""

    def __init__(self, server: ServerProcess, path: str) -> None:
        self.server, self.path = server, path
        self.lines = self.offset = 0

    def push(self, count: int) -> None:
        numbers = range(self.lines + 1, self.lines + 1 + count)
        text = "".join(f"err {number}\n" for number in numbers)
        headers = {
            "Upload-Offset": str(self.offset),
            "Upload-Stream": "stderr",
            "Content-Type": "application/octet-stream",
        }
        with self.server.client() as client:
            answer = client.post(self.path, content=text.encode(), headers=headers)
        assert answer.status_code == 204
        self.lines += count
        self.offset += len(text)
