"""The programs that are measured: ours, what people would use instead, and the floor.

Each runs as a process of its own, pinned to a core, and offers the same: a *source*, which waits
for a file (the gate) and then writes lines, and a path where followers read them as Server-Sent
Events.
"""

from __future__ import annotations

import atexit
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["FLOOR", "OURS", "PROGRAMS", "Program", "Running", "Source", "started"]

HERE = Path(__file__).parent
ROOT = HERE.parent
NCHAN = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
START_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Source:
    """So many lines, at `rate` lines a second or, with 0, as fast as it can; or what a command
    prints."""

    lines: int
    rate: float = 0
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """How it is called in tables, how it is started, and what it needs."""

    name: str
    argv: Sequence[str]
    module: str = ""
    executable: str = ""
    file: Path | None = None

    def missing(self) -> str | None:
        """What keeps it from running here."""
        if self.module and find_spec(self.module) is None:
            return f"needs the Python package {self.module} (make bench installs it)"
        if self.executable and shutil.which(self.executable) is None:
            return f"needs {self.executable}"
        if self.file and not self.file.exists():
            return f"needs {self.file} (Debian: libnginx-mod-nchan)"
        return None


OURS = Program("trio_logs", ("-m", "trio_logs", "serve", "--import", "bench.source"))
FLOOR = Program("raw sockets", ("-m", "bench.peers.floor"))
PROGRAMS = (
    OURS,
    Program("Quart-Trio, plain", ("-m", "bench.peers.plain_quart_trio")),
    Program("sse-starlette", ("-m", "bench.peers.sse_starlette"), module="sse_starlette"),
    Program("Go", ("go",), executable="go"),
    Program("Node", ("node", str(HERE / "peers" / "sse.mjs")), executable="node"),
    Program("nginx, nchan", ("nginx",), executable="nginx", file=NCHAN),
    FLOOR,
)


@dataclass(slots=True)
class Running:
    """A program that accepts connections. `folder` is its own, and gone with it."""

    program: Program
    process: subprocess.Popen[bytes]
    folder: Path
    load_core: int
    address: tuple[str, int] = ("127.0.0.1", 0)
    token: str = ""
    last: dict[str, Any] = field(default_factory=dict)
    _sources: int = 0
    _feeds: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def offer(self, source: Source) -> tuple[str, Path]:
        """Make a source ready; return the head of a request that follows it, and its gate."""
        self._sources += 1
        gate = self.folder / f"gate-{self._sources}"
        order = {
            "lines": source.lines,
            "rate": source.rate,
            "gate": str(gate),
            "command": list(source.command) or None,
        }
        if self.program is OURS:
            path = self._submit(source, gate)
        elif self.program.argv[0] == "nginx":
            path = f"/events/s{self._sources}"
            self._feed(f"/publish/s{self._sources}", order)
        else:
            path = "/events"
            self.request("POST", "/source", order)
        return self.head(path), gate

    def head(self, path: str, *more: str) -> str:
        """A request for that path."""
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Accept: text/event-stream", *more]
        if self.token:
            lines.append(f"Authorization: Bearer {self.token}")
        return "\r\n".join(lines) + "\r\n\r\n"

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """One request; its JSON answer, if it has one."""
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:200]!r}")
        return json.loads(data) if data else None

    def metric(self, name: str) -> float:
        """A figure of ours that has no labels."""
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {self.token}"})
        text = connection.getresponse().read().decode()
        connection.close()
        for line in text.splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise KeyError(name)

    def _submit(self, source: Source, gate: Path) -> str:
        if source.command:
            wait = f"while [ ! -e {gate} ]; do sleep 0.005; done; exec "
            command = ["sh", "-c", wait + " ".join(source.command)]
            self.last = self.request("POST", "/v1/workloads", {"command": command})
        else:
            command = ["bench.source", str(source.lines), str(source.rate), str(gate)]
            self.last = self.request(
                "POST", "/v1/workloads", {"backend": "function", "command": command}
            )
        return str(self.last["logs_url"])

    def _feed(self, path: str, order: dict[str, Any]) -> None:
        argv = [sys.executable, "-m", "bench.peers.nchan_feed", str(self.address[1]), path]
        core = self.load_core
        self._feeds.append(
            subprocess.Popen(
                [*argv, json.dumps(order)],
                cwd=ROOT,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )
        )

    def close(self) -> None:
        """End it, and what feeds it."""
        for feed in self._feeds:
            feed.kill()
            feed.wait()
        self.process.terminate()
        try:
            self.process.wait(6)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    # What the kernel knows about it.

    def _pids(self) -> list[int]:
        """nginx serves in a child; elsewhere the children are workloads."""
        pid = self.process.pid
        if self.program.argv[0] != "nginx":
            return [pid]
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def cpu_seconds(self) -> float:
        """User and system time so far, of all threads, to the nanosecond."""
        # The clock's number as clock_getcpuclockid(3) has it on Linux; /proc counts in 10 ms.
        return sum(time.clock_gettime(~pid << 3 | 2) for pid in self._pids())

    def memory(self, name: str = "VmRSS") -> int:
        """`VmRSS` or `VmHWM` (its peak), in bytes."""
        found = 0
        for pid in self._pids():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(name + ":"):
                    found += int(line.split()[1]) * 1024
        return found

    def reset_peak(self) -> None:
        """Start the measure of peak memory anew; see proc_pid_clear_refs(5)."""
        for pid in self._pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")


@contextmanager
def started(
    program: Program,
    cores: tuple[int, int],
    *arguments: str,
    environment: dict[str, str] | None = None,
) -> Iterator[Running]:
    """The program on the first of the cores; its workloads, and what feeds it, on the second."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trio-logs-bench-")))
        address = ("127.0.0.1", 0)
        argv = [sys.executable, *program.argv, *arguments]
        if program is OURS:
            argv += ["--bind", "127.0.0.1:0", "--data", str(folder / "data")]
        elif program.argv[0] == "go":
            argv = [str(_built())]
        elif program.argv[0] == "node":
            argv = list(program.argv)
        elif program.argv[0] == "nginx":
            address = ("127.0.0.1", _free_port())
            text = (HERE / "peers" / "nchan.conf").read_text()
            (folder / "nginx.conf").write_text(
                text.format(module=NCHAN, folder=folder, port=address[1])
            )
            argv = ["nginx", "-c", str(folder / "nginx.conf")]
        said = stack.enter_context((folder / "said").open("wb"))
        process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            stdout=said,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, {cores[0]}),
        )
        token = (environment or {}).get("TRIO_LOGS_TOKEN", "")
        running = Running(program, process, folder, cores[1], address, token)
        stack.callback(running.close)
        _wait_until_ready(running)
        yield running


def _wait_until_ready(running: Running) -> None:
    deadline = time.monotonic() + START_SECONDS
    said = running.folder / "said"
    while time.monotonic() < deadline:
        if running.process.poll() is not None:
            break
        if running.address[1]:
            try:
                socket.create_connection(running.address).close()
            except ConnectionRefusedError:
                pass
            else:
                return
        for line in said.read_text().splitlines():
            if "Listening on" in line:
                host, _, port = line.rpartition("//")[2].rpartition(":")
                running.address = (host, int(port))
                if running.program is OURS and not running.token:
                    running.token = (running.folder / "data" / "token").read_text().strip()
                return
        time.sleep(0.02)
    raise RuntimeError(f"{running.program.name} did not start: {said.read_text()[-2000:]}")


@cache
def _built() -> Path:
    folder = tempfile.mkdtemp(prefix="trio-logs-bench-go-")
    atexit.register(shutil.rmtree, folder)
    sources = [str(HERE / "peers" / name) for name in ("sse.go", "sse_clock.go")]
    # Without modules, as there is nothing to fetch.
    environment = {**os.environ, "GOFLAGS": "", "GO111MODULE": "off"}
    subprocess.run(["go", "build", "-o", f"{folder}/sse", *sources], check=True, env=environment)
    return Path(folder, "sse")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
