"""`trio-logs serve` as a process of its own, for tests that end it in every way there is."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from tests.command_line import launch
from tests.forked import Forked

__all__ = ["ServerProcess", "running_server"]


@dataclass
class ServerProcess:
    """A running server; `lines` is what it said on standard error."""

    process: subprocess.Popen[str] | Forked
    url: str
    token: str
    lines: list[str] = field(default_factory=list)
    data: Path = Path()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def client(self) -> httpx2.Client:
        """A client for it. Without TLS there is nothing to verify, and the authorities take 50 ms
        to load."""
        return httpx2.Client(base_url=self.url, headers=self.headers, timeout=30, verify=False)

    def get(self, path: str, **headers: str) -> httpx2.Response:
        """Make a request on a connection of its own."""
        with self.client() as client:
            return client.get(path, headers=headers)

    def post(self, path: str, body: object = None) -> httpx2.Response:
        """Likewise; `body` is sent as JSON."""
        with self.client() as client:
            return client.post(path, json=body)

    def memory(self, name: str = "VmRSS") -> int:
        """A figure of /proc/PID/status in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        [line] = [line for line in status.split("\n") if line.startswith(f"{name}:")]
        return int(line.split()[1]) * 1024

    def metric(self, name: str) -> float:
        """A sample of /metrics without labels."""
        text = self.get("/metrics").text
        [line] = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(line.split()[1])

    def kill(self) -> None:
        """SIGKILL: nothing is cleaned up."""
        self.process.kill()
        self.process.wait()

    def stop(self, timeout: float = 30) -> int:
        """SIGTERM; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


@contextmanager
def running_server(
    data: Path, *arguments: str, prefix: tuple[str, ...] = ()
) -> Iterator[ServerProcess]:
    """A server on a free port, run by the command `prefix`; killed on exit if it still runs."""
    process = launch(
        ["serve", "--bind", "127.0.0.1:0", "--data", str(data), *arguments],
        prefix,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines: list[str] = []
    try:
        url = ""
        for line in process.stderr:
            lines.append(line)
            if line.startswith("Listening on "):
                url = line.split()[-1]
                break
        if not url:
            raise RuntimeError("".join(lines))
        # Somebody must read on, or a chatty server blocks.
        reader = threading.Thread(target=lines.extend, args=(process.stderr,))
        reader.start()
        token = (data / "token").read_text().strip()
        yield ServerProcess(process, url, token, lines, data)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if url:
            reader.join()
        process.stderr.close()
