"""Several logs, the search over all of them, and a long list, in real Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.browsing import Tab, finished, open_browser, submit
from tests.full_pipe import wait_for
from tests.server_process import ServerProcess, running_server

pytestmark = pytest.mark.page

TEXTS = "log => [...log.querySelectorAll('.row[id] .text')].map(text => text.textContent)"
MARKED = "name => [...(CSS.highlights.get(name) ?? [])].map(String)"
COPY = """log => {
    const clipboardData = new DataTransfer()
    const event = new ClipboardEvent("copy", { clipboardData, bubbles: true, cancelable: true })
    getSelection().focusNode.parentElement.dispatchEvent(event)
    return clipboardData.getData("text/plain")
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("several")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@dataclass
class Pushed:
    """A workload whose lines the test pushes."""

    server: ServerProcess
    id: str
    offset: int = 0

    @classmethod
    def open(cls, server: ServerProcess, name: str) -> Pushed:
        body = {"command": [], "backend": "push", "name": name}
        return cls(server, str(server.post("/v1/workloads", body).json()["id"]))

    def write(self, text: str) -> None:
        headers = {
            "Upload-Offset": str(self.offset),
            "Content-Type": "application/octet-stream",
        }
        with self.server.client() as client:
            path = f"/v1/workloads/{self.id}/logs"
            assert client.post(path, content=text.encode(), headers=headers).status_code == 204
        self.offset += len(text.encode())

    def finish(self) -> None:
        assert self.server.post(f"/v1/workloads/{self.id}/finish", {"exit_code": 0}).is_success


def region(tab: Tab, name: str) -> Locator:
    return tab.page.get_by_role("region", name=name, exact=True)


def link(tab: Tab, name: str) -> Locator:
    workloads = tab.page.get_by_role("navigation", name="Workloads")
    return workloads.get_by_role("link", name=re.compile(f"^{name} "))


def test_a_log_is_split_and_closed(browser: Browser, server: ServerProcess) -> None:
    lines = "for n in range(1, 501): print(f'line {n} of {name}', 'needle' * (n == 250))"
    names = ("left", "right", "third")
    ids = [finished(server, f"name = {name!r}\n{lines}", name=name) for name in names]
    tab = Tab.open(browser, server, f"/w/{ids[0]}#L250")
    page = tab.page
    expect(tab.text(250)).to_be_in_viewport()
    tab.settle()
    place = tab.rows_in_view()[250]
    tab.button("Split").click()
    expect(tab.button("Split")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_text("Choose a workload in the list")).to_be_visible()
    # A link stays a link.
    with page.context.expect_page() as opened:
        link(tab, "third").click(modifiers=["ControlOrMeta"])
    opened.value.wait_for_url(f"{server.url}/w/{ids[2]}")
    opened.value.close()
    link(tab, "right").click()
    expect(page).to_have_url(f"{server.url}/w/{ids[0]},{ids[1]}#{ids[0]}:L250")
    expect(page).to_have_title("✓ right + 1")
    left, right = region(tab, "left"), region(tab, "right")
    row = left.locator(f"[id='{ids[0]}:L250']")
    expect(row).to_have_class(re.compile("target"))
    expect(row).to_be_in_viewport()
    expect(right.locator(f"[id='{ids[1]}:L500'] .text")).to_be_in_viewport()
    expect(right.get_by_role("status", name="Log")).to_contain_text("500 lines")
    for name in ("left", "right"):
        expect(link(tab, name)).to_have_attribute("aria-current", "page")
    # The log that was there before has neither moved nor been fetched again.
    tops = left.get_by_role("log").evaluate(
        "log => log.querySelector('.target').getBoundingClientRect().top"
        " - log.getBoundingClientRect().top"
    )
    assert abs(tops - place) < 18
    # One bar of tools serves both.
    find = page.get_by_role("searchbox", name="Find in log")
    find.fill("needle")
    expect(tab.status("Matches")).to_have_text("1 match")
    find.press("Enter")
    expect(tab.status("Matches")).to_have_text("1 of 1")
    expect(right.locator(f"[id='{ids[1]}:L250']")).to_be_in_viewport()
    tab.settle()
    # The page draws marks in a frame of their own.
    wait_for(lambda: page.evaluate(MARKED, "find-now") == ["needle"])
    assert page.evaluate(MARKED, "find") == ["needle"]
    divider = page.get_by_role("separator", name="Width of left")
    before = (left.bounding_box() or {})["width"]
    divider.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(divider).to_have_attribute("aria-valuenow", "40")
    assert (left.bounding_box() or {})["width"] < before * 0.85
    link(tab, "third").click()
    expect(page).to_have_url(re.compile(f"/w/{','.join(ids)}\\?find=needle#"))
    expect(region(tab, "third")).to_be_visible()
    region(tab, "third").get_by_role("button", name="Close").click()
    expect(page).to_have_url(re.compile(f"/w/{ids[0]},{ids[1]}\\?"))
    link(tab, "right").click()
    expect(right).to_have_count(0)
    expect(page).to_have_url(f"{server.url}/w/{ids[0]}?find=needle#L250")
    page.go_back()
    expect(right.get_by_role("log")).to_be_visible()
    right.get_by_role("log").click()
    tab.button("Split").click()
    expect(page).to_have_url(f"{server.url}/w/{ids[1]}?find=needle")
    expect(tab.button("Split")).to_have_attribute("aria-pressed", "false")
    expect(tab.button("Split")).to_be_focused()
    expect(tab.text(500)).to_be_in_viewport()
    assert tab.complaints == []
    page.context.close()


def test_logs_merged_by_time(browser: Browser, server: ServerProcess) -> None:
    one, two = Pushed.open(server, "one"), Pushed.open(server, "two")
    one.write("".join(f"one {n}\n" for n in range(1, 1501)))
    two.write("two 1\n")
    one.write("one 1501\n")
    tab = Tab.open(browser, server, f"/w/{one.id},{two.id}")
    page = tab.page
    expect(page.locator(f"[id='{two.id}:L1']")).to_be_visible()
    tab.button("Merge").click()
    expect(page).to_have_url(f"{server.url}/w/{one.id},{two.id}?view=merged")
    last = page.locator(f"[id='{one.id}:L1501']")
    expect(last).to_be_in_viewport()
    expect(tab.log).to_have_count(1)
    assert tab.log.evaluate(TEXTS)[-3:] == ["one 1500", "two 1", "one 1501"]
    name = last.locator(".name")
    expect(name).to_have_text("one")
    colours = [
        page.locator(f"[id='{each}'] .name").evaluate("e => getComputedStyle(e).color")
        for each in (f"{one.id}:L1501", f"{two.id}:L1")
    ]
    assert len(set(colours)) == 2
    # Live, and more at once than a message of the stream has.
    two.write("".join(f"two {n}\n" for n in range(2, 1200)))
    one.write("one 1502\n")
    expect(page.locator(f"[id='{one.id}:L1502']")).to_be_in_viewport()
    assert tab.log.evaluate(TEXTS)[-3:] == ["two 1198", "two 1199", "one 1502"]
    assert tab.log.locator(".row").count() < 150
    tab.log.focus()
    page.keyboard.press("Home")
    expect(page.locator(f"[id='{one.id}:L502']")).to_be_visible()
    tab.button("Earlier lines").click()
    top = page.locator(f"[id='{one.id}:L502'] .text")
    expect(top).to_be_in_viewport()
    expect(page.locator(f"[id='{one.id}:L501']")).to_have_count(1)
    expect(tab.button("Earlier lines")).to_have_count(0)
    # What an address points at, find among all that is here, and copying.
    top.locator("xpath=..").locator(".name").click()
    expect(page).to_have_url(re.compile(f"view=merged#{one.id}:L502$"))
    expect(page.locator(f"[id='{one.id}:L502']")).to_have_class(re.compile("target"))
    page.keyboard.press("/")
    page.keyboard.type("1500")
    expect(tab.status("Matches")).to_have_text("1 match")
    page.keyboard.press("Enter")
    expect(tab.status("Matches")).to_have_text("1 of 1")
    expect(page.locator(f"[id='{one.id}:L1500']")).to_be_in_viewport()
    wait_for(lambda: page.evaluate(MARKED, "find-now") == ["1500"])
    tab.log.evaluate(
        """(log, [from, to]) => {
            const text = id => document.getElementById(id).querySelector(".text").firstChild
            getSelection().setBaseAndExtent(text(from), 4, text(to), 3)
        }""",
        [f"{one.id}:L1500", f"{one.id}:L1501"],
    )
    assert tab.log.evaluate(COPY) == "1500\ntwo 1\none"
    tab.button("Matches only").click()
    expect(tab.log.locator(".row[id]:not(.pinned)")).to_have_count(1)
    tab.button("Matches only").click()
    page.keyboard.press("End")
    one.finish()
    expect(tab.log.locator(".row.end")).to_contain_text("succeeded")
    expect(tab.status("Log")).to_contain_text("2,701 of 2,701 lines")
    page.keyboard.press("Escape")
    tab.button("Merge").click()
    expect(tab.log).to_have_count(2)
    assert tab.complaints == []
    page.context.close()


def test_a_search_over_all_logs(browser: Browser, server: ServerProcess) -> None:
    lines = "for n in range(1, 61): print(f'{n} haystack', 'Pin' * (n % 20 == 0))"
    first = finished(server, lines, name="first", labels={"kind": "hay"})
    second = finished(server, f"{lines}\nimport sys; sys.exit('Pin')", name="second")
    many = finished(server, "for n in range(500): print('straw', n)", name="many")
    tab = Tab.open(browser, server, f"/w/{first}")
    page = tab.page
    expect(tab.text(60)).to_be_visible()
    page.get_by_role("link", name="Search all logs").click()
    field = page.get_by_role("searchbox", name="Search all logs")
    expect(field).to_be_focused()
    expect(page.get_by_text("Type what to look for")).to_be_visible()
    field.fill("pin")
    expect(tab.status("Matches")).to_have_text("7 matches in 2 logs")
    expect(page).to_have_url(f"{server.url}/search?find=pin")
    expect(page).to_have_title("pin · search")
    regions = page.get_by_role("main").get_by_role("region", name=re.compile("first|second"))
    assert [each.get_attribute("aria-label") for each in regions.all()] == ["second", "first"]
    rows = region(tab, "first").locator(".row")
    numbers = [int(row.get_attribute("data-line") or 0) for row in rows.all()]
    assert numbers == [18, 19, 20, 21, 22, 38, 39, 40, 41, 42, 58, 59, 60]
    wait_for(lambda: page.evaluate(MARKED, "find") == ["Pin"] * 7)
    tab.button("Match case").click()
    expect(tab.status("Matches")).to_have_text("no match")
    expect(page.get_by_text("No line of any log matches.")).to_be_visible()
    field.fill("P[i]n$")
    tab.button("Regular expression").click()
    expect(tab.status("Matches")).to_have_text("7 matches in 2 logs")
    page.get_by_role("combobox", name="Stream").select_option("stderr")
    expect(tab.status("Matches")).to_have_text("1 match in 1 log")
    page.get_by_role("combobox", name="Stream").select_option("")
    page.get_by_role("combobox", name="Status").select_option("Failed")
    expect(tab.status("Matches")).to_have_text("4 matches in 1 log")
    page.get_by_role("combobox", name="Status").select_option("Any status")
    page.get_by_role("textbox", name="Labels").fill("kind=hay")
    expect(tab.status("Matches")).to_have_text("3 matches in 1 log")
    expect(page).to_have_url(re.compile(r"/search\?find=P.*&case=true&regex=true&label=kind"))
    field.fill("P[")
    expect(page.get_by_role("alert")).to_contain_text("missing ]")
    field.fill("Pin")
    row = region(tab, "first").locator("[data-line='40']")
    row.get_by_role("link", name="Line 40").click()
    expect(page).to_have_url(f"{server.url}/w/{first}?find=Pin&case=true&regex=true#L40")
    expect(tab.line(40)).to_have_class(re.compile("target"))
    page.go_back()
    expect(tab.status("Matches")).to_have_text("3 matches in 1 log")
    # Of one log, some matches, and a link to all; of many, the next ones on demand.
    page.goto(f"{server.url}/search?find=straw")
    expect(tab.status("Matches")).to_have_text("20 matches in 1 log")
    region(tab, "many").get_by_role("link", name="All matches of this log").click()
    expect(page).to_have_url(f"{server.url}/w/{many}?find=straw&only=true")
    assert second != first
    assert tab.complaints == []
    page.context.close()


def test_a_search_goes_on_where_it_stopped(browser: Browser, tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        logs = [Pushed.open(server, f"log {number}") for number in range(12)]
        for each in logs:
            each.write("".join(f"hit {line}\n" for line in range(1, 31)))
        tab = Tab.open(browser, server, "/search?find=hit")
        expect(tab.status("Matches")).to_have_text("200+ matches in 10 logs")
        tab.button("More").click()
        expect(tab.status("Matches")).to_have_text("240 matches in 12 logs")
        expect(tab.button("More")).to_be_hidden()
        rows = tab.page.locator(".found .row:not(.context)")
        expect(rows).to_have_count(240)
        # The list: further pages as one scrolls, and nothing twice.
        with server.client() as client:
            for n in range(98):
                body = {"command": [], "backend": "push", "name": f"n{n}"}
                assert client.post("/v1/workloads", json=body).is_success
        tab.page.reload()
        expect(tab.button("All 110")).to_be_visible()
        links = tab.page.get_by_role("navigation", name="Workloads").get_by_role("link")
        expect(links).to_have_count(100)
        tab.page.locator("nav ul").evaluate("list => list.scrollTo(0, list.scrollHeight)")
        expect(links).to_have_count(110)
        expect(links.last).to_have_accessible_name(re.compile("^log 0 "))
        # A new one on top takes none of them away, and a deleted one goes from any page.
        Pushed.open(server, "newest")
        expect(links.first).to_have_accessible_name(re.compile("^newest "))
        expect(links).to_have_count(111)
        logs[0].finish()
        with server.client() as client:
            assert client.delete(f"/v1/workloads/{logs[0].id}").status_code == 204
        expect(links.last).to_have_accessible_name(re.compile("^log 1 "))
        expect(links).to_have_count(110)
        # The field that the service refuses.
        tab.page.keyboard.press("Escape")
        tab.page.locator("body").click(position={"x": 700, "y": 600})
        tab.page.keyboard.press("c")
        dialog = tab.page.get_by_role("dialog", name="Run a workload")
        dialog.get_by_label("Command").fill("true")
        limit = dialog.get_by_label("Time limit")
        limit.fill("0")
        dialog.get_by_role("button", name="Run").click()
        expect(limit).to_have_attribute("aria-invalid", "true")
        expect(limit).to_be_focused()
        expect(limit).to_have_accessible_description("it is a number above 0")
        limit.fill("soon")
        dialog.get_by_role("button", name="Run").click()
        expect(limit).to_have_accessible_description(re.compile("no duration such as 90s"))
        limit.fill("1m 30s")
        dialog.get_by_role("button", name="Run").click()
        expect(dialog).to_have_count(0)
        expect(tab.log.locator(".row.end")).to_contain_text("succeeded")
        assert tab.complaints == []
        tab.page.context.close()


def test_the_list_shows_the_newest_running_log(browser: Browser, tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        running = submit(
            server, "import time; print('here', flush=True); time.sleep(600)", name="running"
        )
        finished(server, "print('there')", name="done")
        tab = Tab.open(browser, server, "/")
        expect(tab.text(1)).to_have_text("here")
        expect(link(tab, "running")).to_have_attribute("aria-current", "page")
        assert tab.page.url == f"{server.url}/"
        # A change of its view is a change of the address of that log.
        tab.button("Wrap").click()
        expect(tab.page).to_have_url(f"{server.url}/w/{running}?wrap=true")
        expect(tab.text(1)).to_have_text("here")
        expect(tab.page).to_have_title("● running")
        icon = tab.page.locator("link[rel=icon]")
        expect(icon).to_have_attribute("href", "/page/icons/running.svg")
        tab.page.get_by_role("link", name="Search all logs").click()
        expect(icon).to_have_attribute("href", "/page/icons/list.svg")
        assert tab.complaints == []
        tab.page.context.close()
