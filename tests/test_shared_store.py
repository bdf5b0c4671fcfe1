"""What nodes do with a store that they share: ownership, burying, requests, news, failover."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import trio

from tests.shared_stores import MARKS, Database, MakeNode, joined, node
from tests.stores import append, batch, workload
from trio_logs.errors import BehindError, FencedError, TokenMismatchError
from trio_logs.records import Change, End, Outcome, Reason, Status, WorkloadSpec, now
from trio_logs.store import LogState
from trio_logs.store.shared import PUSHED, Owned, Remains, SharedStore

LOST = Outcome(Status.LOST, error="Its node died.", reason=Reason.SERVER_LOST)
OK = Outcome(Status.SUCCEEDED, 0)


async def create(store: SharedStore, *ids: str, backend: str = "process") -> None:
    for workload_id in ids:
        spec = WorkloadSpec(("true",), backend=backend)
        await store.create(workload(workload_id, spec=spec))


def ids(owned: Sequence[Owned]) -> list[str]:
    return [each.workload.id for each in owned]


async def status(store: SharedStore, workload_id: str) -> tuple[str, str | None]:
    found = await store.workload(workload_id)
    assert found is not None
    return found.status.value, found.node


async def epoch(store: SharedStore, workload_id: str) -> int:
    state = await store.log(workload_id)
    assert state is not None
    return state.epoch


async def test_queued_workloads_are_claimed_once_the_oldest_first(make_node: MakeNode) -> None:
    async with joined(make_node, "a", "b", "c") as (a, b, c):
        names = [f"w{number:03}" for number in range(30)]
        await create(a, *names)
        found = [*await a.claim(2, 7), *await b.claim(3, 7)]
        assert ids(found) == names[:5]
        assert {each.epoch for each in found} == {1}
        running = found[3].workload
        assert (running.status, running.started_at, running.node) == (Status.RUNNING, 7, "b")
        assert await status(c, "w003") == ("running", "b")
        assert await epoch(c, "w003") == 1

        async def claim(store: SharedStore) -> None:
            while taken := await store.claim(4, 7):
                found.extend(taken)

        async with trio.open_nursery() as nursery:
            for store in (a, b, c):
                nursery.start_soon(claim, store)
        assert sorted(ids(found)) == names
        assert await a.claim(1, 7) == []
        assert (
            {each.node for each in await c.workloads_of("running")} <= {"a", "b", "c"} if 0 else 1
        )
        assert len([*await a.owned(), *await b.owned(), *await c.owned()]) == 30


async def test_a_workload_is_taken_from_whoever_owns_it(make_node: MakeNode) -> None:
    async with joined(make_node, "a", "b") as (a, b):
        await create(a, "queued", "w")
        queued = await a.take("queued")
        assert queued is not None
        assert (queued.workload, queued.epoch) == (await b.workload("queued"), 1)
        # It is not marked as running, and nobody else claims it.
        assert await status(b, "queued") == ("queued", None)
        [owned] = await b.claim(9, 7)
        await append_owned(b, owned, 1)
        taken = await a.take("w", 8)
        assert taken is not None
        assert (taken.epoch, taken.workload.node, taken.workload.started_at) == (2, "a", 7)
        with pytest.raises(FencedError):
            await b.append("w", [batch(2)], expected=2, epoch=1, size=14)
        await a.append("w", [batch(2)], expected=2, epoch=2, size=14)
        again = await a.take("w", 8)
        assert again is not None
        assert again.epoch == 3
        assert ids(await a.owned()) == ["queued", "w"]
        assert await b.owned() == []
        await a.append("w", [], expected=3, epoch=3, size=14, outcome=OK)
        assert await b.take("w") is None
        assert await b.take("never") is None
        assert ids(await a.owned()) == ["queued"]
        marked = await b.take("queued", 9)
        assert marked is not None
        assert (marked.workload.status, marked.workload.started_at) == (Status.RUNNING, 9)


async def test_a_node_that_does_not_move_is_buried(make_node: MakeNode) -> None:
    async with joined(make_node, "a", "b") as (a, b):
        await create(a, "w1", "w2", "waits")
        await create(a, "pushed", backend=PUSHED)
        claimed = {each.workload.id: each for each in await a.claim(3, 7)}
        assert list(claimed) == ["pushed", "w1", "w2"]
        first = claimed["w1"]
        await a.append("w1", [batch(1, 3)], expected=1, epoch=first.epoch, size=21)
        await a.remember_owned("w1", first.epoch, "handle")
        counter = next(each.counter for each in await b.nodes() if each.id == "a")
        await a.beat(address=None, draining=False)
        # It has moved meanwhile.
        assert await b.bury("a", counter, LOST, 9) == []
        assert [each.id for each in await b.nodes()] == ["a", "b"]
        assert sorted(await b.bury("a", counter + 1, LOST, 9)) == ["w1", "w2"]
        assert await b.bury("a", counter + 1, LOST, 9) == []
        assert [each.id for each in await b.nodes()] == ["b"]
        assert await b.log("w1") == LogState(3, 21, End(LOST, 3, 21), epoch=2)
        ended = await b.workload("w1")
        assert ended is not None
        assert (ended.status, ended.reason, ended.finished_at) == ("lost", "server_lost", 9)
        # A client goes on to push at another node.
        assert (await status(b, "pushed"))[0] == "running"
        assert await epoch(b, "pushed") == 2
        assert not await b.request("pushed", b"{}")
        # What it does from now on is refused.
        for late in (
            a.beat(address=None, draining=False),
            a.claim(1, 7),
            a.take("waits"),
            a.append("w1", [batch(4)], expected=4, epoch=1, size=28),
            a.append("pushed", [batch(1)], expected=1, epoch=1, size=7),
            a.remember_owned("w2", 1, "handle"),
        ):
            with pytest.raises(FencedError):
                await late
        assert await b.remains("host of a") == [Remains("w1", "process", "handle")]
        assert await b.remains("host of b") == []
        await b.forget_remains(["w1"])
        assert await b.remains("host of a") == []


async def test_beats(make_node: MakeNode) -> None:
    async with joined(make_node, "a", "b") as (a, b):
        await create(a, "w1", "w2", "w3")
        await a.claim(1, 7)
        nodes = await a.beat(address="http://a", draining=True)
        [of_a, of_b] = nodes
        assert (of_a.id, of_a.host, of_a.address) == ("a", "host of a", "http://a")
        assert (of_a.running, of_a.queued, of_a.draining, of_a.counter) == (1, 2, True, 1)
        assert (of_b.running, of_b.queued, of_b.draining, of_b.counter) == (0, 2, False, 0)
        assert 0 < of_a.seen_at <= now()
        await a.beat(address=None, draining=False)
        assert [each.counter for each in await b.nodes()] == [2, 0]
        await a.leave()
        assert [each.id for each in await b.nodes()] == ["b"]
        with pytest.raises(FencedError):
            await a.beat(address=None, draining=False)


async def test_nodes_have_the_same_tokens(make_node: MakeNode) -> None:
    async with joined(make_node, "a") as [a]:
        async with joined(make_node, "b") as [b]:
            with pytest.raises(TokenMismatchError, match="give all nodes the same"):
                await b.join(node("c"), {**MARKS, "full": b"other"})
            await b.join(node("c"), MARKS)
        assert [each.id for each in await a.nodes()] == ["a", "b", "c"]


async def test_requests_go_to_the_owner(make_node: MakeNode) -> None:
    async with joined(make_node, "a", "b") as (a, b):
        work = News()
        a.watch_work(work.ring)
        await create(b, "w", "other")
        await work.until(lambda: work.count >= 1)
        assert not await b.request("w", b"nobody owns it")
        assert not await b.request("never", b"there is none")
        assert ids(await a.claim(2, 7)) == ["other", "w"]
        before = work.count
        assert await b.request("w", b"stop")
        assert await b.request("other", b"resize")
        await work.until(lambda: work.count > before)
        found = await a.requests(0)
        assert [(each.workload_id, each.content) for each in found] == [
            ("w", b"stop"),
            ("other", b"resize"),
        ]
        assert found[0].number < found[1].number
        assert await b.requests(0) == []
        assert await a.requests(0) == found
        assert await a.requests(found[0].number) == found[1:]
        assert await a.requests(0) == found[1:]
        # They follow their workload, with a new number, and go with its end.
        taken = await b.take("other", 7)
        assert taken is not None
        [moved] = await b.requests(0)
        assert (moved.workload_id, moved.content) == ("other", b"resize")
        assert moved.number > found[1].number
        assert await a.requests(found[0].number) == []
        await b.append("other", [], expected=1, epoch=taken.epoch, size=0, outcome=OK)
        assert await b.requests(0) == []


class News:
    """Counts calls of a node's store, and notes what they told."""

    def __init__(self) -> None:
        self.count = 0
        self.told: list[str | None] = []
        self._told = trio.Event()

    def ring(self, workload_id: str | None = None) -> None:
        self.count += 1
        self.told.append(workload_id)
        self._told.set()
        self._told = trio.Event()

    async def until(self, is_enough: Callable[[], object]) -> None:
        with trio.fail_after(10):
            while not is_enough():
                await self._told.wait()


async def test_a_watched_log_tells_what_other_nodes_do(make_node: MakeNode) -> None:
    async with joined(make_node, "a", "b") as (a, b):
        news = News()
        b.watch_logs(news.ring)
        await create(a, "quiet", "w")
        await b.watch("w")
        steps = 0

        async def told() -> None:
            nonlocal steps
            await news.until(lambda: "w" in news.told)
            steps += 1
            news.told.clear()

        [owned] = [each for each in await a.claim(2, 7) if each.workload.id == "w"]
        await told()
        await append_owned(a, owned, 1)
        await told()
        await a.append("w", [], expected=2, epoch=owned.epoch, size=7, outcome=OK)
        await told()
        await a.delete("w")
        await told()
        assert steps == 4
        # Watched no more, it tells nothing; others tell nothing at any time.
        await create(a, "last")
        await b.watch("last")
        b.unwatch("last")
        await b.watch("end")
        for name in ("last", "quiet"):
            await append(a, name, [batch(1)])
        await append(a, "end", [batch(1)])
        await news.until(lambda: "end" in news.told)
        assert news.told == ["end"]


async def test_all_nodes_hear_of_changes_in_order(make_node: MakeNode) -> None:
    async with joined(make_node, "a", "b") as (a, b):
        heard: dict[str, list[Change]] = {"a": [], "b": []}
        news = News()
        for name, store in (("a", a), ("b", b)):

            def note(change: Change, name: str = name) -> None:
                heard[name].append(change)
                news.ring()

            store.listen(note)
        await create(a, "w")
        [owned] = await b.claim(1, 7)
        await append_owned(b, owned, 1)
        await b.append("w", [], expected=2, epoch=1, size=7, outcome=OK, finished_at=8)
        await a.delete("w")
        await news.until(lambda: len(heard["a"]) == len(heard["b"]) == 4)
        assert heard["a"] == heard["b"]
        assert [each.position for each in heard["a"]] == [1, 2, 3, 4]
        statuses = [each.workload and each.workload.status for each in heard["a"]]
        assert statuses == ["queued", "running", "succeeded", None]
        assert await a.position() == await b.position() == 4


async def test_lines_that_a_failover_has_lost(make_node: MakeNode, database: Database) -> None:
    async with joined(make_node, "a", "b") as (a, b):
        await create(a, "w")
        [owned] = await a.claim(1, 7)
        for number in range(1, 5):
            await append_owned(a, owned, number)
        await database.fail_over("w", 2)
        with pytest.raises(BehindError) as caught:
            await append_owned(a, owned, 5)
        assert caught.value.lines == 2
        with pytest.raises(BehindError):
            await a.append("w", [], expected=5, epoch=1, size=28, outcome=OK)
        # An earlier owner is told that it is fenced, whatever is missing.
        with pytest.raises(FencedError):
            await append_owned(b, Owned(owned.workload, 0), 5)
        again = [batch(3, 3)]
        for _ in range(2):
            await a.append("w", again, expected=3, epoch=1, size=35, outcome=OK)
        assert await b.log("w") == LogState(5, 35, End(OK, 5, 35), epoch=1)
        assert [each.last for each in await b.read("w", 1, 10**6)] == [1, 2, 5]
        await a.delete("w")
        with pytest.raises(FencedError, match="deleted"):
            await append_owned(a, Owned(owned.workload, 0), 6)


async def test_what_nodes_show_of_unfinished_lines(make_node: MakeNode) -> None:
    async with joined(make_node, "a", "b") as (a, b):
        asked, shown = News(), News()
        a.watch_unfinished(asked.ring, lambda _id, content: None)
        b.watch_unfinished(lambda _id: None, lambda _id, content: shown.ring(content.decode()))
        await b.watch("w")
        await b.ask_unfinished("w")
        await asked.until(lambda: asked.told == ["w"])
        await a.show_unfinished("other", b"not watched")
        await a.show_unfinished("w", b"$ ")
        await shown.until(lambda: shown.told == ["$ "])


async def append_owned(store: SharedStore, owned: Owned, number: int) -> None:
    await store.append(
        owned.workload.id, [batch(number)], expected=number, epoch=owned.epoch, size=7 * number
    )
