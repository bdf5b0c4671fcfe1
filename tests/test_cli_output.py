"""What `logs` and `run` print where: formats, both streams merged, and outputs that fail."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.command_line import environment, trio_logs
from tests.cutting_proxy import cutting_proxy
from tests.forked import Forked
from tests.server_process import ServerProcess
from trio_logs.client import Client, SyncClient


def printed(
    server: ServerProcess, *arguments: str, stdout: int = subprocess.PIPE
) -> tuple[int, bytes, str]:
    """The exit code of a command, and what it prints on both outputs."""
    with Forked(arguments, env=environment(server.data), stdout=stdout) as process:
        data = b"" if process.stdout is None else process.stdout.read()
        assert process.stderr is not None
        said = process.stderr.read().decode()
        return process.wait(60), data, said


# No text has all of it: line ends of two kinds, a bar, what is not UTF-8, a line of many parts in
# which another stream has one, and no end of the last line.
PIECES = r"""(
    (1, b"one\r\nbar 1\rbar 2\n\xff\x00\x1b[31mred\n" + b"x" * 100_000),
    (2, b"error\n"),
    (1, b"y" * 100_000 + b"\nlast"),
)"""
SCRIPT = f"""
import os, time
for descriptor, data in {PIECES}:
    while data:
        data = data[os.write(descriptor, data) :]
    # Between two streams, order is that of arrival.
    time.sleep(0.05)
"""


def test_raw_is_what_the_workload_wrote(server: ServerProcess, client: SyncClient) -> None:
    workload = client.submit(["python3", "-c", SCRIPT])
    live = printed(server, "logs", workload.id, "--output", "raw")
    assert live[0::2] == (0, "")
    with server.client() as http:
        whole = http.get(f"/v1/workloads/{workload.id}/logs", headers={"Accept": "text/plain"})
    records = [
        (type(each).__name__, getattr(each, "seq", None), len(getattr(each, "text", "")))
        for each in client.follow(workload.id)
    ]
    assert live[1] == whole.content, (records, client.get(workload.id), server.lines)
    for descriptor, stream in ((1, "stdout"), (2, "stderr")):
        own = b"".join(data for fd, data in eval(PIECES) if fd == descriptor)
        assert client.raw(workload.id, stream=stream) == own
        assert printed(server, "logs", workload.id, "--output", "raw", "--stream", stream)[1] == own
    last = printed(server, "logs", workload.id, "--output=raw", "--tail", "1", "--since", "1h")
    assert last[1] == b"last"
    assert client.raw(workload.id, filter="bar") == b"bar 1\rbar 2\n"


async def test_raw_survives_broken_connections(server: ServerProcess) -> None:
    async with (
        cutting_proxy(server.url, after=3_000, times=2) as (url, connections),
        Client(url, server.token) as client,
        Client(server.url, server.token) as direct,
    ):
        workload = await direct.submit(["seq", "2000"])
        async for _ in direct.follow(workload.id):
            pass
        expected = b"".join(b"%d\n" % number for number in range(1, 2001))
        assert await client.raw(workload.id) == expected
        assert connections[0] == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("--output", "raw", "--timestamps", "x"),
        ("--output", "raw", "x", "y"),
        ("--output", "raw", "--label", "a=b"),
        ("--output", "text", "--json", "x"),
    ],
)
def test_formats_that_do_not_fit(server: ServerProcess, arguments: tuple[str, ...]) -> None:
    code, _, said = printed(server, "logs", *arguments)
    assert code == 2
    assert "--output" in said
    assert said.count("\n") == 1


def test_both_streams_merged(server: ServerProcess, client: SyncClient) -> None:
    script = "echo out; echo err >&2"
    for options, out, err in (
        ((), b"out\n", "err\n"),
        (("--merge",), b"err\nout\n", ""),
    ):
        code, data, said = printed(server, "run", *options, "sh", "-c", script)
        *lines, last = said.splitlines(keepends=True)
        assert (code, sorted(data.splitlines(keepends=True))) == (0, sorted(out.splitlines(True)))
        assert "".join(lines) == err
        workload = last.split()[1]
        _, logged, said = printed(server, "logs", workload, *options)
        assert (sorted(logged), said) == (sorted(out), err)
    shown = trio_logs(server.data, "logs", workload, "--output", "json").stdout.splitlines()
    assert {json.loads(each).get("text") for each in shown} == {"out", "err", None}


def test_a_full_output_names_the_workload_that_goes_on(
    server: ServerProcess, client: SyncClient
) -> None:
    with Path("/dev/full").open("wb") as full:
        for detach in ((), ("--detach",)):
            script = "echo one; exec sleep 60"
            arguments = ("run", *detach, "sh", "-c", script)
            code, _, said = printed(server, *arguments, stdout=full.fileno())
            [workload] = client.list(limit=1)
            assert (code, said) == (
                1,
                "trio-logs: can't write standard output: No space left on device;"
                f" {workload.id} goes on: `trio-logs logs` prints its output, `trio-logs stop` ends"
                " it\n",
            )
            assert not workload.status.final
            # With `--detach`, the command may not have begun yet.
            next(client.follow(workload.id))
            client.stop(workload.id, grace=0)
        told = "trio-logs: can't write standard output: No space left on device\n"
        assert printed(server, "logs", workload.id, stdout=full.fileno())[::2] == (1, told)
        code, _, said = printed(server, "ps", stdout=full.fileno())
        assert (code, said.count("\n")) == (1, 1)
        # Standard error, too, is full: the exit code is what there is to see.
        with Forked(["logs", "nobody"], env=environment(server.data), stderr=full.fileno()) as both:
            assert both.wait(60) == 66
