"""A client of the push routes that sends what it is told to, when it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import trio

from tests.live import PATIENCE, Live, RawStream

__all__ = ["Body", "breaking_proxy", "create", "finish", "open_body", "push", "raw_log"]


@dataclass
class Body:
    """A request whose body is being sent, on a socket of its own."""

    stream: trio.SocketStream

    async def send(self, data: bytes) -> None:
        """Send a chunk."""
        await self.stream.send_all(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> RawStream:
        """Send the last chunk; return the answer."""
        await self.stream.send_all(b"0\r\n\r\n")
        return await self.answer()

    async def answer(self) -> RawStream:
        """The head of the answer."""
        raw = RawStream(self.stream)
        with trio.fail_after(PATIENCE):
            await raw.read_head()
        return raw


async def create(live: Live, **fields: Any) -> str:
    """A new workload that is pushed; its id."""
    answer = await live.client.post("/v1/workloads", json={"backend": "push", **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def open_body(
    live: Live, workload: str, offset: int | None = None, *headers: str, key: str | None = None
) -> Body:
    """Begin to send a chunked body, with the token or the key of a session."""
    host, _, port = live.url.rpartition("//")[2].rpartition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    lines = [
        f"POST /v1/workloads/{workload}/logs HTTP/1.1",
        f"Host: {host}",
        f"Authorization: Bearer {key or live.service.token}",
        "Transfer-Encoding: chunked",
        *([] if offset is None else [f"Upload-Offset: {offset}"]),
        *headers,
    ]
    await stream.send_all(("\r\n".join(lines) + "\r\n\r\n").encode())
    return Body(stream)


async def push(live: Live, workload: str, data: bytes, offset: int = 0) -> httpx2.Response:
    """Send all of it at once."""
    headers = {"Upload-Offset": str(offset)}
    url = f"/v1/workloads/{workload}/logs"
    return await live.client.post(url, content=data, headers=headers)


async def finish(live: Live, workload: str, **fields: Any) -> httpx2.Response:
    """Say that it has ended."""
    return await live.client.post(f"/v1/workloads/{workload}/finish", json=fields)


async def raw_log(live: Live, workload: str) -> bytes:
    """The bytes of its log."""
    url = f"/v1/workloads/{workload}/logs"
    return (await live.client.get(url, headers={"Accept": "text/plain"})).content


@asynccontextmanager
async def breaking_proxy(
    url: str, lifetime: Callable[[], int]
) -> AsyncIterator[tuple[str, list[int]]]:
    """A proxy that breaks each connection once so many bytes went to the server, which it does not
    tell: there, the connection stays open. Gives its URL, and a list that holds how many there
    were."""
    host, _, port = url.rpartition("//")[2].rpartition(":")
    count = [0]

    async def handle(client: trio.SocketStream) -> None:
        count[0] += 1
        async with await trio.open_tcp_stream(host, int(port)) as server:
            async with client, trio.open_nursery() as nursery:
                nursery.start_soon(answer, server, client, nursery.cancel_scope)
                left = lifetime()
                async for data in client:
                    await server.send_all(data[:left])
                    left -= len(data)
                    if left <= 0:
                        break
                nursery.cancel_scope.cancel()
            await trio.sleep_forever()

    async def answer(
        server: trio.SocketStream, client: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        async for data in server:
            await client.send_all(data)
        scope.cancel()

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}", count
        nursery.cancel_scope.cancel()
