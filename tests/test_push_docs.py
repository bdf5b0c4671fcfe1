"""`docs/push.md` does what it says: its code blocks run, in order, as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.server_process import running_server

PAGE = (Path(__file__).parent.parent / "docs/push.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_what_the_page_shows(tmp_path: Path) -> None:
    [pipe], [program], shell = blocks("bash"), blocks("python"), blocks("sh")
    printed, *answered = blocks("text")
    with running_server(tmp_path / "data") as server:

        def run(*command: str) -> str:
            command = tuple(part.replace("http://127.0.0.1:8000", server.url) for part in command)
            found = subprocess.run(
                command, cwd=tmp_path, capture_output=True, text=True, timeout=60
            )
            assert found.returncode == 0, found.stderr
            return found.stdout

        assert run(sys.executable, "-W", "error", "-c", program) == printed
        script = "set -e\n" + "\necho; echo =====\n".join(shell)
        assert [part.strip() for part in run("bash", "-c", script).split("=====")] == [
            part.strip() for part in answered
        ]
        (tmp_path / "Makefile").write_text("all:\n\t@echo compiling; echo careful >&2\n")
        pipe = pipe.replace("trio-logs", f"{sys.executable} -m trio_logs")
        options = f"--server {server.url} --token {server.token}"
        assert run("bash", "-c", f"{pipe.strip()} {options}") == "compiling\ncareful\n"


def test_each_block_runs() -> None:
    assert len(re.findall(r"^```", PAGE, re.MULTILINE)) == 2 * sum(
        len(blocks(language)) for language in ("bash", "python", "sh", "text")
    )
