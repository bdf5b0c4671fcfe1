"""What nodes do with a store that they share: ownership, burying, requests, news, failover."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import trio

from tests.shared_stores import MARKS, Database, MakeNode, joined, node
from tests.stores import append, batch, workload
from trio_logs.errors import BehindError, ConflictError, FencedError, TokenMismatchError
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


async def test_a_queued_workload_is_withdrawn(make_node: MakeNode) -> None:
    async with joined(make_node, "a", "b") as (a, b):
        await create(a, "w1", "w2")
        withdrawn = await a.withdraw("w1")
        assert withdrawn is not None
        assert (withdrawn.workload, withdrawn.epoch) == (await b.workload("w1"), 1)
        # It is not marked as running, and nobody else gets it.
        assert await status(b, "w1") == ("queued", None)
        assert await b.withdraw("w1") is None
        assert ids(await b.claim(9, 7)) == ["w2"]
        assert await a.withdraw("w2") is None
        assert await a.withdraw("never") is None
        assert ids(await a.owned()) == ["w1"]
        await a.append("w1", [], expected=1, epoch=1, size=0, outcome=OK)
        assert await a.owned() == []
        assert await a.withdraw("w1") is None


async def test_a_pushed_log_is_taken_from_whoever_owns_it(make_node: MakeNode) -> None:
    async with joined(make_node, "a", "b") as (a, b):
        await create(a, "w", backend=PUSHED)
        # It waits for its client, not for a node.
        assert await b.claim(9, 7) == []
        owned = await b.take("w", 7)
        assert owned is not None
        await append_owned(b, owned, 1)
        taken = await a.take("w", 8)
        assert taken is not None
        assert (taken.epoch, taken.workload.node, taken.workload.started_at) == (2, "a", 7)
        assert (taken.workload.status, taken.workload.lines) == (Status.RUNNING, 1)
        with pytest.raises(FencedError):
            await append_owned(b, owned, 2)
        await append_owned(a, taken, 2)
        again = await a.take("w", 8)
        assert again is not None
        assert again.epoch == 3
        assert ids(await a.owned()) == ["w"]
        assert await b.owned() == []
        assert await a.adopt(9, 9) == []
        await a.append("w", [], expected=3, epoch=3, size=14, outcome=OK)
        assert await b.take("w", 9) is None
        assert await b.take("never", 9) is None


async def test_a_pushed_log_without_an_owner_is_adopted(make_node: MakeNode) -> None:
    async with joined(make_node, "a", "b") as (a, b):
        await create(a, "new", "old", backend=PUSHED)
        await a.take("old", 7)
        await a.leave()
        adopted = await b.adopt(1, 8)
        adopted = [*adopted, *await b.adopt(5, 8)]
        assert [(each.workload.id, each.epoch) for each in adopted] == [("new", 1), ("old", 3)]
        assert {each.workload.node for each in adopted} == {"b"}
        assert [each.workload.started_at for each in adopted] == [8, 7]
        assert await b.adopt(5, 8) == []
        progress = await b.progress()
        assert sorted(each.id for each in progress) == ["new", "old"]


async def test_what_a_node_leaves(make_node: MakeNode) -> None:
    """What it has not begun waits again. If it has not ended what it runs, it can't leave."""
    async with joined(make_node, "a", "b") as (a, b):
        await create(a, "runs", "waits")
        [runs] = await a.claim(1, 7)
        assert await a.withdraw("waits") is not None
        await a.leave()
        assert [each.id for each in await b.nodes()] == ["a", "b"]
        assert await b.claim(1, 8) == []
        await a.append("runs", [], expected=1, epoch=runs.epoch, size=0, outcome=OK)
        await a.leave()
        assert [each.id for each in await b.nodes()] == ["b"]
        assert [each.workload.id for each in await b.claim(2, 8)] == ["waits"]


async def test_a_key_makes_one_workload(make_node: MakeNode) -> None:
    async with joined(make_node, "a", "b") as (a, b):
        await a.create(workload("w1"), key="key")
        with pytest.raises(ConflictError):
            await b.create(workload("w2"), key="key")
        assert await b.workload("w2") is None
        assert await b.find_key("key") == ("w1", b"")


async def test_a_node_that_does_not_move_is_buried(make_node: MakeNode) -> None:
    async with joined(make_node, "a", "b") as (a, b):
        await create(a, "w1", "w2", "waits")
        await create(a, "pushed", backend=PUSHED)
        first, _ = await a.claim(2, 7)
        await a.take("pushed", 7)
        await a.append("w1", [batch(1, 3)], expected=1, epoch=first.epoch, size=21)
        await a.remember_owned("w1", first.epoch, "handle")
        counter = next(each.counter for each in await b.nodes() if each.id == "a")
        await a.beat(address=None, draining=False)
        # It has moved meanwhile.
        assert await b.bury("a", counter, LOST, 9) is None
        assert [each.id for each in await b.nodes()] == ["a", "b"]
        assert sorted(await b.bury("a", counter + 1, LOST, 9) or []) == ["w1", "w2"]
        assert await b.bury("a", counter + 1, LOST, 9) is None
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
            a.take("pushed", 7),
            a.adopt(1, 7),
            a.withdraw("waits"),
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
        [runs] = await a.claim(1, 7)
        nodes = await a.beat(address="http://a", draining=True)
        [of_a, of_b] = nodes
        assert (of_a.id, of_a.host, of_a.address) == ("a", "host of a", "http://a")
        assert (of_a.running, of_a.queued, of_a.draining, of_a.counter) == (1, 2, True, 1)
        assert (of_b.running, of_b.queued, of_b.draining, of_b.counter) == (0, 2, False, 0)
        assert of_a.queued_bytes == of_b.queued_bytes > 2 * len("true")
        assert 0 < of_a.seen_at <= now()
        await a.beat(address=None, draining=False)
        assert [each.counter for each in await b.nodes()] == [2, 0]
        await a.append("w1", [], expected=1, epoch=runs.epoch, size=0, outcome=OK)
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
        await create(b, "pushed", backend=PUSHED)
        await create(b, "w")
        await work.until(lambda: work.count >= 1)
        assert not await b.request("w", b"nobody owns it")
        assert not await b.request("never", b"there is none")
        assert ids(await a.claim(2, 7)) == ["w"]
        await a.take("pushed", 7)
        before = work.count
        assert await b.request("w", b"stop")
        assert await b.request("pushed", b"resize")
        await work.until(lambda: work.count > before)
        first, second = found = await a.requests()
        assert [(each.workload_id, each.content) for each in found] == [
            ("w", b"stop"),
            ("pushed", b"resize"),
        ]
        assert first.number < second.number
        assert await b.requests() == []
        assert await a.requests() == found
        assert await a.requests([first.number]) == [second]
        # They wait for the owner, whoever that is, and go with the end.
        taken = await b.take("pushed", 7)
        assert taken is not None
        assert await b.requests() == [second]
        assert await a.requests() == []
        await b.append("pushed", [], expected=1, epoch=taken.epoch, size=0, outcome=OK)
        assert await b.requests() == []


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

        async def told(count: int) -> None:
            # A node that is slow may be told of the newest change of a record alone.
            await news.until(lambda: len(heard["a"]) == len(heard["b"]) == count)

        await create(a, "w")
        await told(1)
        [owned] = await b.claim(1, 7)
        await told(2)
        await append_owned(b, owned, 1)
        await b.append("w", [], expected=2, epoch=1, size=7, outcome=OK, finished_at=8)
        await told(3)
        await a.delete("w")
        await told(4)
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
