"""What no reader and no workload can do: hurt another, or fill the memory."""

from __future__ import annotations

import hashlib
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.checker import Transcript, faults
from tests.command_line import STARTED
from tests.live import parse_events
from tests.server_process import ServerProcess, running_server

MIB = 1024 * 1024

# One line of a gigabyte. A period that is prime to 64 KiB shows fragments that changed places, and
# each block has a number of its own.
GIGABYTE = """
import random, sys
period = bytes(32 + byte % 95 for byte in random.Random(1).randbytes(4099))
block = (period * 256)[: 2**20 - 8]
for number in range(1024):
    sys.stdout.buffer.write(b"%08d" % number + block)
"""


def submit(server: ServerProcess, *command: str) -> dict[str, Any]:
    answer = server.post("/v1/workloads", {"command": command})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def finished(server: ServerProcess, workload: dict[str, Any], timeout: float) -> dict[str, Any]:
    """The record, once the workload has ended."""
    with server.client() as client:
        url = workload["logs_url"] + "?tail=0&stream=stderr"
        assert b"event: end" in client.get(url, timeout=timeout).content
        return dict(client.get(f"/v1/workloads/{workload['id']}").json())


@contextmanager
def request(
    server: ServerProcess, path: str, *headers: str, buffer: int | None = 16 * 1024
) -> Iterator[socket.socket]:
    """A socket on which the answer arrives; `buffer` is what the kernel takes for it, in bytes."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.socket() as connection:
        if buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.settimeout(30)
        connection.connect((host, int(port)))
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *headers, "Connection: close"]
        lines.append(f"Authorization: Bearer {server.token}")
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        yield connection


def payload(connection: socket.socket) -> Iterator[bytes]:
    """The chunks of the answer, up to the terminal one."""
    file = connection.makefile("rb", buffering=256 * 1024)
    assert b" 200 " in file.readline()
    while file.readline() != b"\r\n":
        pass
    while size := int(file.readline(), 16):
        yield file.read(size)
        assert file.readline() == b"\r\n"
    assert file.readline() == b"\r\n"


def test_a_reader_that_never_reads_hurts_nobody(tmp_path: Path) -> None:
    lines = 300_000
    script = f"i=0; yes {'x' * 92} | head -n {lines} | nl -ba -w6 -s:"
    written = [f"{number:6}:{'x' * 92}" for number in range(1, lines + 1)]
    arguments = ("--write-timeout", "120")
    with running_server(tmp_path / "data", *arguments, prefix=STARTED) as server:
        Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")
        before = server.memory()
        workload = submit(server, "sh", "-c", "sleep 0.5; " + script)
        stalled = [request(server, workload["logs_url"]) for _ in range(20)]
        sockets = [one.__enter__() for one in stalled]
        with request(server, workload["logs_url"]) as healthy:
            body = b"".join(payload(healthy))
        check(body, written)
        assert finished(server, workload, 30)["status"] == "succeeded"
        growth = server.memory("VmHWM") - before
        print(f"20 stalled readers of {len(body) / MIB:.0f} MiB: +{growth / MIB:.1f} MiB")
        assert growth < 32 * MIB
        # They read again: everything is there, from the store.
        for connection in sockets[:2]:
            check(b"".join(payload(connection)), written)
        for one in stalled:
            one.__exit__(None, None, None)


def check(body: bytes, written: list[str]) -> None:
    transcript = Transcript(1, written)
    for name, event_id, data in parse_events(body):
        if name == "message":
            transcript.events.append(("line", int(event_id), data))
        else:
            assert name == "end"
            transcript.events.append(("end", data["lines"]))
    assert faults(transcript) == []


def test_a_reader_that_takes_nothing_is_disconnected_and_may_resume(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", "--write-timeout", "1") as server:
        workload = submit(server, "sh", "-c", f"yes {'x' * 99} | head -n 200000")
        with request(server, workload["logs_url"]) as stalled:
            assert finished(server, workload, 30)["lines"] == 200_000
            deadline = time.monotonic() + 20
            while server.metric("trio_logs_subscriptions"):
                assert time.monotonic() < deadline, "it is still connected"
                time.sleep(0.05)
            received = b""
            try:
                while data := stalled.recv(1 << 20):
                    received += data
            except ConnectionResetError:
                pass
        last = int(received[: received.rfind(b"\ndata: ")].rpartition(b"id: ")[2])
        headers = f"Last-Event-ID: {last}"
        with request(server, workload["logs_url"], headers) as again:
            events = parse_events(b"".join(payload(again)))
        assert events[0][1] == str(last + 1)
        assert len(events) == 200_000 - last + 1


def test_a_gigabyte_without_a_newline(tmp_path: Path) -> None:
    arguments = ("--history-bytes", str(4 * 1024 * MIB))
    with running_server(tmp_path / "data", *arguments, prefix=STARTED) as server:
        # Once through, small: what is imported and allocated once is not what is measured.
        finished(server, submit(server, sys.executable, "-c", "print('x' * 10**6)"), 30)
        Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")
        before = server.memory()
        workload = submit(server, sys.executable, "-c", GIGABYTE)
        record = finished(server, workload, 120)
        assert record["status"] == "succeeded"
        assert (record["bytes"], record["lines"]) == (1024 * MIB, 16 * 1024)
        written = server.memory("VmHWM") - before
        digest = hashlib.sha256()
        accept = "Accept: text/plain"
        with request(server, workload["logs_url"], accept, buffer=None) as connection:
            for chunk in payload(connection):
                digest.update(chunk)
        read = server.memory("VmHWM") - before
        print(f"1 GiB line: +{written / MIB:.1f} MiB writing, +{read / MIB:.1f} MiB with reading")
        assert read < 32 * MIB
    expected = hashlib.sha256()
    namespace: dict[str, Any] = {}
    exec(GIGABYTE.partition("for number")[0], namespace)
    for number in range(1024):
        expected.update(b"%08d" % number + namespace["block"])
    assert digest.hexdigest() == expected.hexdigest()
