"""Attacks on the page and its key, in real Chromium against the real service."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Page, expect

from tests.browsing import Tab, finished, open_browser
from tests.server_process import ServerProcess, running_server
from tests.test_clients import PATIENCE

pytestmark = pytest.mark.page

FOREIGN = r"""<!doctype html><title>attack</title><form method="post" target="framed"
 enctype="text/plain"><input name='{"command":["touch","pwned"],"x":"' value='"}'></form>
<iframe name="framed"></iframe>
<script>
function outcomeOf(element, address) {
  return new Promise((done) => {
    element.onload = () => done("loaded")
    element.onerror = () => done("refused")
    element[element.localName === "link" ? "href" : "src"] = address
    document.body.append(element)
  })
}

async function attack(service, key) {
  const outcomes = {}
  const json = JSON.stringify({ command: ["touch", "pwned"] })
  const typed = { "Content-Type": "application/json" }
  const tries = {
    read: ["/v1/workloads", {}],
    blind: ["/v1/workloads", { mode: "no-cors" }],
    page: ["/", { mode: "no-cors" }],
    module: ["/page/main.js", { mode: "no-cors" }],
    open: ["/healthz", {}],
    "with cookies": ["/v1/workloads", { credentials: "include" }],
    "with a key": ["/v1/workloads", { headers: { Authorization: `Bearer ${key}` } }],
    "no preflight": ["/v1/workloads", { method: "POST", mode: "no-cors", body: json }],
    "sign-in": ["/v1/session", { method: "POST", mode: "no-cors", body: '{"code":"x"}' }],
    "with JSON": ["/v1/workloads", { method: "POST", body: json, headers: typed }],
    deletion: ["/v1/session", { method: "DELETE", headers: { Authorization: `Bearer ${key}` } }],
  }
  for (const [name, [path, options]] of Object.entries(tries)) {
    const answer = fetch(service + path, options)
    outcomes[name] = await answer.then(({ status }) => `answer ${status}`, () => "refused")
  }
  const make = (name, fields) => Object.assign(document.createElement(name), fields)
  const elements = {
    image: [make("img"), "/page/icons/list.svg"],
    "image of data": [make("img"), "/v1/workloads"],
    script: [make("script"), "/page/theme.js"],
    style: [make("link", { rel: "stylesheet" }), "/page/styles/page.css"],
  }
  for (const [name, [element, path]] of Object.entries(elements)) {
    outcomes[name] = await outcomeOf(element, service + path)
  }
  outcomes.events = await new Promise((done) => {
    const source = new EventSource(`${service}/v1/events`)
    source.onopen = () => done("open")
    source.onerror = () => done(source.readyState === 2 ? "refused" : "tries again")
  })
  const form = document.querySelector("form")
  const sent = new Promise((done) => (document.querySelector("iframe").onload = done))
  form.action = `${service}/v1/workloads`
  form.submit()
  await sent
  return outcomes
}

function openPage(address) {
  window.opened = window.open(address)
  setInterval(() => opened.postMessage({ kind: "state", state: "signed out", key: "" }, "*"), 5)
}
</script>"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("attacks")) as running:
        yield running


@contextmanager
def foreign_pages(folder: Path) -> Iterator[str]:
    """The origin of another server on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    (folder / "attack.html").write_text(FOREIGN)
    pages = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = Thread(target=pages.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{pages.server_port}"
    finally:
        pages.shutdown()
        thread.join()
        pages.server_close()


def sign_in(page: Page, server: ServerProcess, path: str) -> str:
    """Open a path by a link; return the key."""
    code = server.post("/v1/session/codes").json()["code"]
    page.goto(f"{server.url}{path}#code={code}")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    return str(page.evaluate("localStorage.getItem('trio-logs-key')"))


def test_a_page_of_another_origin_gets_nothing(server: ServerProcess, tmp_path: Path) -> None:
    """Also one of this very host, which is what a browser sends a cookie to; and one whose name
    leads here."""
    port = server.url.rpartition(":")[2]
    rules = "--host-resolver-rules=MAP rebound.example 127.0.0.1"
    with foreign_pages(tmp_path) as foreign, open_browser(rules) as browser:
        context = browser.new_context()
        context.set_default_timeout(PATIENCE * 1000)
        page = context.new_page()
        key = sign_in(page, server, "/")
        before = server.get("/v1/workloads?counts=true").json()["total"]
        attacker = context.new_page()
        attacker.goto(f"{foreign}/attack.html")
        outcomes = attacker.evaluate("([service, key]) => attack(service, key)", [server.url, key])
        assert set(outcomes.values()) == {"refused"}, outcomes
        assert attacker.frames[1].url.startswith(("chrome-error:", "about:"))
        for path in ("/", "/docs", "/v1/workloads", "/page/main.js"):
            attacker.evaluate(
                "address => new Promise(done => Object.assign("
                "document.querySelector('iframe'), { onload: done, src: address }))",
                f"{server.url}{path}",
            )
            assert attacker.frames[1].url == "chrome-error://chromewebdata/"
        # A window of its own: neither has a handle on the other, and no message does anything.
        with context.expect_page() as opening:
            attacker.evaluate("address => openPage(address)", f"{server.url}/")
        opened = opening.value
        expect(opened.get_by_role("status", name="Connection")).to_have_text("live")
        assert attacker.evaluate("opened.closed")
        assert opened.evaluate("opener") is None
        # By a name that leads here, there is an answer, but no allowed one; nor for a script of a
        # page that came from that name when it led to the attacker. The answer's own policy, which
        # such a page would not have, is bypassed.
        attacker = browser.new_context(bypass_csp=True).new_page()
        answer = attacker.goto(f"http://rebound.example:{port}/")
        assert answer is not None
        assert answer.status == 421
        statuses = attacker.evaluate(
            "key => Promise.all(['/', '/page/main.js', '/v1/workloads', '/healthz'].map(path =>"
            " fetch(path, { headers: { Authorization: `Bearer ${key}` } }).then(a => a.status)))",
            key,
        )
        assert statuses == [421] * 4
        assert attacker.evaluate("localStorage.length") == 0
        expect(page.get_by_role("status", name="Connection")).to_have_text("live")
        assert server.get("/v1/workloads?counts=true").json()["total"] == before


HTML = "<img src=x onerror=alert(1)><script>alert(1)</script><b id=L1>bold</b>"
INJECTED = "img, script, b"
LOG = rf"""
print({HTML!r})
for name, address in (("one", "javascript:alert(1)"), ("two", "data:text/html,x"), ("three",
        " javascript:alert(1)"), ("four", "//evil.example"), ("five", "https://example.org/a")):
    print(f"\x1b]8;;{{address}}\x07{{name}}\x1b]8;;\x1b\\", end=" ")
print()
print("javascript:alert(1) data:text/html,x http://example.org/\u202egnp.exe file:///etc/passwd")
print("user \u202e\u2066// admin\u2069 \u2066end")
print("\x1b[2J\x1b[H\x1b]0;title\x07\x1b]52;c;eA==\x07\x1bP+q\x1b\\ \x9b31m", end="")
print("\x1b]1337;File=inline=1:AAAA\x07\x1b[?1049h\x1b[6n\x1b[5;5Hmoved \x00\x7f end")
"""
WATCH = """
window.violations = []
document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
  violations.push(`${violatedDirective} ${blockedURI}`),
)
"""


def test_a_whole_use_of_the_page_is_safe(server: ServerProcess, tmp_path: Path) -> None:
    """Logs and names are text; the policy is never violated, and holds; the key leaves no trace."""
    net_log = tmp_path / "net.json"
    labels = {"team": HTML[:60]}
    workload = finished(server, LOG, name=HTML, labels=labels)
    with open_browser(f"--log-net-log={net_log}") as browser:
        context = browser.new_context()
        context.set_default_timeout(PATIENCE * 1000)
        context.add_init_script(WATCH)
        page = context.new_page()
        tab = Tab(page, server)
        page.on("dialog", lambda dialog: tab.complaints.append(dialog.message))
        page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        page.on("console", lambda message: tab.complaints.append(message.text))
        key = sign_in(page, server, f"/w/{workload}")
        expect(tab.text(1)).to_have_text(HTML)
        assert page.locator(f"main :is({INJECTED}), nav :is({INJECTED})").count() == 0
        expect(page.get_by_role("heading")).to_have_text(HTML)
        expect(page).to_have_title(f"✓ {HTML}")
        expect(page.get_by_role("navigation").get_by_role("link").first).to_contain_text(HTML)
        expect(tab.text(2)).to_have_text("one two three four five")
        links = tab.log.locator(".text a").evaluate_all(
            "links => links.map(link => [link.href, link.target, link.rel])"
        )
        assert [link for link, *_ in links] == ["https://example.org/a", "http://example.org/"]
        assert {tuple(rest) for _, *rest in links} == {("_blank", "noopener noreferrer")}
        # An override of the direction of text ends with the text of its line.
        expect(tab.text(4)).to_have_css("unicode-bidi", "isolate")
        expect(tab.text(4)).to_contain_text("user \u202e\u2066// admin")
        expect(tab.text(5)).to_contain_text("moved")
        # All that one does.
        find = page.get_by_role("searchbox", name="Find in log")
        find.fill("<script>")
        expect(tab.status("Matches")).to_have_text("1 of 1")
        for name in ("Wrap", "Matches only", "Follow", "Theme"):
            tab.button(name).click()
        tab.button("Times").click()
        page.get_by_role("menuitemradio", name="UTC").click()
        tab.button("Delete").click()
        expect(page.get_by_role("dialog")).to_contain_text(f"Delete {HTML} and its log?")
        page.keyboard.press("Escape")
        with page.expect_download() as saving:
            tab.button("Download").click()
        assert saving.value.failure() is None
        page.keyboard.press("c")
        dialog = page.get_by_role("dialog", name="Run a workload")
        dialog.get_by_label("Command").fill(f"echo '{HTML}' https://example.org; exit 3")
        dialog.get_by_role("button", name="Run").click()
        expect(tab.log.locator(".row.end")).to_contain_text("failed with exit code 3")
        tab.log.get_by_role("link", name="https://example.org").first.wait_for()
        other = page.url.rpartition("/")[2]
        for address in (
            f"/w/{workload},{other}",
            f"/w/{workload},{other}?view=merged",
            "/search?find=script",
            f"/w/{workload}#%E0",
        ):
            page.goto(f"{server.url}{address}")
            expect(page.locator("main").get_by_text(HTML).first).to_be_visible()
            assert page.locator(f"main :is({INJECTED}), nav :is({INJECTED})").count() == 0
        titles = page.title()
        visited = context.new_cdp_session(page).send("Page.getNavigationHistory")["entries"]
        assert page.evaluate("violations") == []
        assert [each for each in tab.complaints if "404" not in each] == []
        # The policy holds: no string becomes HTML, code, or the address of a worker.
        for code in (
            "document.body.innerHTML = '<b>x</b>'",
            "document.body.insertAdjacentHTML('beforeend', '<b>x</b>')",
            "document.createElement('iframe').srcdoc = '<b>x</b>'",
            "document.createElement('script').src = '/page/main.js'",
            "new Worker('/page/wire/worker.js')",
            "trustedTypes.createPolicy('other', {})",
        ):
            thrown = page.evaluate(
                f"() => {{ try {{ {code} }} catch (error) {{ return error.name }} }}"
            )
            assert thrown == "TypeError", code
        assert len(page.evaluate("violations")) >= 6
        tab.button("Sign out").click()
        expect(page.get_by_label("Token")).to_be_focused()
        context.close()
    # The whole traffic of the browser, the worker's too. It leaves out what `Authorization` has.
    traffic = net_log.read_text()
    assert f"{server.url}/v1/logs?" in traffic
    assert "/v1/session/codes" in traffic
    for secret in (key, server.token):
        assert secret not in traffic
        assert secret not in json.dumps([titles, visited])
    assert not re.search(r"[Rr]eferer: (?!\[)", traffic)
