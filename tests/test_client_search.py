"""A client that searches finds each line once, also over answers that are cut."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import trio

from tests.answering import Answering, answer, answering
from tests.cutting_proxy import cutting_proxy
from tests.live import PATIENCE, Live, open_live
from trio_logs import LogWriter, WorkloadSpec, function
from trio_logs.client import (
    Client,
    ClientError,
    Head,
    Hit,
    Line,
    LogRecord,
    MatchesEnd,
    MatchRecord,
    Progress,
    RefusedError,
    SearchEnd,
    SearchRecord,
    SyncClient,
    Tile,
    UnreachableError,
)
from trio_logs.client.requests import FollowOptions, aged
from trio_logs.client.search_requests import MatchOptions, SearchOptions
from trio_logs.client.searching import SearchResume
from trio_logs.settings import Settings

pytestmark = pytest.mark.usefixtures("soon")

NDJSON = "application/x-ndjson"


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon."""
    monkeypatch.setattr("trio_logs.client.backoff.MAX_DELAY", 0.01)
    monkeypatch.setattr("trio_logs.client.progress_resume.DELAYS", (0.01, 0.01))


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with open_live(Settings(data=tmp_path / "data")) as opened:
        yield opened


async def workload(live: Live, script: str, **fields: object) -> str:
    """The id of a workload that has ended."""
    made = await live.submit("sh", "-c", script, **fields)
    await live.finished(made["id"])
    return str(made["id"])


async def searched(url: str, token: str, text: str, options: SearchOptions) -> list[SearchRecord]:
    with trio.fail_after(PATIENCE):
        async with Client(url, token) as client, aclosing(client.search(text, **options)) as found:
            return [record async for record in found]


async def matched(url: str, token: str, text: str, options: MatchOptions) -> list[MatchRecord]:
    with trio.fail_after(PATIENCE):
        async with (
            Client(url, token) as client,
            aclosing(client.matches("x", text, **options)) as it,
        ):
            return [record async for record in it]


def hits(records: Sequence[SearchRecord]) -> list[Hit]:
    return [record for record in records if isinstance(record, Hit)]


SEARCHES: list[tuple[str, SearchOptions]] = [
    ("7", {}),
    ("7", {"context": 2}),
    ("[05]$", {"regex": True, "context": 1, "per_workload": 4}),
    ("line", {"case": False, "limit": 25}),
    ("7", {"invert": True, "context": 3, "limit": 17}),
    ("7", {"context": 5, "limit": 1}),
    ("7", {"stream": "stderr", "labels": {"of": "two"}}),
    ("nowhere", {}),
]


async def test_a_search_over_cuts_and_pages_finds_each_line_once(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "for i in $(seq 30); do echo line $i; test $((i % 9)) -ne 0 || echo e $i 7 >&2; done"
    await workload(live, script)
    await workload(live, script, labels={"of": "two"})
    await workload(live, "true")
    await workload(live, script, labels={"of": "two"})
    token, cuts = live.service.token, 0
    for text, options in SEARCHES:
        monkeypatch.setattr("trio_logs.client.searching.PAGE", 100_000)
        whole = await searched(live.url, token, text, options)
        for page, after in ((100_000, 1500), (7, 2311), (7, 100_000)):
            monkeypatch.setattr("trio_logs.client.searching.PAGE", page)
            async with cutting_proxy(live.url, after=after) as (url, count):
                found = await searched(url, token, text, options)
            cuts += count[0] - 1
            assert hits(found) == hits(whole), (text, options, after)
            end, expected = found[-1], whole[-1]
            assert isinstance(end, SearchEnd)
            assert isinstance(expected, SearchEnd)
            assert (end.count, end.complete, end.next) == (
                expected.count,
                expected.complete,
                expected.next,
            )
            # A cut hides how many logs were searched before.
            assert after < 100_000 or end == expected
    assert cuts > 20


async def test_a_search_goes_on_from_its_limit(live: Live) -> None:
    ids = [await workload(live, "seq 10") for _ in range(2)]
    token = live.service.token
    all_of_it = await searched(live.url, token, "1", {"context": 1})
    found: list[Hit] = []
    before: SearchOptions = {}
    for _ in range(4):
        page = await searched(live.url, token, "1", {"context": 1, "limit": 1, **before})
        found += hits(page)
        end = page[-1]
        assert isinstance(end, SearchEnd)
        assert (end.count, end.complete) == (1, end.next is None)
        before = {"before": end.next or ""}
    assert found == hits(all_of_it)
    assert all_of_it[-1] == SearchEnd(4, 2, True, None)
    assert {hit.workload for hit in found} == set(ids)
    # Only some workloads are searched.
    alone = await searched(
        live.url, token, "1", {"workloads": ids[:1], "status": ["succeeded", "failed"]}
    )
    assert {hit.workload for hit in hits(alone)} == {ids[0]}
    assert hits(await searched(live.url, token, "1", {"status": "failed"})) == []


async def test_refusals(live: Live) -> None:
    token = live.service.token
    for text, options, status in (
        ("(", SearchOptions(regex=True), 400),
        ("x", SearchOptions(before="nonsense"), 400),
        ("x", SearchOptions(limit=0), 400),
        ("x", SearchOptions(workloads=["nobody"]), 404),
    ):
        with pytest.raises(RefusedError) as refused:
            await searched(live.url, token, text, options)
        assert refused.value.status == status
    with pytest.raises(RefusedError) as refused:
        await matched(live.url, token, "x", {})
    assert refused.value.status == 404


async def test_a_search_waits_until_the_others_have_ended(live: Live) -> None:
    """Within its patience."""
    token = live.service.token
    async with answering(lambda number: BUSY if number < 3 else found_nothing()) as server:
        assert await searched(server.url, token, "x", {}) == [SearchEnd(0, 0, True, None)]
    assert len(server.heads) == 4
    async with answering(lambda number: BUSY) as server:
        with pytest.raises(UnreachableError, match="the server answers 429"):
            await searched(server.url, token, "x", {"patience": 0})
        with pytest.raises(UnreachableError, match="the server answers 429"):
            await matched(server.url, token, "x", {"patience": 0})


BUSY = answer("application/problem+json", b'{"detail":"busy"}', "429 Busy", "Retry-After: 1")


def objects(*items: object) -> bytes:
    return b"".join(msgspec.json.encode(item) + b"\n" for item in items)


def found_nothing() -> bytes:
    end = {"event": "end", "count": 0, "workloads": 0, "complete": True, "next": None}
    return answer(NDJSON, objects(end))


def hit(workload_id: str, seq: int, **more: object) -> dict[str, object]:
    time = "2026-01-31T12:00:00Z"
    line = {"seq": seq, "time": time, "stream": "stdout", "text": "x", "workload": workload_id}
    return {**line, **more}


def progress(workload_id: str, lines: int) -> dict[str, object]:
    return {"event": "progress", "workload": workload_id, "lines": lines}


def queries(server: Answering) -> list[dict[str, list[str]]]:
    return [parse_qs(urlsplit(head.split()[1].decode()).query) for head in server.heads]


async def test_an_answer_without_an_end_is_resumed() -> None:
    """Though it looks complete. What was said before it ended is not asked for again."""
    end = {"event": "end", "count": 1, "workloads": 1, "complete": True, "next": None}
    answers = [
        objects(progress("b", 7)),
        objects({"event": "later"}, hit("b", 3), hit("b", 5), progress("a", 9)),
        objects(progress("a", 4), hit("a", 2), end),
    ]
    async with answering(lambda number: answer(NDJSON, answers[number])) as server:
        found = await searched(server.url, "t", "x", {"limit": 9, "status": "failed"})
    assert [record for record in found if isinstance(record, Progress)] == [
        Progress("b", 7),
        Progress("a", 16),
        Progress("a", 20),
    ]
    assert [(each.workload, each.seq) for each in hits(found)] == [("b", 3), ("b", 5), ("a", 2)]
    assert found[-1] == SearchEnd(3, 1, True, None)
    asked = [(query.get("before"), query["limit"], query["status"]) for query in queries(server)]
    assert asked == [
        (None, ["9"], ["failed"]),
        (["b.0.0"], ["9"], ["failed"]),
        (["a.0.0"], ["7"], ["failed"]),
    ]


async def test_an_answer_that_stays_broken_ends_the_patience() -> None:
    """Though it begins well each time."""
    begun = objects(progress("b", 7), hit("b", 3))
    for rest, told in (
        (b"<html>\n", "the answer is not a search"),
        (b'{"event":"end"}\n', "the answer is not a search"),
        (b"", "the answer ended before the search did"),
        (b'{"seq":', "it ends within an event"),
    ):
        body = begun + rest
        async with answering(lambda number, body=body: answer(NDJSON, body)) as server:  # type: ignore[misc]
            with pytest.raises(UnreachableError, match=told):
                await searched(server.url, "t", "x", {"patience": 0.05})
        assert len(server.heads) > 1
        assert queries(server)[1]["before"] == ["b.3.1"]
    async with answering(lambda number: answer("text/html", b"<html>")) as server:
        with pytest.raises(ClientError, match="text/html"):
            await searched(server.url, "t", "x", {"patience": 0})


def test_a_server_that_has_no_more_is_not_asked_for_ever() -> None:
    resume = SearchResume("x", {}, "http://x")
    resume.query()
    resume.begin()
    end = {"event": "end", "count": 0, "workloads": 1, "complete": False, "next": "a.1.0"}
    assert resume.feed(objects(end)) == [SearchEnd(0, 1, False, "a.1.0")]
    assert resume.done


async def test_matches_over_cuts(live: Live) -> None:
    """The tiles of a log that grows meanwhile; it is searched up to where it was."""
    tiles = [
        {"from": 1, "to": 4, "count": 2, "at": [1, 3]},
        {"from": 5, "to": 8, "count": 1, "at": [6]},
    ]
    end = {"event": "end", "count": 1, "lines": 8}
    cut = [objects(tiles[0]), objects(tiles[1], end)]

    def respond(number: int) -> bytes:
        return answer(NDJSON, cut[number], "200 OK", f"Log-Lines: {8 + number}")

    expected = [Tile(1, 4, 2, [1, 3]), Tile(5, 8, 1, [6]), MatchesEnd(3, 8)]
    async with answering(respond) as server:
        assert await matched(server.url, "t", "x", {"case": False}) == expected
    first, second = queries(server)
    assert ("from" in first, first["case"]) == (False, ["false"])
    assert (second["from"], second["to"]) == (["5"], ["8"])
    # Nothing is asked for after the last line: only the end was missing.
    cut[:] = [objects(*tiles)]
    async with answering(respond) as server:
        assert await matched(server.url, "t", "x", {}) == expected
    assert len(server.heads) == 1


async def test_matches(live: Live) -> None:
    workload_id = await workload(live, "seq 100; echo 7 >&2")
    async with Client(live.url, live.service.token) as client:
        lines = [each async for each in client.follow(workload_id) if isinstance(each, Line)]
        for options, wanted in (
            (MatchOptions(), lambda line: "7" in line.text),
            (MatchOptions(first=8, last=30), lambda line: "7" in line.text and 8 <= line.seq <= 30),
            (MatchOptions(stream="stderr"), lambda line: line.stream == "stderr"),
            (MatchOptions(first=98, invert=True), lambda x: "7" not in x.text and x.seq >= 98),
            (MatchOptions(until="1h"), lambda line: False),
        ):
            numbers = [line.seq for line in lines if wanted(line)]
            found = [each async for each in client.matches(workload_id, "7", **options)]
            at = [number for each in found if isinstance(each, Tile) for number in each.at]
            assert at == numbers
            assert found[-1] == MatchesEnd(len(numbers), 101)
        empty = await workload(live, "true")
        assert [each async for each in client.matches(empty, "x")] == [MatchesEnd(0, 0)]


@pytest.mark.parametrize(
    ("written", "later"),
    [
        ("10m", "602.500s"),
        ("1h0.5m250ms", "3632.750s"),
        ("1d1h1m1s1ms", "90063.501s"),
        ("2026-01-31T12:00:00Z", None),
        ("1700000000.5", None),
        ("soon", None),
    ],
)
def test_a_duration_back_from_now_stays_at_its_time(written: str, later: str | None) -> None:
    query = {"since": written, "until": written, "filter": "10m"}
    found = aged(query, 2.5)
    assert found == {**query, "since": later or written, "until": later or written}


async def test_what_is_asked_for_later_means_the_same() -> None:
    """Whatever asks again."""
    end = {"event": "end", "count": 0, "workloads": 0, "complete": True, "next": None}
    tiles = {"event": "end", "count": 0, "lines": 0}
    log = {"status": "succeeded", "exit_code": 0, "signal": None, "error": None}
    ended = {"event": "end", **log, "lines": 0, "bytes": 0}

    async def follow(client: Client) -> None:
        async for _ in client.follow("x", since="10m", until="1m", follow=False):
            pass

    async def search(client: Client) -> None:
        async for _ in client.search("x", since="10m", until="1m"):
            pass

    async def match(client: Client) -> None:
        async for _ in client.matches("x", "x", since="10m", until="1m"):
            pass

    calls: list[tuple[Callable[[Client], object], object]]
    calls = [(follow, ended), (search, end), (match, tiles)]
    for call, last in calls:
        last_answer = answer(NDJSON, objects(last))
        async with (
            answering(lambda number, last=last_answer: last if number else BUSY) as server,  # type: ignore[misc]
            Client(server.url, "t") as client,
        ):
            with trio.fail_after(PATIENCE):
                await call(client)  # type: ignore[misc]
        first, second = queries(server)
        assert (first["since"], first["until"]) == (["10m"], ["1m"])
        assert float(second["since"][0].rstrip("s")) > 600
        assert float(second["until"][0].rstrip("s")) > 60


def choose_options(chance: random.Random, lines: int) -> FollowOptions:
    """Options that may go together."""
    options: FollowOptions = {"follow": chance.random() < 0.5}
    if chance.random() < 0.4:
        options["first"] = chance.randrange(1, lines)
    if not options["follow"] and chance.random() < 0.5:
        options["last"] = chance.randrange(options.get("first", 1), lines + 5)
    if chance.random() < 0.6:
        options["filter"] = chance.choice(["1", "[0-4]$", "E"])
        options["regex"] = options["filter"].startswith("[")
        options["case"] = chance.random() < 0.5
        options["invert"] = chance.random() < 0.3
    if chance.random() < 0.3:
        options["stream"] = chance.choice(["stdout", "stderr"])
    if chance.random() < 0.4:
        options["tail"] = chance.randrange(1, 40)
    if chance.random() < 0.5:
        options["limit"] = chance.randrange(1, 30)
    if chance.random() < 0.3:
        options["since"] = "1h"
    return options


@function("client.short")
async def write_short_lines(log: LogWriter) -> None:
    for number in range(1, 91):
        await log.write(f"line {number}\n")
        if number % 7 == 0:
            await log.write(f"e {number}\n", "stderr")


@function("client.long")
async def write_long_lines(log: LogWriter) -> None:
    """Some have three parts. No line of another stream is between the parts: if a tail began there,
    it would not have that line, but a client that resumes there gets it."""
    for number in range(1, 21):
        await log.write(f"line {number}\n")
        if number % 7 == 0:
            await log.write(f"e {number}\n", "stderr")
        if number % 8 == 0:
            await log.write("1" * 140_000 + f"{number}\n")


@pytest.mark.parametrize("lines", ["short", "long"])
async def test_a_follower_resumes_exactly_whatever_it_asks_for(live: Live, lines: str) -> None:
    """Random options over connections that break at random places, against one that lasts."""
    spec = WorkloadSpec((f"client.{lines}",), backend="function")
    made, _ = await live.service.engine.submit(spec)
    workload_id = made.id
    await live.finished(workload_id)
    cuts = 0
    for seed in range(20):
        chance = random.Random(seed)
        options = choose_options(chance, 40)
        if lines == "long" and "limit" in options:
            # A filter may hide a part within a line; see `Limit`.
            options.pop("filter", None)
            for name in ("regex", "case", "invert"):
                options.pop(name, None)  # type: ignore[misc]
        whole = await followed(live.url, live.service.token, workload_id, options)
        after = chance.randrange(700, 1800) if lines == "short" else 70_000
        async with cutting_proxy(live.url, after=after, times=4) as (url, count):
            found = await followed(url, live.service.token, workload_id, options)
        cuts += count[0] - 1
        assert found == whole, (seed, options)
    assert cuts > 12


async def followed(
    url: str, token: str, workload_id: str, options: FollowOptions
) -> list[LogRecord]:
    with trio.fail_after(PATIENCE):
        async with (
            Client(url, token) as client,
            aclosing(client.follow(workload_id, **options)) as log,
        ):
            return [record async for record in log]


async def test_the_head_of_a_log_is_told_to_a_caller_that_asks(live: Live) -> None:
    workload_id = await workload(live, "seq 20")
    for follow in (True, False):
        options: FollowOptions = {"head": True, "filter": "7", "follow": follow, "limit": 1}
        found = await followed(live.url, live.service.token, workload_id, options)
        assert found[0] == Head(20)
        assert isinstance(found[1], Line)
        del options["head"]
        assert await followed(live.url, live.service.token, workload_id, options) == found[1:]


async def test_a_script_searches(live: Live) -> None:
    workload_id = await workload(live, "seq 20")

    def read() -> None:
        with SyncClient(live.url, live.service.token) as client:
            *found, end = client.search("7", workloads=[workload_id])
            assert [each.seq for each in found if isinstance(each, Hit)] == [7, 17]
            assert end == SearchEnd(2, 1, True, None)
            batches = [*client.search_batches("7", workloads=[workload_id])]
            assert [each for batch in batches for each in batch] == [*found, end]
            *tiles, last = client.matches(workload_id, "7", last=10)
            assert last == MatchesEnd(1, 20)
            assert tiles == [Tile(1, 10, 1, [7])]

    with trio.fail_after(PATIENCE):
        await trio.to_thread.run_sync(read)
