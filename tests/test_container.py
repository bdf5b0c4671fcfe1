"""The image: built from the Dockerfile, and run by the commands of docs/howto/container.md."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container_engine import Engine, running_engine
from tests.full_pipe import wait_for
from tests.programs import need_programs
from tests.server_process import running_server
from tests.test_docs import arguments
from tests.test_docs_examples import ROOT, blocks
from trio_logs.cli.environment import variable

pytestmark = pytest.mark.surroundings

DOCKERFILE = (ROOT / "Dockerfile").read_text()
VARIABLES = dict(re.findall(r"^(?:ENV|   ) (TRIO_LOGS_\w+)=(\S+)", DOCKERFILE, re.MULTILINE))


def instruction(name: str) -> str:
    """The last one of that name, with its continuation lines."""
    return re.findall(rf"^{name} ((?:.*\\\n)*.*)", DOCKERFILE, re.MULTILINE)[-1]


def test_its_variables_are_options() -> None:
    assert VARIABLES.keys() <= {variable(option) for option in arguments("serve")}
    [table] = re.findall(r"^\| variable .*\n((?:\|.*\n)*)", page(), re.MULTILINE)
    assert dict(re.findall(r"^\| `(\w+)` \| `(\S+)`", table, re.MULTILINE)) == VARIABLES
    assert VARIABLES["TRIO_LOGS_BIND"].endswith(":" + instruction("EXPOSE"))
    assert VARIABLES["TRIO_LOGS_DATA"] == instruction("VOLUME")
    # `docker stop` waits for 10 s.
    assert float(VARIABLES["TRIO_LOGS_GRACE"]) < 8


def page() -> str:
    return (ROOT / "docs" / "howto" / "container.md").read_text()


def test_the_health_check(tmp_path: Path) -> None:
    """Here, without an engine, which would run it only every 30 s."""
    _, _, text = instruction("HEALTHCHECK").partition(" CMD ")
    python, *rest = json.loads(text.replace("\\\n", ""))
    assert python == "python3"

    def check(url: str) -> int:
        port = url.rpartition(":")[2]
        command = [shutil.which("python3") or "", *rest]
        assert "8000" in command[-1]
        command[-1] = command[-1].replace("8000", port)
        # No proxy is asked.
        proxy = {"http_proxy": "http://127.0.0.1:1"}
        return subprocess.run(command, env=proxy, capture_output=True, timeout=60).returncode

    with running_server(tmp_path / "data", "--allowed-host", "logs.example") as server:
        assert check(server.url) == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert check(f"http://127.0.0.1:{port}") != 0


@pytest.fixture
def engine() -> Iterator[Engine]:
    need_programs("podman", "runc", "tini", "apt-get")
    with running_engine("trio-logs", "psycopg", "psycopg-binary", "hatchling") as engine:
        yield engine


READY = "until docker logs logs 2>&1 | grep -q listening; do sleep 0.2; done\n"


def test_the_page(engine: Engine) -> None:
    def shell(script: str) -> str:
        # Whoever types it looks at the log first.
        started = re.compile(r"^docker run (?:.*\\\n)*.*\n", re.MULTILINE)
        script = started.sub(lambda run: run[0] + READY, script)
        command = ["bash", "-ec", script]
        options = {"cwd": ROOT, "env": engine.environment, "text": True, "timeout": 300}
        found = subprocess.run(command, capture_output=True, **options)  # type: ignore[call-overload]
        assert found.returncode == 0, found.stderr + found.stdout
        return str(found.stdout)

    def processes() -> list[list[str]]:
        listed = engine("exec", "logs", "ps", "-eo", "pid=,user=,stat=,args=")
        return [line.split(None, 3) for line in listed.splitlines()]

    first, hardened = blocks("howto/container.md", "sh")
    [more] = blocks("howto/container.md", "dockerfile")
    *_, hello, token = shell(first).split()
    assert (hello, len(token)) == ("hello", 43)
    assert processes()[0][:2] == ["1", "10001"]
    assert processes()[0][3] == "tini -- trio-logs serve"
    engine("healthcheck", "run", "logs")
    # A workload may leave a process behind: process 1 reaps it.
    daemon = "setsid sh -c 'echo $$ >left; exec cat fifo' >/dev/null 2>&1 &"
    run = ("exec", "logs", "trio-logs", "run", "--", "sh", "-ec")
    engine(*run, f"mkfifo fifo; {daemon} until [ -s left ]; do sleep 0.01; done")
    [left] = [each for each in processes() if each[3] == "cat fifo"]
    engine("exec", "logs", "sh", "-c", "echo x >/home/trio-logs/fifo")
    wait_for(lambda: left[0] not in [each[0] for each in processes()])
    printed = shell(hardened)
    assert "echo hello" in printed
    said = [json.loads(line)["event"] for line in shell("docker logs logs 2>&1").splitlines()]
    # The engine's limit on open files may be low.
    assert [event for event in said if not event.startswith("the limit on open files")] == [
        "listening"
    ]
    # The user of the page writes where the page says.
    engine(*run, "touch /tmp/x /data/x")
    shell(f"docker build -t builds - <<'END'\n{more}END\n")
    assert engine("run", "--rm", "builds", "--version").strip()
    engine("stop", "logs")
    state = json.loads(engine("inspect", "logs"))[0]["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)
