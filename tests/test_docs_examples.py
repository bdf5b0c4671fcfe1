"""The code blocks of docs/ run as they stand, but for ports. Those of howto/proxies.md are run by
`test_proxies`, and its `sh` block, a line that needs the proxy's name, is held against the command
line here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx2

from tests.server_process import running_server
from tests.test_docs import options
from tests.test_readme import free_port
from trio_logs.client import End, Line, SyncClient

DOCS = Path(__file__).parent.parent / "docs"


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_no_block_is_forgotten() -> None:
    """Whoever adds a block says here which test runs it."""
    found = {
        (str(file.relative_to(DOCS)), language)
        for file in DOCS.rglob("*.md")
        for language in re.findall(r"^```([\w-]+)$", file.read_text(), re.MULTILINE)
    }
    assert found == {
        ("howto/proxies.md", "sh"),
        *(("howto/proxies.md", proxy) for proxy in ("nginx", "caddyfile", "haproxy")),
        ("howto/embed.md", "python"),
        ("howto/backend.md", "python"),
        ("howto/backend.md", "toml"),
        ("reference/python.md", "python"),
    }


def test_the_command_of_the_proxies_page() -> None:
    [line] = blocks("howto/proxies.md", "sh")
    program, command, *arguments = line.split()
    assert (program, command) == ("trio-logs", "serve")
    assert set(arguments[::2]) <= options("serve").keys()


def test_embedding(tmp_path: Path) -> None:
    [program] = blocks("howto/embed.md", "python")
    port = free_port()
    (tmp_path / "rooms.py").write_text(program.replace("8080", str(port)))
    url = f"http://127.0.0.1:{port}/rooms/hall"
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "rooms.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "Running on" in line:
                break
        assert httpx2.post(url, content=b"before").status_code == 204
        with httpx2.stream("GET", url, timeout=10) as answer:
            chunks = answer.iter_bytes()
            assert next(chunks) == b"before\n"
            assert httpx2.post(url, content=b"live").status_code == 204
            assert next(chunks) == b"live\n"
    finally:
        process.kill()
        process.communicate()


def run_workload(
    data: Path, modules: Path, backend: str, command: list[str], *arguments: str
) -> tuple[list[str], str]:
    """Its lines and its end, on a server that finds `modules`."""
    prefix = ("env", f"PYTHONPATH={os.pathsep.join([str(modules), *sys.path])}")
    with (
        running_server(data, *arguments, prefix=prefix) as server,
        SyncClient(server.url, server.token) as client,
    ):
        workload = client.submit(command, backend=backend)
        *lines, end = client.follow(workload.id, patience=10)
    assert all(isinstance(line, Line) for line in lines)
    assert isinstance(end, End)
    return [line.text for line in lines], end.outcome.status


def test_a_function(tmp_path: Path) -> None:
    [module] = blocks("reference/python.md", "python")
    (tmp_path / "counting.py").write_text(module)
    arguments = ("--import", "counting")
    found = run_workload(tmp_path / "d", tmp_path, "function", ["count", "3"], *arguments)
    assert found == (["1", "2", "3"], "succeeded")


def test_a_backend(tmp_path: Path) -> None:
    [module] = blocks("howto/backend.md", "python")
    [declaration] = blocks("howto/backend.md", "toml")
    (tmp_path / "countdown.py").write_text(module)
    # What an installer makes of the declaration.
    installed = tmp_path / "countdown-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: countdown\nVersion: 1\n")
    points = declaration.replace(
        '[project.entry-points."trio_logs.backends"]', "[trio_logs.backends]"
    )
    (installed / "entry_points.txt").write_text(points.replace('"', ""))
    found = run_workload(tmp_path / "d", tmp_path, "countdown", ["3"])
    assert found == (["3", "2", "1"], "succeeded")
