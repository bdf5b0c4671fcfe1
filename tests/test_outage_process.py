"""`trio-logs serve` on a disk that is full: nothing ends but what has to, and nothing is hidden."""

from __future__ import annotations

import base64
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import trio

from tests.checker import Transcript, faults
from tests.follower import Follower, eventually
from tests.outage_drill import assert_refused
from tests.server_process import ServerProcess, running_server
from tests.small_disk import LimitedFiles, SmallDisk, server_on_small_disk

MIB = 1024 * 1024

FEW, BURST = 10, 40_000

# A few lines, then 40 MB at full speed, that no disk here has room for, and then a few more.
WRITER = f"""
import base64, pathlib, random, sys, time
folder = pathlib.Path(sys.argv[1])
rng = random.Random(1)
def write(count):
    for _ in range(count):
        print(base64.b85encode(rng.randbytes(800)).decode())
    sys.stdout.flush()
def wait_for(name):
    while not (folder / name).exists():
        time.sleep(0.01)
write({FEW})
wait_for("burst")
write({BURST})
(folder / "written").touch()
wait_for("stop")
write({FEW})
sys.exit(7)
"""


def all_lines() -> list[str]:
    rng = random.Random(1)
    return [base64.b85encode(rng.randbytes(800)).decode() for _ in range(2 * FEW + BURST)]


@asynccontextmanager
async def client_of(server: ServerProcess) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(
        base_url=server.url, headers=server.headers, timeout=30, verify=False
    ) as client:
        yield client


async def submit(client: httpx2.AsyncClient, *command: str) -> str:
    answer = await client.post("/v1/workloads", json={"command": command})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def test_a_full_disk_that_gets_room_again(tmp_path: Path) -> None:
    with server_on_small_disk(tmp_path / "data", "--store-patience", "1") as (server, disk):
        async with client_of(server) as client, trio.open_nursery() as nursery:
            old = Follower(client, await submit(client, "seq", "100"))
            gone = Follower(client, await submit(client, "seq", "100"))
            await old.run()
            await gone.run()
            workload = await submit(client, sys.executable, "-c", WRITER, str(tmp_path))
            early, late = (
                Follower(client, workload, seen=Transcript(1, all_lines())) for _ in range(2)
            )
            nursery.start_soon(early.run)
            await eventually(lambda: early.lines == FEW)
            before = server.memory()
            disk.fill()
            (tmp_path / "burst").touch()
            await eventually((tmp_path / "written").exists)
            nursery.start_soon(late.run)
            await eventually(lambda: early.lines == late.lines == FEW + BURST)
            assert "store" in late.reasons
            assert server.memory("VmHWM") - before < 40 * MIB
            in_vain = ["touch", str(tmp_path / "ran-in-vain")]
            assert_refused(await client.post("/v1/workloads", json={"command": in_vain}))
            # A deletion has the room that the service has kept for it.
            answer = await client.delete(f"/v1/workloads/{gone.workload_id}")
            if isinstance(disk, SmallDisk):
                assert answer.status_code == 204
            else:
                assert_refused(answer)
            assert (await client.get("/healthz")).status_code == 200
            await eventually(lambda: any("takes no writes" in line for line in server.lines))
            disk.free()
            await eventually(lambda: any("the store is back" in line for line in server.lines))
            (tmp_path / "stop").touch()
            with trio.fail_after(30):
                await early.ended.wait()
                await late.ended.wait()
            whole = Follower(client, workload, seen=Transcript(1, all_lines()))
            again = Follower(client, old.workload_id)
            await whole.run()
            await again.run()
            assert again.seen.events == old.seen.events
            for each in (early, late, whole):
                assert faults(each.seen, gaps_allowed=True) == []
                assert each.reasons <= {"store"}
                assert (each.cuts, each.refusals) == (0, 0)
            [gap] = [event for event in whole.seen.events if event[0] == "gap"]
            assert gap[1] == FEW + 1
            record = (await client.get(f"/v1/workloads/{workload}")).json()
            assert (record["status"], record["exit_code"]) == ("failed", 7)
            assert record["lines"] == 2 * FEW + BURST
            listed = (await client.get("/v1/workloads")).json()["workloads"]
            kept = {gone.workload_id} if answer.status_code == 503 else set()
            assert {each["id"] for each in listed} == {workload, old.workload_id} | kept
        assert server.stop() == 0
    assert not (tmp_path / "ran-in-vain").exists()


async def test_a_shutdown_while_the_disk_is_full_says_what_is_lost(tmp_path: Path) -> None:
    data = tmp_path / "data"
    arguments = ("--store-patience", "1", "--grace", "1")
    seen = Transcript(1, all_lines(), whole=False)
    with running_server(data, *arguments) as server:
        async with client_of(server) as client, trio.open_nursery() as nursery:
            workload = await submit(client, sys.executable, "-c", WRITER, str(tmp_path))
            follower = Follower(client, workload, seen=seen)
            nursery.start_soon(follower.run)
            await eventually(lambda: follower.lines == FEW)
            durable = Transcript(1, all_lines()[:FEW], events=list(seen.events))
            LimitedFiles(server.process.pid).fill()
            (tmp_path / "burst").touch()
            await eventually(lambda: follower.lines == FEW + BURST)
            began = time.monotonic()
            server.process.terminate()
            code = await trio.to_thread.run_sync(server.process.wait, 40)
            # The store gets 10 s, and what else ends takes a moment.
            assert time.monotonic() - began < 20
            nursery.cancel_scope.cancel()
    assert code == 1
    assert faults(seen, gaps_allowed=True) == []
    [said] = [line for line in server.lines if line.startswith("trio-logs: ")]
    assert f" {BURST} lines are lost" in said
    assert not any("Traceback" in line for line in server.lines)
    with running_server(data) as server:
        async with client_of(server) as client:
            record = (await client.get(f"/v1/workloads/{workload}")).json()
            assert (record["status"], record["lines"]) == ("lost", FEW)
            for transcript in (durable, Transcript(1, all_lines()[:FEW])):
                resumed = Follower(client, workload, seen=transcript)
                with trio.fail_after(30):
                    await resumed.run()
                assert faults(transcript) == []
            # It has lines that are lost, and is told that this log never had them.
            headers = {"Last-Event-ID": str(follower.lines)}
            answer = await client.get(f"/v1/workloads/{workload}/logs", headers=headers)
            assert "event: reset" in answer.text
            assert '"beyond_head"' in answer.text
        assert server.stop() == 0
