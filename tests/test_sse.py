"""Records to frames, read back by a parser written after the standard."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_logs import formats, sse
from trio_logs.errors import InvalidRequestError
from trio_logs.lines import LineSplitter
from trio_logs.records import Batch, Detached, End, Gap, Outcome, Reason, Reset, Status

TIME = 1_770_000_000_000_001
RFC3339 = "2026-02-02T02:40:00.000001Z"


@dataclass
class Event:
    """What a client dispatches."""

    data: str
    name: str = "message"
    id: str = ""


def parse(stream: bytes) -> tuple[list[Event], list[str], list[str]]:
    """Events, comments and retries of a stream; WHATWG HTML, section 9.2.6."""
    events, comments, retries = [], [], []
    text = stream.decode().replace("\r\n", "\n").replace("\r", "\n")
    name, data, last_id = "", list[str](), ""
    for line in text.split("\n"):
        field, colon, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append(Event("\n".join(data), name or "message", last_id))
            name, data = "", []
        elif not field and colon:
            comments.append(value)
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id" and "\0" not in value:
            last_id = value
        elif field == "retry":
            retries.append(value)
    return events, comments, retries


def batches(data: bytes, stream: str = "stdout", max_line: int = 64) -> list[Batch]:
    splitter = LineSplitter(max_line)
    found: list[Batch] = []
    for run in [*splitter.feed(data), *splitter.close()]:
        first = found[-1].last + 1 if found else 1
        found.append(Batch(first, run.count, TIME, stream, run.data, run.partial, run.continues))
    return found


def shown(data: bytes) -> list[str]:
    """The lines of a text, as text."""
    lines = data.split(b"\n")
    ended, last = lines[:-1], lines[-1]
    ended = [line.removesuffix(b"\r") for line in ended]
    return [line.decode(errors="replace") for line in [*ended, *([last] if last else [])]]


def test_opening_is_a_comment_and_retry() -> None:
    assert sse.OPENING == b": open\nretry: 2000\n\n"
    assert parse(sse.OPENING) == ([], ["open"], ["2000"])


def test_the_example_of_the_contract() -> None:
    [batch] = batches(b"first line\nsecond line\n")
    assert sse.text_frames(batch) == b"id: 1\ndata: first line\n\nid: 2\ndata: second line\n\n"
    end = End(Outcome(Status.SUCCEEDED, 0, reason=Reason.EXITED), 2, 23)
    assert sse.control_frame(end) == (
        b"event: end\nid: end\n"
        b'data: {"status":"succeeded","reason":"exited","exit_code":0,'
        b'"signal":null,"error":null,"lines":2,"bytes":23}'
        b"\n\n"
    )


CONTROLS = [
    (Gap(1, 4000), b'event: gap\ndata: {"from":1,"to":4000,"reason":"retention"}\n\n'),
    (Gap(2, 3, "store"), b'event: gap\ndata: {"from":2,"to":3,"reason":"store"}\n\n'),
    (
        Reset("beyond_head", "why"),
        b'event: reset\ndata: {"reason":"beyond_head","detail":"why"}\n\n',
    ),
    (
        Detached(),
        b"event: shutdown\nretry: 3000\n"
        b'data: {"reason":"draining",'
        b'"detail":"the server is shutting down: resume after the last id"}\n\n',
    ),
]


@pytest.mark.parametrize(("record", "frame"), CONTROLS)
def test_control_events_carry_no_id(record: sse.Control, frame: bytes) -> None:
    assert sse.control_frame(record) == frame
    _, event = parse(b"id: 7\ndata: x\n\n" + frame)[0]
    assert event.id == "7"


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b"])
def test_event_and_id_refuse_what_ends_a_field(bad: str) -> None:
    with pytest.raises(ValueError, match="SSE event"):
        sse.event(b"", event=bad)
    with pytest.raises(ValueError, match="SSE id"):
        sse.event(b"", event_id=bad)


@given(st.text(alphabet="ab\r\n: ", max_size=20))
def test_event_data_survives_up_to_line_ends(text: str) -> None:
    [event], _, _ = parse(sse.event(text.encode(), event="x", event_id="1"))
    assert event == Event(text.replace("\r\n", "\n").replace("\r", "\n"), "x", "1")


def test_all_byte_values() -> None:
    data = b"".join(b"<" + bytes([byte]) + b">\n" for byte in range(256))
    found = [event for batch in batches(data) for event in parse(sse.text_frames(batch))[0]]
    assert [event.data for event in found] == [text.replace("\r", "\n") for text in shown(data)]
    assert [event.id for event in found] == [str(number) for number in range(1, 258)]


@pytest.mark.parametrize(
    "first", [1, 9_989, 9_990, 9_991, 9_999, 10_000, 19_990, 19_991, 20_000, 10**9 + 7, 10**15]
)
@pytest.mark.parametrize("line", [b"100 %d %b %%", b"a\rb", b""])
def test_numbers_have_all_their_digits(first: int, line: bytes) -> None:
    batch = Batch(first, 10, TIME, "stdout", (line + b"\n") * 10)
    data = line.replace(b"\r", b"\ndata: ")
    assert sse.text_frames(batch) == b"".join(
        b"id: %d\ndata: %b\n\n" % (number, data) for number in range(first, first + 10)
    )


bits = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"%d", b"%", b"{}", b": ", b"a", "€".encode(), b"\xe2"]
)
texts = st.one_of(st.binary(max_size=60), st.lists(bits, max_size=30).map(b"".join))


@given(texts)
def test_every_text_is_read_back(data: bytes) -> None:
    expected = shown(data)
    text, objects, ndjson = [], [], []
    for batch in batches(data):
        text += parse(sse.text_frames(batch))[0]
        objects += parse(sse.json_frames(batch))[0]
        ndjson += [json.loads(line) for line in sse.json_lines(batch).split(b"\n")[:-1]]
        assert [line.decode(errors="replace") for line in batch.lines] == (
            expected[batch.first - 1 : batch.last]
        )
    numbers = list(range(1, len(expected) + 1))
    # A parser can't tell a trailing lone CR from a line end that it normalised.
    assert [event.data for event in text] == [line.replace("\r", "\n") for line in expected]
    assert (
        [event.id for event in text] == [event.id for event in objects] == list(map(str, numbers))
    )
    assert [json.loads(event.data) for event in objects] == ndjson
    assert ndjson == [
        {"seq": number, "time": RFC3339, "stream": "stdout", "text": line}
        for number, line in zip(numbers, expected, strict=True)
    ]


@given(texts)
def test_plain_text_is_exact_and_times_stand_before_lines(data: bytes) -> None:
    found = batches(data, max_line=8)
    assert b"".join(formats.TEXT.render(batch) for batch in found) == data
    timed = b"".join(formats.TIMED_TEXT.render(batch) for batch in found)
    *lines, last = data.split(b"\n")
    expected = [RFC3339.encode() + b" " + line + b"\n" for line in lines]
    if last:
        expected.append(RFC3339.encode() + b" " + last)
    assert timed == b"".join(expected)


def test_fragments_are_flagged() -> None:
    found = batches(b"0123456789\nx\n", "stderr", max_line=4)
    objects = [json.loads(line) for b in found for line in sse.json_lines(b).split(b"\n")[:-1]]
    assert [(o["seq"], o["text"], o.get("partial")) for o in objects] == [
        (1, "0123", True),
        (2, "4567", True),
        (3, "89", None),
        (4, "x", None),
    ]
    assert {o["stream"] for o in objects} == {"stderr"}
    timed = b"".join(formats.TIMED_TEXT_EVENTS.render(batch) for batch in found)
    assert [event.data for event in parse(timed)[0]] == [
        f"{RFC3339} 0123",
        "4567",
        "89",
        f"{RFC3339} x",
    ]


def test_a_batch_keeps_the_two_newest_of_its_forms() -> None:
    batch = Batch(1, 1, 0, "stdout", b"x\n")
    for each in (formats.NDJSON, formats.TEXT_EVENTS, formats.JSON_EVENTS):
        each.render(batch)
    assert list(batch.rendered) == [formats.TEXT_EVENTS, formats.JSON_EVENTS]


def test_a_batch_is_rendered_once() -> None:
    [batch] = batches(b"a\nb\n")
    assert formats.TEXT_EVENTS.render(batch) is formats.TEXT_EVENTS.render(batch)


@given(texts, st.data())
def test_since_gives_the_rest(data: bytes, draw: st.DataObject) -> None:
    for batch in batches(data):
        first = draw.draw(st.integers(batch.first, batch.last))
        rest = batch.since(first)
        assert rest.last == batch.last
        assert rest.lines == batch.lines[first - batch.first :]
        assert batch.data.endswith(rest.data)


def test_last_event_id() -> None:
    assert sse.parse_last_event_id("0") == 0
    assert sse.parse_last_event_id("41") == 41
    assert sse.parse_last_event_id("end") == "end"
    assert sse.parse_last_event_id("9" * 5000) == 10**18
    for bad in ("-1", "+1", "1.0", " 1", "x", "١"):
        with pytest.raises(InvalidRequestError, match="not an event id"):
            sse.parse_last_event_id(bad)
