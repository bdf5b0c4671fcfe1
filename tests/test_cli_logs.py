"""`trio-logs logs`, as a process of its own, against the real service."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest

from tests.command_line import PROGRAM, environment, started, trio_logs
from tests.server_process import ServerProcess, running_server
from trio_logs.client import End, Line, SyncClient, Workload

OF_THE_SERVER = ("api", "backends", "broker", "engine", "server", "service", "settings", "store")

PRINT_MODULES = """
import sys
from trio_logs.cli import create_app
create_app(sys.argv[1:])(sys.argv[1:])
print(*sys.modules, file=sys.stderr)
"""


def finished(client: SyncClient, script: str, name: str | None = None) -> Workload:
    """A workload that has ended."""
    options = {} if name is None else {"name": name}
    workload = client.submit(["sh", "-c", script], **options)  # type: ignore[arg-type]
    list(client.follow(workload.id, tail=0))
    return client.get(workload.id)


def test_each_line_goes_where_the_workload_wrote_it(data: Path, client: SyncClient) -> None:
    workload = finished(client, "echo out; echo err >&2; printf last")
    found = trio_logs(data, "logs", workload.id)
    assert (found.returncode, found.stdout, found.stderr) == (0, "out\nlast\n", "err\n")
    alone = trio_logs(data, "logs", workload.id, "--stream", "stderr", "--no-follow")
    assert (alone.stdout, alone.stderr) == ("", "err\n")


def test_what_ended_the_workload_is_told_on_standard_error(data: Path, client: SyncClient) -> None:
    workload = client.submit(["no-such-program"])
    list(client.follow(workload.id))
    found = trio_logs(data, "logs", workload.id)
    assert found.stdout == ""
    assert "there is no program 'no-such-program'" in found.stderr


def test_a_part(data: Path, client: SyncClient) -> None:
    workload = finished(client, "seq 100")
    assert trio_logs(data, "logs", workload.id, "--tail", "2").stdout == "99\n100\n"
    assert trio_logs(data, "logs", workload.id, "--since", "1h", "--until", "30m").stdout == ""
    timed = trio_logs(data, "logs", workload.id, "--tail", "1", "--timestamps").stdout
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z 100\n", timed)


def test_each_line_has_its_time(data: Path, client: SyncClient) -> None:
    workload = finished(client, "for i in 1 2 3; do echo $i; sleep 0.1; done")
    times = [line.time for line in client.follow(workload.id) if isinstance(line, Line)]
    assert len(set(times)) == 3
    shown = trio_logs(data, "logs", workload.id, "--timestamps").stdout
    assert [datetime.fromisoformat(line.split()[0]) for line in shown.splitlines()] == times


def test_objects_for_scripts(data: Path, client: SyncClient) -> None:
    workload = finished(client, r"printf 'a\033[1m\302\233\177\n'; exit 3")
    found = trio_logs(data, "logs", workload.id, "--json")
    line, end = map(json.loads, found.stdout.splitlines())
    assert line.pop("time").endswith("Z")
    assert line == {
        "workload": workload.id,
        "seq": 1,
        "stream": "stdout",
        "text": "a\x1b[1m\x9b\x7f",
    }
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", found.stdout)
    assert (end["event"], end["status"], end["exit_code"]) == ("end", "failed", 3)


COLOURED = r"printf '\033[31mred\033[0m \033]0;title\007and \033[2Jmore\n'"


@pytest.mark.parametrize(
    ("arguments", "variables", "shown"),
    [
        ([], {}, "red and more\n"),
        ([], {"FORCE_COLOR": "1"}, "\x1b[31mred\x1b[0m and more\x1b[0m\n"),
        ([], {"FORCE_COLOR": "1", "NO_COLOR": "1"}, "red and more\n"),
        (["--raw"], {}, "\x1b[31mred\x1b[0m \x1b]0;title\x07and \x1b[2Jmore\n"),
    ],
)
def test_controls(
    data: Path, client: SyncClient, arguments: list[str], variables: dict[str, str], shown: str
) -> None:
    workload = finished(client, COLOURED)
    found = trio_logs(data, "logs", workload.id, *arguments, **variables)
    assert found.stdout == shown


def test_a_line_of_many_parts(data: Path, client: SyncClient) -> None:
    script = r"head -c 65530 /dev/zero | tr '\0' x; printf '\033[1;31mred\033[0m\n'; echo next"
    workload = finished(client, script)
    assert workload.lines == 3
    assert trio_logs(data, "logs", workload.id).stdout == "x" * 65530 + "red\nnext\n"


def test_several_at_once(data: Path, client: SyncClient) -> None:
    script = "for i in 1 2 3; do echo $i; done; echo e >&2"
    first = finished(client, script, name="build")
    second = finished(client, script, name="a\033]0;t\007b")
    third = finished(client, script)
    ids = [first.id, second.id, third.id, first.id]
    broad = finished(client, "echo 1", name="日本\n\tx")
    assert (
        f"日本⏎⇥x{' ' * (len(third.id) - 7)} | 1\n"
        in trio_logs(data, "logs", broad.id, third.id).stdout
    )
    found = trio_logs(data, "logs", *ids)
    width = len(third.id)
    for name in ("build", "ab", third.id):
        prefix = f"{name:{width}} | "
        own = [line for line in found.stdout.splitlines() if line.startswith(prefix)]
        assert own == [f"{prefix}{number}" for number in (1, 2, 3)]
        assert f"{prefix}e\n" in found.stderr
    assert found.stdout.count("\n") == 9
    coloured = trio_logs(data, "logs", *ids, FORCE_COLOR="1").stdout
    assert f"\x1b[36m{'build':{width}} | \x1b[0m1\n" in coloured


def test_two_of_one_name_are_told_apart(data: Path, client: SyncClient) -> None:
    one, two = (finished(client, "echo x", name="same") for _ in range(2))
    found = trio_logs(data, "logs", one.id, two.id)
    assert set(found.stdout.splitlines()) == {f"{one.id} | x", f"{two.id} | x"}


def test_a_workload_is_found_by_name_and_by_the_start_of_its_id(
    data: Path, client: SyncClient
) -> None:
    workload = finished(client, "echo it", name="the-only-one")
    start = workload.id[:-1]
    assert [w.id for w in client.list() if w.id.startswith(start)] == [workload.id]
    for text in ("the-only-one", start, workload.id):
        assert trio_logs(data, "logs", text).stdout == "it\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["logs", "nobody"], 66, "no workload has the id or name 'nobody': `trio-logs ps`"),
        (["logs", "../../etc"], 66, "no workload has"),
        (["logs", ""], 2, "logs: an id is empty"),
        (["logs"], 2, "give an id or a name"),
        (["logs", "x", "--tail", "-1"], 2, "Give a number, 0 or more"),
        (["logs", "x", "--stream", "both"], 2, "stream"),
        (["logs", "x", "--token", "wrong"], 77, "refuses the token from the command line"),
        (["logs", "x", "--server", "unix:/no/such"], 69, "unix:/no/such does not answer: "),
        (["logs", "x", "--server", "http://127.0.0.1:9"], 69, "is the service running"),
    ],
)
def test_errors_are_one_line(
    data: Path, server: ServerProcess, arguments: list[str], code: int, message: str
) -> None:
    found = trio_logs(data, *arguments)
    assert message in found.stderr
    assert found.returncode == code
    assert found.stderr.count("\n") == 1


def test_a_token_that_is_missing_or_wrong(server: ServerProcess, tmp_path: Path) -> None:
    """It says where it looked, and what to do."""
    missing = trio_logs(tmp_path, "ps", "--server", server.url)
    (tmp_path / "token").write_text("old")
    wrong = trio_logs(tmp_path, "ps", "--server", server.url)
    config = tmp_path / "config" / "trio_logs" / "config.toml"
    places = f"--token, TRIO_LOGS_TOKEN, {config}, {tmp_path}"
    for found, start in (
        (missing, f"{server.url} needs a token, and none for it is in {places}; "),
        (wrong, f"{server.url} refuses the token from the data folder {tmp_path}: it is wrong; "),
    ):
        assert found.returncode == 77
        assert found.stderr.startswith(
            f"trio-logs: {start}run `trio-logs token` where the service runs, "
        )
        assert found.stderr.count("\n") == 1


def test_what_is_malformed_is_the_users_fault(data: Path, client: SyncClient) -> None:
    workload = finished(client, "true")
    found = trio_logs(data, "logs", workload.id, "--since", "2026-02-30T12:00:00Z")
    assert found.returncode == 2
    assert "--since: it is an RFC 3339 time" in found.stderr


def test_nothing_of_the_server_is_imported(data: Path, client: SyncClient) -> None:
    workload = finished(client, "echo x")
    found = subprocess.run(
        [sys.executable, "-c", PRINT_MODULES, "logs", workload.id],
        env=environment(data),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.stdout == "x\n"
    imported = set(found.stderr.split())
    assert "trio_logs.cli.logs" in imported
    rooms = {f"trio_logs.{room}" for room in OF_THE_SERVER}
    assert not imported & (rooms | {"quart", "hypercorn", "apsw", "rich.console"})


def test_live_lines_come_at_once_and_interrupt_ends_it(data: Path, client: SyncClient) -> None:
    workload = client.submit(["sh", "-c", "echo now; exec sleep 60"])
    with started(data, "logs", workload.id) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() == ""
    client.stop(workload.id)


@pytest.mark.parametrize("script", ["yes", "echo one; exec sleep 60"])
def test_a_reader_that_leaves_ends_it_quietly(data: Path, client: SyncClient, script: str) -> None:
    workload = client.submit(["sh", "-c", script])
    with started(data, "logs", workload.id) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 141
        assert process.stderr.read() == ""
    client.stop(workload.id, grace=0)


def test_interrupt_works_while_nobody_reads(data: Path, client: SyncClient) -> None:
    workload = client.submit(["yes"])
    with started(data, "logs", workload.id) as process:
        assert process.stdout is not None
        process.stdout.readline()
        # Time enough to fill the pipe; what is too short makes the test pass without a reason.
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    client.stop(workload.id, grace=0)


def test_gone_lines_are_told(tmp_path: Path) -> None:
    script = "for i in 1 2 3; do seq 100000; done"
    data = tmp_path / "data"
    with (
        running_server(data) as server,
        SyncClient(server.url, server.token) as client,
    ):
        workload = client.submit(["sh", "-c", script])
        *_, last = client.batches(workload.id)
        assert isinstance(last[-1], End)
    # It trims at once, and then every 10 s.
    with running_server(data, "--history-bytes", "20000") as server:
        deadline = time.monotonic() + 40
        while server.metric("trio_logs_batches_trimmed_total") == 0:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        found = trio_logs(data, "logs", workload.id, "--no-follow")
    # Not from 1 on, if they went while it was reading.
    told = re.fullmatch(r"trio-logs: lines (\d+) to (\d+) are missing: .*trimmed.*\n", found.stderr)
    assert told, found.stderr
    shown = found.stdout.splitlines()
    assert len(shown) == 300_000 - (int(told[2]) - int(told[1]) + 1)
    assert shown[-1:] in ([], ["100000"])


def test_a_restarted_server_is_waited_for(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_server(data) as first:
        port = first.url.rpartition(":")[2]
        with SyncClient(first.url, first.token) as client:
            workload = client.submit(["sh", "-c", "echo before; exec sleep 60"])
        with started(data, "logs", workload.id) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "before\n"
            first.kill()
            with running_server(data, "--bind", f"127.0.0.1:{port}"):
                assert process.wait(40) == 0
            assert process.stdout.read() == ""
            # Nothing in the log itself tells that.
            told = f"{workload.id} is lost: the server ended while it ran (1 line)"
            assert process.stderr.read() == f"trio-logs: {told}\n"


def test_a_server_that_stays_away_is_told_once_each_time(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with ExitStack() as stack:
        server = stack.enter_context(running_server(data))
        url = server.url
        bind = ("--bind", url.removeprefix("http://"))
        # Pushed, they outlive the server.
        with SyncClient(server.url, server.token) as client:
            ids = [client.submit([], backend="push").id for _ in range(2)]
        reader = stack.enter_context(started(data, "logs", *ids))
        assert reader.stderr is not None
        deadline = time.monotonic() + 40
        while server.metric("trio_logs_subscriptions") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for _ in range(2):
            server.kill()
            told = reader.stderr.readline()
            assert told.startswith(f"trio-logs: {url} is away: ")
            assert told.endswith("; trying again\n")
            server = stack.enter_context(running_server(data, *bind))
            while server.metric("trio_logs_subscriptions") < 2:
                assert time.monotonic() < deadline + 40
                time.sleep(0.05)
        with SyncClient(server.url, server.token) as client:
            for each in ids:
                client.stop(each)
        assert reader.wait(40) == 0
        told = "stopped (0 lines)"
        assert sorted(reader.stderr) == [f"trio-logs: {each} {told}\n" for each in sorted(ids)]


def test_a_million_lines(
    data: Path, client: SyncClient, record_figure: Callable[[str], None]
) -> None:
    script = "import sys\nfor i in range(1000): sys.stdout.write(('x' * 99 + '\\n') * 1000)"
    workload = client.submit([sys.executable, "-c", script])
    # To follow it would take longer than what is measured.
    deadline = time.monotonic() + 40
    while not client.get(workload.id).status.final:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    before = cpu_of_children()
    process = subprocess.Popen(
        [*PROGRAM, "logs", workload.id], env=environment(data), stdout=subprocess.PIPE, bufsize=0
    )
    with process:
        assert process.stdout is not None
        size, start = len(process.stdout.read(1)), time.perf_counter()
        while piece := os.read(process.stdout.fileno(), 1024 * 1024):
            size += len(piece)
        seconds = time.perf_counter() - start
    cpu = cpu_of_children() - before
    assert (process.returncode, size) == (0, 100_000_000)
    record_figure(f"logs to a pipe: {1e6 / seconds:,.0f} lines/s, {cpu:.1f} s of CPU")
    # Its own cost, which depends little on what else the machine does: 2 s, a quarter to start.
    assert cpu < 5


def cpu_of_children() -> float:
    """Seconds that those took which have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
