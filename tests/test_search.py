"""Searches: of one log by `/matches`, and over many by `/v1/search`, over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from itertools import pairwise
from typing import Any

import httpx2
import pytest
import trio

from tests.failing_parts import FailingStore
from tests.live import PATIENCE, Live, open_live
from tests.searching import HOUR, batch_of, expected_search, objects, put
from trio_logs.broker.marks import MAX_MARKS, Marks
from trio_logs.records import Batch, Gap
from trio_logs.settings import Settings
from trio_logs.store import Retention
from trio_logs.store.memory import MemoryStore

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]


@pytest.fixture
async def live(open_server: OpenServer) -> AsyncIterator[Live]:
    # The lines of these tests are older than any history.
    async with open_server(retention=Retention()) as opened:
        yield opened


async def matches(live: Live, workload_id: str, **query: Any) -> list[dict[str, Any]]:
    answer = await live.client.get(f"/v1/workloads/{workload_id}/matches", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return objects(answer.content)


async def search(live: Live, **query: Any) -> list[dict[str, Any]]:
    answer = await live.client.get("/v1/search", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [each for each in objects(answer.content) if each.get("event") != "progress"]


def found(answer: list[dict[str, Any]]) -> list[tuple[str, int, bool]]:
    return [
        (each["workload"], each["seq"], each.get("context", False))
        for each in answer
        if "event" not in each
    ]


async def until(condition: Callable[[], bool]) -> None:
    """Return once other tasks have made it true."""
    with trio.fail_after(PATIENCE):
        while not condition():
            await trio.testing.wait_all_tasks_blocked(0.01)


PATHS = ["/v1/workloads/w1/matches?filter=a", "/v1/search?filter=a"]


# Of one log.


LOG = [
    batch_of(1, ["a 1", "b 2", "A 3"]),
    batch_of(4, ["a err 4"], stream="stderr", time=2 * HOUR),
    Gap(5, 9, "store", 2 * HOUR),
    batch_of(10, ["a\x1b[1mb 10", "b 11", "a 12"], time=3 * HOUR),
]


@pytest.mark.parametrize(
    ("query", "at", "tile"),
    [
        ({"filter": "a"}, [1, 4, 10, 12], (1, 12)),
        ({"filter": "a", "case": "false"}, [1, 3, 4, 10, 12], (1, 12)),
        ({"filter": "a", "invert": "true"}, [2, 3, 11], (1, 12)),
        ({"filter": "^a|2$", "regex": "true"}, [1, 2, 4, 10, 12], (1, 12)),
        ({"filter": "ab"}, [10], (1, 12)),
        ({"filter": "a", "stream": "stderr"}, [4], (1, 12)),
        ({"filter": "a", "stream": "system"}, [], (1, 12)),
        ({"filter": "a", "from": "2"}, [4, 10, 12], (2, 12)),
        ({"filter": "a", "from": "2", "to": "11"}, [4, 10], (2, 11)),
        ({"filter": "a", "to": "1"}, [1], (1, 1)),
        ({"filter": "a", "to": "100"}, [1, 4, 10, 12], (1, 12)),
        ({"filter": "a", "from": "12"}, [12], (12, 12)),
        ({"filter": "a", "from": "6", "to": "7"}, [], (6, 7)),
        ({"filter": "a", "from": "13"}, [], None),
        ({"filter": "a", "since": str(2 * HOUR // 10**6)}, [4, 10, 12], (1, 12)),
        ({"filter": "a", "until": str(2 * HOUR // 10**6)}, [1, 4], (1, 12)),
        ({"filter": "a", "since": "1d"}, [], (1, 12)),
    ],
)
async def test_matches_are_of_the_lines_asked_for(
    live: Live, query: dict[str, str], at: list[int], tile: tuple[int, int] | None
) -> None:
    await put(live.service.store, "w", LOG)
    *tiles, end = await matches(live, "w", **query)
    assert end == {"event": "end", "count": len(at), "lines": 12}
    if tile is None:
        assert tiles == []
    else:
        assert tiles == [{"from": tile[0], "to": tile[1], "count": len(at), "at": at}]


async def test_matches_of_an_empty_log(live: Live) -> None:
    await put(live.service.store, "w", [], ended=False)
    answer = await live.client.get("/v1/workloads/w/matches", params={"filter": "a"})
    assert objects(answer.content) == [{"event": "end", "count": 0, "lines": 0}]
    assert answer.headers["log-lines"] == "0"


async def test_matches_tile_a_long_log_without_a_hole(live: Live) -> None:
    """Of 9.6 MiB: at least three tiles, each of about 4 MiB at most."""
    store = live.service.store
    line = "x" * 90
    records = [
        batch_of(n, (f"{number:06} {line}" for number in range(n, n + 600)))
        for n in range(1, 102_001, 600)
    ]
    await put(store, "w", records)
    *tiles, end = await matches(live, "w", filter="7 x")
    assert tiles[0]["from"] == 1
    assert tiles[-1]["to"] == 102_000
    assert len(tiles) >= 3
    for before, after in pairwise(tiles):
        assert after["from"] == before["to"] + 1
    for tile in tiles:
        assert (tile["to"] - tile["from"]) * 98 < 4.2 * 2**20
        numbers = [n for n in range(tile["from"], tile["to"] + 1) if n % 10 == 7]
        assert tile["count"] == len(numbers)
        check_spread(tile["at"], numbers)
    assert end == {"event": "end", "count": 10_200, "lines": 102_000}


def check_spread(at: list[int], numbers: list[int]) -> None:
    """All of the numbers, or 200 that are about as far from each other."""
    if len(numbers) <= MAX_MARKS:
        assert at == numbers
        return
    assert len(at) == MAX_MARKS
    assert (at[0], at[-1]) == (numbers[0], numbers[-1])
    index = {number: i for i, number in enumerate(numbers)}
    places = [index[number] for number in at]
    step = (len(numbers) - 1) / (MAX_MARKS - 1)
    gaps = [after - before for before, after in pairwise(places)]
    assert min(gaps) >= max(step - step / 8 - 1, 1)
    assert max(gaps) <= step + step / 8 + 1


@pytest.mark.parametrize("count", [0, 1, 199, 200, 201, 399, 5000, 12_800, 12_801, 300_000])
@pytest.mark.parametrize("piece", [7, 1000])
def test_marks_are_evenly_spread(count: int, piece: int) -> None:
    numbers = list(range(3, 3 + 2 * count, 2))
    marks = Marks()
    for start in range(0, count, piece):
        marks.add(numbers[start : start + piece])
    marks.add([])
    assert marks.count == count
    check_spread(marks.spread(), numbers)
    assert len(marks._kept) <= 12_800


async def test_lines_that_retention_removed_are_a_part_of_the_tiles(tmp_path: Any) -> None:
    store = MemoryStore()
    async with open_live(
        Settings(data=tmp_path / "data", retention=Retention()), store=store
    ) as live:
        await put(store, "w", [batch_of(1, ["a", "a"]), batch_of(3, ["a"]), batch_of(4, ["a"])])
        records = store._logs["w"].records
        del records[0]
        assert await matches(live, "w", filter="a") == [
            {"from": 1, "to": 4, "count": 2, "at": [3, 4]},
            {"event": "end", "count": 2, "lines": 4},
        ]
        del records[1]
        assert await matches(live, "w", filter="a") == [
            {"from": 1, "to": 4, "count": 1, "at": [3]},
            {"event": "end", "count": 1, "lines": 4},
        ]


async def test_a_running_log_is_searched_up_to_its_head(live: Live) -> None:
    workload = await live.submit("sh", "-c", "echo a; echo b; exec sleep 100")
    url = f"/v1/workloads/{workload['id']}"
    stream = await live.follow(f"{url}/logs")
    async with stream.stream:
        await stream.read_until(b"data: b")
    answer = await live.client.get(f"{url}/matches", params={"filter": "b"})
    assert answer.headers["log-lines"] == "2"
    assert objects(answer.content) == [
        {"from": 1, "to": 2, "count": 1, "at": [2]},
        {"event": "end", "count": 1, "lines": 2},
    ]


async def test_head_of_both_has_the_headers_alone(live: Live) -> None:
    await put(live.service.store, "w", LOG)
    for path in ("/v1/workloads/w/matches?filter=a", "/v1/search?filter=a"):
        got, head = await live.client.get(path), await live.client.head(path)
        assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
        names = set(got.headers) - {"transfer-encoding", "content-length", "date"}
        assert names <= set(head.headers)
        assert {name: got.headers[name] for name in names} == {
            name: head.headers[name] for name in names
        }
        assert got.headers["cache-control"] == "no-cache, no-store, no-transform"
        assert got.headers["x-accel-buffering"] == "no"
        assert got.headers["x-content-type-options"] == "nosniff"
        assert ("log-lines" in got.headers) == ("matches" in path)
    assert live.service.broker.searches.statistics().admitted == 0


@pytest.mark.parametrize(
    "query",
    [
        *("", "filter=", "filter=a&filter=b", "filter=a&tail=1", "filter=a&limit=1", "regex=true"),
        *("filter=(&regex=true", "filter=a&regex=x", "filter=a&from=0", "filter=a&to=0"),
        *("filter=a&from=3&to=2", "filter=a&stream=x", "filter=a&since=x", "filter=a&follow=true"),
        *("filter=(%5CPL)%7B300%7D&regex=true", "filter=a&from=x", "filter=a&x=1"),
    ],
)
async def test_malformed_matches_are_refused(live: Live, query: str) -> None:
    await put(live.service.store, "w", LOG)
    answer = await live.client.get(f"/v1/workloads/w/matches?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


async def test_matches_of_an_unknown_workload(live: Live) -> None:
    answer = await live.client.get("/v1/workloads/x/matches?filter=a")
    assert answer.status_code == 404


# Over many logs.


LOGS = {
    "w1": [batch_of(1, ["a one", "b", "c", "a two", "d", "e", "f"])],
    "w2": [
        batch_of(1, ["x", "y"]),
        Gap(3, 4, "store", HOUR),
        batch_of(5, ["a\x1b[0mb", "z"], stream="stderr"),
        batch_of(7, ["a", "a", "q", "r", "a"]),
    ],
    "w3": [batch_of(1, ["nothing"])],
}


@pytest.fixture
async def filled(live: Live) -> Live:
    for name, log in LOGS.items():
        await put(live.service.store, name, log, labels={"n": name[1]}, name=f"name {name}")
    return live


async def test_search_finds_lines_newest_workload_first(filled: Live) -> None:
    *lines, end = await search(filled, filter="a")
    assert found(lines) == expected_search(LOGS, "a")
    assert lines[0] == {
        "seq": 5,
        "time": "1970-01-01T01:00:00.000000Z",
        "stream": "stderr",
        "text": "a\x1b[0mb",
        "workload": "w2",
    }
    assert end == {"event": "end", "count": 6, "workloads": 3, "complete": True, "next": None}


@pytest.mark.parametrize("context", [0, 1, 2, 3, 100])
@pytest.mark.parametrize("per_workload", [None, 1, 2])
async def test_search_with_context(filled: Live, context: int, per_workload: int | None) -> None:
    more = {} if per_workload is None else {"per_workload": per_workload}
    *lines, end = await search(filled, filter="a", context=context, **more)
    expected = expected_search(LOGS, "a", context=context, per_workload=per_workload)
    assert found(lines) == expected
    assert end["count"] == sum(not is_context for *_, is_context in expected)
    assert end["complete"] is True


@pytest.mark.parametrize("context", [0, 1, 2, 100])
@pytest.mark.parametrize("limit", [1, 2, 3, 5])
async def test_pages_of_a_search_have_each_line_once(
    filled: Live, context: int, limit: int
) -> None:
    """Each page has `limit` matches; together they are one search."""
    pages = []
    position: dict[str, str] = {}
    while True:
        *lines, end = await search(filled, filter="a", limit=limit, context=context, **position)
        pages.append(found(lines))
        assert end["count"] == sum(not is_context for *_, is_context in pages[-1])
        if end["complete"]:
            assert end["next"] is None
            break
        assert end["count"] == limit
        position = {"before": end["next"]}
    assert pages[0] == expected_search(LOGS, "a", limit=limit, context=context)
    lines = [line for page in pages for line in page]
    everything = expected_search(LOGS, "a", context=context)
    assert lines == everything


async def test_a_search_that_its_limit_ends_with_the_last_line_is_complete(live: Live) -> None:
    await put(live.service.store, "w1", [batch_of(1, ["b", "a"])])
    *_, end = await search(live, filter="a", limit=1)
    assert (end["complete"], end["next"]) == (True, None)
    await put(live.service.store, "w2", [batch_of(1, ["b", "a"])])
    *lines, end = await search(live, filter="a", limit=1)
    assert found(lines) == [("w2", 2, False)]
    assert (end["complete"], end["next"]) == (False, "w2.2.1")
    *lines, end = await search(live, filter="a", limit=1, before="w2.2.1")
    assert found(lines) == [("w1", 2, False)]
    assert end["complete"] is True


async def test_pages_of_named_workloads_go_on_in_the_middle_of_a_log(filled: Live) -> None:
    query = {"filter": "a", "workload": ["w1", "w2"]}
    first = await search(filled, **query, limit=2)
    assert first[-1]["next"] == "w2.7.2"
    second = await search(filled, **query, before="w2.7.2")
    assert found(first) + found(second) == expected_search(LOGS, "a")
    assert found(await search(filled, **query, before="w1.1.1")) == [("w1", 4, False)]


async def test_pages_count_the_matches_of_a_log_together(filled: Live) -> None:
    first = await search(filled, filter="a", limit=2, per_workload=3)
    second = await search(filled, filter="a", limit=2, per_workload=3, before=first[-1]["next"])
    assert found(first) + found(second) == expected_search(LOGS, "a", per_workload=3)[:4]
    third = await search(filled, filter="a", limit=9, per_workload=3, before=second[-1]["next"])
    assert found(third) == expected_search(LOGS, "a", per_workload=3)[4:]


@pytest.mark.parametrize(
    ("query", "workloads"),
    [
        ({"label": "n=2"}, ["w2"]),
        ({"label": ["n=2", "m=3"]}, []),
        ({"workload": ["w1", "w3"]}, ["w3", "w1"]),
        ({"workload": "w1", "label": "n=2"}, []),
        ({"name": "name w1"}, ["w1"]),
        ({"name": "name"}, []),
        ({"status": "succeeded"}, ["w3", "w2", "w1"]),
        ({"status": ["failed", "running"]}, []),
        ({"status": ["failed", "succeeded"], "workload": "w3"}, ["w3"]),
    ],
)
async def test_search_selects_workloads(
    filled: Live, query: dict[str, Any], workloads: list[str]
) -> None:
    *lines, end = await search(filled, filter=".", regex="true", **query)
    assert list(dict.fromkeys(each["workload"] for each in lines)) == workloads
    assert end["workloads"] == len(workloads)


async def test_search_selects_lines(filled: Live) -> None:
    *lines, _ = await search(filled, filter="a", stream="stderr")
    assert found(lines) == [("w2", 5, False)]
    # Context is what is near in the log, whatever its stream.
    *lines, _ = await search(filled, filter="a", stream="stderr", context=1)
    assert found(lines) == [("w2", 5, False), ("w2", 6, True)]
    *lines, _ = await search(filled, filter="z", stream="stderr", context=2)
    assert found(lines) == [("w2", n, n != 6) for n in (5, 6, 7, 8)]
    assert found(await search(filled, filter="a", until="1800")) == []
    assert len(found(await search(filled, filter="a", since="3600", until="3600"))) == 6
    assert found(await search(filled, filter="a", since="3601")) == []
    inverted = await search(filled, filter="a", invert="true", workload="w1")
    assert [n for _, n, _ in found(inverted)] == [2, 3, 5, 6, 7]


async def test_search_since_a_time_has_context_from_before(live: Live) -> None:
    log = [batch_of(1, ["a", "b"]), batch_of(3, ["a", "c"], time=2 * HOUR)]
    await put(live.service.store, "w", log)
    *lines, _ = await search(live, filter="a", since="7200", context=1)
    assert found(lines) == [("w", 2, True), ("w", 3, False), ("w", 4, True)]


async def test_parts_of_an_over_long_line_say_so(live: Live) -> None:
    log = [
        Batch(1, 1, 0, "stdout", b"ab", partial=True),
        Batch(2, 1, 0, "stdout", b"ac\n", continues=True),
    ]
    await put(live.service.store, "w", log)
    *lines, _ = await search(live, filter="a")
    assert [(each["text"], each.get("partial")) for each in lines] == [("ab", True), ("ac", None)]


@pytest.mark.parametrize(
    "query",
    [
        *(
            "",
            "filter=",
            "filter=a&filter=b",
            "filter=a&from=1",
            "filter=a&to=2",
            "filter=a&tail=1",
        ),
        *(
            "filter=a&limit=0",
            "filter=a&limit=100001",
            "filter=a&limit=x",
            "filter=a&limit=1&limit=1",
        ),
        *("filter=a&per_workload=0", "filter=a&context=-1", "filter=a&context=x"),
        *(
            "filter=a&before=w1",
            "filter=a&before=w1.1",
            "filter=a&before=w1.1.x",
            "filter=a&before=",
        ),
        *("filter=a&status=x", "filter=a&label=x", "filter=a&label=a=1&label=a=2", "filter=a&x=1"),
        *("filter=a&workload=", "filter=a&workload=w.1", "filter=a&name=a&name=b", "case=false"),
        *("filter=(&regex=true", "filter=a&stream=x", "filter=a&since=x"),
    ],
)
async def test_malformed_searches_are_refused(filled: Live, query: str) -> None:
    answer = await filled.client.get(f"/v1/search?{query}")
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_search_of_an_unknown_workload(filled: Live) -> None:
    url = "/v1/search?filter=a&workload=w1&workload=x"
    assert (await filled.client.get(url)).status_code == 404


async def test_a_search_goes_on_where_a_workload_was_deleted(filled: Live) -> None:
    answer = await search(filled, filter="a", before="w2.8.2")
    assert found(answer)[0] == ("w2", 11, False)
    assert (await filled.client.delete("/v1/workloads/w2")).status_code == 204
    answer = await search(filled, filter="a", before="w2.8.2")
    assert found(answer) == [("w1", 1, False), ("w1", 4, False)]
    assert answer[-1]["workloads"] == 1


async def test_a_search_over_more_workloads_than_a_page_of_records(live: Live) -> None:
    names = [f"w{number:03}" for number in range(230)]
    for name in names:
        await put(live.service.store, name, [batch_of(1, [f"a {name}"])])
    *lines, end = await search(live, filter="a")
    assert [each["workload"] for each in lines] == names[::-1]
    assert end["workloads"] == 230


async def test_many_matches_are_streamed(live: Live) -> None:
    """In slices of matches and pieces of lines, with a context that joins all of them."""
    records = [batch_of(n, [f"a {n}", f"b {n + 1}"] * 500) for n in range(1, 20_000, 1000)]
    await put(live.service.store, "w", records)
    *lines, end = await search(live, filter="a", limit=100_000)
    assert [each["seq"] for each in lines] == list(range(1, 20_000, 2))
    assert end["count"] == 10_000
    *lines, end = await search(live, filter="a", limit=100_000, context=1)
    assert [each["seq"] for each in lines] == list(range(1, 20_001))
    assert [each.get("context", False) for each in lines] == [False, True] * 10_000
    *lines, end = await search(live, filter="a", limit=5_001, context=10)
    assert [each["seq"] for each in lines] == list(range(1, 10_003))
    assert end["next"] == "w.10002.5001"


# What goes wrong.


async def test_a_ninth_search_is_refused(filled: Live) -> None:
    searches = filled.service.broker.searches
    with ExitStack() as others:
        for _ in range(7):
            others.enter_context(searches.admit())
        for path in PATHS:
            assert (await filled.client.get(path)).status_code == 200
            # The server releases it after the last byte.
            await until(lambda: searches.statistics().admitted == 7)
        others.enter_context(searches.admit())
        for path in PATHS:
            answer = await filled.client.get(path)
            assert answer.status_code == 429
            assert answer.headers["retry-after"] == "5"
            assert (await filled.client.head(path)).status_code == 200
    assert searches.statistics().admitted == 0
    assert searches.statistics().refused == 2


async def test_searches_count_as_streams(open_server: OpenServer) -> None:
    async with open_server(max_streams=1, retention=Retention()) as live:
        workload = await live.submit("sleep", "100")
        stream = await live.follow(f"/v1/workloads/{workload['id']}/logs")
        async with stream.stream:
            answer = await live.client.get("/v1/search?filter=a")
            assert answer.status_code == 429


async def cut(live: Live, path: str) -> bytes:
    """The body of an answer that is cut off without its terminal chunk."""
    stream = await live.follow(path)
    async with stream.stream:
        assert stream.status == 200
        with trio.fail_after(PATIENCE), pytest.raises(EOFError):
            while await stream.read_chunk():
                pass
    return stream.body


@pytest.fixture
async def failing(tmp_path: Any) -> AsyncIterator[tuple[Live, FailingStore]]:
    store = FailingStore(MemoryStore())
    async with open_live(
        Settings(data=tmp_path / "data", retention=Retention()), store=store
    ) as live:
        for name, log in LOGS.items():
            await put(store.inner, name, log)
        yield live, store
        store.switch.recover()


@pytest.mark.parametrize("path", PATHS)
async def test_a_store_that_fails_under_way_cuts_the_answer(
    failing: tuple[Live, FailingStore], path: str
) -> None:
    live, store = failing
    store.switch.fail("visit")
    assert b'"end"' not in await cut(live, path)
    assert live.service.broker.searches.statistics().admitted == 0
    assert live.service.broker.searches.statistics().running == 0


@pytest.mark.parametrize("path", PATHS)
async def test_a_store_that_fails_before_the_start_is_503(
    failing: tuple[Live, FailingStore], path: str
) -> None:
    live, store = failing
    store.switch.fail("workload", "workloads")
    answer = await live.client.get(path)
    assert answer.status_code == 503
    assert answer.json()["reason"] == "store"


@pytest.mark.parametrize("path", PATHS)
async def test_a_client_that_disconnects_frees_its_place(
    failing: tuple[Live, FailingStore], path: str
) -> None:
    """While its slice hangs in the store, and another search waits for a turn."""
    live, store = failing
    searches = live.service.broker.searches
    store.switch.hang("visit")
    streams = [await live.follow(path) for _ in range(3)]
    await until(lambda: searches.statistics().waiting == 1)
    assert searches.statistics().running == 2
    assert searches.statistics().admitted == 3
    for stream in streams:
        await stream.stream.aclose()
    await until(lambda: not searches.statistics().admitted)
    assert searches.statistics().running == 0
    assert searches.statistics().waiting == 0
    store.switch.recover()
    assert (await live.client.get(path)).status_code == 200


async def test_matches_of_a_workload_that_is_deleted_meanwhile_are_cut(
    failing: tuple[Live, FailingStore],
) -> None:
    live, store = failing
    store.switch.hang("visit")
    stream = await live.follow(PATHS[0])
    async with stream.stream:
        with trio.fail_after(PATIENCE):
            await store.switch.until_called("visit", 1)
        await store.inner.delete("w1")
        store.switch.recover()
        with trio.fail_after(PATIENCE), pytest.raises(EOFError):
            while await stream.read_chunk():
                pass


async def test_a_search_leaves_out_a_workload_that_is_deleted_meanwhile(
    failing: tuple[Live, FailingStore],
) -> None:
    live, store = failing
    store.switch.hang("visit")
    stream = await live.follow(PATHS[1])
    async with stream.stream:
        with trio.fail_after(PATIENCE):
            await store.switch.until_called("visit", 1)
        await store.inner.delete("w2")
        store.switch.recover()
        lines = objects(await stream.read_all())
    assert [each["seq"] for each in lines if "seq" in each] == [1, 4]
    assert lines[-1]["complete"] is True


@pytest.mark.parametrize("path", PATHS)
async def test_a_shutdown_cuts_a_search(failing: tuple[Live, FailingStore], path: str) -> None:
    live, store = failing
    store.switch.hang("visit")
    stream = await live.follow(path)
    async with stream.stream:
        with trio.fail_after(PATIENCE):
            await store.switch.until_called("visit", 1)
            live.service.drain()
            store.switch.recover()
            if "matches" in path:
                # All of this log was searched by then.
                assert b'"from"' in await stream.read_chunk()
            with pytest.raises(EOFError):
                while await stream.read_chunk():
                    pass
    answer = await live.client.get(path)
    assert answer.status_code == 503
    assert answer.json()["reason"] == "draining"


async def test_a_search_that_waits_for_its_turn_shows_progress(
    failing: tuple[Live, FailingStore],
) -> None:
    live, store = failing
    store.switch.hang("visit")
    blocking = [await live.follow(PATHS[0]) for _ in range(2)]
    with trio.fail_after(PATIENCE):
        await store.switch.until_called("visit", 2)
        stream = await live.follow(PATHS[1])
        first = json.loads(await stream.read_chunk())
        assert first == {"event": "progress", "workload": "w3", "lines": 0}
        await stream.read_chunk()
        store.switch.recover()
        lines = objects(await stream.read_all())
    assert [(each["workload"], each["seq"]) for each in lines if "seq" in each] == [
        (name, number) for name, number, _ in expected_search(LOGS, "a")
    ]
    for each in (*blocking, stream):
        await each.stream.aclose()


async def test_needs_a_token(filled: Live) -> None:
    async with httpx2.AsyncClient(base_url=filled.url) as client:
        for path in PATHS:
            assert (await client.get(path)).status_code == 401
