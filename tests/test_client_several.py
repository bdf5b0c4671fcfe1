"""The client follows several logs: what it makes of answers, and what it asks for next."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import pytest
import trio

from tests.cutting_proxy import cutting_proxy
from tests.live import PATIENCE, Live
from tests.test_several import held, printed, stop
from trio_logs.client import (
    Client,
    End,
    Gap,
    Gone,
    Line,
    LogRecords,
    RefusedError,
    Reset,
    SyncClient,
    Unfinished,
    Workload,
    WorkloadDeleted,
    WorkloadProgress,
)
from trio_logs.client.several_parser import Mark, SeveralParser
from trio_logs.client.several_state import MAX_LOGS, SeveralState

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]


def line(workload: str, seq: int) -> bytes:
    fields = {"workload": workload, "seq": seq, "time": "2026-01-31T12:00:00Z"}
    return b"data: %b\n\n" % json.dumps({**fields, "stream": "stdout", "text": "id: x"}).encode()


def event(name: str, **fields: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps(fields).encode())


ENDING = {"status": "succeeded", "exit_code": 0, "signal": None, "error": None}


def end(workload: str, lines: int) -> bytes:
    return event("end", workload=workload, lines=lines, bytes=1, **ENDING)


ANSWER = (
    b": open\nretry: 2000\n\n"
    b"id: 7.0.12\n\n"
    + line("a", 1)
    + line("a", 2)
    + line("b", 13)
    + b"id: 7.2.13\n\n"
    + event("gap", **{"workload": "a", "from": 3, "to": 9, "reason": "store"})
    + event("reset", workload="b", reason="beyond_head", detail="x")
    + event("unfinished", workload="a", stream="stdout", text="50 %")
    + b": keep-alive\n\n"
    + event("progress", id="c", lines=5, bytes=6)
    + event("deleted", id="c")
    + event("reset", reason="too_old", detail="y")
    + event("later", workload="a")
    + event("elsewhere", x=1)
    + event("gone", workload="b")
    + b"id: 8.9.end\n\n"
    + line("a", 10)
)


def numbers(records: Sequence[Any]) -> list[Any]:
    """Records without what all lines share, one by one."""
    shown: list[Any] = []
    for each in records:
        if isinstance(each, LogRecords):
            shown += [
                (each.workload, one.seq if isinstance(one, Line) else one) for one in each.records
            ]
        else:
            shown.append(each)
    return shown


@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
def test_an_answer_in_pieces(size: int) -> None:
    parser = SeveralParser()
    records: list[Any] = []
    for at in range(0, len(ANSWER), size):
        records += parser.feed(ANSWER[at : at + size])
    assert parser.broken is None
    assert numbers(records) == [
        Mark("7", [0, 12]),
        *[("a", 1), ("a", 2), ("b", 13)],
        Mark("7", [2, 13]),
        *[("a", Gap(3, 9, "store")), ("b", Reset("beyond_head", "x"))],
        ("a", Unfinished("stdout", "50 %")),
        *[WorkloadProgress("c", 5, 6), WorkloadDeleted("c", "7"), Reset("too_old", "y")],
        ("b", Gone()),
        Mark("8", [9, None]),
        ("a", 10),
    ]
    assert (parser.heard, parser.retry) == (True, 2.0)


@pytest.mark.parametrize(
    "junk",
    [
        *[b"<html>\n\n", b"id: x.y\n\n" + b"data: {}\n\n", b"data: {}\n\n", b"event: end\n\n"],
        *[event("end", workload="a"), event("gap", workload="a"), event("workload", id=1)],
    ],
)
def test_what_is_no_stream_of_logs_is_broken(junk: bytes) -> None:
    parser = SeveralParser()
    assert numbers(parser.feed(line("a", 1) + junk + line("a", 2))) == [("a", 1)]
    assert parser.broken is not None
    assert parser.broken.startswith("the answer is not a stream of logs")


def state(*ids: str, events: str | None = None, **options: Any) -> SeveralState:
    return SeveralState(ids, options, "x", events=events)  # type: ignore[arg-type]


def ask(followed: SeveralState) -> Any:
    """The parameters of the next request, whose answer begins."""
    query = followed.query()
    followed.begin()
    return query


def test_lines_that_come_again_are_known_by_their_numbers() -> None:
    followed = state("a", "b", tail=5)
    assert followed.query() == {"workload": ["a", "b"], "tail": "5"}
    assert followed.begin()["Accept"] == "text/event-stream"
    followed.feed(b"id: 0.3.0\n\n")
    assert followed.query()["workload"] == ["a.3", "b.0"]
    gap = event("gap", **{"workload": "b", "from": 1, "to": 9, "reason": "retention"})
    followed.feed(line("a", 4) + line("a", 5) + gap)
    # Cut before the next position.
    assert followed.query()["workload"] == ["a.5", "b.9"]
    ask(followed)
    found = followed.feed(b"id: 0.3.0\n\n" + line("a", 4) + line("a", 5) + line("a", 6) + gap)
    assert numbers(found) == [("a", 6)]
    assert followed.query()["workload"] == ["a.6", "b.9"]
    longer = event("gap", **{"workload": "b", "from": 5, "to": 12, "reason": "retention"})
    assert numbers(followed.feed(longer)) == [("b", Gap(10, 12, "retention"))]
    # A position moves on over what a filter hides.
    followed.feed(b"id: 0.50.12\n\n")
    assert followed.query()["workload"] == ["a.50", "b.12"]
    assert len(followed.feed(end("a", 50))) == 1
    assert followed.query()["workload"] == ["b.12"]
    assert followed.feed(end("a", 50)) == []
    assert not followed.done
    followed.feed(event("gone", workload="b"))
    assert followed.done


def test_a_reset_starts_again() -> None:
    followed = state("a")
    ask(followed)
    followed.feed(line("a", 7))
    ask(followed)
    reset = event("reset", workload="a", reason="beyond_head")
    found = followed.feed(b"id: 0.0\n\n" + reset + line("a", 1))
    assert numbers(found)[1] == ("a", 1)
    assert followed.query()["workload"] == ["a.1"]


def test_more_logs_than_fit_wait_for_a_place() -> None:
    ids = [f"w{number:03}" for number in range(MAX_LOGS + 100)]
    followed = state(*ids, ids[0])
    assert followed.query()["workload"] == ids[:MAX_LOGS]
    assert followed.stale_in is None
    ask(followed)
    followed.feed(end("w000", 0))
    assert followed.stale_in == pytest.approx(1, abs=0.5)
    followed.feed(b"".join(end(each, 0) for each in ids[1:70]))
    assert followed.stale_in == 0
    ask(followed)
    assert followed.query()["workload"] == ids[70 : 70 + MAX_LOGS]
    followed.feed(b"".join(end(each, 0) for each in ids[70 : 70 + MAX_LOGS]))
    assert not followed.done
    ask(followed)
    followed.feed(b"".join(end(each, 0) for each in ids[70 + MAX_LOGS :]))
    assert followed.done


def test_a_new_log_is_read_from_its_first_line() -> None:
    followed = state("a", events="17", tail=0)
    assert followed.query() == {"workload": ["a"], "events": "17", "tail": "0"}
    ask(followed)
    followed.feed(b"id: 20.4\n\n")
    followed.add("b")
    stale_in = followed.stale_in
    assert stale_in is not None
    assert 0 < stale_in <= 0.25
    assert ask(followed) == {"workload": ["a.4", "b.0"], "events": "20", "tail": "0"}
    followed.feed(end("a", 4) + end("b", 4))
    assert not followed.done
    assert followed.query() == {"workload": [], "events": "20", "tail": "0"}


def test_unfinished_lines_are_cleared_before_the_next_request() -> None:
    followed = state("a", "b", unfinished=True)
    assert followed.query()["unfinished"] == "true"
    ask(followed)
    for workload in ("a", "b"):
        followed.feed(event("unfinished", workload=workload, stream="stdout", text="50 %"))
    followed.feed(line("b", 1))
    assert numbers(followed.clear()) == [("a", Unfinished("stdout", ""))]
    assert followed.clear() == []


def test_without_follow_an_answer_is_the_end() -> None:
    ids = [f"w{number:03}" for number in range(MAX_LOGS + 1)]
    followed = state(*ids, follow=False)
    ask(followed)
    followed.feed(line("w000", 1))
    followed.finished()
    assert (followed.done, followed.query()["workload"]) == (False, [ids[-1]])
    ask(followed)
    followed.feed(event("shutdown", reason="draining"))
    followed.finished()
    assert not followed.done
    ask(followed)
    followed.finished()
    assert followed.done


async def read(client: Client, ids: Sequence[str], **options: Any) -> dict[str, list[Any]]:
    """All records by log."""
    found: dict[str, list[Any]] = {each: [] for each in ids}
    with trio.fail_after(PATIENCE):
        async with aclosing(client.follow_several(ids, **options)) as batches:
            async for batch in batches:
                for each in batch:
                    found[each.workload] += each.records
    return found


async def test_each_line_once_over_cuts(open_server: OpenServer) -> None:
    async with open_server() as live:
        ids = [
            await printed(live, *(f"{log} {number} " + "x" * 200 for number in range(200)))
            for log in range(5)
        ]
        async with (
            cutting_proxy(live.url, after=40_000) as (url, cuts),
            Client(url, live.service.token) as client,
        ):
            found = await read(client, [*ids, "unknown"], patience=PATIENCE)
        assert cuts[0] > 4
        for log, each in enumerate(ids):
            *lines, last = found[each]
            assert [one.text.split(" x")[0] for one in lines] == [f"{log} {n}" for n in range(200)]
            assert isinstance(last, End)
        assert found["unknown"] == [Gone()]


async def test_logs_that_are_all_unknown_are_refused(open_server: OpenServer) -> None:
    async with open_server() as live, Client(live.url, live.service.token) as client:
        with pytest.raises(RefusedError) as refused:
            await read(client, ["unknown"])
        assert refused.value.status == 404
        assert await read(client, []) == {}


async def test_logs_that_are_deleted_while_the_client_is_away(open_server: OpenServer) -> None:
    async with open_server() as live:
        a = await held(live, "one")
        async with (
            cutting_proxy(live.url, after=1_000, times=1) as (url, _),
            Client(url, live.service.token) as client,
        ):
            found: list[Any] = []
            async with aclosing(client.follow_several([a], patience=PATIENCE)) as batches:
                found += numbers(await anext(batches))
                await stop(live, a)
                await live.finished(a)
                # Now the proxy cuts the connection, within these lines.
                await live.client.delete(f"/v1/workloads/{a}")
                with trio.fail_after(PATIENCE):
                    async for batch in batches:
                        found += numbers(batch)
        assert found[0] == (a, 1)
        assert isinstance(found[-1][1], Gone | End)


def seen(batch: Sequence[Workload | LogRecords]) -> list[str]:
    shown = []
    for each in batch:
        if isinstance(each, Workload):
            shown.append(f"new {each.name}")
        else:
            shown += [one.text for one in each.records if isinstance(one, Line)]
    return shown


async def test_workloads_with_a_label_old_and_new(open_server: OpenServer) -> None:
    async with open_server() as live, Client(live.url, live.service.token) as client:

        async def submit(name: str, label: str = "x") -> str:
            record = await live.submit(
                "several.print", name, backend="function", name=name, labels={"k": label, "o": "p"}
            )
            return str(record["id"])

        await live.finished(await submit("old"))
        await live.finished(await submit("other", "y"))
        found: list[str] = []
        with trio.fail_after(PATIENCE):
            async with aclosing(client.follow_matching({"k": "x"})) as batches:
                async for batch in batches:
                    found += seen(batch)
            assert found == ["new old", "old"]
            found = []
            async with aclosing(client.follow_matching({"k": "x"}, later=True)) as later:
                async for batch in later:
                    found += seen(batch)
                    if found == ["new old", "old"]:
                        await submit("new")
                        await submit("another", "y")
                    if "new" in found:
                        break
        assert found == ["new old", "old", "new new", "new"]


async def test_scripts_follow_several_logs(open_server: OpenServer) -> None:
    async with open_server() as live:
        ids = [await printed(live, "one"), await printed(live, "two")]

        def follow() -> tuple[list[Any], list[Any]]:
            with SyncClient(live.url, live.service.token) as client:
                found = [one for batch in client.follow_several(ids) for one in numbers(batch)]
                return found, list(client.follow_matching({"no": "such"}))

        found, none = await trio.to_thread.run_sync(follow)
        assert [each for each in found if isinstance(each[1], int)] == [(ids[0], 1), (ids[1], 1)]
        assert none == []
