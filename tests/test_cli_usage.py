"""Words of a command line that people type, and what they are told of those that are wrong."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from tests.command_line import trio_logs
from tests.server_process import ServerProcess
from trio_logs.cli import CLIENTS, OTHERS, create_app
from trio_logs.cli.arguments import begin_with_command


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (["ls"], ["ps"]),
        (["--server", "http://x", "ls", "-q"], ["ps", "--server", "http://x", "-q"]),
        (
            ["--token=t", "--server", "http://x", "run", "ls"],
            ["run", "--token=t", "--server", "http://x", "ls"],
        ),
        (["run", "--", "ls"], ["run", "--", "ls"]),
        (["logs", "ls"], ["logs", "ls"]),
        # Without a command, it is the help.
        (["--server", "http://x"], []),
        (["--server"], []),
        (["--server", "http://x", "--help"], ["--help"]),
        (["--version"], ["--version"]),
        (["version"], ["--version"]),
        (["help"], ["--help"]),
        (["help", "run"], ["run", "--help"]),
        ([], []),
    ],
)
def test_options_before_the_command(given: list[str], taken: list[str]) -> None:
    assert begin_with_command(given) == taken


def test_what_people_type(server: ServerProcess, tmp_path: Path) -> None:
    """Options of the connection before the command, and names and letters of other tools."""
    before = ("--server", server.url, f"--token={server.token}")
    ran = trio_logs(tmp_path, *before, "run", "-e", "WORD=hello", "--", "sh", "-c", "echo $WORD")
    assert (ran.returncode, ran.stdout) == (0, "hello\n")
    listed = trio_logs(tmp_path, *before, "ls", "-q")
    assert (listed.returncode, listed.stdout.count("\n")) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ps", "foo", "bar"], "ps: 'foo' is one argument too many; `trio-logs ps --help` shows"),
        (["kill", "x"], "there is no command 'kill'; use: trio-logs stop --signal KILL ID"),
        (["run", "--timeout", "0", "x"], "for --timeout. Give a duration, 0.001s or more."),
        (["open", "a", "b"], "open: 'b' is one argument too many"),
        (["ps", "--limit", "5x"], "--limit '5x': give a whole number"),
        (["serve", "--grace", "soon"], "--grace 'soon': give a duration such as 90s"),
        (["ps", "--watch=maybe"], "--watch 'maybe': give true or false"),
        (["ps", "--limit"], "ps: --limit needs a value"),
        (["completion"], "completion: SHELL is missing"),
        (["ps", "--limit", "1", "-n", "2"], "-n is given twice, or together with its opposite"),
        (["logs", "x", "--tail", "9" * 19], "for --tail. Give a number of 18 digits at most."),
        (["logs", "x", "--from", "9" * 19], "for --from. Give a number of 18 digits at most."),
        (["grep", "x", "-m", "9" * 19], "for -m. Give a number of 18 digits at most."),
        (["ps", "--status", "done"], '"done" for --status. Choose from: "queued", "running"'),
    ],
)
def test_words_of_errors(tmp_path: Path, arguments: list[str], message: str) -> None:
    found = trio_logs(tmp_path, *arguments)
    assert (found.returncode, found.stdout) == (2, "")
    assert message in found.stderr
    assert found.stderr.count("\n") == 1


def test_help_names_durations() -> None:
    shown = io.StringIO()
    app = create_app(["serve", "--help"])
    app.help_print(["serve"], console=Console(file=shown, width=200, force_terminal=False))
    text = " ".join(shown.getvalue().split())
    assert "--history-age DURATION How long history is kept, as in 30d. [default: 30d]" in text
    assert "--grace DURATION Time between TERM and KILL. [default: 10s]" in text


@pytest.mark.parametrize("command", ["", *CLIENTS, *OTHERS])
def test_help_fits_a_terminal_of_80_columns(command: str) -> None:
    shown = io.StringIO()
    arguments = [command] if command else []
    app = create_app([*arguments, "--help"])
    app.help_print(arguments, console=Console(file=shown, width=80, force_terminal=False))
    lines = shown.getvalue().splitlines()
    assert len(lines) > 3
    assert max(map(cell_len, lines)) <= 80
    # A usage that is broken can't be read.
    assert lines[0].startswith("Usage: trio-logs")


def test_help_names_what_an_option_takes() -> None:
    """A person types a time or a count, not a STR or an INT."""

    def shown(command: str) -> str:
        text = io.StringIO()
        app = create_app([command, "--help"])
        app.help_print([command], console=Console(file=text, width=200, force_terminal=False))
        return text.getvalue()

    for command, option in (
        ("logs", "--since TIME"),
        ("grep", "--until TIME"),
        ("ps", "--since TIME"),
        ("logs", "--tail -n N"),
        ("grep", "--context -C N"),
        ("ps", "--server URL"),
        ("serve", "10 GiB]"),
    ):
        assert option in shown(command), option


def test_help_says_how_to_start(tmp_path: Path) -> None:
    shown = " ".join(trio_logs(tmp_path, "--help").stdout.split())
    begin = "trio-logs serve starts the service. trio-logs run -- COMMAND then runs a command in it"
    assert begin in shown
    assert "trio-logs COMMAND --help tells more." in shown
