"""A planted leak of each kind is caught and named, and what is none is let be."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests import leaks

pytest_plugins = ["pytester"]

PLANTED = """
import os, socket, subprocess, threading
from pathlib import Path
import pytest
import trio
from tests import forked, leaks
from trio_logs.backends import proc
from trio_logs.broker import open_broker

leaks.PATIENCE = 0.3
forked.ensure_fork_server()
kept, opened, groups, release = [], [], [], threading.Event()
folder = Path(__file__).parent
proc.cgroup = lambda: folder

@pytest.fixture(autouse=True, scope="module")
def clean_up():
    yield
    release.set()
    for group in groups:
        group.rmdir()
    for process in kept:
        process.kill()
        process.wait()

async def test_task():
    trio.lowlevel.spawn_system_task(trio.sleep_forever, name="planted task")

def test_descriptor():
    opened.append(os.open(__file__, os.O_RDONLY))

def test_socket():
    opened.append(socket.create_server(("127.0.0.1", 0)))

def test_thread():
    threading.Thread(target=release.wait, name="planted thread").start()

async def test_worker_that_is_at_work():
    def wait():
        trio.from_thread.run_sync(scope.cancel)
        release.wait()
    with trio.CancelScope() as scope:
        await trio.to_thread.run_sync(wait, abandon_on_cancel=True)

def test_child():
    kept.append(subprocess.Popen(["sleep", "61"]))

def test_grandchild():
    kept.append(subprocess.Popen(["sh", "-c", "sleep 64 & echo $! >> orphans; wait"]))

def test_forked():
    kept.append(forked.Forked(["serve", "--bind", "127.0.0.1:0", "--data", "data"]))

def test_zombie():
    kept.append(subprocess.Popen(["true"]))
    os.waitid(os.P_PID, kept[-1].pid, os.WEXITED | os.WNOWAIT)

# In the midst of its exec, a process has no environment to be known by.
SLEEPS = 'echo $! >> orphans; until [ "$(cat /proc/$!/comm)" = sleep ]; do :; done'

def test_orphan():
    subprocess.run(["sh", "-c", "sleep 62 & " + SLEEPS], check=True)

def test_orphan_in_a_session_of_its_own():
    script = "setsid sleep 63 & " + SLEEPS
    subprocess.run(["sh", "-c", script], check=True, env={"PATH": os.environ["PATH"]})

def test_control_group():
    planted = folder / f"trio-logs-{os.getpid()}-1-0"
    planted.mkdir()
    groups.append(planted)

async def test_subscription():
    async with open_broker() as broker:
        broker.subscribe("w").__enter__()

async def test_subscription_that_is_let_go():
    async with open_broker() as broker:
        def forget():
            broker.subscribe("w").__enter__()
        forget()
"""

CLEAN = """
import subprocess, threading
import pytest
import trio
from trio_logs.broker import open_broker

@pytest.fixture(scope="module")
def shell():
    process = subprocess.Popen(["sh"], stdin=subprocess.PIPE)
    yield process
    process.communicate()

async def test_tasks_of_a_fixture(nursery):
    nursery.start_soon(trio.sleep_forever)

async def test_idle_worker():
    await trio.to_thread.run_sync(threading.get_ident)

def test_what_a_process_of_the_module_starts(shell):
    shell.stdin.write(b"sleep 0.5 &\\n")
    shell.stdin.flush()

def test_process_that_is_about_to_exit():
    subprocess.run(["sh", "-c", "sleep 0.2 &"], check=True)

async def test_subscription():
    async with open_broker() as broker:
        with broker.subscribe("w"):
            pass
"""


REPORTS = {
    "test_task": "planted task",
    "test_descriptor": r"descriptor \d+: /.*\.py$",
    "test_socket": r"descriptor \d+: socket \('127\.0\.0\.1', \d+\)$",
    "test_thread": "thread 'planted thread'$",
    "test_worker_that_is_at_work": 'thread "wait from ',
    "test_child": r"process \d+: sleep 61$",
    "test_grandchild": r"process \d+: sleep 64$",
    "test_forked": r"process \d+: .*forkserver",
    "test_zombie": r"process \d+: true \(zombie\)$",
    "test_orphan": r"process \d+: sleep 62$",
    "test_orphan_in_a_session_of_its_own": r"process \d+: sleep 63$",
    "test_control_group": r"control group /.*/trio-logs-\d+-1-0$",
    "test_subscription": "subscriptions: 1 of <trio_logs.broker.broker.LogBroker",
    "test_subscription_that_is_let_go": "subscriptions: 1 of <trio_logs.broker.broker.LogBroker",
}


def run_with_tool(pytester: pytest.Pytester, source: str) -> pytest.RunResult:
    """Run a file of tests in a process of its own, with the tool."""
    pytester.makeini("[pytest]\ntrio_mode = true\nfilterwarnings = error")
    pytester.makepyfile(source)
    options = ["-p", "no:cacheprovider", "-p", "no:schemathesis"]
    return pytester.runpytest_subprocess("-p", "tests.leaks", *options)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath))


def test_each_planted_leak_is_an_error_that_names_it(pytester: pytest.Pytester) -> None:
    try:
        result = run_with_tool(pytester, PLANTED)
    finally:
        for pid in Path(pytester.path, "orphans").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
    # The task is found in its run, the others once the test is over.
    result.assert_outcomes(passed=len(REPORTS) - 1, failed=1, errors=len(REPORTS) - 1)
    sections = re.split(r"\n_+ (?:ERROR at teardown of )?(\w+) _+\n", result.stdout.str())
    reports = dict(zip(sections[1::2], sections[2::2], strict=True))
    for test, report in REPORTS.items():
        found = reports[test].partition("the test left behind:\n")[2]
        assert re.search(report, found, re.MULTILINE), (test, reports[test])


def test_what_is_none_is_let_be(pytester: pytest.Pytester) -> None:
    result = run_with_tool(pytester, CLEAN)
    result.assert_outcomes(passed=CLEAN.count("def test_"))


def test_it_watches_this_test(request: pytest.FixtureRequest) -> None:
    assert "no_leaks" in request.fixturenames


async def test_it_watches_the_tasks_of_this_test(request: pytest.FixtureRequest) -> None:
    marker = request.node.get_closest_marker("trio")
    assert marker.kwargs["run"] is leaks.run
