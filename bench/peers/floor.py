"""The floor: a loop over raw sockets that sends ready-made frames, the same to each; no HTTP but a
fixed head. What no server in Python can do better with a `send` for each client.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from pathlib import Path

from bench.lines import BLOCK_LINES, LINE_BYTES, block, line

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def frame(text: bytes, number: int) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (number + 1, text)


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


def blocks(lines: int) -> list[bytes]:
    """The log as ready chunks of 500 lines."""
    ready = []
    for start in range(0, lines, BLOCK_LINES):
        texts = block(start, lines - start).split(b"\n")[:-1]
        frames = [frame(text, start + i) for i, text in enumerate(texts)]
        ready.append(chunk(b"".join(frames)))
    return ready


def run(source: dict[str, object], followers: list[socket.socket]) -> None:
    """Send the lines to all who are there, once the gate is."""
    lines, rate = int(str(source["lines"])), float(str(source["rate"]))
    ready = [] if rate else blocks(lines)
    while not Path(str(source["gate"])).exists():
        time.sleep(0.005)
    if not rate:
        at_full_speed(ready, followers)
        return
    start = time.monotonic()
    for number in range(lines):
        time.sleep(max(0, start + number / rate - time.monotonic()))
        data = chunk(frame(line(number)[: LINE_BYTES - 1], number))
        for follower in followers:
            follower.send(data)


def at_full_speed(ready: list[bytes], followers: list[socket.socket]) -> None:
    """All of it to each, as the sockets take it."""
    poll = select.epoll()
    # Of each, the chunk that it is at and what it has of it.
    places = {each.fileno(): (each, 0, 0) for each in followers}
    for number in places:
        poll.register(number, select.EPOLLOUT)
    while places:
        for number, _ in poll.poll():
            follower, index, sent = places[number]
            sent += follower.send(memoryview(ready[index])[sent:])
            if sent == len(ready[index]):
                index, sent = index + 1, 0
            places[number] = follower, index, sent
            if index == len(ready):
                poll.unregister(number)
                del places[number]


def main() -> None:
    """Listen on a free port; a source takes those who follow at its gate, and lets them go."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"Listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    followers: list[socket.socket] = []
    while True:
        client, _ = listener.accept()
        request = b""
        while b"\r\n\r\n" not in request:
            request += client.recv(65536)
        head, _, body = request.partition(b"\r\n\r\n")
        if head.startswith(b"GET"):
            client.sendall(HEAD)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.setblocking(False)
            followers.append(client)
            continue
        while b"}" not in body:
            body += client.recv(65536)
        client.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        client.close()
        followers = []
        threading.Thread(target=run, args=(json.loads(body), followers), daemon=True).start()


if __name__ == "__main__":
    main()
