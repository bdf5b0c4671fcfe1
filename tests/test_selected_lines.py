"""Ranges, filters, limits and positions of a log over HTTP, in each representation."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import trio
import trio.testing

from tests.follower import eventually
from tests.live import Live, parse_events

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]

NDJSON = {"Accept": "application/x-ndjson"}
PLAIN = {"Accept": "text/plain"}


@pytest.fixture
async def live(open_server: OpenServer) -> AsyncIterator[Live]:
    async with open_server() as opened:
        yield opened


@pytest.fixture
async def log(live: Live) -> str:
    """Twenty lines, `line 1` to `line 20`, of which each fifth is red."""
    red = 'case $i in *5|*0) i="\033[31m$i\033[0m";; esac'
    script = f'for i in $(seq 20); do {red}; echo "line $i"; done'
    workload = await live.submit("sh", "-c", script)
    await live.finished(workload["id"])
    return str(workload["logs_url"])


async def shown(live: Live, log: str, **query: Any) -> list[Any]:
    """The numbers of the lines; and the data of `end` and `stop`, as far as tests look at it."""
    query = {name.rstrip("_"): value for name, value in query.items()}
    found: list[Any] = []
    for name, event_id, data in await live.events(log.split("/")[3], **query):
        if name == "message":
            found.append(int(event_id))
        elif name == "stop":
            assert event_id == "stop"
            found.append((data["reason"], data["next"]))
        elif name == "end":
            found.append("end")
    answer = await live.client.get(log, params=query, headers=NDJSON)
    objects = [json.loads(line) for line in answer.text.split("\n")[:-1]]
    numbers = [each["seq"] for each in objects if "seq" in each]
    assert numbers == [number for number in found if isinstance(number, int)]
    plain = await live.client.get(log, params=query, headers=PLAIN)
    assert plain.text.count("\n") == len(numbers)
    assert all(f"line {n}\n" in plain.text or n % 5 == 0 for n in numbers)
    return found


async def test_ranges_filters_and_limits(live: Live, log: str) -> None:
    assert await shown(live, log, from_=18) == [18, 19, 20, "end"]
    assert await shown(live, log, from_=2, to=4) == [2, 3, 4, ("to", 5)]
    assert await shown(live, log, from_=19, to=99) == [19, 20, "end"]
    assert await shown(live, log, from_=21) == ["end"]
    assert await shown(live, log, from_=99, follow="false") == ["end"]
    assert await shown(live, log, limit=2) == [1, 2, ("limit", 3)]
    assert await shown(live, log, limit=20) == [*range(1, 21), "end"]
    assert await shown(live, log, limit=0) == [("limit", 1)]
    assert await shown(live, log, filter="line 1") == [1, *range(10, 20), "end"]
    assert await shown(live, log, filter="line 1", limit=3) == [1, 10, 11, ("limit", 12)]
    assert await shown(live, log, filter="line 1", tail=2) == [18, 19, "end"]
    assert await shown(live, log, filter="line 1", to=13, tail=3) == [11, 12, 13, ("to", 14)]
    assert await shown(live, log, filter="line 1", tail=3, limit=1) == [17, ("limit", 18)]
    assert await shown(live, log, filter="LINE 2", case="false") == [2, 20, "end"]
    assert await shown(live, log, filter="LINE 2") == ["end"]
    assert await shown(live, log, filter="^line .$", regex="true", to=9) == [
        *range(1, 10),
        ("to", 10),
    ]
    assert await shown(live, log, filter="line 1", invert="true", limit=3) == [
        2,
        3,
        4,
        ("limit", 5),
    ]
    # The next match and the previous one.
    assert await shown(live, log, filter="5", from_=6, limit=1, follow="false") == [
        15,
        ("limit", 16),
    ]
    assert await shown(live, log, filter="5", to=14, tail=1) == [5, ("to", 15)]


async def test_the_length_of_the_log_is_told(live: Live, log: str) -> None:
    for query in ("", "?filter=nothing", "?from=5&to=6", "?tail=0"):
        for method in ("GET", "HEAD"):
            answer = await live.client.request(method, f"{log}{query}")
            assert (answer.status_code, answer.headers["Log-Lines"]) == (200, "20")
    for event_id in ("end", "stop"):
        answer = await live.client.get(log, headers={"Last-Event-ID": event_id})
        assert (answer.status_code, answer.headers["Log-Lines"]) == (204, "20")
    empty = await live.submit("true")
    await live.finished(empty["id"])
    assert (await live.client.get(empty["logs_url"])).headers["Log-Lines"] == "0"
    answer = await live.client.get("/v1/workloads/nobody/logs", headers={"Last-Event-ID": "stop"})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "from=0",
        "from=x",
        "from=3&to=2",
        "to=",
        "to=5&follow=true",
        "limit=-1",
        "limit=x",
        "filter=",
        "regex=true",
        "case=false",
        "invert=true",
        "filter=(&regex=true",
        "filter=(?=a)&regex=true",
        "filter=a&filter=b",
        "filter=a&regex=maybe",
    ],
)
async def test_what_is_malformed_is_refused(live: Live, log: str, query: str) -> None:
    answer = await live.client.get(f"{log}?{query}")
    assert answer.status_code == 400, answer.text
    names = [each.partition("=")[0] for each in query.split("&")]
    assert any(answer.json()["detail"].startswith(f"{name}:") for name in names)


async def test_a_position_comes_before_the_first_line(live: Live, log: str) -> None:
    for query, expected in (
        ("tail=2", b"id: 18\n\n"),
        ("tail=99", b"id: 0\n\n"),
        ("tail=0", b"id: 20\n\n"),
    ):
        body = (await live.client.get(f"{log}?{query}")).content
        assert body.startswith(b": open\nretry: 2000\n\n" + expected)
    since = (await live.client.get(f"{log}?since=1h")).content
    assert since.startswith(b": open\nretry: 2000\n\nid: 0\n\nid: 1\n")
    objects = (await live.client.get(f"{log}?tail=2", headers=NDJSON)).text.split("\n")
    assert objects[0] == '{"event":"position","id":"18"}'


async def test_hidden_lines_move_the_position(live: Live) -> None:
    # 12 MB in 120,000 lines, of which the filter shows none.
    workload = await live.submit("sh", "-c", "seq -f %07.0f$(printf %092d 0) 120000")
    await live.finished(workload["id"])
    body = (await live.client.get(f"{workload['logs_url']}?filter=nothing")).content
    ids = [
        int(line[4:]) for line in body.split(b"\n") if line[:4] == b"id: " and line[4:] != b"end"
    ]
    assert ids == sorted(ids)
    # At least every 4 MiB; a batch has 64 KiB.
    bounds = [0, *ids, 120_000]
    assert max(b - a for a, b in itertools.pairwise(bounds)) <= (4 * 2**20 + 2**17) // 100
    resumed = await live.client.get(
        f"{workload['logs_url']}?filter=nothing", headers={"Last-Event-ID": str(ids[-1])}
    )
    assert [name for name, _, _ in parse_events(resumed.content)] == ["end"]


async def test_streams_that_share_a_filter_are_written_to_together(live: Live) -> None:
    script = 'while read word; do echo "$word"; done < words'
    folder = live.service.settings.data
    os.mkfifo(folder / "words")
    workload = await live.submit("sh", "-c", script, cwd=str(folder))
    streams = [await live.follow(f"{workload['logs_url']}?filter=yes") for _ in range(5)]
    others = [await live.follow(f"{workload['logs_url']}?filter=yes&invert=true")]
    words = await trio.open_file(folder / "words", "w")
    async with words:
        await words.write("yes 1\nno 2\n")
        await words.flush()
        for stream in streams:
            await stream.read_until(b"data: yes 1")
        await others[0].read_until(b"data: no 2")
        await trio.testing.wait_all_tasks_blocked(0.01)
        before = live.service.broker.statistics().batches_pushed
        await words.write("yes 3\n")
        await words.flush()
        for stream in streams:
            await stream.read_until(b"id: 3\ndata: yes 3")
        await eventually(lambda: live.service.broker.statistics().batches_pushed >= before + 5)
    for stream in [*streams, *others]:
        body = await stream.read_all()
        names = [name for name, _, _ in parse_events(body)]
        assert names[-1] == "end"
        await stream.stream.aclose()
    assert [data for name, _, data in parse_events(others[0].body) if name == "message"] == ["no 2"]


async def test_a_download_is_plain_and_complete(live: Live, log: str) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    answer = await live.client.get(f"{log}?download=true", headers=browser)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith("attachment; ")
    assert answer.text.count("\n") == 20
    for accept in ("application/x-ndjson", "text/event-stream"):
        answer = await live.client.get(f"{log}?download=true", headers={"Accept": accept})
        assert answer.headers["Content-Type"].startswith(accept)
    running = await live.submit("sh", "-c", "echo one; exec sleep 100")
    stream = await live.follow(running["logs_url"])
    async with stream.stream:
        await stream.read_until(b"data: one")
    answer = await live.client.get(f"{running['logs_url']}?download=a.log", headers=browser)
    assert answer.text == "one\n"
