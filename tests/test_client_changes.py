"""The client of events, and the table that `ps --watch` makes of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing, closing
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import trio

from tests.cutting_proxy import cutting_proxy
from tests.live import PATIENCE, Live
from trio_logs.cli.board import Board
from trio_logs.cli.wanted import Wanted
from trio_logs.client import (
    ChangeRecord,
    Client,
    Reset,
    Status,
    SyncClient,
    UnreachableError,
    Workload,
    WorkloadChanged,
    WorkloadDeleted,
    WorkloadProgress,
)
from trio_logs.client.changes import ChangeParser, ChangesResume

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]

CREATED = datetime(2026, 1, 31, 12, tzinfo=UTC)


def record(number: int, status: Status = Status.RUNNING, **fields: Any) -> Workload:
    found = Workload(
        id=f"w{number:03}",
        name=None,
        backend="process",
        command=["true"],
        labels={"kind": "even" if number % 2 == 0 else "odd"},
        status=status,
        exit_code=None,
        signal=None,
        error=None,
        created_at=CREATED + timedelta(seconds=number),
        started_at=None,
        finished_at=None,
        lines=0,
        bytes=0,
        logs_url="/",
    )
    return msgspec.structs.replace(found, **fields)


# The parser.

STREAM = (
    b": open\nretry: 2000\n\nid: 17\n\n: keep-alive\n\n"
    b"event: workload\nid: 18\ndata: " + msgspec.json.encode(record(1)) + b"\n\n"
    b'event: progress\ndata: {"id":"w001","lines":2,"bytes":9}\n\n'
    b'event: later\ndata: {"of":"a later version"}\n\n'
    b'event: deleted\nid: 19\ndata: {"id":"w001"}\n\n'
    b'event: reset\ndata: {"reason":"too_old","detail":"why"}\n\nid: 99\n\n'
)


@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
def test_an_answer_is_read_in_whatever_pieces_it_comes(size: int) -> None:
    parser = ChangeParser("5")
    records: list[Any] = []
    ids = []
    for start in range(0, len(STREAM), size):
        records += parser.feed(STREAM[start : start + size])
        ids.append(parser.last_id)
    assert records == [
        WorkloadChanged(record(1), "18"),
        WorkloadProgress("w001", 2, 9),
        WorkloadDeleted("w001", "19"),
        Reset("too_old", "why"),
    ]
    assert parser.broken is None
    if size == 1:
        # The reset itself moves nothing: a cut before the next frame must not lose it.
        assert list(dict.fromkeys(ids)) == ["5", "17", "18", "19", "99"]


@pytest.mark.parametrize(
    "event",
    [
        b'event: deleted\ndata: {"id":"w"}\n\n',
        b'event: deleted\nid: x\ndata: {"id":"w"}\n\n',
        b'event: deleted\nid: 1\ndata: {"no":"w"}\n\n',
        b"event: workload\nid: 1\ndata: {}\n\n",
        b"id: 1\ndata: a line of a log\n\n",
        b"<html>\n\n",
        b"x" * (16 * 1024 * 1024 + 1),
    ],
)
def test_what_is_no_event_breaks_the_answer(event: bytes) -> None:
    parser = ChangeParser("5")
    assert parser.feed(event) == []
    assert parser.broken is not None
    assert parser.broken.startswith("the answer is not a stream of changes: ")
    assert parser.last_id == "5"


def test_a_large_workload_is_no_broken_answer() -> None:
    large = record(1, command=["x" * 1_500_000])
    frame = b"event: workload\nid: 1\ndata: " + msgspec.json.encode(large) + b"\n\n"
    parser = ChangeParser()
    for start in range(0, len(frame), 65536):
        found = parser.feed(frame[start : start + 65536])
    assert found == [WorkloadChanged(large, "1")]


def test_a_follower_asks_for_what_follows() -> None:
    resume = ChangesResume("5", None, "http://x")
    assert resume.query() == {}
    assert resume.begin() == {
        "Accept": "text/event-stream",
        "Cache-Control": "no-store",
        "Last-Event-ID": "5",
    }
    resume.feed(b"id: 7\n\n")
    assert resume.begin()["Last-Event-ID"] == "7"
    resume.finished()
    assert not resume.done


# The client.


async def test_events_over_broken_connections(
    open_server: OpenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client waits a random time, which is short here.
    monkeypatch.setattr("trio_logs.client.backoff.random.uniform", lambda *_: 0.01)
    async with open_server() as live, cutting_proxy(live.url, after=1500) as (url, count):
        async with Client(url, live.service.token) as client:
            # Through the proxy, only events are cut: other answers are shorter.
            position = await client.position()
            assert position == "0"
            ids = [(await live.submit("true"))["id"] for _ in range(6)]
            for workload_id in ids:
                await live.finished(workload_id)
            for workload_id in ids[:3]:
                await live.client.delete(f"/v1/workloads/{workload_id}")
            last = str(live.service.engine.changes.position)
            positions = []
            known: dict[str, Workload] = {}
            with trio.fail_after(PATIENCE):
                async with aclosing(client.events(position)) as events:
                    async for found in events:
                        match found:
                            case WorkloadChanged(workload, at):
                                known[workload.id] = workload
                                positions.append(int(at))
                            case WorkloadDeleted(workload_id, at):
                                del known[workload_id]
                                positions.append(int(at))
                        if positions and str(positions[-1]) == last:
                            break
            assert positions == sorted(set(positions))
            async with Client(live.url, live.service.token) as direct:
                assert [*known.values()][::-1] == [each async for each in direct.list()]
            assert count[0] > 3
        with trio.fail_after(PATIENCE):
            while live.service.statistics().engine.event_readers:
                await trio.sleep(0.01)


async def test_a_client_that_gives_up() -> None:
    async with Client("http://127.0.0.1:9", "t") as client:
        with pytest.raises(UnreachableError, match="gave up on"):
            async for _ in client.events(patience=0):
                raise AssertionError


async def test_the_twin_for_scripts(open_server: OpenServer) -> None:
    def script(url: str, token: str) -> None:
        with SyncClient(url, token) as client:
            position = client.position()
            workload = client.submit(["true"])
            with closing(client.events(position)) as events:
                states = []
                for found in events:
                    if isinstance(found, WorkloadChanged):
                        assert found.workload.id == workload.id
                        states.append(found.workload.status)
                        if states[-1].final:
                            break
            assert states == [Status.QUEUED, Status.RUNNING, Status.SUCCEEDED]

    async with open_server() as live:
        with trio.fail_after(PATIENCE):
            await trio.to_thread.run_sync(script, live.url, live.service.token)


# The table.


def filled(board: Board, rows: int, listed: list[Workload]) -> Board:
    room = board.make_room(rows)
    board.begin_list()
    board.fill(listed[:room])
    return board


def test_a_board_takes_changes() -> None:
    board = filled(Board(Wanted(), None), 10, [record(2), record(1)])
    assert not board.is_stale
    board.change(WorkloadChanged(record(3, Status.QUEUED), "9"))
    board.change(WorkloadProgress("w002", 5, 50))
    board.change(WorkloadProgress("w009", 5, 50))
    board.change(WorkloadDeleted("w001", "10"))
    assert board.rows == [record(3, Status.QUEUED), record(2, lines=5, bytes=50)]
    # A record from before the progress does not take lines back; the final one has its own.
    board.change(WorkloadChanged(record(2, name="x"), "11"))
    assert board.rows[1] == record(2, name="x", lines=5, bytes=50)
    board.change(WorkloadChanged(record(2, Status.FAILED, lines=6), "12"))
    board.change(WorkloadProgress("w002", 5, 50))
    assert board.rows[1] == record(2, Status.FAILED, lines=6)
    assert not board.is_stale
    board.change(Reset("too_old"))
    assert board.is_stale


def test_a_board_keeps_to_its_filter() -> None:
    board = filled(Board(Wanted(("running",), {"kind": "odd"}), None), 10, [record(3), record(1)])
    board.change(WorkloadChanged(record(4), "1"))
    board.change(WorkloadChanged(record(5, Status.QUEUED), "2"))
    board.change(WorkloadChanged(record(7), "3"))
    board.change(WorkloadChanged(record(3, Status.FAILED), "4"))
    assert board.rows == [record(7), record(1)]
    assert not board.is_stale


def test_a_board_lists_again_if_a_row_becomes_free() -> None:
    listed = [record(number) for number in range(9, 0, -1)]
    board = filled(Board(Wanted(), 3), 10, listed)
    # Older than all rows.
    board.change(WorkloadChanged(record(2, Status.FAILED), "1"))
    assert board.rows == listed[:3]
    board.change(WorkloadChanged(record(10), "2"))
    assert board.rows == [record(10), *listed[:2]]
    assert not board.is_stale
    board.change(WorkloadDeleted("w001", "3"))
    assert not board.is_stale
    board.change(WorkloadDeleted("w009", "4"))
    assert board.is_stale


def test_a_board_lists_again_if_its_list_is_too_old() -> None:
    board = Board(Wanted(), None)
    board.make_room(5)
    board.begin_list()
    # The position from which the changes come is later than this list.
    board.is_stale = True
    board.fill([record(1)])
    assert board.is_stale
    filled(board, 5, [record(2)])
    assert (board.is_stale, board.rows) == (False, [record(2)])


def test_a_board_follows_the_size_of_the_terminal() -> None:
    listed = [record(number) for number in range(9, 0, -1)]
    board = filled(Board(Wanted(), None), 5, listed)
    assert board.make_room(3) == 3
    assert board.rows == listed[:3]
    assert not board.is_stale
    board.make_room(4)
    assert board.is_stale
    # While a list is under way, which is too short then.
    board = Board(Wanted(), None)
    board.make_room(2)
    board.begin_list()
    board.make_room(4)
    assert not board.is_stale
    board.fill(listed[:2])
    assert board.is_stale
    # The other way round, it is too long.
    board.begin_list()
    board.make_room(3)
    board.fill(listed[:4])
    assert (board.is_stale, board.rows) == (False, listed[:3])


@pytest.mark.parametrize("seed", range(100))
def test_a_board_equals_a_list(seed: int) -> None:
    """Random changes; the lists are late or early, and it lists whenever it wants to."""
    rng = random.Random(seed)
    board = Board(Wanted(rng.choice([(), ("running",)]), rng.choice([{}, {"kind": "odd"}])), None)
    stored: dict[str, Workload] = {}
    changes: list[ChangeRecord] = []

    def change() -> None:
        if stored and rng.random() < 0.3:
            del stored[workload_id := rng.choice([*stored])]
            changes.append(WorkloadDeleted(workload_id, "1"))
        else:
            new = record(rng.randint(1, 30), rng.choice([Status.RUNNING, Status.FAILED]))
            stored[new.id] = new
            changes.append(WorkloadChanged(new, "1"))

    def now() -> list[Workload]:
        found = [
            each
            for each in stored.values()
            if (not board.wanted.statuses or each.status in board.wanted.statuses)
            and board.wanted.labels.items() <= each.labels.items()
        ]
        return sorted(found, key=lambda each: each.id, reverse=True)

    def deliver(count: int) -> None:
        for each in changes[:count]:
            board.change(each)
        del changes[:count]

    room = board.make_room(5)
    for _ in range(60):
        if rng.random() < 0.1:
            room = board.make_room(rng.randint(3, 8))
        change()
        deliver(rng.randint(0, len(changes)))
        if board.is_stale:
            board.begin_list()
            listed = now()[:room]
            if rng.random() < 0.1:
                room = board.make_room(rng.randint(3, 8))
            for _ in range(rng.randint(0, 3)):
                change()
            deliver(rng.randint(0, len(changes)))
            board.fill(listed)
    while changes or board.is_stale:
        deliver(len(changes))
        if board.is_stale:
            board.begin_list()
            board.fill(now()[:room])
    assert board.rows == now()[:room]
