"""What docs/howto/sign-in.md says, through nginx, Caddy and HAProxy as docs/howto/proxies.md has
them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
from playwright.sync_api import expect

from tests.browsing import Tab, open_browser
from tests.command_line import trio_logs
from tests.live import PATIENCE
from tests.proxy_process import HOST, PROXIES, Proxy, running_proxy, unix_form
from tests.server_process import ServerProcess, running_server

pytestmark = pytest.mark.surroundings

PAGE = (Path(__file__).parent.parent / "docs" / "howto" / "sign-in.md").read_text()
PUBLIC = f"https://{HOST}"


def options_of_the_page() -> list[str]:
    """Those of the page's `serve`, but for the address, which is another one in tests."""
    [line] = re.findall(r"^trio-logs serve (.*)$", PAGE, re.M)
    options = shlex.split(line)
    place = options.index("--bind")
    return options[:place] + options[place + 2 :]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    options = options_of_the_page()
    assert options == ["--public-url", PUBLIC]
    with running_server(tmp_path_factory.mktemp("server"), *options) as it:
        yield it


@pytest.fixture(scope="module", params=PROXIES)
def proxy(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[Proxy]:
    upstream = server.url.rpartition("//")[2]
    with running_proxy(request.param, upstream, server.token) as it:
        yield it


def curl(proxy: Proxy, path: str, *arguments: str, key: str | None = None) -> tuple[int, str]:
    """The status and the body of an answer. Without a key, there is no `Authorization`."""
    given = () if key is None else ("-H", f"Authorization: Bearer {key}")
    command = [*proxy.curl, *given, *arguments, "-w", "\n%{http_code}", f"{proxy.url}{path}"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)
    body, _, status = found.stdout.rpartition("\n")
    return int(status), body


def sign_in(proxy: Proxy, address: str) -> str:
    """The key that the page gets for the code of an address."""
    _, _, code = address.strip().partition("#code=")
    body = ("-H", "Content-Type: application/json", "-d", json.dumps({"code": code}))
    status, text = curl(proxy, "/v1/session", *body)
    assert status == 201, text
    assert curl(proxy, "/v1/session", *body)[0] == 401
    return str(json.loads(text)["key"])


async def test_sign_in_follow_download_and_sign_out(proxy: Proxy, server: ServerProcess) -> None:
    found = await trio.to_thread.run_sync(trio_logs, server.data, "open")
    assert found.stdout.startswith(f"{PUBLIC}/#code=")
    key = sign_in(proxy, found.stdout)
    post = ("-H", "Content-Type: application/json", "-d", '{"command": ["sleep", "60"]}')
    _, text = curl(proxy, "/v1/workloads", *post, key=key)
    log = json.loads(text)["logs_url"]
    # A link that needs no header.
    asked = json.dumps({"download": f"{log}?download=true"})
    post = ("-H", "Content-Type: application/json", "-d", asked)
    status, text = curl(proxy, "/v1/session/codes", *post, key=key)
    assert status == 201
    link = json.loads(text)["url"]
    assert link.startswith(f"{PUBLIC}{log}?download=true&code=")
    for expected in (200, 401):
        assert curl(proxy, link.removeprefix(PUBLIC))[0] == expected
    async with replace(proxy, token=key).follow(log) as stream:
        await stream.read_until(b"retry")
        assert curl(proxy, "/v1/session", "-X", "DELETE", key=key)[0] == 204
        with trio.fail_after(PATIENCE):
            try:
                await stream.read_all()
            except EOFError:
                pass
            else:
                # It ends an answer that was cut as if it were whole.
                assert proxy.name == "caddy"
    assert b"event: end" not in stream.body
    assert curl(proxy, "/v1/session", key=key)[0] == 401
    for path in (log, "/v1/session/codes"):
        assert curl(proxy, path)[0] in (401, 405)


def test_the_page_in_a_browser(proxy: Proxy, server: ServerProcess, tmp_path: Path) -> None:
    """By the very address that `open` prints: sign-in, live lines, a download, sign-out."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = f"print('first', flush=True); open({str(gate)!r}).read(); print('second')"
    command = [sys.executable, "-c", script]
    workload = server.post("/v1/workloads", {"command": command, "name": "live"}).json()["id"]
    address = trio_logs(server.data, "open", workload).stdout.strip()
    assert address.startswith(f"{PUBLIC}/w/{workload}#code=")
    rules = f"--host-resolver-rules=MAP {HOST}:443 127.0.0.1:{proxy.port}"
    with open_browser(rules) as browser:
        # The certificate is of an authority that the browser does not know.
        page = browser.new_context(ignore_https_errors=True).new_page()
        tab = Tab(page, server)
        page.goto(address)
        expect(tab.text(1)).to_have_text("first")
        expect(tab.status("Connection")).to_have_text("live")
        assert page.url == f"{PUBLIC}/w/{workload}"
        gate.write_text("")
        expect(tab.text(2)).to_have_text("second")
        expect(tab.log.locator(".row.end")).to_contain_text("succeeded")
        with page.expect_download() as saving:
            tab.button("Download").click()
        assert saving.value.path().read_bytes() == b"first\nsecond\n"
        assert saving.value.url.startswith(f"{PUBLIC}/v1/workloads/{workload}/logs?download=")
        tab.button("Sign out").click()
        expect(tab.status("Connection")).to_have_text("signed out")


def test_the_service_at_a_unix_socket(tmp_path: Path) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        folder.chmod(0o711)
        path = folder / "trio-logs.sock"
        umask = ("sh", "-c", 'umask 0 && exec "$@"', "sh")
        arguments = (*options_of_the_page(), "--bind", f"unix:{path}")
        server = stack.enter_context(running_server(tmp_path, *arguments, prefix=umask))
        for name in PROXIES:
            with running_proxy(name, unix_form(name, path), server.token) as proxy:
                found = trio_logs(tmp_path, "open", "--server", f"unix:{path}")
                assert found.stdout.startswith(f"{PUBLIC}/#code=")
                assert sign_in(proxy, found.stdout)
