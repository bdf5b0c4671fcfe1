"""What a client can do to stock Hypercorn, and not to our server: the faults of one connection.

Each row is a fault. Its probe does to a server what a client can do, and returns what it saw; the
table says what that is for either server. Should Hypercorn mend a fault, its row fails, and there
is less for us to do. The faults of a whole process are in `test_hypercorn_process.py`.
"""

from __future__ import annotations

import ctypes
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h2.connection
import h2.events
import pytest
import trio
import trio.testing
import trustme

from tests.live import PATIENCE, open_live
from tests.serving import (
    GRACE,
    KEEP_ALIVE,
    SERVERS,
    SILENCE,
    Footprint,
    Serving,
    footprint,
    get,
    read_answer,
)
from trio_logs.settings import Settings

MIB = 1024 * 1024

SOON = 0.1
"""What "within milliseconds" may take on a busy machine, in seconds."""

Probe = Callable[[Serving], Awaitable[Any]]


@dataclass(frozen=True)
class Row:
    """A fault: its number in the list of them, and what its probe sees."""

    number: int
    name: str
    probe: Probe
    stock: Any
    ours: Any
    options: Mapping[str, Any] = field(default_factory=dict)


async def happens(event: trio.Event, within: float) -> bool:
    """Whether it is set within so many seconds."""
    with trio.move_on_after(within):
        await event.wait()
    return event.is_set()


async def ends(stream: trio.SocketStream, within: float) -> bool:
    """Whether the server closes the connection, in order, within so many seconds."""
    with trio.move_on_after(within):
        await read_answer(stream)
        return True
    return False


async def stop_under_a_full_pipe(serving: Serving) -> bool:
    async with await serving.follow_flood():
        serving.stop.set()
        return await happens(serving.ended, GRACE + 0.5)


async def take_nothing(serving: Serving) -> bool:
    async with await serving.follow_flood():
        return await happens(serving.counted.left, 1.5)


async def leave(stray: bytes, how: str, serving: Serving) -> Footprint:
    """What is left of an idle stream half a second after its client has left."""
    assert await serving.still_serves()
    await trio.testing.wait_all_tasks_blocked(0.05)
    before = footprint()
    client = await serving.follow("/quiet")
    if stray:
        await client.send_all(stray)
        # Read by the server: an RST would take unread bytes with it.
        await trio.testing.wait_all_tasks_blocked(0.05)
    if how == "RST":
        # struct linger {on, 0 s}
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await client.aclose()
    with trio.move_on_after(0.5):
        while footprint() != before:
            await trio.sleep(0.005)
    return footprint() - before


async def half_close_while_blocked(serving: Serving) -> bool:
    async with await serving.follow_flood() as client:
        await client.send_eof()
        return await happens(serving.counted.left, SOON)


async def look_at_the_accepted_socket(serving: Serving) -> dict[str, bool]:
    async with await serving.follow("/quiet") as client:
        accepted = accepted_socket(client)
        with accepted:
            kept_alive = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            idle, interval, count, timeout = (
                accepted.getsockopt(socket.IPPROTO_TCP, option)
                for option in (
                    socket.TCP_KEEPIDLE,
                    socket.TCP_KEEPINTVL,
                    socket.TCP_KEEPCNT,
                    socket.TCP_USER_TIMEOUT,
                )
            )
    return {
        "asks a quiet peer": bool(kept_alive),
        "gives it up in 2 min": idle + interval * count <= 120,
        # In ms; the server itself does so much earlier, see `vanish`.
        "gives up a peer that does not acknowledge": 30_000 < timeout <= 600_000,
    }


def accepted_socket(client: trio.SocketStream) -> socket.socket:
    """The server's end of a connection, which is somewhere in this process."""
    for descriptor in Path("/proc/self/fd").iterdir():
        duplicate = os.dup(int(descriptor.name))
        try:
            found = socket.socket(fileno=duplicate)
        except OSError:
            os.close(duplicate)  # not a socket
            continue
        try:
            if found.getpeername() == client.socket.getsockname():
                return found
        except OSError:
            pass  # not connected
        found.close()
    raise LookupError("no accepted socket")


async def vanish(path: str, serving: Serving) -> bool:
    """Whether a peer is given up that is not there any more: of a stream that has a heartbeat,
    which the kernel takes, and of one that has none."""
    async with await serving.follow(path) as client:
        # A filter of one instruction, BPF_RET | BPF_K 0: the kernel drops whatever comes in, and
        # acknowledges nothing. See socket(7), SO_ATTACH_FILTER.
        drop = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
        client.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HP", 1, ctypes.addressof(drop)))
        return await happens(serving.counted.left, 8)


async def upgrade_to_websocket(serving: Serving) -> dict[str, Any]:
    headers = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    async with await serving.connect() as client:
        await client.send_all(get("/", *headers) + b"trailing bytes")
        status = await read_answer(client, b" \r\n")
    return {"status": status[:12], **await outcome(serving)}


async def send_data_after_the_response(serving: Serving) -> dict[str, Any]:
    """By HTTP/2 with prior knowledge."""
    http2 = h2.connection.H2Connection()
    http2.initiate_connection()
    names = {":method": "POST", ":path": "/", ":scheme": "http", ":authority": "x"}
    http2.send_headers(1, list(names.items()))
    answered = False
    async with await serving.connect() as client:
        await client.send_all(http2.data_to_send())
        received = await client.receive_some()
        if not received.startswith(b"HTTP/1.1"):
            while not answered:
                events = http2.receive_data(received)
                answered = any(isinstance(event, h2.events.StreamEnded) for event in events)
                await client.send_all(http2.data_to_send())
                received = b"" if answered else await client.receive_some()
            # A DATA frame of 4 bytes, END_STREAM, on stream 1; see RFC 9113, section 6.1.
            await client.send_all(b"\x00\x00\x04\x00\x01\x00\x00\x00\x01late")
            await ends(client, 1)
    return {"status": received[:12], "answered by HTTP/2": answered, **await outcome(serving)}


async def outcome(serving: Serving) -> dict[str, bool]:
    return {"crashed": await happens(serving.ended, SOON), "serves": await serving.still_serves()}


async def upgrade_to_h2c(serving: Serving) -> bytes:
    headers = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"]
    async with await serving.connect() as client:
        await client.send_all(get("/", *headers))
        return (await read_answer(client, b" \r\n"))[:12]


async def know_http2_beforehand(serving: Serving) -> dict[str, bool]:
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    async with await serving.connect() as client:
        await client.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)
        received = await read_answer(client, settings[4:])
        return {
            "refused": received.startswith(b"HTTP/1.1 505 "),
            "switched": received[3:4] == b"\x04",  # its SETTINGS
            "closed": await ends(client, SOON),
        }


async def keep_alive_times_out(serving: Serving) -> bool:
    async with await serving.connect() as client:
        await client.send_all(get("/short"))
        await read_answer(client, b"\r\n0\r\n\r\n")
        return await ends(client, KEEP_ALIVE + 0.5)


async def connection_close_closes(serving: Serving) -> bool:
    async with await serving.connect() as client:
        await client.send_all(get("/short", "Connection: close"))
        await read_answer(client, b"\r\n0\r\n\r\n")
        return await ends(client, SOON)


async def stop_after_answers(serving: Serving) -> bool:
    """Whether it stops without the grace, with 20 connections that have had their answers."""
    clients = [await serving.connect() for _ in range(20)]
    for client in clients:
        await client.send_all(get("/short"))
        await read_answer(client, b"\r\n0\r\n\r\n")
    serving.stop.set()
    stopped = await happens(serving.ended, GRACE / 2)
    for client in clients:
        await client.aclose()
    return stopped


async def head(serving: Serving) -> bool:
    """Whether the body of a stream without end is made for a HEAD, for nobody."""
    async with await serving.follow("/flood", method="HEAD"):
        with trio.move_on_after(0.5):
            while serving.counted.steps < 1000:
                await trio.sleep(0.01)
    return serving.counted.steps > 1


NOTHING = Footprint(0, 0)

ROWS = [
    Row(1, "stop while a client never reads", stop_under_a_full_pipe, False, True),
    Row(1, "a client that never reads", take_nothing, False, True, {"write_timeout": 0.5}),
    # Without stray bytes, to show that it is they that matter.
    *(Row(2, how, partial(leave, b"", how), NOTHING, NOTHING) for how in ("FIN", "RST")),
    *(
        Row(2, f"{how} after {stray!r}", partial(leave, stray, how), Footprint(4, 1), NOTHING)
        for stray in (b"\r\n", b"x", b"GET / HTTP/1.1\r\n")
        for how in ("FIN", "RST")
    ),
    Row(3, "half-close while blocked", half_close_while_blocked, False, True),
    Row(
        4,
        "socket options",
        look_at_the_accepted_socket,
        {
            "asks a quiet peer": False,
            "gives it up in 2 min": False,
            "gives up a peer that does not acknowledge": False,
        },
        {
            "asks a quiet peer": True,
            "gives it up in 2 min": True,
            "gives up a peer that does not acknowledge": True,
        },
    ),
    Row(
        5,
        "WebSocket with trailing bytes",
        upgrade_to_websocket,
        {"status": b"HTTP/1.1 400", "crashed": True, "serves": False},
        {"status": b"HTTP/1.1 200", "crashed": False, "serves": True},
    ),
    Row(
        5,
        "HTTP-2 DATA after the response",
        send_data_after_the_response,
        {"status": b"", "answered by HTTP/2": True, "crashed": True, "serves": False},
        {
            "status": b"HTTP/1.1 505",
            "answered by HTTP/2": False,
            "crashed": False,
            "serves": True,
        },
    ),
    Row(6, "Upgrade: h2c", upgrade_to_h2c, b"HTTP/1.1 101", b"HTTP/1.1 200"),
    Row(
        6,
        "HTTP-2 by prior knowledge",
        know_http2_beforehand,
        {"refused": False, "switched": True, "closed": False},
        {"refused": True, "switched": False, "closed": True},
    ),
    Row(7, "keep-alive time-out", keep_alive_times_out, False, True),
    Row(7, "Connection: close", connection_close_closes, False, True),
    Row(7, "stop after answers", stop_after_answers, False, True),
    Row(9, "HEAD of a stream", head, True, False),
]


@pytest.mark.parametrize("kind", list(SERVERS))
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number}, {row.name}")
async def test_row(row: Row, kind: str) -> None:
    with trio.fail_after(PATIENCE):
        async with SERVERS[kind](**row.options) as serving:
            seen = await row.probe(serving)
        assert seen == getattr(row, kind)


async def test_row_4_a_peer_that_vanished() -> None:
    """All at once, since it takes its time."""
    noticed: dict[tuple[str, str], bool] = {}

    async def probe(kind: str, path: str) -> None:
        async with SERVERS[kind]() as serving:
            noticed[kind, path] = await vanish(path, serving)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for kind in SERVERS:
                for path in ("/beating", "/quiet"):
                    nursery.start_soon(probe, kind, path)
    assert noticed == {
        ("stock", "/beating"): False,
        ("stock", "/quiet"): False,
        ("ours", "/beating"): True,
        ("ours", "/quiet"): True,
    }


async def test_a_peer_that_is_only_quiet_stays() -> None:
    """It answers when it is asked, and what is sent to it after a while is not late at once."""
    async with SERVERS["ours"]() as serving, await serving.follow("/quiet") as client:
        assert not await happens(serving.counted.left, 2 * SILENCE)
        assert client.socket.fileno() != -1


@pytest.mark.parametrize(("kind", "offered"), [("stock", "h2"), ("ours", "http/1.1")])
async def test_row_6_by_tls(kind: str, offered: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    pem = tmp_path / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    with trio.fail_after(PATIENCE):
        async with SERVERS[kind](pem=pem) as serving:
            client = await trio.open_ssl_over_tcp_stream(
                "localhost", serving.port, ssl_context=trusting
            )
            await client.do_handshake()
            assert client.selected_alpn_protocol() == offered
            await trio.aclose_forcefully(client)


async def send_much(port: int, request: str, *headers: str) -> tuple[bytes, float]:
    """Send a body of 128 MiB; return the status, and how much memory it took here, in MiB.

    Half of it is proof enough: some of what earlier tests left free is used first.
    """
    method, path = request.split()
    # malloc_trim(3): the rest of that goes back to the system.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    size = 128 * MIB
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(get(path, *headers, f"Content-Length: {size}", method=method))
        try:
            for _ in range(size // MIB):
                await stream.send_all(b"x" * MIB)
        except trio.BrokenResourceError:
            pass  # answered and closed before all of it was sent
        status = (await read_answer(stream, b" \r\n"))[:12]
    return status, (peak() - before) / MIB


def peak() -> int:
    """This process's peak of memory since it was last reset, in bytes."""
    [line] = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    ]
    return int(line.split()[1]) * 1024


async def test_row_8_stock() -> None:
    """A body that nobody reads is collected all the same."""
    with trio.fail_after(PATIENCE):
        async with SERVERS["stock"]() as serving:
            status, grown = await send_much(serving.port, "GET /quiet")
    assert (status, grown > 60) == (b"HTTP/1.1 200", True)


@pytest.mark.parametrize(
    "request_line", ["POST /v1/workloads", "GET /v1/workloads/{id}/logs", "GET /readyz"]
)
async def test_row_8_ours(request_line: str, tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with open_live(Settings(tmp_path)) as live:
            workload = await live.submit("sleep", "100")
            answered, grown = await send_much(
                int(live.url.rpartition(":")[2]),
                request_line.format(id=workload["id"]),
                f"Authorization: Bearer {live.service.token}",
                "Content-Type: application/json",
            )
            assert answered == b"HTTP/1.1 413"
            assert grown < 8
