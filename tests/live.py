"""A service with its server in this process, reached over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import trio

from trio_logs.api import body_limit, create_app
from trio_logs.backends import Backend
from trio_logs.server import Server, ServerLimits, TCPBind
from trio_logs.service import Service, open_service
from trio_logs.settings import Settings
from trio_logs.store import LogStore
from trio_logs.store.shared import SharedStore

__all__ = ["Live", "RawStream", "open_live"]

PATIENCE = 30
"""Seconds after which a test that waits has failed."""


@dataclass
class RawStream:
    """An answer that is read from its socket byte for byte."""

    stream: trio.SocketStream
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    buffer: bytes = b""
    body: bytes = b""
    ended: bool = False

    async def read_head(self) -> None:
        """Read up to the blank line."""
        while b"\r\n\r\n" not in self.buffer:
            if not await self._more():
                raise EOFError(self.buffer)
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        self.status = int(status.split(" ")[1])
        self.headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}

    async def _more(self) -> bool:
        data = await self.stream.receive_some(65536)
        self.buffer += data
        return bool(data)

    async def read_chunk(self) -> bytes:
        """One chunk; empty for the terminal one. Raises EOFError if the answer is cut off."""
        while True:
            size, found, rest = self.buffer.partition(b"\r\n")
            if found and len(rest) >= int(size, 16) + 2:
                length = int(size, 16)
                assert rest[length : length + 2] == b"\r\n"
                self.buffer = rest[length + 2 :]
                self.body += rest[:length]
                self.ended = length == 0
                return rest[:length]
            if not await self._more():
                raise EOFError(self.buffer[:100])

    async def read_until(self, mark: bytes) -> bytes:
        """The body until it holds `mark`."""
        with trio.fail_after(PATIENCE):
            while mark not in self.body and await self.read_chunk():
                pass
        assert mark in self.body, self.body[-1000:]
        return self.body

    async def read_all(self) -> bytes:
        """The body up to its terminal chunk."""
        with trio.fail_after(PATIENCE):
            while await self.read_chunk():
                pass
        return self.body


@dataclass
class Live:
    """The service, and a client for it."""

    service: Service
    server: Server
    url: str
    client: httpx2.AsyncClient
    stop: trio.Event

    async def submit(self, *command: str, **fields: Any) -> dict[str, Any]:
        """Submit a workload; return its record."""
        answer = await self.client.post("/v1/workloads", json={"command": command, **fields})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def finished(self, workload_id: str) -> dict[str, Any]:
        """The record of a workload once it has finished; waits for its `end`."""
        url = f"/v1/workloads/{workload_id}/logs"
        with trio.fail_after(PATIENCE):
            answer = await self.client.get(url, params={"tail": 0})
        assert b"event: end" in answer.content
        record = (await self.client.get(f"/v1/workloads/{workload_id}")).json()
        assert record["finished_at"] is not None
        return dict(record)

    async def events(self, workload_id: str, **query: Any) -> list[tuple[str, str, Any]]:
        """All events of a log, as name, id and data; waits for its end."""
        headers = query.pop("headers", {})
        url = f"/v1/workloads/{workload_id}/logs"
        with trio.fail_after(PATIENCE):
            answer = await self.client.get(url, params=query, headers=headers)
        assert answer.status_code == 200, answer.text
        return parse_events(answer.content)

    async def follow(self, path: str, *headers: str, method: str = "GET") -> RawStream:
        """Open a stream on a socket of its own and read its head."""
        host, _, port = self.url.rpartition("//")[2].rpartition(":")
        stream = await trio.open_tcp_stream(host, int(port))
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {host}",
            f"Authorization: Bearer {self.service.token}",
            *headers,
        ]
        await stream.send_all(("\r\n".join(lines) + "\r\n\r\n").encode())
        raw = RawStream(stream)
        with trio.fail_after(PATIENCE):
            await raw.read_head()
        return raw


def parse_events(body: bytes) -> list[tuple[str, str, Any]]:
    """The dispatched events of a stream: name, id, and data (that of control events as JSON)."""
    events = []
    for block in body.decode().split("\n\n"):
        fields: dict[str, list[str]] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(": ")
            fields.setdefault(name, []).append(value)
        if "data" in fields:
            name = fields.get("event", ["message"])[0]
            data = "\n".join(fields["data"])
            events.append(
                (name, fields.get("id", [""])[0], data if name == "message" else json.loads(data))
            )
    return events


@asynccontextmanager
async def open_live(
    settings: Settings,
    limits: ServerLimits | None = None,
    *,
    store: LogStore | None = None,
    shared: SharedStore | None = None,
    backends: Mapping[str, Backend] | None = None,
) -> AsyncIterator[Live]:
    """A service and its server on a free port; on exit both shut down in order."""
    stop = trio.Event()
    async with (
        open_service(settings, store=store, shared=shared, backends=backends) as service,
        trio.open_nursery() as server,
    ):
        served = Server(limits)
        app = create_app(service, served)
        bind = TCPBind("127.0.0.1", 0)
        [url] = await server.start(served.serve, app, [bind], stop, body_limit(settings))
        service.listen_at(url)
        headers = {"Authorization": f"Bearer {service.token}"}
        # Without TLS there is nothing to verify, and the authorities take 50 ms to load.
        async with httpx2.AsyncClient(
            base_url=url, headers=headers, timeout=PATIENCE, verify=False
        ) as client:
            try:
                yield Live(service, served, url, client, stop)
            finally:
                stop.set()
        service.drain()
