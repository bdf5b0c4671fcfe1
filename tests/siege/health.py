"""How long `/healthz` takes, seen by a client in a process of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread

from tests.server_process import ServerProcess

__all__ = ["Health", "measured"]

P99_SECONDS = 0.1
LONGEST_SECONDS = 0.25
PAUSE_SECONDS = 0.005
TIMEOUT_SECONDS = 30.0


@dataclass
class Health:
    """The times of all requests, in seconds, sorted; filled once the measurement has ended."""

    seconds: Sequence[float] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.seconds)

    @property
    def p99(self) -> float:
        return self.seconds[self.count * 99 // 100]

    @property
    def longest(self) -> float:
        return self.seconds[-1]

    def __str__(self) -> str:
        figures = f"p99 {self.p99 * 1000:.1f} ms, longest {self.longest * 1000:.1f} ms"
        return f"/healthz {self.count} times: {figures}"

    def check(self) -> None:
        """Print the figures. Raises AssertionError if they are beyond the bounds."""
        print(f"    {self}", flush=True)
        assert self.p99 <= P99_SECONDS, str(self)
        assert self.longest <= LONGEST_SECONDS, str(self)


@contextmanager
def measured(server: ServerProcess) -> Iterator[Health]:
    """Ask all the time; the server must live until the end of it."""
    port = server.url.rpartition(":")[2]
    health = Health()
    command = [sys.executable, "-m", "tests.siege.health", port]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as client:
        try:
            assert client.stdin is not None
            assert client.stdout is not None
            # The first answer is here.
            client.stdout.readline()
            yield health
            client.stdin.close()
            health.seconds = sorted(json.loads(client.stdout.read()))
        finally:
            client.kill()


def ask(connection: socket.socket) -> float:
    """Make a request; return how long the answer took."""
    start = time.perf_counter()
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = b""
    while not answer.endswith(b"}"):
        received = connection.recv(65536)
        assert received, answer
        answer += received
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return time.perf_counter() - start


def main(port: int) -> None:
    """Ask until the end of standard input, then print all times."""
    over = Event()
    Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    seconds: list[float] = []
    while not over.is_set() or not seconds:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
            # The server closes a connection after some more.
            for _ in range(500):
                seconds.append(ask(connection))
                if len(seconds) == 1:
                    print(flush=True)
                if over.wait(PAUSE_SECONDS):
                    break
    print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
