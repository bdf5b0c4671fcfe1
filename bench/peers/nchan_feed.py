"""Publishes lines to nchan, which has no source of its own: requests one after another on one
connection, sent ahead of their answers."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.lines import line

AHEAD = 500
"""Requests whose answers are still to come."""


def texts(source: dict[str, object]) -> Iterator[bytes]:
    """The lines, without their ends."""
    if source["command"]:
        with subprocess.Popen(source["command"], stdout=subprocess.PIPE) as process:  # type: ignore[call-overload]
            for text in process.stdout:
                yield text.rstrip(b"\n")
        return
    lines, rate = int(str(source["lines"])), float(str(source["rate"]))
    start = time.monotonic()
    for number in range(lines):
        if rate:
            time.sleep(max(0, start + number / rate - time.monotonic()))
        yield line(number).rstrip(b"\n")


def main() -> None:
    """`nchan_feed PORT PATH SOURCE`, the source as JSON."""
    port, path, source = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    room = threading.Semaphore(AHEAD)
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def receive() -> None:
        while data := connection.recv(256 * 1024):
            for _ in range(data.count(b"HTTP/1.1 2")):
                room.release()

    threading.Thread(target=receive, daemon=True).start()
    while not Path(source["gate"]).exists():
        time.sleep(0.005)
    for text in texts(source):
        room.acquire()
        connection.sendall(
            b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
            % (path.encode(), len(text), text)
        )
    for _ in range(AHEAD):
        room.acquire()


if __name__ == "__main__":
    main()
