"""The list, the actions and the sign-in of the page in real Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browsing import Tab, finished, open_browser, submit
from tests.server_process import ServerProcess, running_server

pytestmark = pytest.mark.page


@pytest.fixture
def server(page_server: ServerProcess) -> ServerProcess:
    return page_server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def test_signing_in_and_out(browser: Browser, server: ServerProcess) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server.url}/w/none?wrap=true")
    expect(page.get_by_text("trio-logs open")).to_be_visible()
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("This token is wrong.")
    page.get_by_label("Token").fill(server.token)
    page.keyboard.press("Enter")
    expect(page.get_by_text("There is no workload none")).to_be_visible()
    for name in ("Stop", "Download", "Delete", "Matches only"):
        expect(page.get_by_role("button", name=name)).to_be_disabled()
    expect(page.get_by_role("button", name="Next match")).to_be_hidden()
    assert page.url == f"{server.url}/w/none?wrap=true"
    assert context.cookies() == []
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_focused()
    page.reload()
    expect(page.get_by_label("Token")).to_be_visible()
    # A code that is wrong is gone from the address, and from the history.
    page.goto(f"{server.url}/?wrap=true#code=wrong")
    expect(page.get_by_label("Token")).to_be_visible()
    assert page.url == f"{server.url}/?wrap=true"
    context.close()


def test_a_workload_from_its_start_to_its_deletion(browser: Browser, tmp_path: Path) -> None:
    """By the page alone: empty, run, live, stop, run again, filters, search, delete."""
    with running_server(tmp_path) as server:
        tab = Tab.open(browser, server, "/")
        page = tab.page
        expect(page.get_by_text("Nothing has run yet.")).to_be_visible()
        page.keyboard.press("c")
        dialog = page.get_by_role("dialog", name="Run a workload")
        dialog.get_by_label("Command").fill('echo "hello $WHO"; exec sleep 600')
        dialog.get_by_label("Name").fill("sleeper")
        dialog.get_by_label("Environment").fill("WHO")
        dialog.get_by_role("button", name="Run").click()
        expect(dialog.get_by_role("alert")).to_have_text('"WHO" is not of the form NAME=value')
        dialog.get_by_label("Environment").fill("WHO=you")
        dialog.get_by_label("Labels").fill("team=web")
        dialog.get_by_role("button", name="Run").click()
        expect(tab.text(1)).to_have_text("hello you")
        expect(page).to_have_url(re.compile("/w/[0-9a-f]+$"))
        expect(page).to_have_title("● sleeper")
        first = page.url
        links = page.get_by_role("navigation", name="Workloads").get_by_role("link")
        expect(links).to_have_count(1)
        expect(links).to_have_accessible_name(re.compile("sleeper running"))
        expect(links).to_have_attribute("aria-current", "page")
        expect(tab.button("Delete")).to_be_disabled()
        tab.button("Stop").click()
        page.get_by_role("dialog").get_by_role("button", name="Stop").click()
        expect(tab.log.locator(".row.end")).to_contain_text("stopped after")
        expect(page).to_have_title("■ sleeper")
        expect(tab.status("Log")).to_contain_text("stopped after")
        tab.button("Run again").click()
        page.get_by_role("dialog").get_by_role("button", name="Run again").click()
        expect(links).to_have_count(2)
        expect(page).not_to_have_url(first)
        expect(tab.text(1)).to_have_text("hello you")
        expect(tab.button("Running 1")).to_be_visible()
        # What another client does shows by itself.
        submit(server, "raise SystemExit(3)", name="failing", labels={"team": "db"})
        expect(tab.button("Failed 1")).to_be_visible()
        expect(links).to_have_count(3)
        tab.button("Failed 1").click()
        expect(links).to_have_count(1)
        expect(links).to_have_accessible_name(re.compile("failing failed"))
        # A log that goes while somebody reads it stays, and says so.
        links.click()
        expect(tab.log.locator(".row.end")).to_contain_text("failed with exit code 3")
        with server.client() as client:
            assert client.delete(page.url.replace("/w/", "/v1/workloads/")).status_code == 204
        expect(page.get_by_text("The workload was deleted, and its log with it")).to_be_visible()
        for name in ("Run again", "Download", "Delete"):
            expect(tab.button(name)).to_be_disabled()
        expect(links).to_have_count(0)
        page.get_by_role("button", name=re.compile("^All")).click()
        expect(links).to_have_count(2)
        search = page.get_by_role("searchbox", name="Search workloads")
        search.fill("label:team=web sleep")
        expect(links).to_have_count(2)
        search.fill("")
        expect(links).to_have_count(2)
        page.goto(first)
        expect(tab.log.locator(".row.end")).to_contain_text("stopped")
        tab.button("Delete").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(links).to_have_count(1)
        # Without a name, the row has its command and its id, not its command twice.
        nameless = finished(server, "print(1)")
        expect(links.first.locator(".name")).to_contain_text("print(1)")
        expect(links.first.locator(".command")).to_have_text(nameless[-6:])
        assert tab.complaints == []
        page.context.close()


def test_links_keys_and_the_way_back(browser: Browser, server: ServerProcess) -> None:
    ids = [finished(server, f"print('this is {name}')", name=name) for name in ("a", "b", "c")]
    tab = Tab.open(browser, server, f"/w/{ids[2]}")
    page = tab.page
    expect(tab.text(1)).to_have_text("this is c")
    page.get_by_role("link", name=re.compile("^a ")).click()
    expect(tab.text(1)).to_have_text("this is a")
    page.keyboard.press("[")
    expect(tab.text(1)).to_have_text("this is b")
    page.go_back()
    expect(tab.text(1)).to_have_text("this is a")
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    expect(keys.get_by_text("next match")).to_be_visible()
    page.keyboard.press("Escape")
    expect(keys).to_have_count(0)
    # In a field, a key is a letter.
    page.keyboard.press("/")
    page.keyboard.type("w[")
    expect(page.get_by_role("searchbox", name="Find in log")).to_have_value("w[")
    expect(tab.text(1)).to_have_text("this is a")
    expect(tab.button("Wrap")).to_have_attribute("aria-pressed", "false")
    assert tab.complaints == []
    page.context.close()


def test_a_phone_shows_the_list_or_the_log(browser: Browser, server: ServerProcess) -> None:
    finished(server, "print('small')", name="small")
    tab = Tab.open(browser, server, "/", viewport={"width": 360, "height": 640})
    page = tab.page
    page.get_by_role("link", name=re.compile("^small ")).click()
    expect(tab.text(1)).to_have_text("small")
    expect(page.get_by_role("navigation")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.get_by_role("link", name="trio-logs").click()
    expect(page.get_by_role("navigation")).to_be_visible()
    expect(tab.log).to_be_hidden()
    assert tab.complaints == []
    page.context.close()


def test_the_themes_and_who_chooses(browser: Browser, server: ServerProcess) -> None:
    tab = Tab.open(browser, server, "/", color_scheme="light")
    root = tab.page.locator("html")
    expect(root).to_have_attribute("data-theme", "light")
    tab.button("Theme").click()
    expect(root).to_have_attribute("data-theme", "dark")
    tab.page.reload()
    expect(root).to_have_attribute("data-theme", "dark")
    tab.button("Theme").click()
    tab.page.emulate_media(color_scheme="dark")
    expect(root).to_have_attribute("data-theme", "dark")
    tab.page.context.close()
