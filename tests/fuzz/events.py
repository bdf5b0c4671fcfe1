"""The answers of a service, as a client reads them: `trio_logs.client.events`."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from tests.fuzz import Target
from trio_logs import sse
from trio_logs.client.events import EventParser, ObjectParser, Parser
from trio_logs.records import Batch, Detached, End, Gap, Outcome, Position, Reset, Status

__all__ = ["TARGETS"]

_GOOD = [
    sse.OPENING,
    sse.KEEP_ALIVE,
    sse.json_frames(Batch(1, 2, 5, "stdout", b"a\nid: 3\n")),
    sse.json_frames(Batch(9, 1, 5, "stderr", b"\xff\xfe\r\x00\n")),
    *(
        sse.control_frame(record)
        for record in (
            Gap(3, 4, "deleted"),
            End(Outcome(Status.FAILED, 1, error="é"), 4, 9),
            Detached(),
            Reset("x", "y"),
            Position(7),
        )
    ),
    sse.json_lines(Batch(1, 3, 5, "stdout", b'a\n{"event":"end"}\nb\n')),
    b'{"event":"gap","from":1,"to":2,"reason":"store"}\n',
    b'{"event":"heartbeat"}\n',
]
_PIECES = st.one_of(
    st.sampled_from(_GOOD),
    st.sampled_from(
        [b"\n", b"\n\n", b"\r\n", b"data: ", b"event: end\n", b"id: ", b"retry: 9\n", b"{", b"}"]
    ),
    st.binary(max_size=8),
    st.sampled_from(_GOOD).flatmap(
        lambda frame: st.integers(0, len(frame)).map(lambda place: frame[:place])
    ),
)
_STREAMS = st.tuples(
    st.lists(_PIECES, max_size=8).map(b"".join), st.lists(st.integers(1, 40), max_size=20)
)


def check(given: tuple[bytes, list[int]]) -> None:
    """No input raises, and it does not matter how it is cut."""
    data, sizes = given
    for kind in (EventParser, ObjectParser):
        assert read(kind(), [data]) == read(kind(), pieces(data, sizes))


def pieces(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The data, cut into pieces of these sizes, and the rest."""
    cut = []
    for size in sizes:
        cut.append(data[:size])
        data = data[size:]
    return [*cut, data]


def read(parser: Parser, data: Sequence[bytes]) -> tuple[object, ...]:
    """All that a parser makes of it."""
    records = [record for piece in data for record in parser.feed(piece)]
    parser.finish()
    return records, parser.last_id, parser.retry, parser.shutdown, parser.deleted, parser.broken


TARGETS = [Target("sse", _STREAMS, check)]
