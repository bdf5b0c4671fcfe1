"""`trio-logs open`, `trio-logs token --read-only`, and what `serve` prints at a terminal."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import httpx2
import pytest

from tests.command_line import environment, trio_logs
from tests.forked import Forked
from tests.server_process import ServerProcess, running_server
from tests.signing_in import bearer
from trio_logs.cli.address import page_url
from trio_logs.client import SyncClient
from trio_logs.errors import InvalidRequestError
from trio_logs.server import Bind
from trio_logs.settings import Settings, parse_public_url

CODE = "[A-Za-z0-9_-]{22}"


def sign_in(url: str, code: str) -> httpx2.Response:
    with httpx2.Client(verify=False) as client:
        return client.post(f"{url}/v1/session", json={"code": code})


def code_in(address: str) -> str:
    found = re.search(f"#code=({CODE})$", address.strip())
    assert found, address
    return found[1]


def test_it_prints_an_address_that_signs_in(server: ServerProcess) -> None:
    found = trio_logs(server.data, "open")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout == f"{server.url}/#code={code_in(found.stdout)}\n"
    assert sign_in(server.url, code_in(found.stdout)).json()["read_only"] is False
    assert sign_in(server.url, code_in(found.stdout)).status_code == 401


def test_it_leads_to_one_log(server: ServerProcess) -> None:
    with SyncClient(server.url, server.token) as client:
        workload = client.submit(["true"], name="nightly")
    for text in (workload.id, workload.id[:-2], "nightly"):
        found = trio_logs(server.data, "open", text)
        assert found.stdout.startswith(f"{server.url}/w/{workload.id}#code=")
        code_in(found.stdout)
    missing = trio_logs(server.data, "open", "nothing")
    assert (missing.returncode, missing.stdout) == (66, "")


def test_without_a_display_or_a_terminal_no_browser_is_opened(
    server: ServerProcess, tmp_path: Path
) -> None:
    browser = fake_browser(tmp_path, "touch opened")
    # A pipe, with a display; and below, a terminal without one.
    found = trio_logs(server.data, "open", DISPLAY=":1", BROWSER=str(browser))
    assert (found.returncode, found.stderr) == (0, "")
    with at_terminal(server, BROWSER=str(browser)) as terminal:
        code_in(terminal.readline())
    assert not (tmp_path / "opened").exists()


def test_at_a_terminal_with_a_display_it_opens_a_browser(
    server: ServerProcess, tmp_path: Path
) -> None:
    """The browser's command line names a file of mode 0600 that leads there; once the code is used,
    the file is gone, and the command ends."""
    gate, end = tmp_path / "gate", tmp_path / "end"
    for pipe in (gate, end):
        os.mkfifo(pipe)
    browser = fake_browser(
        tmp_path,
        'path="${1#file://}"; echo "$path" > path; stat -c %a "$path" > mode; cp "$path" page;'
        " echo ready > gate; cat end",
    )
    with at_terminal(server, DISPLAY=":1", BROWSER=f"{browser} %s &") as terminal:
        address = terminal.readline().strip()
        code = code_in(address)
        with gate.open() as opened:
            assert opened.read() == "ready\n"
        path = Path((tmp_path / "path").read_text().strip())
        assert path.is_absolute()
        assert code not in str(path)
        assert (tmp_path / "mode").read_text() == "600\n"
        page = (tmp_path / "page").read_text()
        assert f'<meta http-equiv="refresh" content="0; url={address}">' in page
        assert '<meta name="referrer" content="no-referrer">' in page
        assert path.exists()
        assert sign_in(server.url, code).status_code == 201
    # The browser goes on.
    end.write_text("")
    assert not path.exists()


def test_a_browser_that_does_not_start_is_one_line(server: ServerProcess, tmp_path: Path) -> None:
    with at_terminal(server, DISPLAY=":1", BROWSER="", PATH=str(tmp_path)) as terminal:
        code_in(terminal.readline())
        assert terminal.readline() == "trio-logs: no browser starts here: open the address\n"


def fake_browser(folder: Path, script: str) -> Path:
    """A program in the place of a browser; it runs in that folder."""
    path = folder / "browser"
    path.write_text(f"#!/bin/sh\ncd {folder}\n{script}\n")
    path.chmod(0o700)
    return path


class Screen:
    """What a program prints at a terminal. A read fails once the program has ended."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._read = b""

    def readline(self) -> str:
        """The next line; the terminal ends lines with CRLF."""
        while b"\r\n" not in self._read:
            self._read += os.read(self._descriptor, 4096)
        line, _, self._read = self._read.partition(b"\r\n")
        return line.decode() + "\n"


@contextmanager
def terminal_of(*arguments: str, **variables: str) -> Iterator[tuple[Screen, Forked]]:
    """A command at a terminal, without a display unless the variables name one."""
    ours, theirs = os.openpty()
    given = {**os.environ, "DISPLAY": "", "WAYLAND_DISPLAY": "", **variables}
    try:
        with os.fdopen(theirs, "w") as end:
            process = Forked(arguments, env=given, stdout=end, stderr=end)
        with process:
            try:
                yield Screen(ours), process
            finally:
                process.kill()
    finally:
        os.close(ours)


@contextmanager
def at_terminal(server: ServerProcess, **variables: str) -> Iterator[Screen]:
    """`open` at a terminal. It ends by itself, with 0."""
    with terminal_of("open", **environment(server.data, **variables)) as (screen, process):
        yield screen
        assert process.wait(60) == 0


def test_over_a_unix_socket_it_needs_the_public_url(tmp_path: Path) -> None:
    for number, given in enumerate(((), ("--public-url", "https://logs.example.com/"))):
        data = tmp_path / str(number)
        path = tmp_path / f"{number}.sock"
        process = Forked(
            ["serve", "--bind", f"unix:{path}", "--data", str(data), *given], text=True
        )
        with process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("Listening on unix:")
            found = trio_logs(data, "open")
            process.kill()
        if given:
            assert found.stdout.startswith("https://logs.example.com/#code=")
        else:
            assert (found.returncode, found.stdout) == (2, "")
            assert "start the service with --public-url" in found.stderr


def test_serve_prints_an_address_at_a_terminal(tmp_path: Path) -> None:
    given = ["serve", "--bind", "127.0.0.1:0", "--data", str(tmp_path)]
    with terminal_of(*given) as (screen, _):
        url = screen.readline().removeprefix("Listening on ").strip()
        line = screen.readline()
        assert line == f"Open {url}/#code={code_in(line)}\n"
        with closing(apsw.Connection(str(tmp_path / "trio_logs.db"))) as store:
            [(expires_at,)] = store.execute("SELECT expires_at FROM codes")
        assert 3600 - 60 < expires_at / 1_000_000 - time.time() <= 3600
        assert sign_in(url, code_in(line)).json()["read_only"] is False
    public = {"TRIO_LOGS_PUBLIC_URL": "https://Logs.Example.com"}
    with terminal_of(*given, **public) as (screen, _):
        assert screen.readline().startswith("Listening on ")
        assert screen.readline().startswith("Open https://logs.example.com/#code=")


def test_a_log_for_collectors_has_no_code(tmp_path: Path) -> None:
    given = ["serve", "--bind", "127.0.0.1:0", "--data", str(tmp_path), "--log-format", "json"]
    with terminal_of(*given) as (screen, _):
        assert '"event": "listening"' in screen.readline()
        assert trio_logs(tmp_path, "open").returncode == 0
        with closing(apsw.Connection(str(tmp_path / "trio_logs.db"))) as store:
            # That of `open` alone.
            assert store.execute("SELECT count(*) FROM codes").fetchall() == [(1,)]


def test_serve_prints_no_address_elsewhere(server: ServerProcess) -> None:
    trio_logs(server.data, "open")
    assert [line for line in server.lines if "Open" in line or "code" in line] == []


@pytest.mark.parametrize(
    ("public", "urls", "bind", "expected"),
    [
        (None, ["http://127.0.0.1:5"], "127.0.0.1:0", "http://127.0.0.1:5"),
        (None, ["https://127.0.0.1:5"], "localhost:0", "https://localhost:5"),
        (None, ["http://0.0.0.0:5"], "0.0.0.0:5", "http://127.0.0.1:5"),
        (None, ["http://[::]:5"], "[::]:5", "http://[::1]:5"),
        (None, ["unix:/run/x"], "unix:/run/x", None),
        (None, ["unix:/run/x", "http://0.0.0.0:5"], "unix:/run/x", "http://127.0.0.1:5"),
        ("https://x", ["unix:/run/x"], "unix:/run/x", "https://x"),
        ("https://x", ["http://127.0.0.1:5"], "127.0.0.1:0", "https://x"),
    ],
)
def test_where_a_browser_finds_the_page(
    public: str | None, urls: list[str], bind: str, expected: str | None
) -> None:
    assert page_url(public, urls, Bind.parse(bind)) == expected


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://logs.example.com", "https://logs.example.com"),
        ("https://logs.example.com/", "https://logs.example.com"),
        ("HTTP://LOGS.example.com:8080", "http://logs.example.com:8080"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://logs.example.com/path", None),
        ("https://logs.example.com//", None),
        ("https://logs.example.com?x", None),
        ("https://logs.example.com/#x", None),
        ("https://user@logs.example.com", None),
        ("https://logs.example.com:0", None),
        ("https://logs.example.com:99999", None),
        ("https://logs.example.com:x", None),
        ("https://", None),
        ("https://:8000", None),
        ("https://[x", None),
        ("logs.example.com", None),
        ("ftp://logs.example.com", None),
        ("https://logs.example.com\n", None),
        ("https://lögs.example.com", None),
        ("javascript://logs.example.com", None),
        ("", None),
    ],
)
def test_a_public_url_is_an_origin(
    text: str, origin: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if origin is not None:
        assert parse_public_url(text) == origin
        given = {"TRIO_LOGS_PUBLIC_URL": text, "TRIO_LOGS_READ_ONLY_TOKEN": "reading"}
        settings = Settings.from_environment(given)
        assert (settings.public_url, settings.read_only_token) == (origin, "reading")
        return
    with pytest.raises(InvalidRequestError, match="give an origin without a path"):
        parse_public_url(text)


def test_serve_refuses_what_is_no_public_url(tmp_path: Path) -> None:
    found = trio_logs(tmp_path, "serve", "--public-url", "https://x/y")
    assert found.returncode == 2
    assert found.stderr.startswith("trio-logs: the public URL 'https://x/y': give an origin")
    assert found.stderr.count("\n") == 1


def test_the_read_only_token(server: ServerProcess) -> None:
    found = trio_logs(server.data, "token", "--read-only")
    assert (found.returncode, found.stderr) == (0, "")
    token = found.stdout.strip()
    path = server.data / "token.read-only"
    assert path.read_text().strip() == token != server.token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_uid == (server.data / "token").stat().st_uid
    given = trio_logs(server.data, "token", "--read-only", TRIO_LOGS_READ_ONLY_TOKEN="given")
    assert given.stdout == "given\n"
    # That of the data folder is for this machine only.
    there = trio_logs(server.data, "token", "--read-only", "--server", "https://logs.example.com")
    assert (there.returncode, there.stdout) == (2, "")
    assert there.stderr.startswith("trio-logs: no read-only token for https://logs.example.com: ")
    assert there.stderr.count("\n") == 1


def test_commands_with_the_read_only_token(server: ServerProcess) -> None:
    token = (server.data / "token.read-only").read_text().strip()
    assert trio_logs(server.data, "ps", TRIO_LOGS_TOKEN=token).returncode == 0
    refused = trio_logs(server.data, "run", "--", "true", TRIO_LOGS_TOKEN=token)
    assert refused.returncode == 77
    assert "is read-only: it allows GET and HEAD" in refused.stderr
    shared = trio_logs(server.data, "open", TRIO_LOGS_TOKEN=token)
    session = sign_in(server.url, code_in(shared.stdout)).json()
    assert session["read_only"] is True


def test_equal_tokens_are_refused_at_the_start(tmp_path: Path) -> None:
    for number, variables in enumerate(
        ({"TRIO_LOGS_TOKEN": "same", "TRIO_LOGS_READ_ONLY_TOKEN": "same"}, {})
    ):
        data = tmp_path / str(number)
        data.mkdir()
        for name in ("token", "token.read-only"):
            (data / name).write_text("same\n")
            (data / name).chmod(0o600)
        found = trio_logs(data, "serve", "--bind", "127.0.0.1:0", **variables)
        assert found.returncode == 2
        assert "the read-only token is the token itself" in found.stderr
        assert "same" not in found.stderr.replace(str(data), "")
        assert found.stderr.count("\n") == 1


def test_a_read_only_token_is_revoked_by_its_file(tmp_path: Path) -> None:
    keys = []
    for _ in range(2):
        with running_server(tmp_path) as server:
            token = (tmp_path / "token.read-only").read_text().strip()
            with server.client() as client:
                answer = client.post("/v1/session", headers=bearer(token))
                keys.append(answer.json()["key"])
                found = [client.get("/v1/session", headers=bearer(key)) for key in keys]
            server.stop()
        (tmp_path / "token.read-only").unlink()
    assert [answer.status_code for answer in found] == [401, 200]


def test_no_secret_is_in_the_log_or_the_metrics(tmp_path: Path) -> None:
    """However a code or key is sent, and whether the request succeeds or not."""
    with running_server(tmp_path) as server, httpx2.Client(base_url=server.url) as client:
        workload = server.post("/v1/workloads", {"command": ["true"]}).json()
        code = server.post("/v1/session/codes").json()["code"]
        key = client.post("/v1/session", json={"code": code}).json()["key"]
        path = f"{workload['logs_url']}?download=true"
        download = client.post(
            "/v1/session/codes", json={"download": path}, headers=bearer(key)
        ).json()["code"]
        secrets = (code, key, download)
        for secret in secrets:
            for method, url in (
                ("GET", f"{path}&code={secret}"),
                ("GET", f"/v1/workloads?code={secret}"),
                ("GET", f"/v1/{secret}"),
                ("PUT", f"/v1/session?code={secret}"),
                ("POST", f"/v1/session?code={secret}"),
            ):
                client.request(method, url)
                client.request(method, url, headers=bearer(secret))
            client.post("/v1/session", json={"code": secret})
            client.post("/v1/session", content=f'{{"code": "{secret}'.encode())
        client.delete("/v1/session", headers=bearer(key))
        metrics = server.get("/metrics").text
        assert server.stop() == 0
    said = "".join(server.lines) + metrics
    assert "Listening" in said
    for secret in (*secrets, server.token):
        assert secret not in said
    for file in tmp_path.iterdir():
        if file.name != "token":
            for secret in (*secrets, server.token):
                assert secret.encode() not in file.read_bytes(), file
