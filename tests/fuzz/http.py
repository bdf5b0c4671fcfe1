"""The head and the body of requests: the server, over real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import h11
import trio
from hypothesis import strategies as st

from tests.fuzz import Target
from trio_logs.server import Server, ServerLimits, TCPBind

__all__ = ["FAULTS", "TARGETS"]

PATIENCE = 20.0
"""Seconds that an answer may take."""

INNER = b"GET /inner HTTP/1.1\r\nHost: x\r\n\r\n"
"""A request within a body. It must stay there."""


LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@dataclass
class Served:
    """A server in another thread. `seen` has the paths and bodies of the requests to its app, by
    the port of the client."""

    server: Server
    port: int = 0
    token: trio.lowlevel.TrioToken | None = None
    seen: dict[int, list[tuple[str, bytes]]] = field(default_factory=dict)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """Read the body, then answer with its length."""
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.seen.setdefault(scope["client"][1], []).append((scope["path"], body))
        text = b"%d" % len(body)
        headers = [(b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    @property
    def failed(self) -> int:
        """How many connections have failed."""
        found = trio.from_thread.run_sync(self.server.statistics, trio_token=self.token)
        return found.failed

    async def run(self, ready: threading.Event, stop: trio.Event) -> None:
        self.token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            bind = TCPBind("127.0.0.1", 0)
            [url] = await nursery.start(
                self.server.serve, self.app, [bind], stop, lambda method, path: 4096
            )
            self.port = int(url.rpartition(":")[2])
            ready.set()


@contextmanager
def opened() -> Iterator[Served]:
    """A server that runs meanwhile."""
    served = Served(Server(ServerLimits(grace=0.2)))
    ready, stop = threading.Event(), trio.Event()
    thread = threading.Thread(target=trio.run, args=(served.run, ready, stop))
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield served
    finally:
        if served.token is not None:
            served.token.run_sync_soon(stop.set)
        thread.join(PATIENCE)


def exchange(served: Served, pieces: list[bytes], *, ends: bool = False) -> tuple[bytes, int]:
    """Send the pieces; return all that the server sends until it closes, and the client's port."""
    answer = b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port = int(client.getsockname()[1])
        # The server may have closed the connection already.
        with suppress(ConnectionError):
            for piece in pieces:
                client.sendall(piece)
            if ends:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while data := client.recv(65536):
                answer += data
    return answer, port


def check_answers(answer: bytes) -> list[int]:
    """The statuses of the answers, which are well-formed, each with the body that it declares."""
    statuses = []
    while answer:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(answer)
        while True:
            event = client.next_event()
            if isinstance(event, h11.Response):
                statuses.append(event.status_code)
            elif isinstance(event, h11.EndOfMessage):
                break
            elif event is h11.NEED_DATA:
                client.receive_data(b"")
        answer = client.trailing_data[0]
    return statuses


# Heads.

_LINES = st.one_of(
    st.sampled_from(
        [
            *(b"GET / HTTP/1.1", b"POST /x?y=%zz HTTP/1.1", b"HEAD / HTTP/1.0", b"GET * HTTP/1.1"),
            *(b"OPTIONS * HTTP/1.1", b"GET http://[::1 HTTP/1.1", b"PRI * HTTP/2.0", b"GET /"),
            *(b"Host: x", b"Host: y", b"Host:", b"Content-Length: 3", b"Content-Length: -1"),
            *(
                b"Content-Length: 3, 3",
                b"Content-Length: 99999999999999999999",
                b"Connection: close",
            ),
            *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Upgrade: h2c"),
            *(
                b"Expect: 100-continue",
                b"Expect: x",
                b"Connection: upgrade",
                b" folded",
                b"\tfolded",
            ),
            *(
                b"No colon",
                b": no name",
                b"Bad name: x",
                b"X: \x00",
                b"X: \xff",
                b"X: " + b"a" * 900,
            ),
            b"X-Many: 1\r\n" * 70 + b"X: 1",
        ]
    ),
    st.binary(max_size=20),
)
_ENDS = st.sampled_from([b"\r\n"] * 6 + [b"\n", b"\r", b"\r\r\n", b" \r\n", b"\x0b\r\n"])
_HEADS = st.tuples(
    st.lists(st.tuples(_LINES, _ENDS), max_size=8).map(
        lambda lines: b"".join(line + end for line, end in lines)
    ),
    st.sampled_from([b"\r\n", b"\r\n\r\n", b"\n\n", b"", b"\r\nabc", b"\r\n3\r\nabc\r\n0\r\n\r\n"]),
    st.integers(0, 60),
)


def check_head(served: Served, given: tuple[bytes, bytes, int]) -> None:
    """The server answers in HTTP or closes; no input makes a connection fail, or stay."""
    head, end, place = given
    data = head + end
    failed = served.failed
    answer, _ = exchange(served, [data[:place], data[place:]], ends=True)
    # An answer to HEAD has no body though it declares one.
    if b"HEAD" not in data:
        assert len(check_answers(answer)) <= data.count(b"HTTP/1.") + 1
    assert served.failed == failed


# Bodies.


@dataclass(frozen=True)
class Framed:
    """A request whose body, framed, may come with a fault. `is_valid`: a server may accept it, and
    then its body is `body`."""

    data: bytes
    body: bytes
    is_valid: bool


FAULTS: list[tuple[bytes, bytes]] = [
    (b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding : chunked\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: xchunked\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked, identity\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: \x0bchunked\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"Transfer_Encoding: chunked\r\nContent-Length: +5\r\n"),
    (b"Content-Length: ", b"Content-Length: 9999\r\nContent-Length: "),
    (b"Content-Length: ", b"Content-Length: +"),
    (b"Content-Length: ", b"Content-Length: 0x"),
    (b"Content-Length: ", b"Content-Length: 1_"),
    (b"Content-Length: ", b"Content-Length : "),
    (b"Content-Length: ", b"Content-Length: -0"),
    (b"HTTP/1.1\r\n", b"HTTP/1.1\r\nContent-Length: 9999\r\n"),
    (b"Host: x\r\n", b"Host: x\r\n\x00: y\r\n"),
    (b"Host: x\r\n", b"Host: x\r\nX: a\rTransfer-Encoding: chunked\r\n"),
]


@st.composite
def framed(draw: st.DrawFn) -> Framed:
    """A request, perhaps with a fault in its framing."""
    number = draw(st.integers(0, 9))
    body = draw(
        st.lists(st.one_of(st.just(INNER), st.binary(max_size=30)), max_size=4).map(b"".join)
    )
    start = b"POST /%d HTTP/1.1\r\nHost: x\r\n" % number
    if draw(st.booleans()):
        data = start + b"Content-Length: %d\r\n\r\n" % len(body) + body
    else:
        data = start + b"Transfer-Encoding: chunked\r\n\r\n"
        rest = body
        while rest:
            size = draw(st.integers(1, len(rest)))
            extension = draw(st.sampled_from([b"", b"", b";a=b", b';a="b"']))
            data += b"%x%b\r\n%b\r\n" % (size, extension, rest[:size])
            rest = rest[size:]
        data += b"0\r\n" + draw(st.sampled_from([b"", b"", b"X: y\r\n"])) + b"\r\n"
    old, new = draw(st.sampled_from([(b"", b"")] * len(FAULTS) + FAULTS))
    if not old or old not in data:
        return Framed(data, body, is_valid=True)
    return Framed(data.replace(old, new, 1), body, is_valid=False)


_BODIES = st.tuples(
    st.lists(framed(), min_size=1, max_size=3), st.lists(st.integers(1, 80), max_size=6)
)


def check_body(served: Served, given: tuple[list[Framed], list[int]]) -> None:
    """The app gets each body as it was sent, up to the first fault, and no request within one."""
    requests, sizes = given
    data = b"".join(request.data for request in requests) + LAST
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    failed = served.failed
    answer, port = exchange(served, [*pieces, data])
    statuses = check_answers(answer)
    seen = served.seen.pop(port, [])
    assert served.failed == failed
    assert not any(path == "/inner" for path, _ in seen)
    valid = []
    for request in requests:
        if not request.is_valid:
            break
        valid.append(request.body)
    if len(valid) == len(requests):
        valid.append(b"")  # that of LAST
    bodies = [body for _, body in seen]
    # Behind a fault nothing is read, since nobody knows where the next request begins.
    assert bodies[: len(valid)] == valid, (bodies, statuses, answer)
    assert len(bodies) == len(valid)
    assert statuses[: len(valid)] == [200] * len(valid)
    assert all(400 <= status < 600 for status in statuses[len(valid) :])


TARGETS = [
    Target("head", _HEADS, check_head, opened),
    Target("body", _BODIES, check_body, opened),
]
