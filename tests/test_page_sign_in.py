"""Sign-in and sign-out in the page, in real Chromium against the real service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browsing import finished, open_browser, submit
from tests.server_process import ServerProcess, running_server
from tests.test_clients import PATIENCE

pytestmark = pytest.mark.page

SIGNED_IN = "You are signed in already, so the code of the link was not used."
USED = "This sign-in link was used or is too old: make a new one with trio-logs open."
ENDED = "Your session has ended: sign in again."
UNHEARD = (
    "This browser is signed out. The server did not answer, so the session itself may go on until"
    " it expires."
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("sign-in")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@contextmanager
def profile(browser: Browser, **options: Any) -> Iterator[BrowserContext]:
    """A profile without a key."""
    with browser.new_context(**options) as context:
        context.set_default_timeout(PATIENCE * 1000)
        yield context


def link_to(server: ServerProcess, path: str, token: str | None = None) -> str:
    """A link that signs a browser in, as `trio-logs open` makes it."""
    with server.client() as client:
        if token is not None:
            client.headers["Authorization"] = f"Bearer {token}"
        code = client.post("/v1/session/codes").json()["code"]
    return f"{server.url}{path}#code={code}"


def is_unused(server: ServerProcess, link: str) -> bool:
    """Whether the code of a link still signs in, which uses it."""
    with server.client() as client:
        answer = client.post("/v1/session", json={"code": link.partition("#code=")[2]})
    return answer.status_code == 201


def key_of(page: Page) -> str:
    return str(page.evaluate("localStorage.getItem('trio-logs-key')"))


def end_session(server: ServerProcess, key: str) -> None:
    with server.client() as client:
        client.headers["Authorization"] = f"Bearer {key}"
        assert client.delete("/v1/session").status_code == 204


def is_signed_out(page: Page, complaint: str) -> None:
    """Nothing of the logs shows, and the form says why."""
    expect(page.get_by_label("Token")).to_be_focused()
    expect(page.get_by_role("status", name="Connection")).to_have_text("signed out")
    expect(page.get_by_role("alert")).to_have_text(complaint)
    expect(page.get_by_role("log")).to_have_count(0)
    expect(page.get_by_role("navigation")).to_have_count(0)
    expect(page).to_have_title("Sign in · trio-logs")
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", "/page/icons/list.svg")
    assert page.evaluate("localStorage.getItem('trio-logs-key')") is None


def test_a_link_signs_in_once(browser: Browser, server: ServerProcess) -> None:
    workload = finished(server, "print('hello')", name="hello")
    link = link_to(server, f"/w/{workload}?wrap=true")
    with profile(browser) as context:
        page = context.new_page()
        page.goto(link)
        expect(page.locator("#L1 .text")).to_have_text("hello")
        expect(page.get_by_role("status", name="Connection")).to_have_text("live")
        # The rest of the address stays, and the history does not have the code.
        assert page.url == f"{server.url}/w/{workload}?wrap=true"
        devtools = context.new_cdp_session(page)
        visited = devtools.send("Page.getNavigationHistory")["entries"]
        assert [entry["url"] for entry in visited[1:]] == [page.url]
        assert key_of(page) not in (server.token, link.partition("#code=")[2])
        assert context.cookies() == []
        page.reload()
        expect(page.locator("#L1 .text")).to_have_text("hello")
        # Another link, opened anew, and pasted into a tab that shows the same page.
        other = link_to(server, f"/w/{workload}")
        page.goto(other)
        expect(page.get_by_role("alert")).to_have_text(SIGNED_IN)
        assert page.url == f"{server.url}/w/{workload}"
        code = other.partition("#")[2]
        for pasted in (code, "code=", "code=%"):
            page.get_by_role("alert").evaluate("alert => alert.remove()")
            page.evaluate("code => { location.hash = code }", pasted)
            expect(page.get_by_role("alert")).to_have_text(SIGNED_IN)
            assert page.url == f"{server.url}/w/{workload}"
        assert is_unused(server, other)
        # A key that ended while no page was open does not cost the person the code of a link.
        key = key_of(page)
        page.goto("about:blank")
        end_session(server, key)
        page.goto(link_to(server, f"/w/{workload}?times=utc"))
        expect(page.locator("#L1 .text")).to_have_text("hello")
    with profile(browser) as context:
        page = context.new_page()
        page.goto(link)
        is_signed_out(page, USED)
        assert page.url == f"{server.url}/w/{workload}?wrap=true"
        page.reload()
        is_signed_out(page, "")
        # What is behind `#` may be anything.
        page.goto(f"{server.url}/w/{workload}?wrap=true#%")
        is_signed_out(page, "")
        context.set_offline(True)
        page.evaluate("code => { location.hash = code }", link_to(server, "/").partition("#")[2])
        is_signed_out(page, "The server does not answer.")
        context.set_offline(False)
        page.get_by_role("button", name="Try the link again").click()
        expect(page.locator("#L1 .text")).to_have_text("hello")
        assert page.url == f"{server.url}/w/{workload}?wrap=true"


def test_tabs_sign_in_and_out_together(
    browser: Browser, server: ServerProcess, tmp_path: Path
) -> None:
    running = submit(server, "import time; print('first', flush=True); time.sleep(600)")
    # Without the policy, a tab can say to the worker what an older page would.
    with profile(browser, bypass_csp=True) as context:
        one, other = context.new_page(), context.new_page()
        for page in (one, other):
            page.goto(f"{server.url}/w/{running}")
            is_signed_out(page, "")
        expect(one.get_by_text("trio-logs open")).to_be_visible()
        one.get_by_label("Token").fill("wrong")
        one.get_by_role("button", name="Sign in").click()
        expect(one.get_by_role("alert")).to_have_text("This token is wrong.")
        one.get_by_label("Token").fill(server.token)
        one.keyboard.press("Enter")
        for page in (one, other):
            expect(page.locator("#L1 .text")).to_have_text("first")
            expect(page.get_by_role("status", name="Connection")).to_have_text("live")
        first = key_of(one)
        assert first != server.token
        other.get_by_role("button", name="Sign out").click()
        for page in (one, other):
            is_signed_out(page, "")
        with server.client() as client:
            client.headers["Authorization"] = f"Bearer {first}"
            assert client.get("/v1/session").status_code == 401
        # Again, at once, while the worker may still hear of the last session.
        one.get_by_label("Token").fill(server.token)
        one.get_by_role("button", name="Sign in").click()
        for page in (one, other):
            expect(page.locator("#L1 .text")).to_have_text("first")
        # The key is lost on the server: the stream ends, and the tabs say so.
        end_session(server, key_of(one))
        for page in (one, other):
            is_signed_out(page, ENDED)
        other.get_by_label("Token").fill(server.token)
        other.get_by_role("button", name="Sign in").click()
        for page in (one, other):
            expect(page.locator("#L1 .text")).to_have_text("first")
            expect(page.get_by_role("status", name="Connection")).to_have_text("live")
        # A tab that slept has yet to learn of the sign-in, and asks with the key that has ended.
        one.evaluate(
            "async key => {"
            " const options = { type: 'module', name: 'trio-logs' };"
            " const { port } = new SharedWorker('/page/wire/worker.js', options);"
            " const heard = new Promise(done => { port.onmessage = ({ data }) =>"
            "   data.key === key && done() });"
            " port.postMessage({ kind: 'follow', key, id: 'x', after: 0 });"
            " await heard;"
            " port.postMessage({ kind: 'bye' }) }",
            first,
        )
        # What comes now arrives in both.
        assert server.post(f"/v1/workloads/{running}/stop", {"grace": 0}).status_code == 202
        for page in (one, other):
            expect(page.locator(".row.end")).to_contain_text("stopped")
        context.set_offline(True)
        one.get_by_role("button", name="Sign out").click()
        is_signed_out(one, UNHEARD)


def test_a_read_only_session_changes_nothing(browser: Browser, server: ServerProcess) -> None:
    workload = finished(server, "print('a')\nprint('b')", name="two lines")
    token = (server.data / "token.read-only").read_text().strip()
    with profile(browser) as context:
        page = context.new_page()
        page.goto(link_to(server, f"/w/{workload}", token))
        expect(page.locator("#L2 .text")).to_have_text("b")
        for name in ("Run", "Run again", "Delete"):
            button = page.get_by_role("button", name=name, exact=True)
            expect(button).to_be_disabled()
            expect(button).to_have_accessible_description("This session is read-only")
        for key in ("c", "r"):
            page.keyboard.press(key)
            expect(page.get_by_role("alert")).to_have_text("This session is read-only")
            page.get_by_role("alert").evaluate("alert => alert.remove()")
        expect(page.get_by_role("dialog")).to_have_count(0)
        # A plain link with a code: the key is in no address.
        with page.expect_download() as saving:
            page.get_by_role("button", name="Download").click()
        assert saving.value.path().read_bytes() == b"a\nb\n"
        assert saving.value.suggested_filename == "two-lines.log"
        link = saving.value.url
        assert re.fullmatch(f"{server.url}/v1/workloads/{workload}/logs.*&code=[\\w-]+", link)
        assert server.get("/v1/workloads").json()["workloads"][0]["id"] == workload
        page.reload()
        expect(page.get_by_role("button", name="Run", exact=True)).to_be_disabled()
        page.get_by_role("button", name="Sign out").click()
        is_signed_out(page, "")
