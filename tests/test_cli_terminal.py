"""The commands in a real terminal, with real keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.command_line import environment
from tests.programs import need_programs
from tests.server_process import ServerProcess, running_server
from tests.terminal import Terminal, open_terminal
from trio_logs.client import SyncClient

TRAP = 'trap "echo last words; exit 3" TERM INT; echo ready; while :; do sleep 0.01; done'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running_server(tmp_path / "data") as running:
        yield running


def test_run_shows_colours_and_nothing_else(terminal: Terminal) -> None:
    title = terminal.tmux("display-message", "-p", "#{pane_title}")
    script = r"printf '\033[31mred\033[0m \033]2;owned\007plain\033[2J\n'; echo err >&2; exit 5"
    terminal.enter(f"trio-logs run -- sh -c {script!r}; echo code=$?")
    screen = terminal.wait_for("^code=5$")
    assert "\nred plain\n" in screen
    assert "\nerr\n" in screen
    assert "failed with exit code 5 (2 lines, " in screen
    assert "\x1b[31mred\x1b[39m plain" in terminal.screen(colours=True)
    assert terminal.tmux("display-message", "-p", "#{pane_title}") == title


def test_its_terminal_is_as_large_as_this_one(terminal: Terminal) -> None:
    size = terminal.tmux("display-message", "-p", "#{pane_height} #{pane_width}")
    terminal.enter("trio-logs run --pty -- sh -c 'stty size <&1'; echo code=$?")
    assert f"\n{size.strip()}\n" in terminal.wait_for("^code=0$")


def test_its_terminal_follows_the_size_of_this_one(terminal: Terminal) -> None:
    script = 'trap "stty size <&1" WINCH; echo ready; while :; do sleep 0.01; done'
    terminal.enter(f"trio-logs run --pty -- sh -c '{script}'; echo code=$?")
    terminal.wait_for("^ready$")
    terminal.tmux("resize-window", "-x", "91", "-y", "23")
    terminal.wait_for("^23 91$")
    terminal.press("C-c")
    terminal.wait_for("^code=130$")


def test_interrupt(terminal: Terminal) -> None:
    terminal.enter(f"trio-logs run -- sh -c '{TRAP}'; echo code=$?")
    terminal.wait_for("^ready$")
    terminal.press("C-c")
    screen = terminal.wait_for("^code=130$")
    assert "interrupt again to leave it" in screen
    # Once in the command, once from it, after the ^C that the terminal shows.
    assert screen.count("last words\n") + screen.count("last words;") == 2
    assert "stopped with exit code 3" in screen
    assert "Traceback" not in screen


def test_interrupt_of_a_command_here(terminal: Terminal, client: SyncClient) -> None:
    """The terminal sends it to the command, too; both stay to see its end."""
    terminal.enter(f"trio-logs pipe -- sh -c '{TRAP}'; echo code=$?")
    terminal.wait_for("^ready$")
    terminal.press("C-c")
    # Once in the command, once from it, after the ^C that the terminal shows.
    screen = terminal.wait_for("^code=3$")
    assert screen.count("last words\n") + screen.count("last words;") == 2
    [workload] = client.list()
    assert (workload.status, workload.exit_code) == ("failed", 3)


def test_watching(terminal: Terminal, server: ServerProcess, client: SyncClient) -> None:
    script = f"exec sleep 60 # {'x' * 200}"
    workload = client.submit(["sh", "-c", script], name="watched")
    terminal.enter("trio-logs ps --watch; echo code=$?")
    terminal.wait_for(f"^{workload.id[-6:]}  watched  running ")
    client.stop(workload.id)
    screen = terminal.wait_for(f"^{workload.id[-6:]}  watched  stopped ")
    # It is drawn in its place, not below.
    assert screen.count("watched") == 1
    client.delete(workload.id)
    terminal.wait_for(r"LINES +COMMAND *\n\s*\Z")
    # Durations grow, though nothing is asked of the server.
    waiting = client.submit(["sh", "-c", "echo one; exec sleep 60"], name="waiting")
    terminal.wait_for(f"^{waiting.id[-6:]}  waiting  running .* 1  sh")
    requests = http_requests(server)
    terminal.wait_for(f"^{waiting.id[-6:]}  waiting  running +- +[2-9][^ ]* ago")
    # One is the first question itself.
    assert http_requests(server) == requests + 1
    server.stop()
    # It goes on looking, so that it shows what runs when the server is back. The table stays.
    screen = terminal.wait_for("^trio-logs: .*(does not answer|is away)")
    assert re.search(f"^{waiting.id[-6:]}  waiting ", screen, re.MULTILINE)
    for columns in ("44", "80"):
        # All is drawn anew: a terminal that gets another width breaks its lines anew.
        terminal.tmux("resize-window", "-x", columns, "-y", "12")
        title = "CREATED" if columns == "44" else "COMMAND"
        screen = terminal.wait_for(rf"^ID .* {title}\s*\n.*\ntrio-logs: (.+\n)+\s*\Z")
        assert screen.count("waiting") == 1
    # The shell's prompt goes below it, and the table stays there, too.
    terminal.press("C-c")
    terminal.wait_for("code=130$")


def http_requests(server: ServerProcess) -> int:
    """How many requests the server has had."""
    answer = httpx2.get(
        f"{server.url}/metrics", headers={"Authorization": f"Bearer {server.token}"}
    )
    [found] = re.findall(r"^trio_logs_http_requests_total (\d+)", answer.text, re.MULTILINE)
    return int(found)


def test_watching_over_a_restart(tmp_path: Path) -> None:
    data, socket = tmp_path / "data", tmp_path / "socket"
    variables = {
        name: value
        for name, value in environment(data).items()
        if name in ("PATH", "HOME", "LANG", "PYTHONPATH", "TRIO_LOGS_DATA", "XDG_CONFIG_HOME")
    }
    with open_terminal(tmp_path, variables) as terminal:
        with running_server(data, "--bind", f"unix:{socket}") as server:
            with SyncClient("http://localhost", server.token, uds=str(socket)) as client:
                first = client.submit(["sleep", "60"], name="first")
                terminal.enter(f"trio-logs ps --watch --server unix:{socket}; echo code=$?")
                terminal.wait_for(f"^{first.id[-6:]}  first  running ")
            server.stop()
        with running_server(data, "--bind", f"unix:{socket}") as server:
            terminal.wait_for(f"^{first.id[-6:]}  first  stopped ")
            with SyncClient("http://localhost", server.token, uds=str(socket)) as client:
                second = client.submit(["sleep", "60"], name="second")
                terminal.wait_for(f"^{second.id[-6:]}  second  running ")
            terminal.press("C-c")
            terminal.wait_for("code=130$")


def test_two_logs_with_prefixes(terminal: Terminal, client: SyncClient) -> None:
    for name in ("web", "worker"):
        client.submit(["sh", "-c", "echo one; exec sleep 60"], name=name)
    terminal.enter("trio-logs logs web worker; echo code=$?")
    terminal.wait_for(r"^web    \| one$")
    terminal.wait_for(r"^worker \| one$")
    coloured = terminal.screen(colours=True)
    assert "\x1b[36mweb    | \x1b[39mone" in coloured
    assert "\x1b[33mworker | \x1b[39mone" in coloured
    terminal.press("C-c")
    assert "Traceback" not in terminal.wait_for("code=130$")


def test_matches_are_coloured(terminal: Terminal, client: SyncClient) -> None:
    script = r"printf '\033[32mgreen error and\033]2;owned\007 more\033[0m\n'; echo none"
    client.submit(["sh", "-c", script], name="found")
    terminal.enter("trio-logs logs found --grep 'error.*more'; trio-logs grep -n and; echo code=$?")
    terminal.wait_for("^code=0$")
    # tmux also says what is reset.
    shown = re.sub(r"\x1b\[(0|39|49)m", "", terminal.screen(colours=True))
    assert "\n\x1b[32mgreen \x1b[1m\x1b[31merror and more\n" in shown
    assert "\x1b[35mfound\x1b[36m:\x1b[32m1\x1b[36m:\x1b[32mgreen error \x1b[1m\x1b[31mand" in shown


@pytest.mark.parametrize("script", ["seq 1000000", "seq 100; exec sleep 60"])
def test_a_pager(terminal: Terminal, client: SyncClient, script: str) -> None:
    client.submit(["sh", "-c", script], name="long")
    need_programs("less")
    terminal.enter("trio-logs logs long | less; echo code=${PIPESTATUS[*]}")
    terminal.wait_for(r"^29$")
    terminal.press("Space")
    terminal.wait_for(r"^58$")
    terminal.press("q")
    assert terminal.wait_for(r"^code=(141|0) 0$").count("\n$") == 1


def test_head(terminal: Terminal, client: SyncClient) -> None:
    client.submit(["sh", "-c", "seq 100; exec sleep 60"], name="long")
    terminal.enter("trio-logs logs long | head -2; echo code=${PIPESTATUS[*]}")
    screen = terminal.wait_for(r"^code=141 0$")
    assert screen.splitlines()[1:4] == ["1", "2", "code=141 0"]


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors(terminal: Terminal, client: SyncClient, closed: str) -> None:
    client.submit(["sh", "-c", "echo out; echo err >&2"], name="short")
    terminal.enter(f"trio-logs logs short {closed}; echo code=$?")
    shown = terminal.wait_for(r"^code=\d+$").splitlines()[1:]
    expected = ["out"] if closed == "2>&-" else ["err"] if closed == ">&-" else []
    assert shown[: len(expected) + 1] == [*expected, "code=0"]
