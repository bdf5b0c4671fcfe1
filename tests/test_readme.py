"""The README does what it says: its code blocks run, in order, as they stand."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import need_programs
from tests.server_process import running_server

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_make_demo() -> None:
    first, *_ = blocks("sh")
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make demo", "make test"]
    if not Path(sys.prefix, ".installed").exists():
        assert "CI" not in os.environ
        pytest.skip("make did not set up this environment")
    # `make test` is what runs this.
    environment = {**os.environ, "VENV": sys.prefix}
    found = subprocess.run(
        ["make", "demo"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert found.returncode == 0, found.stderr
    assert found.stderr.startswith("Listening on http://127.0.0.1:")
    told, _, _ = found.stdout.partition("\nearly ")
    assert "two readers follow its log: 'early' from the start,\nand 'late' from 2.5 s" in told
    for reader in ("early", " late"):
        lines = [line for line in found.stdout.splitlines() if line.startswith(reader)]
        numbers = [int(line.split()[1]) for line in lines[:-1]]
        assert numbers == list(range(1, len(numbers) + 1))
        assert lines[-1] == f"{reader} end: succeeded"
        assert sum("stderr" in line for line in lines) == 2
    assert "Both readers got the same" in found.stdout


def test_a_python_that_is_too_old(tmp_path: Path) -> None:
    """It is named before anything is made, so that the next try begins anew."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.version_info = (3, 10, 13)\n")
    given = {"PYTHONPATH": str(tmp_path), "VENV": str(tmp_path / "venv"), "PYTHON": sys.executable}
    found = subprocess.run(
        ["make", "demo"],
        cwd=ROOT,
        env=os.environ | given,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode == 2
    said, _, _ = found.stderr.partition("\n")
    assert said == (
        f"trio-logs needs Python 3.11 or newer, and {sys.executable} is 3.10: name another, as in:"
        " make demo PYTHON=python3.13"
    )
    assert not (tmp_path / "venv").exists()


def test_running_and_following(tmp_path: Path) -> None:
    need_programs("curl")
    # `test_docs_examples` installs.
    _, _, *shell = blocks("sh")
    host = f"127.0.0.1:{free_port()}"
    # `make demo` has put it there for who reads this.
    (tmp_path / ".venv").symlink_to(sys.prefix)
    script = "set -e\ntrap 'kill %1' EXIT\n" + "\necho =====\n".join(shell)
    # Who types them waits for the line that says it listens.
    ready = f"until curl -s -o /dev/null {host}/healthz; do sleep 0.05; done"
    script = script.replace("trio-logs serve &", f"trio-logs serve --bind {host} &\n{ready}")
    found = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert found.returncode == 0, found.stderr
    *before, ran, stream, more = found.stdout.split("=====\n")
    assert before == ["", ""]
    printed, table = ran.split("ID ")
    assert re.sub(r"\S+Z ", "TIME ", printed).splitlines() == [
        *("step 1", "step 2", "step 3", "TIME step 2", "TIME step 3"),
        *("build:1:step 1", "build:2:step 2", "1", "2", "3"),
    ]
    assert [line.split()[1:3] for line in table.splitlines()[1:]] == [
        ["numbers", "succeeded"],
        ["build", "succeeded"],
    ]
    # The order of lines and the figures are just those that the README shows.
    shown, _ = blocks("text")
    assert stream.rstrip("\n") == shown.rstrip("\n")
    _, resumed, rest = more.split(": open\nretry: 2000\n\n")
    assert resumed.startswith("id: 3\ndata: step 3\n\nevent: end\n")
    tail, blank, plain = rest.rpartition("\n\n")
    assert blank
    assert '"seq":3' in tail
    assert '"seq":2' not in tail
    assert plain == "step 1\nstep 2\nstep 3\n"


def test_embedding() -> None:
    program, _ = blocks("python")
    _, printed = blocks("text")
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert found.stderr == ""
    assert found.stdout == printed


def test_following_from_python(tmp_path: Path) -> None:
    _, program = blocks("python")
    with running_server(tmp_path / "data") as server:
        program = program.replace("http://127.0.0.1:8000", server.url)
        command = [sys.executable, "-W", "error", "-c", program]
        found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert found.stderr == "careful\n"
    assert found.stdout == "building\nended: failed 3\n"


def test_pictures() -> None:
    """They are there, and small; a page of docs/ with a broken link fails `make docs`."""
    shown = re.findall(r"^!\[.+?\]\((.+?)\)$", README, re.MULTILINE)
    assert "docs/page/log-dark.png" in shown
    pictures = {ROOT / path for path in shown} | set((ROOT / "docs").glob("**/*.png"))
    pictures -= set((ROOT / "docs" / "_build").glob("**/*.png"))
    for path in pictures:
        assert path.stat().st_size < 200_000 or path.suffix == ".svg", path
