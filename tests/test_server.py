"""Where the server listens, how many it lets in, and how long it waits for them."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
import trustme

from tests.live import PATIENCE, RawStream
from trio_logs.errors import InvalidRequestError
from trio_logs.server import (
    PORT,
    Bind,
    BodyLimit,
    DescriptorBind,
    Server,
    ServerLimits,
    TCPBind,
    UnixBind,
    load_tls,
)
from trio_logs.server.ports import Ports
from trio_logs.server.transport import Transport

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
ANY_PORT = TCPBind("127.0.0.1", 0)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """An app that reads the whole body, then greets."""
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


@asynccontextmanager
async def serving(
    server: Server, *binds: Bind, app: Any = hello, body_limit: BodyLimit | None = None
) -> AsyncIterator[tuple[str, trio.Event]]:
    """Serve the app; gives the first URL, and the event that stops it."""
    stop = trio.Event()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            urls = await nursery.start(
                server.serve, app, list(binds or [ANY_PORT]), stop, body_limit
            )
            try:
                yield urls[0], stop
            finally:
                stop.set()


async def connect(url: str) -> trio.SocketStream:
    host, _, port = url.rpartition("//")[2].rpartition(":")
    return await trio.open_tcp_stream(host, int(port))


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([bytes(data) async for data in stream])


async def until_gone(server: Server, left: int = 0) -> None:
    with trio.fail_after(PATIENCE):
        while server.statistics().connections > left:
            await trio.sleep(0.01)


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("127.0.0.1:0", TCPBind("127.0.0.1", 0)),
        ("[::1]:80", TCPBind("::1", 80)),
        ("unix:/run/x.sock", UnixBind(Path("/run/x.sock"))),
        ("fd://3", DescriptorBind(3)),
    ],
)
def test_binds_are_read(text: str, bind: Bind) -> None:
    assert Bind.parse(text) == bind


@pytest.mark.parametrize("text", ["", "8000", ":80", "x:70000", "x:-1", "unix:", "fd://x", "fd://"])
def test_what_is_no_bind_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="give HOST:PORT"):
        Bind.parse(text)


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))  # a server that was killed leaves its socket behind
    async with serving(Server(), UnixBind(path)) as (url, _):
        assert url == f"unix:{path}"
        transport = httpx2.AsyncHTTPTransport(uds=str(path), verify=False)
        async with httpx2.AsyncClient(transport=transport) as client:
            assert (await client.get("http://x/")).text == "hello"
        with pytest.raises(OSError, match="in use by another server"):
            await UnixBind(path).listen()
        assert path.exists()
    assert not path.exists()


async def test_a_file_is_never_taken_for_a_stale_socket(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(OSError, match="not a socket"):
        await UnixBind(path).listen()
    assert path.read_text() == "data"


async def test_an_inherited_descriptor() -> None:
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        port = inherited.getsockname()[1]
        bind = DescriptorBind(inherited.detach())
    assert bind.is_loopback
    async with serving(Server(), bind) as (url, _):
        assert url == f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(verify=False) as client:
            assert (await client.get(url)).text == "hello"


async def test_a_descriptor_that_can_not_be_listened_on() -> None:
    with socket.socket() as unbound, pytest.raises(OSError, match="not a listening socket"):
        await DescriptorBind(unbound.fileno()).listen()
    with pytest.raises(OSError, match="fd://999 is not a socket"):
        await DescriptorBind(999).listen()


async def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    pem = tmp_path / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    server = Server(tls=load_tls(pem))
    async with serving(server) as (url, _):
        port = int(url.rpartition(":")[2])
        assert url.startswith("https://")
        async with httpx2.AsyncClient(verify=trusting) as client:
            answer = await client.get(f"https://localhost:{port}/")
            assert (answer.text, answer.http_version) == ("hello", "HTTP/1.1")
        trusting.set_alpn_protocols(["h2", "http/1.1"])
        stream = await trio.open_ssl_over_tcp_stream(
            "localhost", port, ssl_context=trusting, https_compatible=True
        )
        await stream.do_handshake()
        assert stream.selected_alpn_protocol() == "http/1.1"
        await stream.aclose()
        # Neither a client without TLS nor one that leaves half-way through the handshake matters.
        async with await connect(url) as plain:
            await plain.send_all(REQUEST)
            await read_all(plain)
        async with await connect(url):
            pass
        await until_gone(server)
    assert server.statistics().failed == 0


def test_a_certificate_that_can_not_be_used_is_said_so(tmp_path: Path) -> None:
    pem = tmp_path / "server.pem"
    pem.write_text("nonsense")
    with pytest.raises(OSError, match=re.escape(f"can't use {pem}")):
        load_tls(pem)


async def test_a_silent_handshake_ends(tmp_path: Path) -> None:
    pem = tmp_path / "server.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem)
    server = Server(ServerLimits(header_timeout=0.2), tls=load_tls(pem))
    async with serving(server) as (url, _), await connect(url) as stream:
        assert await read_all(stream) == b""
        await until_gone(server)
    assert server.statistics().timed_out_waiting == 1


@pytest.mark.parametrize("start", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_request_that_never_comes_ends(start: bytes) -> None:
    server = Server(ServerLimits(header_timeout=0.2))
    async with serving(server) as (url, _), await connect(url) as stream:
        if start:
            await stream.send_all(start)
        assert await read_all(stream) == b""
        await until_gone(server)


async def test_a_head_that_trickles_ends() -> None:
    server = Server(ServerLimits(header_timeout=0.3))
    async with serving(server) as (url, _), await connect(url) as stream:
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(PATIENCE):
            while True:
                await stream.send_all(b"G")
                await trio.sleep(0.02)


async def test_a_connection_between_requests_ends() -> None:
    server = Server(ServerLimits(keep_alive_timeout=0.2))
    async with serving(server) as (url, _), await connect(url) as stream:
        await stream.send_all(REQUEST + REQUEST)  # pipelined: both are answered
        answers = await read_all(stream)
        assert answers.count(b"hello") == 2
    assert server.statistics().requests == 2


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        (ServerLimits(connections=2), 503),
        (ServerLimits(connections_per_peer=2), 429),
    ],
)
async def test_one_connection_too_many(limits: ServerLimits, status: int) -> None:
    server = Server(limits)
    async with serving(server) as (url, _):
        async with await connect(url) as first, await connect(url):
            with trio.fail_after(PATIENCE):
                while server.statistics().connections < 2:
                    await trio.sleep(0.01)
            async with httpx2.AsyncClient(verify=False) as client:
                answer = await client.get(url)
                assert answer.status_code == status
                assert answer.headers["Retry-After"] == "1"
                assert answer.headers["Content-Type"] == "application/problem+json"
                assert answer.json()["status"] == status
            await first.send_all(REQUEST)
            assert (await first.receive_some()).startswith(b"HTTP/1.1 200")
        await until_gone(server)
        async with httpx2.AsyncClient(verify=False) as client:
            assert (await client.get(url)).text == "hello"
    assert server.statistics().refused == 1


@pytest.mark.parametrize("extra", [70_000, 10_000_000])
async def test_what_is_sent_behind_a_request_is_bounded(extra: int) -> None:
    """A client that goes on sending while it is answered is cut off, however much it has."""
    answering = trio.Event()

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        answering.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    server = Server(ServerLimits(read_ahead=64 * 1024))
    async with serving(server, app=waits) as (url, _), await connect(url) as stream:
        await stream.send_all(REQUEST)
        await answering.wait()
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"x" * extra)
            while await stream.receive_some():
                pass
            raise trio.BrokenResourceError  # closed in order
        await until_gone(server)


async def test_a_long_request_may_follow_as_soon_as_the_answer_is_out() -> None:
    """The client has all bytes of the answer before the server has done with it."""
    go_on = trio.Event()

    async def late(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "POST":
            await hello(scope, receive, send)
            return
        headers = [(b"content-length", b"5")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"hello", "more_body": True})
        await go_on.wait()
        await send({"type": "http.response.body"})

    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 500000\r\n\r\n"
    async with serving(Server(), app=late) as (url, _), await connect(url) as stream:
        await stream.send_all(REQUEST)
        answer = b""
        while not answer.endswith(b"hello"):
            answer += await stream.receive_some()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, head + bytes(500_000))
            await trio.testing.wait_all_tasks_blocked(0.05)
            go_on.set()
            assert (await read_all(stream)).startswith(b"HTTP/1.1 200 ")


async def test_small_chunks_are_handed_on_together() -> None:
    """All that one read brings, in order, with the end; the next request stays the next."""
    bodies: list[list[bytes]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        bodies.append([])
        message = {"more_body": True}
        while message["more_body"]:
            message = await receive()
            bodies[-1].append(message["body"])
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    lines = [b"%d\n" % number for number in range(1000)]
    request = head + b"".join(b"%x\r\n%b\r\n" % (len(line), line) for line in lines)
    async with serving(Server(), app=app) as (url, _), await connect(url) as stream:
        await stream.send_all(request + b"0\r\n\r\n" + request + b"0\r\n\r\n" + head)
        await stream.send_all(b"1\r\na\r\n1\r\nb\r\n nonsense\r\n")
        answers = await read_all(stream)
    assert [b"".join(body) for body in bodies[:2]] == [b"".join(lines)] * 2
    assert max(map(len, bodies)) < 10
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"200", b"400"]


async def test_a_request_whose_client_left_while_the_one_before_was_answered_never_starts() -> None:
    started = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal started
        started += 1
        while (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    server = Server()
    async with serving(server, app=app) as (url, _), await connect(url) as stream:
        await stream.send_all(REQUEST + REQUEST)
        await stream.send_eof()
        await until_gone(server)
    assert started == 1


async def test_chunks_written_in_the_callers_step_keep_their_order() -> None:
    """Whatever the kernel takes at once, the rest follows, and `send` waits for it."""
    rng = random.Random(1)
    bodies = [bytes([n % 256]) * rng.choice([1, 100, 5_000, 100_000]) for n in range(400)]
    taken = 0
    refused: list[int] = []

    async def chunks(scope: Any, receive: Any, send: Any) -> None:
        nonlocal taken
        outlet, port = scope["extensions"][PORT].outlet, scope["extensions"][PORT].number
        assert outlet.send_each([port], b"before the answer has begun") == [port]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for body in bodies:
            if not outlet.send_each([port], body):
                taken += 1
            else:
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        refused.extend(outlet.send_each([port], b"after its end"))

    server = Server()
    async with serving(server, app=chunks) as (url, _), await connect(url) as stream:
        await stream.send_all(REQUEST)
        raw = RawStream(stream)
        await raw.read_head()
        assert await raw.read_all() == b"".join(bodies)
    assert 0 < taken < len(bodies)
    assert len(refused) == 1
    assert server.statistics().failed == 0


async def test_a_rest_that_nobody_takes_ends_with_the_write_timeout() -> None:
    ended = trio.Event()

    async def pushes(scope: Any, receive: Any, send: Any) -> None:
        outlet, port = scope["extensions"][PORT].outlet, scope["extensions"][PORT].number
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert not outlet.send_each([port], b"x" * 20_000_000)
        assert outlet.send_each([port], b"x") == [port]
        while (await receive())["type"] != "http.disconnect":
            pass
        assert outlet.send_each([port], b"x") == [port]
        ended.set()

    server = Server(ServerLimits(write_timeout=0.3))
    async with serving(server, app=pushes) as (url, _), await connect(url) as stream:
        await stream.send_all(REQUEST)
        await ended.wait()
        await until_gone(server)
    assert server.statistics().timed_out_writing == 1
    assert server.statistics().failed == 0


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n", 413),
        # Nothing is said before it, such as that the body may come.
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n"
            b"Expect: 100-continue\r\n\r\n",
            413,
        ),
        # Two chunks that are too long together.
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"ffff0\r\n%b\r\n11\r\n%b\r\n0\r\n\r\n" % (b"x" * 0xFFFF0, b"x" * 17),
            413,
        ),
    ],
)
async def test_what_the_server_refuses_by_itself(request_: bytes, status: int) -> None:
    server = Server()
    served = serving(server, body_limit=lambda method, path: 1024 * 1024)
    async with served as (url, _), await connect(url) as stream:
        await stream.send_all(request_)
        answer = await read_all(stream)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d" % status)
        assert b"application/problem+json" in head
        assert json.loads(body)["status"] == status
        await stream.aclose()
        await until_gone(server)
    assert server.statistics().failed == 0


@pytest.mark.parametrize(("limit", "status"), [(20, b"200"), (19, b"413"), (0, b"413")])
async def test_a_chunked_body_has_the_limit_of_its_request(limit: int, status: bytes) -> None:
    """Each on one connection: the second body counts from 0."""
    request = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    request += b"a\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"
    served = serving(Server(), body_limit=lambda method, path: limit)
    async with served as (url, _), await connect(url) as stream:
        for _ in range(2 if status == b"200" else 1):
            await stream.send_all(request)
            answer = b""
            while not answer.endswith((b"hello", b"}")):
                answer += await stream.receive_some()
            assert answer.startswith(b"HTTP/1.1 %b " % status)


async def test_unix_sockets_are_no_peer(tmp_path: Path) -> None:
    """A proxy on the same machine brings everybody."""
    path = tmp_path / "s"
    server = Server(ServerLimits(connections_per_peer=1))
    async with (
        serving(server, UnixBind(path)),
        await trio.open_unix_socket(path),
        await trio.open_unix_socket(path) as second,
    ):
        await second.send_all(REQUEST)
        assert (await second.receive_some()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("deaf", ["waits", "writes"])
async def test_an_app_that_ignores_that_its_client_left_ends(
    deaf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.server.connection.LEAVE_SECONDS", 0.2)
    server = Server()

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep_forever()

    async def writes(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async with serving(server, app={"waits": waits, "writes": writes}[deaf]) as (url, _):
        async with await connect(url) as stream:
            await stream.send_all(REQUEST)
            with trio.fail_after(PATIENCE):
                while not server.statistics().requests:
                    await trio.sleep(0.01)
        await until_gone(server)


async def test_stopping_closes_what_is_idle_at_once_and_finishes_what_is_not() -> None:
    release = trio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        await hello(scope, receive, send)

    server = Server(ServerLimits(grace=PATIENCE))
    async with (
        serving(server, app=slow) as (url, stop),
        await connect(url) as idle,
        await connect(url) as busy,
    ):
        await busy.send_all(REQUEST)
        with trio.fail_after(PATIENCE):
            while server.statistics().requests < 1:
                await trio.sleep(0.01)
        stop.set()
        assert await read_all(idle) == b""
        await until_gone(server, left=1)
        with pytest.raises(OSError, match="failed"):
            await connect(url)
        release.set()
        answer = await read_all(busy)
        assert b"connection: close" in answer.lower()
        assert answer.endswith(b"hello")


async def test_an_answer_that_nobody_takes_outlives_the_grace_by_nothing() -> None:
    """Its last send is shielded, so that it takes more than to cancel it."""

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 20_000_000})

    server = Server(ServerLimits(write_timeout=PATIENCE, grace=0.3))
    async with serving(server, app=large) as (url, stop), await connect(url) as stream:
        await stream.send_all(REQUEST)
        await stream.receive_some(1)
        stop.set()
        with trio.fail_after(5):
            while server.statistics().connections:
                await trio.sleep(0.01)


async def test_a_closed_socket_is_looked_at_without_harm() -> None:
    """Between a close and the step in which its writer sees it, the bounds may be enforced."""
    ours, _theirs = trio.socket.socketpair()
    transport = Transport(trio.SocketStream(ours), 30, Ports())
    transport.deadline = trio.current_time() - 1
    transport.close()
    assert transport.is_late(trio.current_time())
    _theirs.close()


async def test_an_empty_chunk_does_not_end_an_answer() -> None:
    async def pushes(scope: Any, receive: Any, send: Any) -> None:
        port = scope["extensions"][PORT]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for chunk in (b"one", b"", b"two"):
            assert not port.outlet.send_each([port.number], chunk)
        await send({"type": "http.response.body", "body": b""})

    async with serving(Server(), app=pushes) as (url, _), await connect(url) as stream:
        await stream.send_all(REQUEST)
        raw = RawStream(stream)
        await raw.read_head()
        assert [await raw.read_chunk() for _ in range(3)] == [b"one", b"two", b""]


async def test_a_port_closes_with_its_connection() -> None:
    """At once: its descriptor may be another client's in the next step."""
    ours, theirs = trio.socket.socketpair()
    ports = Ports()
    transport = Transport(trio.SocketStream(ours), 30, ports)
    port = transport.port = ports.add(lambda rest: None)
    with theirs:
        transport.claim()
        assert ports.send_each([port], b"while somebody else writes") == [port]
        transport.release()
        assert ports.send_each([port], b"body") == []
        assert await theirs.recv(100) == b"4\r\nbody\r\n"
        assert ports.bytes_out == 9
        descriptor = ours.fileno()
        other = os.open(os.devnull, os.O_WRONLY)
        transport.close()
        # Somebody else's from now on.
        os.dup2(other, descriptor)
        os.close(other)
        try:
            assert ports.send_each([port], b"too late") == [port]
            transport.release()
            assert ports.send_each([port], b"too late") == [port]
        finally:
            os.close(descriptor)


class Kernel(Transport):
    """How many bytes the client has not acknowledged is up to the test."""

    unacknowledged = 0

    def _unacknowledged(self) -> int:
        return self.unacknowledged


async def test_what_a_port_wrote_does_not_hide_that_a_client_takes_what_follows() -> None:
    ours, theirs = trio.socket.socketpair()
    transport = Kernel(trio.SocketStream(ours), 30, Ports())

    async def late_after_taking(*counts: int) -> list[bool]:
        """Whether it is, each time after the client took so much in just too long."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.send_all, bytes(1_000_000))
            await trio.testing.wait_all_tasks_blocked()
            now = trio.current_time()
            late = [transport.is_late(now)]
            for count in counts:
                transport.unacknowledged -= count
                now = max(now, transport.deadline) + 1
                late.append(transport.is_late(now))
            nursery.cancel_scope.cancel()
        return late

    with theirs:
        transport.unacknowledged = 100_000
        assert await late_after_taking(50_000, 50_000) == [False, False, False]
        # Not counted among the bytes that were sent.
        transport.unacknowledged = 200_000
        assert await late_after_taking(5000, 5000, 4000) == [False, False, False, True]
        transport.abort()
