"""What the suites share: a server on a core of its own, and readers cheap enough not to be the
limit."""

from __future__ import annotations

import http.client
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Follower", "Server", "cores", "drain", "running_server"]

RECEIVE_BYTES = 256 * 1024


def cores() -> tuple[int, int]:
    """One core for the server and one for the load; the same one where there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1]


@dataclass(frozen=True, slots=True)
class Server:
    """A `trio-logs serve` process, pinned to a core."""

    host: str
    port: int
    token: str
    pid: int

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """One request with a JSON answer."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def reset_peak(self) -> None:
        """Start the measure of peak memory anew; see proc_pid_clear_refs(5)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def memory(self, field_: str) -> int:
        """`VmRSS` or `VmHWM` (its peak), in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field_ + ":"):
                return int(line.split()[1]) * 1024
        raise KeyError(field_)

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running_server(core: int, *arguments: str) -> Iterator[Server]:
    """A server on a free port with an empty SQLite history, stopped on exit."""
    with tempfile.TemporaryDirectory(prefix="trio-logs-bench-") as folder:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "trio_logs", "serve"),
                *("--bind", "127.0.0.1:0", "--data", folder),
                *arguments,
            ],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            if "Listening on" not in line:
                raise RuntimeError(line + process.stderr.read())
            host, _, port = line.strip().rpartition("//")[2].rpartition(":")
            token = Path(folder, "token").read_text().strip()
            yield Server(host, int(port), token, process.pid)
        finally:
            process.terminate()
            process.wait(30)
            assert process.stderr is not None
            process.stderr.close()


@dataclass(slots=True)
class Follower:
    """A raw socket that reads a chunked answer: it counts payload bytes and keeps the last few."""

    socket: socket.socket
    payload: int = 0
    tail: bytes = b""
    finished: float = 0.0
    _pending: bytes = b""
    _chunk: int = 0
    _in_body: bool = field(default=False)

    @classmethod
    def connect(cls, server: Server, path: str) -> Follower:
        """Send the request; the answer is read by `drain`."""
        connection = socket.create_connection((server.host, server.port))
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {server.host}\r\n"
            f"Authorization: Bearer {server.token}\r\n\r\n".encode()
        )
        connection.setblocking(False)
        return cls(connection)

    def feed(self, data: memoryview) -> bool:
        """Take received bytes; True once the terminal chunk is there."""
        position, size = 0, len(data)
        while position < size:
            if self._chunk > 0:
                taken = min(self._chunk, size - position)
                self._chunk -= taken
                # The chunk's own line end is counted with it and taken off below.
                if self._chunk <= 300:
                    self.tail = (
                        self.tail
                        + bytes(data[max(position, position + taken - 300) : position + taken])
                    )[-400:]
                position += taken
                continue
            mark = b"\r\n" if self._in_body else b"\r\n\r\n"
            self._pending += bytes(data[position : position + 2048])
            head, found, _ = self._pending.partition(mark)
            if not found:
                position += 2048
                continue
            consumed = len(head) + len(mark) - (len(self._pending) - min(2048, size - position))
            position += consumed
            self._pending = b""
            if not self._in_body:
                if not head.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(head.decode())
                self._in_body = True
                continue
            length = int(head, 16)
            if length == 0:
                return True
            self.payload += length
            self._chunk = length + 2
        return False


def drain(followers: list[Follower], deadline: float) -> None:
    """Read all answers to their ends, in one thread. Raises TimeoutError past `deadline`
    seconds."""
    stop = time.monotonic() + deadline
    selector = selectors.DefaultSelector()
    for follower in followers:
        selector.register(follower.socket, selectors.EVENT_READ, follower)
    buffer = bytearray(RECEIVE_BYTES)
    view = memoryview(buffer)
    left = len(followers)
    while left:
        if time.monotonic() > stop:
            raise TimeoutError(f"{left} followers were not done in {deadline} s")
        for key, _ in selector.select(1):
            follower = key.data
            size = follower.socket.recv_into(buffer)
            if size == 0:
                raise RuntimeError("an answer was cut off")
            if follower.feed(view[:size]):
                follower.finished = time.monotonic()
                selector.unregister(follower.socket)
                follower.socket.close()
                left -= 1
    selector.close()
