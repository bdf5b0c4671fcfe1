"""A command's control group, with real groups: all that the command starts ends with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from tests.server_process import running_server
from tests.test_process import execution, new_table, run, session_leader
from tests.test_process import table as table
from tests.test_process_limits import finished, submit
from trio_logs.backends import cgroup, proc
from trio_logs.backends.cgroup import Cgroups
from trio_logs.backends.posix_spawn import posix_spawn
from trio_logs.backends.process_group import LOOKS, ProcessGroup
from trio_logs.backends.process_identity import Identity
from trio_logs.backends.process_remains import end_remains
from trio_logs.backends.process_table import ProcessTable
from trio_logs.records import Reason, Status

DAEMON = """
import os, signal, sys, time

ready, told = os.pipe()

def traced(number, frame):
    # The handler may run within a print.
    os.write(1, b"signal %d\\n" % number)
    # A service that grants no grace kills it here.
    time.sleep(0.3)
    os._exit(0)

if child := os.fork():
    print("command", flush=True)
    {command}
else:
    {leave}
    signal.signal(signal.SIGTERM, traced)
    print(os.getpid(), flush=True)
    {daemon}
    os.write(told, b"x")
    # Only a kill ends it.
    time.sleep(600)
"""
"""A command whose daemon leaves its session, or only its process group."""


@pytest.fixture
def root() -> Path:
    """The folder of a mounted hierarchy in which this process may make groups. Found by other means
    than the service's."""
    for line in os.fsdecode(Path("/proc/mounts").read_bytes()).split("\n")[:-1]:
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(",") and os.access(place, os.W_OK):
            if cgroup._SYSTEMD.exists() and Cgroups()._parent is None:
                pytest.skip("systemd has not delegated the control group")
            return Path(place)
    pytest.skip("there are no control groups of version 2, or this user may make none")


@pytest.fixture
def parent(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A group that is taken for that of this process."""
    group = root / f"trio-logs-tests-{os.getpid()}"
    group.mkdir()
    monkeypatch.setattr(proc, "cgroup", lambda: group)
    monkeypatch.setattr(cgroup, "_SYSTEMD", group / "none")
    yield group
    group.rmdir()


def groups(parent: Path) -> list[Path]:
    """The groups in a group. The kernel removes none in which a process runs."""
    return [each for each in parent.iterdir() if each.is_dir()]


def runs(pid: int) -> bool:
    stat = proc.stat(pid)
    return stat is not None and not stat.is_zombie


def daemon(
    leave: str = "os.setsid()", command: str = "os.wait()", daemon: str = "os.closerange(0, 3)"
) -> tuple[str, ...]:
    return sys.executable, "-c", DAEMON.format(leave=leave, command=command, daemon=daemon)


async def test_a_command_enters_a_group_of_its_own(root: Path) -> None:
    found = await run("cat", "/proc/self/cgroup")
    [group] = [
        root / line.removeprefix("0::/")
        for line in found.written["stdout"].decode().split("\n")
        if line.startswith("0::/")
    ]
    assert group.name.startswith(f"trio-logs-{os.getpid()}-")
    assert Identity.decode(found.handle).cgroup.endswith(f"/{group.name}")
    assert not group.exists()


async def test_a_daemon_ends_with_its_command(parent: Path) -> None:
    found = await run(*daemon(command="os.read(ready, 1)"))
    assert found.outcome.status is Status.SUCCEEDED
    [pid] = [int(line) for line in found.written["stdout"].split() if line != b"command"]
    assert not runs(pid)
    assert groups(parent) == []


@pytest.mark.parametrize("leave", ["os.setsid()", "os.setpgid(0, 0)"])
async def test_a_daemon_has_its_grace(parent: Path, leave: str) -> None:
    """A stop sends it the signal, once, and waits for it."""
    async with execution(*daemon(leave, daemon="")) as (one, finished):
        with one.broker.subscribe("w", 1) as subscription:
            lines = 0
            while lines < 2:
                lines += sum(len(batch.lines) for batch in await subscription.receive())
        one.stop.request(Status.STOPPED, Reason.STOP_REQUESTED, 60, "")
    assert finished[0].outcome.signal == "SIGTERM"
    assert finished[0].written["stdout"].split(b"\n")[2:] == [b"signal 15", b""]
    assert groups(parent) == []


async def test_one_look_has_the_kernel_kill_all(parent: Path) -> None:
    """The look itself sends no signal, and does not have to find the processes."""
    output, theirs = os.pipe()
    with Cgroups().new() as folder, new_table() as table:
        script = 'echo 0 >"$0"; setsid sleep 600 & sleep 600 & echo; wait'
        arguments = ["sh", "-c", script, cgroup.entrance(folder)]
        child = posix_spawn("/bin/sh", arguments, {}, cwd=None, stdout=theirs, stderr=None)
        os.close(theirs)
        group = ProcessGroup(child, table, folder)
        async with trio.lowlevel.FdStream(output) as stream:
            assert await stream.receive_some() == b"\n"
            await table.look(group.leader, kills=True)
            with trio.fail_after(20):
                assert await stream.receive_some() == b""
        assert await group.end()
    assert groups(parent) == []


@pytest.mark.parametrize("enters", [True, False])
async def test_a_group_that_is_gone_saves_looks(
    parent: Path, monkeypatch: pytest.MonkeyPatch, enters: bool
) -> None:
    """Unless the command has never been in it."""
    looks: list[int] = []
    listed = proc.listed
    monkeypatch.setattr(proc, "listed", lambda: looks.append(1) or listed())
    with Cgroups().new() as folder, new_table() as table:
        script = 'echo 0 >"$0"'
        arguments = ["sh", "-c", script, cgroup.entrance(folder if enters else "")]
        child = posix_spawn("/bin/sh", arguments, {}, cwd=None, stdout=1, stderr=None)
        group = ProcessGroup(child, table, folder)
        assert group.leader
        await group.wait()
        assert await group.end()
    assert groups(parent) == []
    # Where processes of others exit meanwhile, looks that have to be sure are repeated.
    assert len(looks) < LOOKS if enters else len(looks) >= LOOKS


async def test_a_process_that_leaves_the_group_ends_by_its_session(parent: Path) -> None:
    script = """
        sh -c 'echo 0 >"$0"; exec sleep 600' "$0" >/dev/null 2>&1 &
        until grep -q . "$0"; do :; done
    """
    found = await run("sh", "-c", script, str(parent / "cgroup.procs"))
    assert found.outcome.status is Status.SUCCEEDED
    assert (parent / "cgroup.procs").read_text() == ""
    assert groups(parent) == []


async def test_groups_that_a_command_makes_end_with_it(parent: Path) -> None:
    script = """
        cd "$0" && cd trio-logs-*/ && mkdir -p a/b c
        sh -c 'echo 0 >a/b/cgroup.procs; exec setsid sleep 600' >/dev/null 2>&1 &
        until grep -q . a/b/cgroup.procs; do :; done
    """
    found = await run("sh", "-c", script, str(parent))
    assert found.outcome.status is Status.SUCCEEDED
    assert groups(parent) == []


async def test_a_command_runs_without_a_group_where_none_can_be_made(parent: Path) -> None:
    (parent / "cgroup.max.descendants").write_text("0")
    with capture_logs() as logs:
        found = await run("sh", "-c", "exit 7")
    assert found.outcome.exit_code == 7
    assert Identity.decode(found.handle).cgroup == ""
    assert [each["event"] for each in logs] == ["a command starts without a control group"]


def test_the_next_start_ends_a_daemon(root: Path, tmp_path: Path) -> None:
    """`kill -9` ends the service and the command, and the next start the daemon."""
    with running_server(tmp_path / "data") as server:
        workload = submit(server, *daemon())
        logs = f"/v1/workloads/{workload}/logs"
        with server.client() as client, client.stream("GET", logs) as log:
            data = (line[6:] for line in log.iter_lines() if line.startswith("data: "))
            pid = int(max(next(data), next(data), key=str.isdecimal))
        [line] = [
            line
            for line in Path(f"/proc/{pid}/cgroup").read_text().split("\n")
            if line.startswith("0::")
        ]
        group = root / line.removeprefix("0::/")
        server.kill()
    assert (runs(pid), group.exists()) == (True, True)
    with running_server(tmp_path / "data") as server:
        assert finished(server, workload)["status"] == "lost"
        assert (runs(pid), group.exists()) == (False, False)
        assert server.stop() == 0


def test_a_start_removes_the_empty_groups_of_dead_services(parent: Path) -> None:
    own, random = proc.start(os.getpid()), "0" * 16
    left = parent / f"trio-logs-{os.getpid()}-{own - 1}-{random}"
    kept = [
        parent / f"trio-logs-{os.getpid()}-{own}-{random}",
        parent / f"trio-logs-{os.getpid()}-{own - 1}",
        parent / "another",
    ]
    for group in (left, *kept):
        group.mkdir()
    Cgroups()
    assert sorted(groups(parent)) == sorted(kept)
    for group in kept:
        group.rmdir()


@pytest.mark.parametrize("mark", [None, *cgroup._DELEGATED])
def test_systemd_says_which_groups_it_leaves_to_others(
    parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str | None
) -> None:
    """Root may write into all of them. `DelegateSubgroup=` puts the service one group below."""
    monkeypatch.setattr(cgroup, "_SYSTEMD", tmp_path)
    subgroup = parent / "subgroup"
    subgroup.mkdir()
    if mark is not None:
        os.setxattr(parent, mark, b"1")
    for own in (parent, subgroup):
        monkeypatch.setattr(proc, "cgroup", lambda own=own: own)
        with Cgroups().new() as group:
            assert bool(group) == (mark is not None and os.geteuid() == 0)
    subgroup.rmdir()


def test_a_mark_is_not_enough(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `ProtectControlGroups=`, no group can be made."""
    monkeypatch.setattr(cgroup, "_SYSTEMD", tmp_path)
    monkeypatch.setattr(proc, "cgroup", lambda: tmp_path)
    os.setxattr(tmp_path, "user.delegate", b"1")
    assert Cgroups()._parent is None


def test_there_are_no_groups_among_threads(parent: Path) -> None:
    """No process could enter one."""
    threads = parent / "threads"
    threads.mkdir()
    (threads / "cgroup.type").write_text("threaded")
    with Cgroups().new() as group:
        assert group == ""
    assert groups(parent) == [threads]
    threads.rmdir()


@pytest.mark.parametrize("hidden", [False, True])
def test_an_ordinary_user(parent: Path, hidden: bool) -> None:
    """Also where /proc hides the processes of others."""
    if os.geteuid() != 0:
        pytest.skip("only root can delegate a group")
    hide = "mount -t proc -o hidepid=1 proc /proc" if hidden else ":"
    command = [sys.executable, "-m", "tests.ordinary_user", str(parent)]
    told = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{hide}; exec "$@"', "sh", *command],
        stdout=subprocess.PIPE,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    left = parent / f"trio-logs-1-1-{'0' * 16}"
    if hidden:
        left.rmdir()
    found = json.loads(told.stdout)
    assert found.pop("setuid").startswith("umount from util-linux")
    assert found == {"ended": True, "logs": [], "groups": [left.name] if hidden else []}


@pytest.mark.parametrize(
    ("name", "ends", "inside"),
    [
        (f"trio-logs-1-1-{'0' * 16}", True, False),
        (f"trio-logs-1-1-{'0' * 16}", False, True),
        ("another", False, False),
    ],
)
async def test_which_groups_a_start_ends(
    parent: Path,
    table: ProcessTable,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    ends: bool,
    inside: bool,
) -> None:
    """Neither one in which this service runs, as a workload that starts a service has it, nor one
    that is no command's."""
    group = parent / name
    group.mkdir()
    with session_leader("sleep", "600") as process:
        (group / "cgroup.procs").write_text(str(process.pid))
        if inside:
            monkeypatch.setattr(proc, "cgroup_path", lambda pid: group / "own")
        # Of a leader that is gone.
        handle = replace(Identity.of(process.pid, str(group)), start=1).encode()
        with capture_logs() as logs:
            async with trio.open_nursery() as unended:
                await end_remains(handle, table, unended)
        assert (process.poll() is not None) == ends
        process.kill()
    assert ["started this service" in each["event"] for each in logs] == [True] * inside
    assert cgroup.remove(group)


async def test_a_pid_that_is_another_processs_by_now_is_none_of_the_group(
    parent: Path, table: ProcessTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Cgroups().new() as group:
        monkeypatch.setattr(cgroup, "processes", lambda group: [os.getpid()])
        leader = replace(Identity.of(os.getpid(), group), pid=2**22)
        assert (await table.look(leader)).members == []


async def test_a_service_in_the_session_of_a_workload_does_not_end_it(table: ProcessTable) -> None:
    """As after `trio-logs serve &` in a workload."""
    leader = replace(Identity.of(os.getpid()), pid=os.getsid(0), start=proc.start(os.getsid(0)))
    with capture_logs() as logs:
        async with trio.open_nursery() as unended:
            await end_remains(leader.encode(), table, unended)
    assert ["started this service" in each["event"] for each in logs] == [True]


async def test_a_group_may_have_any_name(parent: Path) -> None:
    """And a process in it is found."""
    script = b"""
        cd "$0" && cd trio-logs-*/ && mkdir "x\xff\r"
        sh -c 'cd x*/ && echo 0 >cgroup.procs && exec setsid sleep 600' >/dev/null 2>&1 &
        until grep -q . x*/cgroup.procs; do :; done
    """
    found = await run("sh", "-c", os.fsdecode(script), str(parent))
    assert found.outcome.status is Status.SUCCEEDED
    assert groups(parent) == []


async def test_a_group_that_the_kernel_can_not_kill_is_killed_by_its_pids(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the command has removed the permission."""
    monkeypatch.setattr(cgroup, "kill", lambda group: False)
    found = await run(*daemon(command="os.read(ready, 1)"))
    assert found.outcome.status is Status.SUCCEEDED
    assert groups(parent) == []


async def test_a_threaded_group_ends(parent: Path) -> None:
    """Neither its processes can be listed then, nor can the kernel kill them."""
    script = """
        cd "$0" && cd trio-logs-*/ && echo 0 >"$0"/cgroup.procs
        echo threaded >cgroup.type && echo 0 >cgroup.procs && cat cgroup.type
        setsid sleep 600 >/dev/null 2>&1 &
    """
    found = await run("sh", "-c", script, str(parent))
    assert found.written["stdout"] == b"threaded\n"
    assert groups(parent) == []


async def test_a_kill_waits_for_a_group_whose_processes_are_hidden(
    parent: Path, table: ProcessTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = parent / f"trio-logs-1-1-{'0' * 16}"
    group.mkdir()
    monkeypatch.setattr(cgroup, "kill", lambda group: True)
    monkeypatch.setattr(cgroup, "processes", lambda group: [])
    with session_leader("sleep", "600") as process:
        (group / "cgroup.procs").write_text(str(process.pid))
        leader = replace(Identity.of(process.pid, str(group)), start=1)
        with trio.move_on_after(0.3) as waiting:
            await ProcessGroup.kill_remains(leader, table)
        assert waiting.cancelled_caught
        process.kill()
        with trio.fail_after(20):
            await ProcessGroup.kill_remains(leader, table)
    assert not group.exists()


async def test_the_size_of_a_terminal_is_not_told_to_daemons(parent: Path) -> None:
    leave = "os.setsid(); signal.signal(signal.SIGWINCH, traced)"
    with Cgroups().new() as folder, new_table() as table:
        output, theirs = os.pipe()
        script = 'echo 0 >"$0"; exec "$@"'
        arguments = ["sh", "-c", script, cgroup.entrance(folder), *daemon(leave, daemon="")]
        child = posix_spawn("/bin/sh", arguments, {}, cwd=None, stdout=theirs, stderr=None)
        os.close(theirs)
        group = ProcessGroup(child, table, folder)
        async with trio.lowlevel.FdStream(output) as stream:
            told = b""
            while told.count(b"\n") < 2:
                told += await stream.receive_some()
            await group.send(signal.SIGWINCH)
            await group.send(signal.SIGTERM)
            while chunk := await stream.receive_some():
                told += chunk
        assert await group.end()
    assert told.split(b"\n")[2:] == [b"signal 15", b""]


async def test_a_look_that_fails_fails_for_all_that_share_it(
    table: ProcessTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them takes it for one that has found nothing."""
    failed: list[ValueError] = []

    def fail() -> int:
        raise ValueError

    async def look() -> None:
        try:
            await table.look(Identity.of(os.getpid()))
        except ValueError as error:
            failed.append(error)

    monkeypatch.setattr(proc, "newest", fail)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(look)
    assert len(failed) == 5


MOUNT = "35 24 0:30 {root} {place} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
OTHER = (
    "31 23 0:26 / /sys/fs/cgroup ro shared:9 - tmpfs tmpfs ro\n36 31 0:31 / /v1 rw - cgroup c rw"
)


@pytest.mark.parametrize(
    ("groups", "mounts", "folder"),
    [
        (
            "0::/system.slice/a.service",
            [("/", "/sys/fs/cgroup")],
            "/sys/fs/cgroup/system.slice/a.service",
        ),
        ("0::/", [("/", "/sys/fs/cgroup")], "/sys/fs/cgroup"),
        ("12:pids:/x\n1:name=systemd:/y\n0::/z", [("/", "/unified")], "/unified/z"),
        # A container without a cgroup namespace, or with another one's mount.
        ("0::/docker/7/w", [("/docker/7", "/sys/fs/cgroup")], "/sys/fs/cgroup/w"),
        ("0::/docker/7", [("/docker/8", "/eight"), ("/", "/all")], "/all/docker/7"),
        ("0::/../8", [("/", "/sys/fs/cgroup")], None),
        ("0::/a b", [("/", r"/with\040space\134")], r"/with space\/a b"),
        ("0::/z", [], None),
        ("12:pids:/x", [("/", "/unified")], None),
        ("0::/x\udcff\x85", [("/", "/odd\udcff\x85"), ("/", "/all")], "/odd\udcff\x85/x\udcff\x85"),
    ],
)
def test_where_the_own_group_is(
    groups: str,
    mounts: list[tuple[str, str]],
    folder: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = [OTHER, *(MOUNT.format(root=root, place=place) for root, place in mounts)]
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_bytes(os.fsencode(groups + "\n"))
    (tmp_path / "self" / "mountinfo").write_bytes(os.fsencode("\n".join(lines) + "\n"))
    monkeypatch.setattr(proc, "_PROC", tmp_path)
    assert proc.cgroup() == (folder and Path(folder))


def test_there_are_no_groups_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "_PROC", tmp_path)
    assert proc.cgroup() is None
    with Cgroups().new() as group:
        assert group == ""
