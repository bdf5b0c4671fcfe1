"""Answers that code outside of their own tasks can write to, many at once."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["PORT", "CountingPorts", "Port", "Ports"]

PORT = "trio_logs.port"
"""The ASGI extension that holds the `Port` of a request. A request over TLS has none."""


class Ports:
    """The ports of all requests. A port is a number, never used again; it is open while its answer
    can be written to.

    Writing touches nothing of an answer but its descriptor. A thousand answers do not fit into the
    caches of the CPU, and fetching some objects of each would cost half as much as the system call.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        # Bound of both: one for each request under way, of which a connection has one.
        self._descriptors: dict[int, int] = {}
        self._write_rest: dict[int, Callable[[bytes], None]] = {}
        self.bytes_out = 0

    def add(self, write_rest: Callable[[bytes], None]) -> int:
        """A new port, not open yet. `write_rest` gets the bytes that the kernel does not take at
        once."""
        port = next(self._numbers)
        self._write_rest[port] = write_rest
        return port

    def remove(self, port: int) -> None:
        """Forget a closed port."""
        del self._write_rest[port]

    def open(self, port: int, descriptor: int) -> None:
        """Open a port. Until `close`, only `send_each` may write to this descriptor."""
        self._descriptors[port] = descriptor

    def close(self, port: int | None) -> None:
        """Close a port for now; it need not be open."""
        self._descriptors.pop(port, None)  # type: ignore[arg-type]

    def send_each(self, ports: Sequence[int], chunk: bytes) -> Sequence[int]:
        """Write a chunk to each answer, in the caller's step and without a checkpoint. Return the
        ports to which it can't be written now, such as during a `send` of their own task.

        An empty chunk writes nothing: on the wire, it would end the answers.
        """
        if not chunk:
            return ()
        framed = b"%x\r\n%b\r\n" % (len(chunk), chunk)
        size = len(framed)
        refused: list[int] = []
        descriptors, write = self._descriptors, os.write
        total = 0
        for port in ports:
            try:
                sent = write(descriptors[port], framed)
            except (KeyError, OSError):
                # The port is closed; or its socket is full; or the client disconnected, which the
                # connection's reader sees as well.
                refused.append(port)
                continue
            total += sent
            if sent < size:
                self._write_rest[port](framed[sent:])
        self.bytes_out += total
        return refused


class CountingPorts(Ports):
    """Ports that also count the bytes of each answer, which makes each write slower."""

    def __init__(self) -> None:
        super().__init__()
        # Bound: as those of `Ports`.
        self._bytes: dict[int, int] = {}

    def add(self, write_rest: Callable[[bytes], None]) -> int:
        def write_counted_rest(data: bytes) -> None:
            # The transport counts these bytes.
            self._bytes[port] -= len(data)
            write_rest(data)

        port = super().add(write_counted_rest)
        self._bytes[port] = 0
        return port

    def remove(self, port: int) -> None:
        super().remove(port)
        del self._bytes[port]

    def send_each(self, ports: Sequence[int], chunk: bytes) -> Sequence[int]:
        refused = super().send_each(ports, chunk)
        if chunk:
            size = len(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            for port in set(ports).difference(refused):
                self._bytes[port] += size
        return refused

    def bytes_of(self, port: int) -> int:
        """The bytes that `send_each` has written to this answer so far."""
        return self._bytes[port]


@dataclass(frozen=True, slots=True)
class Port:
    """The port of one request. It opens when the answer begins, and closes when it ends; `outlet`
    writes to it, and to others at the same time."""

    number: int
    outlet: Ports
