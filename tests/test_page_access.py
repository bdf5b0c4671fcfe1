"""The page for those who see little, or use no mouse: axe's rules, and the keyboard alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browsing import finished, open_browser
from tests.server_process import ServerProcess, running_server
from tests.test_clients import PATIENCE, _missing

pytestmark = pytest.mark.page

AXE = Path(__file__).parent / "web" / "node_modules" / "axe-core" / "axe.min.js"
COLOURS = r"""
print("::group::colours")
print(*(f"\x1b[{code}m{code}\x1b[0m" for code in (*range(31, 38), *range(90, 98), 1, 2, 3, 4, 9)))
print("see https://example.org", flush=True)
print("::endgroup::", flush=True)
print("an error", flush=True, file=__import__("sys").stderr)
raise SystemExit(2)
"""
FOUND = """options => axe.run(document, options).then(({ violations, passes }) => ({
    violations: violations
        .filter(({ impact }) => ["serious", "critical"].includes(impact))
        .flatMap(({ id, nodes }) => nodes.map(({ html, any, all, none }) =>
            [id, html.slice(0, 200), ...[...any, ...all, ...none].map(({ message }) => message)]
                .join(" "))),
    passes: passes.map(({ id }) => id),
}))"""

# An outline, a line at the edge of a log, or the frame of the field of find.
HAS_FOCUS_MARK = """element => {
    const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element)
    const frame = element.closest(".find")
    const colour = (each) => getComputedStyle(each).borderBottomColor
    return (outlineStyle === "solid" && parseInt(outlineWidth) >= 2) || boxShadow !== "none"
        || Boolean(frame && colour(frame) !== colour(frame.closest(".tools")))
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("access")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


LOOKS = {
    "wide, dark": (1280, 760, "dark", {}),
    # Only colours differ; and then, all but colours.
    "wide, light": (1280, 760, "light", {"runOnly": ["color-contrast"]}),
    "phone, light": (360, 640, "light", {"rules": {"color-contrast": {"enabled": False}}}),
}


def faults(page: Page, name: str) -> list[str]:
    """What axe takes for serious or critical in what shows now, in each look."""
    found = []
    for look, (width, height, theme, options) in LOOKS.items():
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
        result = page.evaluate(FOUND, {"resultTypes": ["violations"], **options})
        # It has looked.
        assert result["passes"]
        found += [f"{name}, {look}: {each}" for each in result["violations"]]
    return found


def test_axe_finds_nothing_serious(browser: Browser, server: ServerProcess) -> None:
    if not AXE.exists():
        _missing("what tests/web/package.json names (make test installs it)")
    one, other = (finished(server, COLOURS, name=name) for name in ("colours", "others"))
    # Only the policy is bypassed, so that axe can come into the page.
    context = browser.new_context(bypass_csp=True)
    context.set_default_timeout(PATIENCE * 1000)
    context.add_init_script(AXE.read_text())
    page = context.new_page()
    page.goto(server.url)
    found = faults(page, "sign-in")
    code = server.post("/v1/session/codes").json()["code"]
    page.goto(f"{server.url}/#code={code}")
    expect(page.get_by_role("navigation")).to_be_visible()
    end, error = page.locator(".row.end"), page.get_by_text("an error", exact=True)
    for name, path, sign in (
        ("list", "/", page.get_by_role("navigation")),
        ("log", f"/w/{one}#L1-L5", end),
        ("find", f"/w/{one}?find=e&only=true", error),
        ("split", f"/w/{one},{other}", end.nth(1)),
        ("merged", f"/w/{one},{other}?view=merged", error.nth(1)),
        ("search", "/search?find=error", error.nth(1)),
    ):
        page.goto(f"{server.url}{path}")
        expect(sign).to_be_attached()
        found += faults(page, name)
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    found += faults(page, "dialog")
    context.close()
    assert not found, "\n".join(found)


def press_until(page: Page, target: Locator, key: str = "Tab") -> None:
    """Press a key until something has the focus, and see that it shows it."""
    for _ in range(60):
        page.keyboard.press(key)
        if target.evaluate("element => element === document.activeElement"):
            break
    expect(target).to_be_focused()
    assert target.evaluate(HAS_FOCUS_MARK)


def test_the_keyboard_alone_suffices(browser: Browser, server: ServerProcess) -> None:
    """From the sign-in to the sign-out, without a mouse; and nothing moves for those who ask."""
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.goto(server.url)
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.insert_text(server.token)
    press_until(page, page.get_by_role("button", name="Sign in"))
    page.keyboard.press("Enter")
    run = page.get_by_role("button", name="Run", exact=True)
    expect(run).to_be_visible()
    press_until(page, run)
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Run a workload")
    expect(dialog.get_by_label("Command")).to_be_focused()
    page.keyboard.insert_text("seq 1000; exec sleep 600")
    press_until(page, dialog.get_by_label("Name"))
    page.keyboard.insert_text("counter")
    press_until(page, dialog.get_by_role("button", name="Run"))
    page.keyboard.press("Enter")
    expect(page.locator("#L1000 .text")).to_have_text("1000")
    ring = page.get_by_role("navigation").locator(".is-running path").first
    expect(ring).to_have_css("animation-name", "none")
    find = page.get_by_role("searchbox", name="Find in log")
    press_until(page, find)
    page.keyboard.insert_text("99")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status", name="Matches")).to_have_text(re.compile("of 19$"))
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Escape")
    expect(page.get_by_role("log")).to_be_focused()
    stop = page.get_by_role("button", name="Stop", exact=True)
    press_until(page, stop, "Shift+Tab")
    page.keyboard.press("Enter")
    question = page.get_by_role("dialog", name="Stop counter?")
    expect(question.get_by_role("button", name="Stop")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status", name="Log")).to_contain_text("stopped")
    # Where the button was has the focus gone to something that shows, not to the start of the page.
    link = page.get_by_role("navigation").get_by_role("link").first
    press_until(page, link, "Shift+Tab")
    press_until(page, page.get_by_role("button", name="Sign out"), "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Token")).to_be_focused()
    context.close()
