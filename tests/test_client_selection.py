"""A client that asks for a part of a log gets that part, also over answers that are cut."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import aclosing
from urllib.parse import parse_qs, urlsplit

import pytest
import trio

from tests.answering import Answering, answer, answering
from tests.live import PATIENCE
from tests.test_client_answers import ENDED, events, line, numbers
from trio_logs.client import Client, End, Line, LogRecord, Reset, Stop, SyncClient, Unfinished
from trio_logs.client.events import EventParser, ObjectParser, Parser
from trio_logs.client.limit import Limit
from trio_logs.client.requests import FollowOptions
from trio_logs.client.resume import Resume

pytestmark = pytest.mark.usefixtures("soon")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon."""
    monkeypatch.setattr("trio_logs.client.backoff.MAX_DELAY", 0.02)


def part(number: int, *, partial: bool = False, stream: str = "stdout") -> bytes:
    made = line(number).replace(b"stdout", stream.encode())
    return made.replace(b'"x"', b'"x","partial":true') if partial else made


def stop(follow: bool, reason: bytes, following: int) -> bytes:
    fields = b'"reason":"%b","next":%d}' % (reason, following)
    if follow:
        return b"event: stop\nid: stop\ndata: {%b\n\n" % fields
    return b'{"event":"stop",%b\n' % fields


def unfinished(follow: bool, text: bytes, stream: bytes = b"stdout") -> bytes:
    fields = b'"stream":"%b","text":"%b"}' % (stream, text)
    if follow:
        return b"event: unfinished\ndata: {%b\n\n" % fields
    return b'{"event":"unfinished",%b\n' % fields


def log(follow: bool, *objects: bytes, rest: bytes = b"", cut: bool = False) -> bytes:
    """An answer of these lines. With `cut`, its connection breaks before its end."""
    body = events(*objects) if follow else b"".join(each + b"\n" for each in objects)
    body += rest
    whole = answer("text/event-stream" if follow else "application/x-ndjson", body)
    if cut:
        whole = whole.replace(b"Content-Length: ", b"Connection: close\r\nContent-Length: 9")
    return whole


async def followed(server: Answering, options: FollowOptions) -> list[LogRecord]:
    with trio.fail_after(PATIENCE):
        async with Client(server.url, "t") as client, aclosing(client.follow("x", **options)) as it:
            return [record async for record in it]


def queries(server: Answering) -> list[dict[str, str]]:
    """The parameters of the requests that came."""
    return [
        {name: value for name, [value] in parse_qs(urlsplit(head.split()[1]).query).items()}
        for head in server.heads
        for head in [head.decode()]
    ]


@pytest.mark.parametrize("size", [1, 9, 10_000])
@pytest.mark.parametrize("kind", [EventParser, ObjectParser])
def test_what_a_parser_makes_of_a_stop(kind: type[Parser], size: int) -> None:
    follow = kind is EventParser
    data = unfinished(follow, b"50 %") + unfinished(follow, b"") + stop(follow, b"limit", 8)
    if not follow:
        data = b'{"event":"heartbeat"}\n' + data
    parser = kind("7")
    records: list[LogRecord] = []
    ids = []
    for start in range(0, len(data), size):
        records += parser.feed(data[start : start + size])
        ids.append(parser.last_id)
    assert records == [Unfinished("stdout", "50 %"), Unfinished("stdout", ""), Stop("limit", 8)]
    assert (parser.broken, parser.heard, ids[-1]) == (None, True, "stop")
    if size == 1:
        # What has not ended has no place in the log.
        assert set(ids) == {"7", "stop"}


def test_a_heartbeat_shows_that_the_server_is_there() -> None:
    parser = ObjectParser("7")
    assert parser.feed(b'{"event":"heartbeat"}\n') == []
    assert (parser.heard, parser.last_id, parser.broken) == (True, "7", None)


async def test_each_option_is_sent_as_the_wire_has_it() -> None:
    async with answering(lambda number: log(False, line(3), rest=stop(False, b"to", 10))) as server:
        options: FollowOptions = {
            "first": 3,
            "last": 9,
            "limit": 5,
            "filter": "ä & b\\d+",
            "regex": True,
            "case": False,
            "invert": True,
            "tail": 4,
            "unfinished": True,
        }
        records = await followed(server, options)
    assert records[-1] == Stop("to", 10)
    assert queries(server) == [
        {
            "format": "json",
            "from": "3",
            "to": "9",
            "limit": "5",
            "filter": "ä & b\\d+",
            "regex": "true",
            "case": "false",
            "invert": "true",
            "tail": "4",
            "unfinished": "true",
        }
    ]


async def test_a_last_line_ends_the_following() -> None:
    """The server says nothing more once it is at the head, and the client does not come back."""
    async with answering(lambda number: log(False, line(1))) as server:
        assert numbers(await followed(server, {"last": 9})) == [1]
    assert b"accept: application/x-ndjson" in server.heads[0].lower()
    assert len(server.heads) == 1


@pytest.mark.parametrize("follow", [True, False])
async def test_a_limit_counts_what_came_before_a_cut(follow: bool) -> None:
    answers = [
        log(follow, line(1), line(2), cut=True),
        log(follow, line(3), cut=True),
        log(follow, line(4), rest=stop(follow, b"limit", 5)),
    ]
    async with answering(lambda number: answers[number]) as server:
        records = await followed(server, {"limit": 4, "follow": follow})
    assert numbers(records) == [1, 2, 3, 4]
    assert records[-1] == Stop("limit", 5)
    assert [query["limit"] for query in queries(server)] == ["4", "2", "1"]


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("ended", [True, False])
async def test_after_the_last_line_only_the_end_is_asked_for(follow: bool, ended: bool) -> None:
    rest = ENDED[follow] if ended else stop(follow, b"to", 3)
    answers = [log(follow, line(1), line(2), cut=True), log(follow, rest=rest)]
    async with answering(lambda number: answers[number]) as server:
        records = await followed(server, {"limit": 2, "first": 1, "follow": follow})
    assert numbers(records) == [1, 2]
    # As the server had said if the connection had lasted.
    assert isinstance(records[-1], End) if ended else records[-1] == Stop("limit", 3)
    _, last = queries(server)
    assert (last["to"], last["follow"], "limit" in last) == ("2", "false", False)
    assert b"last-event-id: 2" in server.heads[1].lower()


@pytest.mark.parametrize("follow", [True, False])
async def test_a_log_that_starts_again_has_its_limit_again(follow: bool) -> None:
    reset = b'"reason":"beyond_head"}'
    told = b"event: reset\ndata: {%b\n\n" % reset if follow else b'{"event":"reset",%b\n' % reset
    again = events(line(1)) if follow else line(1) + b"\n"
    answers = [
        log(follow, line(7), line(8), cut=True),
        log(follow, rest=told + again + stop(follow, b"limit", 2)),
        log(follow, line(2), line(3), rest=stop(follow, b"limit", 4)),
    ]
    async with answering(lambda number: answers[number]) as server:
        records = await followed(server, {"limit": 3, "follow": follow})
    assert numbers(records) == [7, 8, 1, 2, 3]
    assert (records[2], records[-1]) == (Reset("beyond_head"), Stop("limit", 4))
    assert len([record for record in records if isinstance(record, Stop)]) == 1
    assert [query["limit"] for query in queries(server)] == ["3", "1", "2"]
    assert b"last-event-id: 1" in server.heads[2].lower()


def made(objects: Sequence[bytes]) -> list[LogRecord]:
    return [*ObjectParser().feed(b"".join(each + b"\n" for each in objects))]


@pytest.mark.parametrize(
    ("filters", "parts", "left"),
    [
        (False, [part(1), part(2)], 8),
        # Within a line, only the client can tell which lines count already.
        (False, [part(1), part(2, partial=True)], None),
        (False, [part(1), part(2, partial=True), part(3)], 8),
        (False, [part(1, partial=True), part(2, stream="stderr"), part(3, partial=True)], None),
        (False, [part(1, partial=True), part(2, stream="stderr"), part(3)], 8),
        # Another stream is hidden.
        (False, [part(1, partial=True), part(5)], 9),
        # Line 2 may be the rest of the first one.
        (True, [part(1, partial=True), part(3)], 8),
        (True, [part(1, partial=True), part(2)], 9),
        (False, [part(1, partial=True), b'{"event":"gap","from":2,"to":4,"reason":"x"}'], 9),
        (False, [part(7), b'{"event":"reset","reason":"x"}', part(1)], 9),
    ],
)
def test_the_parts_of_a_line_count_as_one(
    filters: bool, parts: list[bytes], left: int | None
) -> None:
    limit = Limit(10, filters=filters, hides=filters)
    assert limit.count(made(parts)) == made(parts)
    assert limit.resume() == left


@pytest.mark.parametrize("filters", [True, False])
def test_what_a_limit_leaves_out_within_a_line(filters: bool) -> None:
    limit = Limit(1, filters=filters, hides=filters)
    limit.count(made([part(1, partial=True)]))
    assert limit.resume() is None
    rest = made([part(2, stream="stderr"), part(3), part(4)])
    assert limit.count(rest) == rest[1:2]
    assert (limit.full, limit.newest, limit.left_out) == (True, 3, 2)


def test_a_limit_is_exact_however_often_it_is_cut() -> None:
    """Against a server that counts as the contract has it, for random logs and cuts."""
    for seed in range(300):
        chance = random.Random(seed)
        parts = [
            (number, chance.choice(["stdout", "stderr"]), chance.random() < 0.4)
            for number in range(1, 60)
        ] + [(60, "stdout", False), (61, "stderr", False)]
        wanted = chance.randrange(1, 12)
        expected, stopped_at = served(parts, 0, wanted)
        assert stopped_at
        resume = Resume({"limit": wanted, "follow": False}, "http://x")
        got: list[LogRecord] = []
        for _ in range(1000):
            if resume.done:
                break
            after = int(resume.begin().get("Last-Event-ID", "0"))
            query = resume.query()
            if "to" in query:
                assert int(query["to"]) == after
                sent, following = [], after + 1
            else:
                sent, following = served(parts, after, int(query.get("limit", "999")))
            cut = chance.randrange(len(sent) + 2)
            for number, stream, partial in sent[:cut]:
                got += resume.feed(part(number, stream=stream, partial=partial) + b"\n")
            if cut > len(sent) and following:
                got += resume.feed(stop(False, b"limit", following))
            got += resume.flush()
        assert numbers(got) == [number for number, _, _ in expected], seed
        assert got[-1] == Stop("limit", stopped_at), seed


Part = tuple[int, str, bool]


def served(parts: list[Part], after: int, limit: int) -> tuple[list[Part], int]:
    """The parts after a number that belong to the first lines, and the first part that the limit
    left out, or 0."""
    sent: list[Part] = []
    left_out = 0
    going_on: set[str] = set()
    for number, stream, partial in parts:
        if number <= after:
            continue
        if stream not in going_on:
            if not limit:
                if not going_on:
                    return sent, left_out or number
                # Parts of lines that count already go on behind the start of others.
                left_out = left_out or number
                continue
            limit -= 1
        going_on.discard(stream)
        if partial:
            going_on.add(stream)
        sent.append((number, stream, partial))
        if not limit and not going_on:
            return sent, left_out or number + 1
    return sent, 0


@pytest.mark.parametrize("follow", [True, False])
async def test_a_line_that_has_not_ended_is_cleared_by_a_cut(follow: bool) -> None:
    """It may end until the next answer comes, and a filter may hide its end."""
    answers = [
        log(
            follow,
            rest=unfinished(follow, b"50 %") + unfinished(follow, b"name?", b"stderr"),
            cut=True,
        ),
        log(follow, line(1), rest=unfinished(follow, b"y", b"stderr") + ENDED[follow]),
    ]
    async with answering(lambda number: answers[number]) as server:
        records = await followed(server, {"unfinished": True, "follow": follow})
    assert [record for record in records if isinstance(record, Unfinished)] == [
        Unfinished("stdout", "50 %"),
        Unfinished("stderr", "name?"),
        Unfinished("stderr", ""),
        Unfinished("stdout", ""),
        Unfinished("stderr", "y"),
    ]


def test_only_what_is_shown_is_cleared() -> None:
    resume = Resume({"unfinished": True}, "http://x")
    resume.begin()
    resume.feed(unfinished(True, b"a") + unfinished(True, b"b", b"stderr") + events(line(1)))
    assert resume.clear() == [Unfinished("stderr", "")]
    resume.feed(unfinished(True, b"c") + unfinished(True, b""))
    assert resume.clear() == []


def test_what_has_not_ended_does_not_make_up_for_a_broken_record() -> None:
    """Otherwise a follower would ask for the same broken record for ever."""
    resume = Resume({"unfinished": True, "patience": 0}, "http://x")
    for _ in range(2):
        resume.begin()
        resume.feed(unfinished(True, b"a") + b"broken\n\n")
        heard = resume.heard
        resume._suspect = True
    assert not heard


async def test_what_a_filter_finds_comes_at_once() -> None:
    """Though the answer goes on, and the log is not followed."""
    cut = log(False, line(5), cut=True)
    options: FollowOptions = {"filter": "x", "follow": False}
    async with (
        answering(lambda number: cut) as server,
        Client(server.url, "t") as client,
        aclosing(client.batches("x", **options)) as batches,
    ):
        with trio.fail_after(PATIENCE):
            [record] = await anext(batches)
    assert isinstance(record, Line)
    assert len(server.heads) == 1


async def test_a_script_has_the_same_options() -> None:
    async with answering(lambda number: log(False, line(3), rest=stop(False, b"to", 4))) as server:

        def read() -> list[LogRecord]:
            with SyncClient(server.url, "t") as client:
                return list(client.follow("x", first=3, last=3, filter="x"))

        with trio.fail_after(PATIENCE):
            records = await trio.to_thread.run_sync(read)
    assert numbers(records) == [3]
    assert records[-1] == Stop("to", 4)
    [query] = queries(server)
    assert (query["from"], query["to"], query["filter"]) == ("3", "3", "x")
