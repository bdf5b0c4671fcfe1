"""`trio-logs run`: where a command runs, with which variables and by which backend, and how it
waits for a server that is just starting."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command_line import started, trio_logs
from tests.server_process import ServerProcess, running_server
from trio_logs.cli.exits import UsageError
from trio_logs.cli.given import duration
from trio_logs.cli.variables import collect_variables
from trio_logs.client import SyncClient
from trio_logs.data_folder import write_address

FUNCTION = """
from trio_logs.backends.function import function

@function("greet")
async def greet(log, name):
    await log.write(f"hello {name}\\n")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that runs in another folder than the commands do."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "jobs.py").write_text(FUNCTION)
    prefix = ("env", "-C", str(folder), f"PYTHONPATH={folder}")
    socket = f"unix:{folder}/socket"
    options = ("--bind", socket, "--import", "jobs")
    with running_server(folder / "data", *options, prefix=prefix) as running:
        yield running


def test_a_command_runs_in_this_folder_if_the_server_is_here(
    server: ServerProcess, tmp_path: Path
) -> None:
    here, there = f"{Path.cwd()}\n", f"{server.data.parent}\n"
    by_flag = ("--server", server.url)
    for options, folder in (
        ((), here),
        (("--server", f"unix:{server.data.parent}/socket"), here),
        # A loopback address may lead elsewhere.
        (by_flag, there),
        (("--cwd", str(tmp_path)), f"{tmp_path}\n"),
        ((*by_flag, "--cwd", "tests"), f"{Path.cwd()}/tests\n"),
    ):
        assert trio_logs(server.data, "run", *options, "pwd").stdout == folder


def test_errors_name_the_folder(server: ServerProcess, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    found = trio_logs(server.data, "run", "--cwd", str(gone), "true")
    assert found.returncode == 127
    assert found.stderr.startswith(f"cwd: there is no folder {gone}\n")
    found = trio_logs(server.data, "run", "./no-such")
    assert found.returncode == 127
    assert f"'./no-such' that can be run; it was looked for in {Path.cwd()}\n" in found.stderr


def test_other_backends_and_short_options(server: ServerProcess) -> None:
    found = trio_logs(server.data, "run", "--backend", "function", "greet", "you")
    assert (found.returncode, found.stdout) == (0, "hello you\n")
    found = trio_logs(server.data, "run", "-t", "-d", "--timeout", "1h30m", "sleep", "60")
    with SyncClient(server.url, server.token) as client:
        workload = client.get(found.stdout.strip())
        assert (workload.pty, workload.timeout) == (True, 5400)
        # The command of a service that is not asked does not know its own folder.
        assert workload.cwd == str(Path.cwd())
        assert trio_logs(server.data, "stop", workload.id, "--grace", "0.5m").returncode == 0
    for option in ("-it", "-i", "--interactive"):
        found = trio_logs(server.data, "run", option, "cat")
        assert found.returncode == 2
        assert "the standard input of a command is always empty" in found.stderr
        assert found.stderr.count("\n") == 1


def test_it_waits_for_a_server_that_is_just_starting(server: ServerProcess, tmp_path: Path) -> None:
    """Its address is an old one, and there is no token yet. Both come as from a start, which could
    take longer here than the command waits."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    write_address(tmp_path, f"http://127.0.0.1:{port}")
    with started(tmp_path, "run", "pwd") as process:
        assert process.stderr is not None
        assert process.stdout is not None
        told = process.stderr.readline()
        assert re.fullmatch(r"trio-logs: .* does not answer: .*; trying again\n", told)
        (tmp_path / "token").write_text(server.token)
        write_address(tmp_path, server.url)
        assert process.wait(40) == 0
        assert process.stdout.read() == f"{Path.cwd()}\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("90", 90),
        ("1.5", 1.5),
        (".5", 0.5),
        ("500ms", 0.5),
        ("5m", 300),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1.5h", 5400),
        ("-1", -1),
        *((text, None) for text in ("", "m", "5 m", "-5m", "5M", "5mm", "m5", "1h 30m")),
    ],
)
def test_durations(given: str, expected: float | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="give a duration such as"):
            duration(given)
    else:
        assert duration(given) == pytest.approx(expected)


def test_a_duration_that_is_none_is_one_line(tmp_path: Path) -> None:
    found = trio_logs(tmp_path, "run", "--timeout", "soon", "true")
    assert found.returncode == 2
    told = "give a duration such as 90s, 1h30m or 30d; a number alone is in seconds"
    assert found.stderr == f"trio-logs: --timeout 'soon': {told}\n"


FILE = """
# comment
PLAIN=a b
  INDENTED=x\r
QUOTED="kept as it is"
EMPTY=
EQUALS=a=b
TAKEN
NOT_SET
OVER=file
"""


def test_variables_of_files(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"\xef\xbb\xbf" + FILE.encode())
    second.write_text("PLAIN=second")
    found = collect_variables([first, second], ["OVER=option", "TAKEN"], {"TAKEN": "here"})
    assert found == {
        "PLAIN": "second",
        "INDENTED": "x",
        "QUOTED": '"kept as it is"',
        "EMPTY": "",
        "EQUALS": "a=b",
        "TAKEN": "here",
        "OVER": "option",
    }


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"A=1\nB C=2", r"file, line 2: 'B C' is not a variable's name"),
        (b"=x", r"file, line 1: '' is not"),
        (b"A=\xff", r"file: it is not UTF-8"),
        (b"BROKEN", r"file, line 1: 'a\\udce9' is not UTF-8"),
        (None, r"file: No such file"),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=told):
        collect_variables([path], [], {"BROKEN": "a\udce9"})
