"""Reruns, and the Idempotency-Keys of everything that makes a workload."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
import trio.testing

from tests.live import Live, open_live
from tests.pushing import create, finish
from tests.stage import engine
from tests.test_api import problem
from trio_logs.backends.process import ProcessBackend
from trio_logs.engine import EngineLimits
from trio_logs.errors import BusyError, ConflictError, NotReadyError, WorkloadNotFoundError
from trio_logs.records import WorkloadSpec
from trio_logs.settings import Settings

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]

FIELDS: dict[str, Any] = {
    "name": "n",
    "env": {"SECRET": "in the environment"},
    "cwd": "/",
    "timeout": 20.5,
    "labels": {"a": "b"},
    "pty": True,
}
COMMAND = ("sh", "-c", 'echo "$SECRET" in $(pwd)')


async def rerun(live: Live, workload: str, key: str | None = None) -> httpx2.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await live.client.post(f"/v1/workloads/{workload}/rerun", headers=headers)


async def test_a_rerun_has_the_same_specification(open_server: OpenServer) -> None:
    async with open_server() as live:
        first = await live.submit(*COMMAND, **FIELDS)
        await live.finished(first["id"])
        answer = await rerun(live, first["id"])
        assert answer.status_code == 201
        again = answer.json()
        assert answer.headers["location"] == f"/v1/workloads/{again['id']}"
        ended = await live.finished(again["id"])
        shown = (await live.client.get("/v1/workloads")).json()["workloads"]
        assert [each["id"] for each in shown] == [again["id"], first["id"]]
        for record in (first, ended):
            assert {name: record[name] for name in FIELDS if name != "env"} == {
                name: value for name, value in FIELDS.items() if name != "env"
            }
            assert "env" not in record
        assert (first["rerun_of"], ended["rerun_of"]) == (None, first["id"])
        assert [event[2] for event in await live.events(again["id"])][:-1] == [
            "in the environment in /"
        ]
        # A rerun of a rerun names the rerun. A queued or running workload may be rerun, too.
        waiting = await live.submit("sleep", "60")
        third = (await rerun(live, again["id"])).json()
        assert third["rerun_of"] == again["id"]
        fourth = (await rerun(live, waiting["id"])).json()
        assert fourth["rerun_of"] == waiting["id"]
        # The source may go; the name of it stays.
        await live.client.delete(f"/v1/workloads/{first['id']}")
        assert (await live.finished(again["id"]))["rerun_of"] == first["id"]


async def test_fields_that_do_not_apply_yet_are_null(tmp_path: Path) -> None:
    limits = EngineLimits(running=1)
    async with open_live(Settings(data=tmp_path, engine=limits)) as live:
        running = await live.submit("sleep", "60")
        queued = await live.submit("sleep", "60")
        names = "cwd timeout reason exit_code signal error started_at finished_at node rerun_of"
        assert {queued[name] for name in names.split()} == {None}
        assert queued["pty"] is False
        while (shown := await shown_as(live, running["id"]))["status"] != "running":
            await trio.lowlevel.checkpoint()
        assert shown["node"] == platform.node()
        pushed = await create(live)
        assert (await shown_as(live, pushed))["node"] == platform.node()


async def shown_as(live: Live, workload: str) -> dict[str, Any]:
    return dict((await live.client.get(f"/v1/workloads/{workload}")).json())


async def test_what_can_not_run_again(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    async with open_live(settings) as live:
        pushed = await create(live)
        assert "came from a client" in problem(await rerun(live, pushed), 409)
        await finish(live, pushed)
        problem(await rerun(live, pushed), 409)
        problem(await rerun(live, "nope"), 404)
        url = f"/v1/workloads/{pushed}/rerun"
        problem(await live.client.post(url, json={"command": ["x"]}), 422)
        problem(await live.client.post(url, content=b"{"), 400)
        process = (await live.submit("true"))["id"]
        await live.finished(process)
        made = await live.client.post(f"/v1/workloads/{process}/rerun", json={})
        assert made.status_code == 201
    async with open_live(settings, backends={}) as live:
        assert "there is no backend 'process'" in problem(await rerun(live, process), 409)


async def test_a_rerun_of_what_is_not_possible_any_more(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine() as parts:
        spec = WorkloadSpec(("impossible",), backend="stage")
        with monkeypatch.context() as earlier:
            earlier.setattr(parts.stage, "check", lambda spec: None)
            workload, _ = await parts.engine.submit(spec)
        with pytest.raises(ConflictError, match=r"can't run here any more: .*impossible"):
            await parts.engine.rerun(workload.id)


async def test_a_key_is_for_one_request(open_server: OpenServer) -> None:
    """The same route, id and fields; also after what it made is gone from other places."""
    async with open_server() as live:
        first, second = [await live.submit("true") for _ in range(2)]
        made = await rerun(live, first["id"], "k")
        assert made.status_code == 201
        again = await rerun(live, first["id"], "k")
        assert again.status_code == 200
        assert again.json()["id"] == made.json()["id"]
        assert again.headers["location"] == made.headers["location"]
        assert "another request" in problem(await rerun(live, second["id"], "k"), 422)
        for body in ({"command": ["true"]}, {"backend": "nope"}):
            answer = await submit(live, "k", **body)
            assert "another request" in problem(answer, 422)
        submitted = await submit(live, "s", command=["true"], labels={"a": "1", "b": "2"})
        assert submitted.status_code == 201
        same = await submit(live, "s", labels={"b": "2", "a": "1"}, command=["true"], name=None)
        assert (same.status_code, same.json()["id"]) == (200, submitted.json()["id"])
        for changed in ({"name": "x"}, {"timeout": 1}, {"env": {"A": "b"}}, {"pty": True}):
            problem(await submit(live, "s", command=["true"], **changed), 422)
        problem(await rerun(live, first["id"], "s"), 422)
        # The key comes before the source, which is gone, and before the state of that.
        await live.finished(first["id"])
        await live.client.delete(f"/v1/workloads/{first['id']}")
        assert (await rerun(live, first["id"], "k")).status_code == 200
        problem(await rerun(live, first["id"], "other"), 404)
        # It is gone with the workload that it made.
        await live.finished(made.json()["id"])
        await live.client.delete(f"/v1/workloads/{made.json()['id']}")
        problem(await rerun(live, first["id"], "k"), 404)
        assert (await rerun(live, second["id"], "k")).status_code == 201


async def submit(live: Live, key: str, **body: Any) -> httpx2.Response:
    headers = {"Idempotency-Key": key}
    return await live.client.post("/v1/workloads", json=body, headers=headers)


@pytest.mark.parametrize(("key", "status"), [("", 400), ("x" * 255, 201), ("x" * 256, 400)])
async def test_the_length_of_a_key(open_server: OpenServer, key: str, status: int) -> None:
    async with open_server() as live:
        first = (await live.submit("true"))["id"]
        assert (await rerun(live, first, key)).status_code == status
        answer = await submit(live, key and f"y{key[1:]}", command=["true"])
        assert answer.status_code == status


async def test_a_key_comes_before_everything_else(tmp_path: Path) -> None:
    """Before a backend that is gone, and a shutdown; also after a restart."""
    settings = Settings(data=tmp_path)
    body: dict[str, Any] = {"command": ["true"]}
    async with open_live(settings) as live:
        first = (await submit(live, "s", **body)).json()["id"]
        second = (await rerun(live, first, "r")).json()["id"]
        live.service.drain()
        assert (await submit(live, "s", **body)).json()["id"] == first
        assert (await rerun(live, first, "r")).json()["id"] == second
        problem(await submit(live, "new", **body), 503)
        problem(await rerun(live, first, "new"), 503)
        problem(await submit(live, "s", command=["false"]), 422)
    async with open_live(settings, backends={}) as live:
        again = await submit(live, "s", **body)
        assert (again.status_code, again.json()["id"]) == (200, first)
        again = await rerun(live, first, "r")
        assert (again.status_code, again.json()["id"]) == (200, second)
        problem(await submit(live, "new", **body), 422)
        # An answer other than 200 or 201 does not use the key up.
        problem(await rerun(live, first, "new"), 409)
    async with open_live(settings, backends={"process": ProcessBackend()}) as live:
        for key in ("new", "newer"):
            assert (await rerun(live, first, key)).status_code == 201


async def test_a_key_needs_no_room(autojump_clock: trio.testing.MockClock) -> None:
    async with engine(EngineLimits(running=1, queued=1)) as parts:
        spec = WorkloadSpec(("wait",), backend="stage")
        first, _ = await parts.engine.submit(spec)
        await trio.testing.wait_all_tasks_blocked()
        second, _ = await parts.engine.rerun(first.id, "key")
        for key in (None, "other"):
            with pytest.raises(BusyError):
                await parts.engine.rerun(first.id, key)
        assert await parts.engine.rerun(first.id, "key") == (second, False)
        with pytest.raises(WorkloadNotFoundError):
            await parts.engine.rerun("nope", "other")


async def test_equal_reruns_at_once_make_one_workload(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with engine() as parts:
        first = await parts.submit("wait")
        made: set[tuple[str, bool]] = set()

        async def run_again() -> None:
            workload, created = await parts.engine.rerun(first.id, "key")
            made.add((workload.id, created))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(run_again)
        assert len({workload for workload, _ in made}) == 1
        assert {created for _, created in made} == {True, False}


async def test_a_mistake_in_the_check_of_a_backend_fails_one_request(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine() as parts:
        first = await parts.submit("wait")

        def broken(spec: WorkloadSpec) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as mistaken:
            mistaken.setattr(parts.stage, "check", broken)
            for key in (None, "key"):
                with pytest.raises(ZeroDivisionError):
                    await parts.submit("wait", key=key)
                with pytest.raises(ZeroDivisionError):
                    await parts.engine.rerun(first.id, key)
        await parts.engine.rerun(first.id, "key")


async def test_no_submission_after_the_end(autojump_clock: trio.testing.MockClock) -> None:
    async with engine() as parts:
        pass
    for call in (parts.submit("wait", key="key"), parts.engine.rerun("x")):
        with pytest.raises(NotReadyError):
            await call
