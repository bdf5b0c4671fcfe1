"""The scripts for completion are valid, and complete."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.command_line import trio_logs


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_valid(tmp_path: Path, shell: str) -> None:
    found = trio_logs(tmp_path, "completion", shell)
    assert (found.returncode, found.stderr) == (0, "")
    for word in ("logs", "grep", "timestamps", "timed_out", "no-follow", "files-with-matches"):
        assert word in found.stdout
    if shutil.which(shell) is not None:
        script = tmp_path / "script"
        script.write_text(found.stdout)
        subprocess.run([shell, "-n", str(script)], check=True, timeout=60)


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("trio-logs lo", ["logs"]),
        ("trio-logs gr", ["grep"]),
        ("trio-logs grep --color al", ["always"]),
        ("trio-logs ps --sta", ["--status"]),
        ("trio-logs ps --status st", ["stopped"]),
        ("trio-logs logs --stream std", ["stdout", "stderr"]),
        ("trio-logs run --nothing", []),
    ],
)
def test_bash_completes(tmp_path: Path, line: str, completed: list[str]) -> None:
    script = trio_logs(tmp_path, "completion", "bash").stdout
    words = line.split()
    script += f"""
COMP_WORDS=({shlex.join(words)})
COMP_CWORD={len(words) - 1}
_trio_logs
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    found = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert sorted(found.stdout.split()) == sorted(completed)


def test_another_shell_is_one_line(tmp_path: Path) -> None:
    found = trio_logs(tmp_path, "completion", "tcsh")
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
