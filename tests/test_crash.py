"""`kill -9` of the server in mid-write: nothing lost, nothing doubled, no orphan."""

from __future__ import annotations

import random
import resource
import socket
import time
from pathlib import Path

import pytest
import trio

from tests.checker import Transcript, faults
from tests.live import parse_events
from tests.server_process import ServerProcess, running_server

KILLS = 20

# It starts a child of its own, which must not outlive the next start either; and it prints numbers
# until it is killed.
SCRIPT = """
sleep 300 & echo $!
i=1; while :; do i=$((i+1)); echo "line $i"; [ $((i % 50)) = 0 ] && sleep 0.002; done
"""


async def test_kill_9_twenty_times_with_resuming_clients(tmp_path: Path) -> None:
    """Each start finds what the kill before it left, on one and the same history."""
    rng = random.Random(9)
    killed: list[tuple[str, list[Transcript]]] = []
    for _ in range(KILLS):
        with running_server(tmp_path) as server:
            if killed:
                await check(server, *killed[-1])
            workload = submit(server, SCRIPT)
            seen = [Transcript(1, []) for _ in range(3)]
            async with trio.open_nursery() as nursery:
                for transcript in seen:
                    nursery.start_soon(follow, server, workload, transcript)
                with trio.fail_after(30):
                    # On a busy machine, the command may start late.
                    while server.get(f"/v1/workloads/{workload}").json()["lines"] <= 10:
                        await trio.sleep(0.01)
                await trio.sleep(0.15 + rng.random() * 0.25)
                server.kill()
            killed.append((workload, seen))
    with running_server(tmp_path) as server:
        await check(server, *killed[-1])
        for workload, seen in killed:
            record = server.get(f"/v1/workloads/{workload}").json()
            assert (record["status"], record["lines"]) == ("lost", len(seen[0].written))
        assert server.stop() == 0


async def check(server: ServerProcess, workload: str, seen: list[Transcript]) -> None:
    """What a killed server left is whole, and its clients can go on where they were."""
    # Killed before the service accepts, so there is nothing to wait for.
    orphan = int(lines_of(seen[0])[0])
    assert not alive(orphan), f"{orphan} outlived the start"
    whole = Transcript(1, [])
    async with trio.open_nursery() as nursery:
        for transcript in [*seen, whole]:
            nursery.start_soon(follow, server, workload, transcript)
    written = lines_of(whole)
    assert len(written) > 10
    assert written[1:] == [f"line {number}" for number in range(2, len(written) + 1)]
    for transcript in [*seen, whole]:
        transcript.written = written
        assert faults(transcript) == []


def submit(server: ServerProcess, script: str) -> str:
    answer = server.post("/v1/workloads", {"command": ["sh", "-c", script]})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def lines_of(transcript: Transcript) -> list[str]:
    return [str(event[2]) for event in transcript.events if event[0] == "line"]


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def follow(server: ServerProcess, workload: str, transcript: Transcript) -> None:
    """Read from where the transcript ends, until the end or until the server dies."""
    body = b""
    host, port = server.url.removeprefix("http://").split(":")
    resume = f"Last-Event-ID: {transcript.next - 1}\r\n" if transcript.events else ""
    stream = await trio.open_tcp_stream(host, int(port))
    async with stream:
        await stream.send_all(
            f"GET /v1/workloads/{workload}/logs HTTP/1.1\r\nHost: {host}\r\n{resume}"
            f"Authorization: Bearer {server.token}\r\nConnection: close\r\n\r\n".encode()
        )
        try:
            with trio.fail_after(30):
                while data := await stream.receive_some(65536):
                    body += data
        except trio.BrokenResourceError:
            pass  # killed
    _, _, chunks = body.partition(b"\r\n\r\n")
    text = b""
    while chunks:
        size, found, rest = chunks.partition(b"\r\n")
        if not found:
            break
        text += rest[: int(size, 16)]
        chunks = rest[int(size, 16) + 2 :]
    for name, event_id, data_ in parse_events(text[: text.rfind(b"\n\n") + 2]):
        if name == "message":
            transcript.events.append(("line", int(event_id), data_))
        elif name == "end":
            transcript.events.append(("end", data_["lines"]))
        else:
            raise AssertionError(f"a {name} event")


def test_two_servers_can_not_share_a_folder(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        with (
            pytest.raises(RuntimeError, match=f"in use by process {server.process.pid}") as caught,
            running_server(tmp_path / "data"),
        ):
            pass
        assert "Traceback" not in str(caught.value)
        assert server.stop() == 0


def test_sigterm_ends_streams_with_an_event_and_exits_0(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        workload = submit(server, "echo up; exec sleep 100")
        url = f"/v1/workloads/{workload}/logs"
        with server.client() as client:
            with client.stream("GET", url) as answer:
                body, started = b"", 0.0
                for chunk in answer.iter_raw():
                    body += chunk
                    if b"data: up" in body and not started:
                        started = time.monotonic()
                        server.process.terminate()
                # The loop ended by the terminal chunk; a cut would have raised.
            assert b"event: shutdown\nretry: 3000\n" in body
            assert b"event: end" not in body
        assert server.process.wait(10) == 0
        assert time.monotonic() - started < 5
    with running_server(tmp_path / "data") as server:
        record = server.get(f"/v1/workloads/{workload}").json()
        assert (record["status"], record["signal"]) == ("stopped", "SIGTERM")
        assert parse_events(server.get(url).content)[-1][0] == "end"


def test_a_client_that_never_reads_does_not_hold_up_the_exit(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        workload = submit(server, f"yes {'x' * 99} | head -n 200000; exec sleep 100")
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(
                f"GET /v1/workloads/{workload}/logs HTTP/1.1\r\nHost: {host}\r\n"
                f"Authorization: Bearer {server.token}\r\n\r\n".encode()
            )
            assert connection.recv(1)
            deadline = time.monotonic() + 30
            while server.get(f"/v1/workloads/{workload}").json()["lines"] < 200_000:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            started = time.monotonic()
            assert server.stop() == 0
            # The connections' grace is 5 s.
            assert time.monotonic() - started < 9


def test_a_second_signal_cuts_it_short(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", "--grace", "60") as server:
        workload = submit(server, "trap '' TERM; echo $$; while :; do sleep 0.1; done")
        url = f"/v1/workloads/{workload}/logs"
        with server.client() as client, client.stream("GET", url) as answer:
            body = b""
            for chunk in answer.iter_raw():
                body += chunk
                if b"id: 1\n" in body:
                    break
        pid = int(parse_events(body)[0][2])
        server.process.terminate()
        deadline = time.monotonic() + 10
        while not any("shutting down" in line for line in server.lines):
            assert time.monotonic() < deadline
        assert alive(pid)
        assert server.stop(10) == 0
        assert not alive(pid)


async def test_a_full_disk_holds_the_workload_back_and_loses_nothing_seen(tmp_path: Path) -> None:
    """The limit on a file's size stands in for the disk: SQLite can't write on."""
    seen = Transcript(1, [])
    with running_server(tmp_path, prefix=("prlimit", "--fsize=4000000:unlimited", "--")) as server:
        workload = submit(server, "od -An -v -tx1 /dev/urandom")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, server, workload, seen)
            with trio.fail_after(60):
                while not any("takes no writes" in line for line in server.lines):
                    await trio.sleep(0.05)
            # Nothing moves any more, and nothing ends.
            held_at = server.get(f"/v1/workloads/{workload}").json()["lines"]
            assert held_at > 1000
            assert server.get("/healthz").status_code == 200
            record = server.get(f"/v1/workloads/{workload}").json()
            assert (record["status"], record["lines"]) == ("running", held_at)
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
            with trio.fail_after(60):
                while server.get(f"/v1/workloads/{workload}").json()["lines"] < 2 * held_at:
                    await trio.sleep(0.05)
            server.kill()
    assert not any(line.startswith("trio-logs: ") for line in server.lines)
    with running_server(tmp_path) as server:
        whole = Transcript(1, [])
        await follow(server, workload, whole)
        await follow(server, workload, seen)
        assert server.get(f"/v1/workloads/{workload}").json()["status"] == "lost"
        assert server.stop() == 0
    written = lines_of(whole)
    assert len(written) > 1000
    for transcript in (whole, seen):
        transcript.written = written
        assert faults(transcript) == []
