"""The demo on a terminal, and the programs that it shows in the page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.command_line import environment
from tests.terminal import open_terminal
from trio_logs.demo.workloads import PROGRAMS, workloads

# Of the programs that run for long.
LINES = (
    ("train-resnet50", "filter=1/90  step", "\x1b[36m 1\x1b[0m/90  step"),
    ("gateway", "from=40000", " ms\x1b[0m /"),
    ("migrate-staging", "stream=stderr", "waiting for a lock on table orders"),
)


def test_on_a_terminal_it_stays_with_workloads_to_look_at(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    variables = environment(tmp_path, TERM="xterm-256color", TMPDIR=str(temporary))
    with open_terminal(tmp_path, variables) as terminal:
        terminal.enter("trio-logs demo; echo exit code $?")
        screen = terminal.wait_for(r"^Open http://\S+/#code=[\w-]+$")
        [(url, code)] = re.findall(r"^Open (http://127\.0\.0\.1:\d+)/#code=([\w-]+)$", screen, re.M)
        with httpx2.Client(base_url=url, timeout=30, verify=False) as client:
            assert client.get("/").headers["content-type"].startswith("text/html")
            assert client.get("/", headers={"Host": "rebound.example"}).status_code == 421
            key = client.post("/v1/session", json={"code": code}).json()["key"]
            bearer = {"Authorization": f"Bearer {key}"}
            # By then, the first line has left the screen.
            end = rf"^The page has more to look at: {re.escape(url)}/#code={code}$"
            terminal.wait_for(end + r"\nCtrl-C ends the demo\.$")
            ids = {name: workload["id"] for name, workload in listed(client, bearer).items()}
            assert ids.keys() == {"sample-build", *(each["name"] for each in workloads())}
            # Each request waits until the log has that line.
            for name, which, text in LINES:
                path = f"/v1/workloads/{ids[name]}/logs?{which}&limit=1&follow=true"
                answer = client.get(path, headers={**bearer, "Accept": "text/plain"})
                assert text in answer.text, name
            states = {name: each["status"] for name, each in listed(client, bearer).items()}
            assert states["sample-build"] == states["lint"] == "succeeded"
            assert states["train-resnet50"] == states["gateway"] == "running"
            assert states["nightly-backup"] == "queued"
        terminal.press("C-c")
        terminal.wait_for(r"^The demo ends\.\nexit code 0$")
    assert list(temporary.iterdir()) == []


def listed(client: httpx2.Client, bearer: dict[str, str]) -> dict[str, Any]:
    workloads = client.get("/v1/workloads", headers=bearer).json()["workloads"]
    return {each["name"]: each for each in workloads}


@pytest.mark.parametrize(
    ("program", "code", "printed", "said"),
    [
        ("build_web.py", 2, "::group::Type check\n::endgroup::\n", "with error code 2\n"),
        ("build_web.py", 2, "  \x1b[35m67%\x1b[0m  1.4 MB/s\n", "Found \x1b[1m\x1b[31m2 errors"),
        ("api_tests.py", 1, " 1 failed, 331 passed, 8 skipped ", "postgres: 1 of 3\n"),
        ("import_photos.py", 0, "| 1200/1200 [10.0 it/s]\nimported 1200 photos\n", "IMG_1199.jpg"),
        ("lint.py", 0, "All checks passed!", ""),
        ("backup.py", 0, "41.7 GiB\n", ""),
    ],
)
def test_its_programs(program: str, code: int, printed: str, said: str) -> None:
    found = subprocess.run(
        [sys.executable, "-W", "error", PROGRAMS / program, "0"],
        capture_output=True,
        timeout=60,
    )
    assert found.returncode == code
    # `text` would make a newline of each carriage return.
    assert printed in found.stdout.decode()
    assert said in found.stderr.decode()


def test_each_of_its_programs_is_shown_and_tested() -> None:
    shown = {each["command"][1] for each in workloads()}
    assert shown == {path.name for path in PROGRAMS.glob("*.py")}
