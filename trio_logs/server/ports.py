"""Answers that can be written to from outside of their own tasks, many at once."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable

__all__ = ["Ports"]


class Ports:
    """A port is a number, never used again; it is open while its answer can be written to.

    Nothing of an answer is touched here but its descriptor: with a thousand of them no object is in
    the caches of the CPU, and to fetch some for each would cost half as much as the system call.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._descriptors: dict[int, int] = {}
        self._write_rest: dict[int, Callable[[bytes], None]] = {}
        self.bytes_out = 0

    def add(self, write_rest: Callable[[bytes], None]) -> int:
        """A new port, not open yet. `write_rest` gets what the kernel does not take at once."""
        port = next(self._numbers)
        self._write_rest[port] = write_rest
        return port

    def remove(self, port: int) -> None:
        """It is closed, and stays so."""
        del self._write_rest[port]

    def open(self, port: int, descriptor: int) -> None:
        """Nobody else writes to this descriptor until `close`."""
        self._descriptors[port] = descriptor

    def close(self, port: int | None) -> None:
        """Not open for now; it need not have been."""
        self._descriptors.pop(port, None)  # type: ignore[arg-type]

    def send_each(self, ports: Iterable[int], body: bytes) -> list[int]:
        """Write a chunk to each; return those to which it can't be done now."""
        chunk = b"%x\r\n%b\r\n" % (len(body), body)
        size = len(chunk)
        refused: list[int] = []
        descriptors, write = self._descriptors, os.write
        total = 0
        for port in ports:
            try:
                sent = write(descriptors[port], chunk)
            except (KeyError, OSError):
                # Closed; or its socket is full; or the client left, which its reader will see, too.
                refused.append(port)
                continue
            total += sent
            if sent < size:
                self._write_rest[port](chunk[sent:])
        self.bytes_out += total
        return refused
