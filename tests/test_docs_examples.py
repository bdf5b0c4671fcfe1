"""The code blocks of docs/ run as they stand, but for ports. Those of howto/proxies.md are run by
`test_proxies`, and its `sh` block, a line that needs the proxy's name, is held against the command
line here."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import socket
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
        ("howto/systemd.md", "ini"),
        ("howto/backend.md", "python"),
        ("howto/backend.md", "toml"),
        ("reference/python.md", "python"),
        ("tutorial/first-log.md", "sh"),
        ("tutorial/first-log.md", "text"),
    }


def test_the_command_of_the_proxies_page() -> None:
    [line] = blocks("howto/proxies.md", "sh")
    program, command, *arguments = line.split()
    assert (program, command) == ("trio-logs", "serve")
    assert set(arguments[::2]) <= options("serve").keys()


def test_the_tutorial(tmp_path: Path) -> None:
    """The first and the second terminal are two shells, and the last blocks are the first's."""
    start, submit, follow, resume, stop = blocks("tutorial/first-log.md", "sh")
    second = f"bash -ec {shlex.quote(follow)}"
    script = "set -em\ntrap 'kill %1 2>/dev/null || true' EXIT\n"
    script += "\necho =====\n".join([start, submit, second, resume, stop + "wait %1"])
    script = script.replace("trio-logs serve", "PYTHON -m trio_logs serve --bind HOST")
    script = script.replace("127.0.0.1:8000", "HOST").replace("PYTHON", sys.executable)
    script = script.replace("HOST", f"127.0.0.1:{free_port()}")
    found = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 0, found.stderr
    ready, _, stream, resumed, _ = found.stdout.split("=====\n")
    assert ready == '{"status":"ok"}'
    [shown] = blocks("tutorial/first-log.md", "text")
    assert stream.rstrip("\n") == shown.rstrip("\n")
    assert resumed.startswith(": open\nretry: 2000\n\nid: 3\ndata: compiling 3\n\nevent: end\n")


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


def test_the_units_of_systemd(tmp_path: Path) -> None:
    """Parsed, since systemd is not here; the command runs on a socket handed on as descriptor 3."""
    listen, run = (configparser.ConfigParser() for _ in range(2))
    for unit, text in zip((listen, run), blocks("howto/systemd.md", "ini"), strict=True):
        unit.read_string(text)
    assert run["Unit"]["Requires"] == "trio-logs.socket"
    program, *arguments = shlex.split(run["Service"]["ExecStart"])
    assert program.endswith("/trio-logs")
    folder = f"/var/lib/{run['Service']['StateDirectory']}"
    arguments[arguments.index(folder)] = str(tmp_path / "data")
    host, _, _ = listen["Socket"]["ListenStream"].partition(":")
    hand_on = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.argv[2], sys.argv[2:])"
    with socket.create_server((host, 0)) as listener:
        port, number = listener.getsockname()[1], listener.fileno()
        command = [sys.executable, "-c", hand_on, str(number)]
        command += [sys.executable, "-m", "trio_logs", *arguments]
        process = subprocess.Popen(command, pass_fds=[number], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Listening on")
        answers = [
            httpx2.get(f"http://{host}:{port}/readyz", headers={"Host": name}).status_code
            for name in ("localhost", "elsewhere")
        ]
        assert answers == [200, 421]
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
