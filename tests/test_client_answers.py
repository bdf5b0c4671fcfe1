"""Answers that are not the service's: from a proxy, another service, or a network that fails."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio

from tests.answering import Answering, answer, answering
from tests.live import PATIENCE
from trio_logs.client import (
    Client,
    ClientError,
    End,
    Gap,
    Line,
    LogRecord,
    RefusedError,
    UnreachableError,
)
from trio_logs.client.backoff import MAX_DELAY, MIN_DELAY, Backoff
from trio_logs.client.events import MAX_EVENT_BYTES, EventParser, ObjectParser, Parser

SSE, NDJSON, JSON, HTML = (
    "text/event-stream",
    "application/x-ndjson",
    "application/json",
    "text/html",
)

PAGE = b"<!DOCTYPE html>\n<title>Log in</title>\n\n<p>Who are you?</p>\n\n"


def line(number: int) -> bytes:
    return b'{"seq":%d,"time":"2026-01-31T12:00:00Z","stream":"stdout","text":"x"}' % number


END = b'"status":"succeeded","exit_code":0,"signal":null,"error":null,"lines":2,"bytes":4}'


def events(*objects: bytes) -> bytes:
    """The event stream with these lines."""
    return b": open\nretry: 20\n\n" + b"".join(b"id: 1\ndata: %b\n\n" % each for each in objects)


ENDED = {
    True: b"event: end\nid: end\ndata: {" + END + b"\n\n",
    False: b'{"event":"end",' + END + b"\n",
}


def log(follow: bool, *objects: bytes, rest: bytes = b"") -> bytes:
    """An answer to a follower, in the form that it asks for."""
    if follow:
        return answer(f"{SSE}; charset=utf-8", events(*objects) + rest)
    return answer(NDJSON, b"".join(each + b"\n" for each in objects) + rest)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon."""
    monkeypatch.setattr("trio_logs.client.backoff.MAX_DELAY", 0.02)
    monkeypatch.setattr("trio_logs.client.requests.REQUEST_DELAYS", (0.02, 0.02))


async def followed(server: Answering, *, follow: bool, patience: float = 30) -> list[LogRecord]:
    with trio.fail_after(PATIENCE):
        async with Client(server.url, "t") as client:
            log = client.follow("x", follow=follow, patience=patience)
            return [record async for record in log]


def numbers(records: list[LogRecord]) -> list[int]:
    return [record.seq for record in records if isinstance(record, Line)]


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (answer(HTML, PAGE), "answers 200 with content type text/html, not "),
        (answer("Application/JSON", b"{}"), "answers 200 with content type application/json"),
        (answer(None, PAGE), "answers 200 with no content type"),
        (answer(None, b"", "204 No Content"), "answers 204 with no content type"),
        (answer(HTML, PAGE, "206 Partial"), "answers 206 with content type text/html"),
    ],
)
@pytest.mark.usefixtures("soon")
async def test_what_is_no_log_counts_against_patience(
    follow: bool, wrong: bytes, told: str
) -> None:
    async with answering(lambda number: wrong) as server:
        with pytest.raises(UnreachableError) as found:
            await followed(server, follow=follow, patience=0.2)
    assert re.match(rf"gave up on {server.url} after \d+ s: {server.url} {told}", str(found.value))
    assert len(server.heads) >= 2


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.usefixtures("soon")
async def test_a_page_that_goes_away_costs_nothing(follow: bool) -> None:
    answers = [answer(HTML, PAGE), log(follow, line(1), line(2), rest=ENDED[follow])]
    async with answering(lambda number: answers[number]) as server:
        records = await followed(server, follow=follow)
    assert numbers(records) == [1, 2]
    assert isinstance(records[-1], End)


BROKEN = {
    "truncated": line(2)[:-9],
    "a page": b"<html>Bad gateway</html>",
    "no text": line(2).replace(b'"text"', b'"x"'),
    "a number for a text": b"7",
    "no time": line(2).replace(b"2026", b"x"),
    "not UTF-8": line(2).replace(b'"x"', b'"\xff"'),
    "nested": line(2)[:-1] + b',"x":' + b"[" * 100_000 + b"}",
}

CONTROLS = {
    "end of nothing": (b"event: end\ndata: {}\n\n", b'{"event":"end"}\n'),
    "unknown status": (
        ENDED[True].replace(b"succeeded", b"x"),
        ENDED[False].replace(b"succeeded", b"x"),
    ),
    "gap of nothing": (b"event: gap\ndata: []\n\n", b'{"event":"gap","from":"x"}\n'),
    "no data": (b"event: end\n\n", b'{"event":7}\n'),
    "two data": (b"event: reset\ndata: {}\ndata: {}\n\n", b'{"event":"reset"}{}\n'),
    "name": (b"event: \xff\ndata: {}\n\n", b'{"event":"\xff"}\n'),
    "no field": (b"<p>no field</p>\n\n", b"<p>no object</p>\n"),
}


def parse(parser: Parser, data: bytes, size: int) -> list[LogRecord]:
    records: list[LogRecord] = []
    for start in range(0, len(data), size):
        records += parser.feed(data[start : start + size])
    return records


@pytest.mark.parametrize("size", [1, 1 << 30])
@pytest.mark.parametrize("case", [*BROKEN, *CONTROLS])
def test_records_up_to_a_broken_one_are_kept(case: str, size: int) -> None:
    """Whatever is broken, and whatever pieces it comes in."""
    for follow in (True, False):
        if case in BROKEN:
            objects = [line(1), BROKEN[case], line(3)]
            data = events(*objects) if follow else b"".join(each + b"\n" for each in objects)
        elif follow:
            data = events(line(1)) + CONTROLS[case][0] + events(line(3))
        else:
            data = line(1) + b"\n" + CONTROLS[case][1] + line(3) + b"\n"
        size = max(size, len(data) // 2000)
        parser = EventParser() if follow else ObjectParser()
        assert numbers(parse(parser, data, size)) == [1]
        assert parser.last_id == "1"
        assert parser.broken is not None
        assert len(parser.broken) < 300
        assert parser.feed(events(line(4))) == []


@pytest.mark.parametrize("kind", [EventParser, ObjectParser])
def test_an_event_without_an_end_is_not_held_for_ever(kind: type[Parser]) -> None:
    parser = kind()
    fed = 0
    while parser.broken is None:
        assert fed <= MAX_EVENT_BYTES
        fed += len(piece := b"x" * 65536)
        parser.feed(piece)
    assert "more than 1,048,576 bytes" in parser.broken


@pytest.mark.parametrize("kind", [EventParser, ObjectParser])
def test_an_event_of_a_later_version_is_passed_over(kind: type[Parser]) -> None:
    parser = kind()
    if kind is EventParser:
        records = parser.feed(b"event: later\ndata: ...\n\n" + events(line(1)))
    else:
        records = parser.feed(b'{"event":"later","text":"..."}\n' + line(1) + b"\n")
    assert numbers(list(records)) == [1]
    assert parser.broken is None


def test_a_position_is_where_to_resume() -> None:
    parser: Parser = EventParser()
    parser.feed(b"id: 41000\n\n")
    assert (parser.last_id, parser.broken, parser.heard) == ("41000", None, True)
    parser = ObjectParser()
    parser.feed(b'{"event":"position","id":"41000"}\n')
    assert (parser.last_id, parser.broken, parser.heard) == ("41000", None, True)


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.usefixtures("soon")
async def test_after_a_broken_record_it_goes_on_where_it_was(follow: bool) -> None:
    answers = [
        log(follow, line(1), BROKEN["truncated"]),
        # The answer ends in order, but within an event.
        log(follow, rest=line(2)[:20]),
        log(follow, line(2), rest=ENDED[follow]),
    ]
    async with answering(lambda number: answers[number]) as server:
        records = await followed(server, follow=follow)
    assert numbers(records) == [1, 2]
    assert isinstance(records[-1], End)
    assert [b"last-event-id: 1" in head.lower() for head in server.heads] == [False, True, True]


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("broken", [BROKEN["a page"] + b"\n\n", b"truncated"])
@pytest.mark.usefixtures("soon")
async def test_a_record_that_stays_broken_ends_the_patience(follow: bool, broken: bytes) -> None:
    """Though each answer opens properly."""
    async with answering(
        lambda number: log(follow, *[line(1)] * (number == 0), rest=broken)
    ) as server:
        with pytest.raises(UnreachableError, match=r"the answer is not a log: "):
            await followed(server, follow=follow, patience=0.2)
    assert len(server.heads) >= 2


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.usefixtures("soon")
async def test_a_content_encoding_that_is_not_there(follow: bool) -> None:
    wrong = log(follow, line(1)).replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    async with answering(lambda number: wrong) as server:
        with pytest.raises(UnreachableError, match="gave up on"):
            await followed(server, follow=follow, patience=0.2)
        async with Client(server.url, "t") as client:
            with pytest.raises(ClientError, match="sends an unreadable answer"):
                await client.get("x")


@pytest.mark.usefixtures("soon")
async def test_a_server_that_is_heard_is_tried_for_ever() -> None:
    """An opening is enough; a quiet log has nothing more to say."""
    async with answering(
        lambda number: log(True, rest=ENDED[True] if number == 20 else b"")
    ) as server:
        [end] = await followed(server, follow=True, patience=0.1)
    assert isinstance(end, End)


async def chunks() -> AsyncIterator[bytes]:
    yield b"line\n"


async def listed(client: Client) -> object:
    return [workload async for workload in client.list()]


CALLS: dict[str, Callable[[Client], Awaitable[object]]] = {
    "submit": lambda client: client.submit(["true"]),
    "get": lambda client: client.get("x"),
    "list": listed,
    "stop": lambda client: client.stop("x"),
    "delete": lambda client: client.delete("x"),
    "push": lambda client: client.push("x", chunks()),
    "finish": lambda client: client.push("x", chunks()),
}


WRONG = {
    "a page": (answer(HTML, PAGE), f"answers 200 with content type {HTML}"),
    "no fields": (answer(JSON, b"{}"), f"answers 200 with content type {JSON}"),
    "truncated": (answer(JSON, b'{"id":'), f"answers 200 with content type {JSON}"),
    "not UTF-8": (answer(JSON, b'{"id":"\xff"}'), f"answers 200 with content type {JSON}"),
    "nested": (answer(JSON, b'{"x":' + b"[" * 100_000), f"answers 200 with content type {JSON}"),
    "empty": (answer(None, b"", "204 No Content"), "answers 204 with no content type"),
}


@pytest.mark.parametrize(
    ("call", "wrong", "told"),
    [
        pytest.param(call, *WRONG[case], id=f"{call}, {case}")
        for call in CALLS
        for case in WRONG
        # An empty answer is what `delete` is to get.
        if (call, case) != ("delete", "empty")
    ],
)
async def test_an_answer_that_is_none(call: str, wrong: bytes, told: str) -> None:
    ready = [answer(None, b"", "204 No", "Upload-Offset: 5")] if call == "finish" else []
    async with (
        answering(lambda number: [*ready, wrong][number]) as server,
        Client(server.url, "t") as client,
    ):
        with trio.fail_after(PATIENCE), pytest.raises(ClientError) as found:
            await CALLS[call](client)
    assert type(found.value) is ClientError
    assert str(found.value).startswith(f"{server.url} {told}")


@pytest.mark.parametrize("call", [*CALLS, "follow"])
@pytest.mark.parametrize(
    ("wrong", "status", "told"),
    [
        (answer(HTML, PAGE, "404 Not Found"), 404, "404 Not Found: .* content type text/html"),
        (answer(None, b"", "400 "), 400, "400: .* with no content type"),
        (answer("application/problem+json", b"[]", "400 No"), 400, "type application/problem"),
        (answer(JSON, b'{"detail": 7}', "501 No"), 501, "501 No: .* type application/json"),
        (
            answer(HTML, PAGE, "302 Found", "Location: https://login.example/?a=b"),
            302,
            "redirects to https://login.example/.a=b: if the service is there, give that address",
        ),
    ],
)
async def test_a_refusal_that_is_no_problem(
    call: str, wrong: bytes, status: int, told: str
) -> None:
    ready = [answer(None, b"", "204 No", "Upload-Offset: 5")] if call == "finish" else []
    async with answering(lambda number: [*ready, wrong][number]) as server:
        with trio.fail_after(PATIENCE), pytest.raises(RefusedError, match=told) as found:
            if call == "follow":
                await followed(server, follow=True)
            else:
                async with Client(server.url, "t") as client:
                    await CALLS[call](client)
    assert found.value.status == status


@pytest.mark.parametrize("offset", ["abc", "", "-1", "+5", "1_0", "5.0", "9" * 5000, "5, 5"])
async def test_an_offset_that_is_no_number(offset: str) -> None:
    wrong = answer(None, b"", "204 No", f"Upload-Offset: {offset}")
    async with answering(lambda number: wrong) as server, Client(server.url, "t") as client:
        with trio.fail_after(PATIENCE), pytest.raises(ClientError) as found:
            await client.push("x", chunks())
    assert "Upload-Offset" in str(found.value)
    assert len(str(found.value)) < 400


async def test_a_server_that_takes_nothing_is_given_up() -> None:
    """It acknowledges nothing, and refuses the end."""
    answers = [answer(None, b"", status, "Upload-Offset: 0") for status in ("204 No", "409 No")]
    async with (
        answering(lambda number: answers[number % 2]) as server,
        Client(server.url, "t") as client,
    ):
        with trio.fail_after(PATIENCE), pytest.raises(RefusedError) as found:
            await client.push("x", chunks())
    assert found.value.status == 409
    assert len(server.heads) < 12


@pytest.mark.parametrize("kind", ["application/problem+json", "text/html"])
@pytest.mark.usefixtures("soon")
async def test_a_fault_of_the_service_ends_a_push(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a proxy gets better by itself, so a push waits for that without limit."""
    monkeypatch.setattr("trio_logs.client.faults.FAULT_SECONDS", 0.1)
    problem = answer(kind, b'{"status":500,"detail":"It is broken."}', "500 Oops")
    enough = trio.Event()

    def respond(number: int) -> bytes:
        if number == 50:
            enough.set()
        return problem

    async def push(client: Client) -> None:
        await client.push("x", chunks())

    async with answering(respond) as server, Client(server.url, "t") as client:
        with trio.fail_after(PATIENCE):
            if kind == "text/html":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(push, client)
                    await enough.wait()
                    nursery.cancel_scope.cancel()
            else:
                with pytest.raises(RefusedError, match="It is broken") as found:
                    await push(client)
                assert (found.value.status, found.value.is_problem) == (500, True)
                assert len(server.heads) > 2


@pytest.mark.usefixtures("soon")
async def test_only_a_series_of_faults_ends_a_push(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second answer 500 in a row would, but another answer to the end of the log is between."""
    monkeypatch.setattr("trio_logs.client.faults.FAULT_SECONDS", 0.0)
    problem = "application/problem+json"
    fault = answer(problem, b'{"detail":"It is broken."}', "500 Oops")
    conflict = answer(problem, b'{"detail":"Go back."}', "409 No", "Upload-Offset: 0")
    gone = answer(problem, b'{"detail":"It is gone."}', "404 No")
    ends = [fault, conflict, fault, gone]
    taken = answer(None, b"", "204 Yes", "Upload-Offset: 0")
    async with (
        answering(lambda number: ends[number // 2] if number % 2 else taken) as server,
        Client(server.url, "t") as client,
    ):
        with trio.fail_after(PATIENCE), pytest.raises(RefusedError, match="It is gone"):
            await client.push("x", chunks())
    assert len(server.heads) == 8


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.usefixtures("soon")
async def test_a_log_that_is_deleted_while_it_is_read(follow: bool) -> None:
    gap = b'"from":2,"to":9,"reason":"deleted"}'
    told = b"event: gap\ndata: {%b\n\n" % gap if follow else b'{"event":"gap",%b\n' % gap
    problem = answer("application/problem+json", b'{"detail":"no workload"}', "404 Not Found")
    answers = [log(follow, line(1), rest=told), problem]
    records: list[LogRecord] = []
    async with (
        answering(lambda number: answers[number]) as server,
        Client(server.url, "t") as client,
    ):
        with trio.fail_after(PATIENCE), pytest.raises(RefusedError) as refused:
            async for record in client.follow("x", follow=follow):
                records.append(record)
    assert refused.value.status == 404
    assert numbers(records) == [1]
    assert records[1:] == [Gap(2, 9, "deleted")]


def test_a_delay_stays_within_its_bounds() -> None:
    """Also after so many failures that a float would overflow."""
    backoff = Backoff(None, "http://x")
    for _ in range(3000):
        assert 0.25 <= backoff.delay("why", 0.5, 5) <= 5
    for asked in (0.0, 1e9):
        backoff.succeeded()
        assert MIN_DELAY / 2 <= backoff.delay("why", asked) <= MAX_DELAY


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [(b"3000", 3.0), (b"0", 0.0), (b"-5", 2.0), (b"x", 2.0), (b"", 2.0), (b"9" * 5000, 2.0)],
)
def test_the_delay_that_a_server_asks_for(asked: bytes, seconds: float) -> None:
    parser = EventParser()
    parser.feed(b": open\nretry: " + asked + b"\n\n")
    assert (parser.retry, parser.broken) == (seconds, None)


def test_the_delay_of_a_shutdown_in_ndjson() -> None:
    parser = ObjectParser()
    parser.feed(b'{"event":"shutdown","reason":"draining","detail":"It is.","retry":500}\n')
    assert (parser.retry, parser.shutdown) == (0.5, "It is.")
