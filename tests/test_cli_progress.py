"""Progress bars and prompts in a real terminal: live, and what stays in the end, compared with the
same command without this service."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.full_pipe import wait_for
from tests.programs import need_programs
from tests.terminal import Terminal
from trio_logs.client import Line, SyncClient, Unfinished

BAR = """
import sys
from tqdm import tqdm
form = "{l_bar}{bar}| {n_fmt}/{total_fmt}"
bar = tqdm(range(100), "Work", ncols=60, mininterval=0, miniters=1, bar_format=form)
for number in bar:
    if number == 50:
        open(sys.argv[1]).readline()
print("done", file=sys.stderr)
"""

LONG_BAR = """
import sys
for number in range(3001):
    sys.stderr.write(f"\\rstate {number:4} " + "=" * 60)
    if number == 2900:
        sys.stderr.flush()
        open(sys.argv[1]).readline()
sys.stderr.write("\\n")
"""

PROMPT = "printf 'Name: '; read name < {gate}; echo Hello $name"


class Gate:
    """Holds a command back in its middle until `open`; each command reads one line of it."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR)

    def open(self) -> None:
        os.write(self._descriptor, b"go\n")

    def close(self) -> None:
        os.close(self._descriptor)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path / "gate")
    yield made
    made.close()


def git_clone(folder: Path, gate: Path) -> list[str]:
    """Clone a repository of ten files; a filter stops at the sixth one."""
    need_programs("git")
    source = folder / "source"
    source.mkdir()
    for number in range(10):
        (source / f"file{number}").write_text(f"{number}\n")
    (source / ".gitattributes").write_text("file* filter=slow\n")
    git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "files"]):
        subprocess.run([*git, *arguments], check=True)
    smudge = f"case %f in *file5) read line < {gate};; esac; cat"
    settings = ["-c", f"filter.slow.smudge={smudge}", "-c", "filter.slow.required=true"]
    target = folder / "target"
    return [
        *("env", "GIT_PROGRESS_DELAY=0", "sh", "-c"),
        f"rm -rf {target}; exec {shlex.join(['git', 'clone', '--progress', *settings])}"
        f" {source} {target}",
    ]


def commands(folder: Path, gate: Path) -> dict[str, tuple[list[str], str]]:
    """By name: the command, and what its row looks like while the gate is closed."""
    for name, script in (("bar", BAR), ("long", LONG_BAR)):
        (folder / f"{name}.py").write_text(script)
    python = sys.executable
    return {
        "tqdm": ([python, str(folder / "bar.py"), str(gate)], r"^Work:  50%\|█+.? +\| 50/100$"),
        "long": ([python, str(folder / "long.py"), str(gate)], r"^state 2900 =+$"),
        "git": (git_clone(folder, gate), r"^Updating files: +\d+% \(\d/11\)$"),
        "prompt": (["sh", "-c", PROMPT.format(gate=gate)], r"^Name: ?$"),
    }


def shown(screen: str) -> list[str]:
    """The rows of a screen but those of this program itself."""
    rows = [row.rstrip() for row in screen.splitlines()]
    return [row for row in rows if row and not row.startswith(("trio-logs: ", "code=", "$"))]


def run(terminal: Terminal, command: str, live: str, gate: Gate) -> list[str]:
    """Run a command in the terminal. It shows `live` while the gate is closed; return the rows that
    it leaves."""
    terminal.enter(f"clear; {command}; echo code=$?")
    screen = terminal.wait_for(live)
    rows = shown(screen)
    gate.open()
    screen = terminal.wait_for(r"code=\d+$")
    assert "code=0" in screen
    # The live row was the last one, and nothing of it is left beside the final state.
    assert len(rows) <= len(shown(screen)) + 1
    return shown(screen)


WAYS = {
    "run --pty": "trio-logs run --pty -- {command}",
    "run": "trio-logs run -- {command}",
    "logs": "trio-logs logs {id}",
    "pipe": "{{ {command}; }} 2>&1 | trio-logs pipe",
}


@pytest.mark.parametrize(
    ("name", "ways"),
    [
        ("tqdm", ["run --pty", "run", "logs", "pipe"]),
        ("git", ["run --pty", "logs", "pipe"]),
        ("prompt", ["run --pty", "run", "logs", "pipe"]),
        ("long", ["run"]),
    ],
)
def test_what_shows_and_what_stays(
    terminal: Terminal,
    client: SyncClient,
    gate: Gate,
    tmp_path: Path,
    name: str,
    ways: list[str],
) -> None:
    command, live = commands(tmp_path, gate.path)[name]
    words = shlex.join(command)
    direct = run(terminal, words, live, gate)
    for way in ways:
        started = client.submit(command, pty=True).id if way == "logs" else ""
        line = WAYS[way].format(command=words, id=started)
        assert run(terminal, line, live, gate) == direct, way


def test_followers_of_a_pipe_see_a_prompt(
    terminal: Terminal, client: SyncClient, gate: Gate
) -> None:
    script = shlex.quote(PROMPT.format(gate=gate.path))
    terminal.enter(f"clear; sh -c {script} | trio-logs pipe --name asks; echo code=$?")
    terminal.wait_for(r"^(trio-logs: .*)?Name: ?")
    # The prompt is on the screen, and the submission may still be under way.
    wait_for(lambda: bool(list(client.list(name="asks"))))
    [workload] = client.list(name="asks")
    for record in client.follow(workload.id, unfinished=True):
        match record:
            case Unfinished("stdout", text):
                assert text == "Name: "
                gate.open()
            case Line():
                assert record.text == "Name: Hello go"
    terminal.wait_for("code=0$")


def test_a_long_text_is_cut_to_the_width(
    terminal: Terminal, client: SyncClient, gate: Gate
) -> None:
    """In cells: a wide character has two."""
    text = "日本語" * 30
    workload = client.submit(
        ["sh", "-c", f"printf '%s' {text}; read go < {gate.path}; echo; echo b"]
    )
    terminal.enter(f"clear; trio-logs logs {workload.id}; echo code=$?")
    screen = terminal.wait_for("^日本語")
    assert screen.count("日") == 17
    assert shown(screen) == ["日本語" * 16 + "日本"]
    gate.open()
    screen = terminal.wait_for("^code=0$")
    assert screen.count("日") == 30
    assert shown(screen)[-1] == "b"


def test_two_logs_share_the_row(terminal: Terminal, client: SyncClient, gate: Gate) -> None:
    asks = client.submit(["sh", "-c", PROMPT.format(gate=gate.path)], name="first")
    web = client.submit(["sh", "-c", "echo up; exec sleep 60"], name="second")
    terminal.enter(f"clear; trio-logs logs {asks.id} {web.id}; echo code=$?")
    terminal.wait_for(r"^second \| up$")
    terminal.wait_for(r"^first  \| Name:$")
    gate.open()
    screen = terminal.wait_for(r"^first  \| Name: Hello go$")
    assert screen.count("Name:") == 1
    terminal.press("C-c")
    terminal.wait_for("code=130$")


def test_an_interrupt_leaves_the_bar(terminal: Terminal, client: SyncClient, gate: Gate) -> None:
    """The prompt of the shell has a row of its own."""
    workload = client.submit(["sh", "-c", f"printf '50%%'; read go < {gate.path}"])
    terminal.enter(f"clear; trio-logs logs {workload.id}; echo code=$?")
    terminal.wait_for("^50%$")
    terminal.press("C-c")
    screen = terminal.wait_for("^code=130$")
    assert screen.splitlines()[0].startswith("50%")
    gate.open()


def test_a_notice_erases_the_bar_and_draws_it_again(terminal: Terminal, gate: Gate) -> None:
    script = f"trap '' TERM; printf '50%%'; read go < {gate.path}; echo"
    terminal.enter(f"clear; trio-logs run -- sh -c {shlex.quote(script)}; echo code=$?")
    terminal.wait_for("^50%$")
    terminal.press("C-c")
    screen = terminal.wait_for(r"interrupt again to leave it\n50%$")
    assert screen.count("50%") == 2 - (not screen.startswith("50%"))
    gate.open()
    terminal.wait_for("^code=")


def test_no_bar_where_the_output_is_no_terminal(
    terminal: Terminal, client: SyncClient, gate: Gate
) -> None:
    workload = client.submit(["sh", "-c", f"printf '50%%'; read go < {gate.path}; echo ' done'"])
    terminal.enter(f"clear; trio-logs logs {workload.id} | cat -A; echo code=$?")
    gate.open()
    assert shown(terminal.wait_for("^code=0$")) == ["50% done$"]
