"""The load: followers on raw sockets, read by one thread that does as little as it can.

Each of them checks at every read that what comes continues at its count; what does not is counted
as lost.
"""

from __future__ import annotations

import select
import socket
import time
from array import array
from dataclasses import dataclass, field

import numpy as np

from .lines import MARK

__all__ = ["Follower", "Stalled", "Summary", "connect", "drain"]

RECEIVE_BYTES = 256 * 1024
NUMBER_END = 1 + 9
STAMP_END = NUMBER_END + 1 + 19
IDLE_SECONDS = 10.0
AT_ONCE = 200

SAMPLED_WHOLE = 8
"""Up to so many lines in one read, the latency of each is noted; of more, the first and last."""


@dataclass(slots=True)
class Follower:
    """One reader. `lines` counts what came, `lost` what did not, or came twice."""

    socket: socket.socket
    lines: int = 0
    lost: int = 0
    received: int = 0
    finished: float = 0.0
    _rest: bytes = b""

    def feed(self, buffer: bytearray, size: int, latencies: array[int] | None) -> None:
        """Take what was received."""
        self.received += size
        # `bytearray.count` takes 70 ns a line before Python 3.13, and the load would be the limit.
        count = int(np.count_nonzero(np.frombuffer(buffer, np.uint8, size) == MARK[0]))
        if count == 0:
            return
        first = buffer.find(MARK, 0, size)
        if first + NUMBER_END <= size:
            number = int(buffer[first + 1 : first + NUMBER_END])
            if number != self.lines:
                self.lost += abs(number - self.lines)
                self.lines = number
        self.lines += count
        if latencies is not None:
            now = time.monotonic_ns()
            if count > SAMPLED_WHOLE:
                places = [first, buffer.rfind(MARK, 0, size)]
            else:
                places = [first]
                while len(places) < count:
                    places.append(buffer.find(MARK, places[-1] + 1, size))
            for place in places:
                # A stamp that goes on in the next read is one sample less.
                if place + STAMP_END <= size:
                    latencies.append(now - int(buffer[place + NUMBER_END + 1 : place + STAMP_END]))


@dataclass(frozen=True, slots=True)
class Summary:
    """What the followers saw: seconds from the start to the last line of the last one, and the
    latencies from the write to the read, sorted, in nanoseconds. `load` is the share of the time
    that this process was busy: near 1, it was
    the limit. `received` are bytes."""

    seconds: float
    lines: int
    received: int
    lost: int
    load: float
    latencies: list[int] = field(repr=False)


class Stalled(Exception):  # noqa: N818  a state, not a fault
    """Nothing came for a while, and not everything is there."""


def connect(
    address: tuple[str, int], head: str, number: int, *, receive_buffer: int = 0
) -> list[Follower]:
    """Open so many streams and read the head of each answer; `receive_buffer` is the kernel's, in
    bytes, unless 0. Raises RuntimeError unless the answer is a 200."""
    followers: list[Follower] = []
    while len(followers) < number:
        opened = []
        for _ in range(min(AT_ONCE, number - len(followers))):
            connection = socket.socket()
            connection.settimeout(30)
            if receive_buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.connect(address)
            connection.sendall(head.encode())
            opened.append(Follower(connection))
        for follower in opened:
            answer = b""
            while b"\r\n\r\n" not in answer:
                received = follower.socket.recv(4096)
                answer += received
                if not received:
                    break
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"the answer begins with {answer[:200]!r}")
            follower.socket.setblocking(False)
        followers += opened
    return followers


def drain(
    followers: list[Follower], lines: int, *, seconds: float, sampled: bool = True
) -> Summary:
    """Read until each has so many lines.

    Raises Stalled if nothing comes for 10 s, or after `seconds`.
    """
    started, busy = time.monotonic(), time.process_time()
    deadline = started + seconds
    latencies = array("q") if sampled else None
    poll = select.epoll()
    by_number = {}
    for follower in followers:
        poll.register(follower.socket.fileno(), select.EPOLLIN)
        by_number[follower.socket.fileno()] = follower
    buffer = bytearray(RECEIVE_BYTES)
    left = len(followers)
    last = started
    while left:
        ready = poll.poll(min(IDLE_SECONDS, seconds))
        now = time.monotonic()
        if not ready or now > deadline:
            done = sum(each.lines for each in followers)
            raise Stalled(f"{done:,} of {lines * len(followers):,} lines in {now - started:.0f} s")
        for number, _ in ready:
            follower = by_number[number]
            size = follower.socket.recv_into(buffer)
            if size == 0:
                raise RuntimeError(f"an answer was cut off after {follower.lines:,} lines")
            follower.feed(buffer, size, latencies)
            if follower.lines >= lines:
                last = follower.finished = time.monotonic()
                poll.unregister(number)
                left -= 1
    poll.close()
    elapsed = last - started
    return Summary(
        elapsed,
        sum(each.lines for each in followers),
        sum(each.received for each in followers),
        sum(each.lost for each in followers),
        (time.process_time() - busy) / elapsed,
        sorted(latencies or ()),
    )
