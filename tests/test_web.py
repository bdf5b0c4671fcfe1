"""The page and its files as an HTTP client sees them: open, checked by their ETag, and under a
policy that lets nothing foreign in."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx2
import pytest

import trio_logs
from tests.live import Live

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]
WEB = Path(trio_logs.__file__).parent / "web"
FILES = {
    path.relative_to(WEB).as_posix(): path for path in WEB.rglob("*.*") if path.name != "page.html"
}
ADDRESSES = ("/", "/w/06b2d5c1f0a3c29e4d7a1b", "/w/a,b-c,_", "/search")


@pytest.fixture
async def client(open_server: OpenServer) -> AsyncIterator[httpx2.AsyncClient]:
    """A client without a token."""
    async with open_server() as live, httpx2.AsyncClient(base_url=live.url) as opened:
        yield opened


async def test_each_address_shows_the_same_document(client: httpx2.AsyncClient) -> None:
    answers = [await client.get(path) for path in (*ADDRESSES, "/?find=a&only=true")]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].headers["content-type"] == "text/html; charset=utf-8"
    assert re.search(r'data-build="[0-9a-f]{32}"', answers[0].text)


async def test_it_has_each_file_and_no_other(client: httpx2.AsyncClient) -> None:
    for name, path in FILES.items():
        answer = await client.get(f"/page/{name}")
        assert (answer.status_code, answer.content) == (200, path.read_bytes()), name
    for name in ("none.js", "rows", "rows%2Fx", "%2e%2e/service.py", "..%2Fservice.py", "a/b/c"):
        assert (await client.get(f"/page/{name}")).status_code == 404, name
    for ids in ("a!", "a,", ",", "a%2Fb", "x" * 65):
        assert (await client.get(f"/w/{ids}")).status_code == 404, ids


async def test_a_module_is_javascript(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/page/main.js")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    "path", [*ADDRESSES, "/page/main.js", "/page/joined/main.js", "/page/styles/page.css"]
)
async def test_a_client_that_has_it_gets_304(client: httpx2.AsyncClient, path: str) -> None:
    got = await client.get(path)
    etag = got.headers["etag"]
    assert got.headers["cache-control"] == "no-cache"
    for header in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = await client.get(path, headers={"If-None-Match": header})
        assert (again.status_code, again.content) == (304, b""), header
        assert again.headers["etag"] == etag
        assert again.headers["cache-control"] == "no-cache"
        assert "content-type" not in again.headers
    assert (await client.get(path, headers={"If-None-Match": '"other"'})).status_code == 200


@pytest.mark.parametrize("path", [*ADDRESSES, "/page/main.js"])
async def test_head_and_other_methods(client: httpx2.AsyncClient, path: str) -> None:
    got, head = await client.get(path), await client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for headers in (got.headers, head.headers):
        headers.pop("date")
    assert head.headers == got.headers
    assert (await client.post(path)).status_code == 405


async def test_nothing_foreign_gets_in(client: httpx2.AsyncClient) -> None:
    for path in ("/", "/page/main.js"):
        headers = (await client.get(path)).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self'",
            "connect-src": "'self'",
            "worker-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'",
            "trusted-types": "trio-logs",
        }
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in headers


async def test_the_document_needs_one_module_and_nothing_inline(client: httpx2.AsyncClient) -> None:
    """Each request costs a browser milliseconds; what is inline, the policy would block."""
    text = (await client.get("/")).text
    assert re.findall(r"<script.*</script>", text) == [
        '<script type="module" src="/page/joined/main.js"></script>'
    ]
    assert "<style" not in text
    assert not re.search(r"\son\w+=|style=", text)
    for name in ("main", "worker"):
        answer = await client.get(f"/page/joined/{name}.js")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert not re.search(r"^(?:import|export)\b", answer.text, re.M)


async def test_a_host_that_is_not_allowed_gets_nothing(open_server: OpenServer) -> None:
    async with (
        open_server(allowed_hosts=("127.0.0.1",)) as live,
        httpx2.AsyncClient(base_url=live.url) as client,
    ):
        for path in ("/", "/page/main.js"):
            assert (await client.get(path)).status_code == 200
            answer = await client.get(path, headers={"Host": "rebound.example"})
            assert answer.status_code == 421


def test_the_wheel_has_the_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, cwd=WEB.parent.parent)
    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"trio_logs/web/{name}" for name in (*FILES, "page.html")} <= names
