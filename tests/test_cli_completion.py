"""The scripts for completion are valid, and complete."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import environment, trio_logs
from tests.server_process import running_server
from trio_logs.client import SyncClient

CALLS = {
    "bash": '"${COMP_WORDS[0]}" complete "$command" "$word"',
    "zsh": "'*:Ids, names, or starts or ends of ids.:_trio_logs_workloads' \\\n",
    "fish": "-a '(trio-logs complete logs (commandline -ct))'",
}
"""How each script asks for workloads."""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_valid(tmp_path: Path, shell: str) -> None:
    found = trio_logs(tmp_path, "completion", shell)
    assert (found.returncode, found.stderr) == (0, "")
    for word in ("logs", "grep", "timestamps", "timed_out", "no-follow", "files-with-matches"):
        assert word in found.stdout
    assert CALLS[shell] in found.stdout
    if shell == "fish":
        for command in ("wait", "grep", "inspect", "stop", "rerun", "rm", "open"):
            assert f"-a '(trio-logs complete {command} (commandline -ct))'" in found.stdout
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


WORKLOADS = """
trio-logs() { "$PYTHON" -m trio_logs "$@"; }
complete_words() {
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
  _trio_logs_with_commands
  printf '%s|' "${COMPREPLY[@]}"
  echo
}
complete_words trio-logs logs ''
complete_words trio-logs logs --since ''
complete_words trio-logs grep b
complete_words trio-logs grep x sp
complete_words trio-logs ps ''
complete_words trio-logs run -t -- compge
complete_words trio-logs pipe --name x -- cat "$FOLDER/a"
complete_words trio-logs run -- "$FOLDER/nothing"
TRIO_LOGS_DATA=/nonexistent complete_words trio-logs logs b 2>&1
"""


def test_bash_completes_names_and_ids(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (tmp_path / "a file").touch()
    with running_server(data) as server, SyncClient(server.url, server.token) as client:
        for name in ("build", "spaced out", "\x1b[31mred"):
            list(client.follow(client.submit(["true"], name=name).id))
        unnamed = client.submit(["true"])
        list(client.follow(unnamed.id))
        client.submit(["sleep", "60"], name="bench")
        script = trio_logs(tmp_path, "completion", "bash").stdout + WORKLOADS
        short = unnamed.id[-6:]
        found = subprocess.run(
            ["bash", "--norc", "-c", script],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env=environment(data, PYTHON=sys.executable, FOLDER=str(tmp_path)),
        )
        offered = [
            trio_logs(data, "complete", *words).stdout.split("\n")[:-1]
            for words in (["stop"], ["rm", "bu"], ["logs", short[:5]], ["logs", unnamed.id[:-1]])
        ]
    assert found.stderr == ""
    lines = [f"bench|{short}|spaced\\ out|build|", "|", "|", "spaced\\ out|", "|"]
    # Behind --, programs and files.
    lines += ["compgen|", f"{tmp_path}/a file|", "|", "|"]
    assert found.stdout.splitlines() == lines
    assert offered == [["bench"], ["build"], [short], [unnamed.id]]


def test_another_shell_is_one_line(tmp_path: Path) -> None:
    found = trio_logs(tmp_path, "completion", "tcsh")
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
