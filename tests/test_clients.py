"""What clients in the field receive from a server process: curl, httpx2, and two EventSources.

Nothing here shares code with the server: what is expected is worked out from the bytes written.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import httpx2
import pytest

from tests.server_process import running_server

pytestmark = pytest.mark.surroundings

PATIENCE = 30
"""Seconds after which a client or the server has failed."""

CLIENTS = Path(__file__).parent / "clients"

WRITER = """
import os, pathlib, sys, time
path, gate, head, step = sys.argv[1:]
data, head, step = pathlib.Path(path).read_bytes(), int(head), int(step)
os.write(1, data[:head])
deadline = time.monotonic() + 30
while not os.path.exists(gate):
    if time.monotonic() > deadline:
        sys.exit("no follower came")
    time.sleep(0.005)
for start in range(head, len(data), step):
    piece = data[start : start + step]
    while piece:
        piece = piece[os.write(1, piece) :]
"""
"""Writes the first `head` bytes of a file, waits for another file to be there, and writes the rest
in pieces of `step` bytes, so that no follower can be late and lines come in parts."""

CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

FOLLOW_IN_PAGE = """
url => {
    window.got = [];
    window.source = new EventSource(url);
    for (const kind of ["message", "end", "gap", "reset", "shutdown"]) {
        source.addEventListener(kind, e => got.push({kind, id: e.lastEventId, data: e.data}));
    }
}
"""


def lines_of_all_bytes() -> bytes:
    """Each byte value in a line of its own, and what else could trip a client up."""
    lines = b"".join(b"<%02x|%c|>\n" % (byte, byte) for byte in range(256))
    odd = [
        b"",
        b" leading space, and a colon: here",
        b"data: looks like a field",
        b": looks like a comment",
        b"ended by CRLF\r",
        b"two CR, one of them its end's\r\r",
        b"\rstarts with CR",
        b"100 % {} %d",
        "é€😀\u2028\u2029\u0085\ufeff".encode(),
        b"cut \xf0\x9f\x98 short",
        b"",
    ]
    return lines + b"\n".join(odd) + b"\nno end"


def lines_by_the_thousand() -> bytes:
    """10,000 lines, none like another."""
    return b"".join(b"line %d of 10000 %s\n" % (n, b"." * (n % 50)) for n in range(1, 10_001))


@dataclass(frozen=True, slots=True)
class Case:
    """What is written: `head` bytes before the follower is there, the rest in pieces of `step`."""

    data: bytes
    head: int
    step: int

    def messages(self) -> list[tuple[str, str]]:
        """The id and data of each event that a follower has to get, by the wire contract."""
        *whole, last = self.data.split(b"\n")
        lines = [line.removesuffix(b"\r") for line in whole] + ([last] if last else [])
        return [
            (str(number), line.decode(errors="replace").replace("\r", "\n"))
            for number, line in enumerate(lines, 1)
        ]


CASES = {
    "all-bytes": Case(lines_of_all_bytes(), head=1000, step=3),
    "10000-lines": Case(lines_by_the_thousand(), head=10_000, step=1000),
}


@dataclass(slots=True)
class Received:
    """What one client got; `requests` has each one's Last-Event-ID and the status of its answer."""

    events: list[tuple[str, str, str]] = field(default_factory=list)
    requests: list[tuple[str | None, int]] = field(default_factory=list)

    def of(self, kind: str) -> list[tuple[str, str]]:
        return [(id_, data) for kind_, id_, data in self.events if kind_ == kind]


@dataclass(frozen=True, slots=True)
class Server:
    """A server process."""

    url: str
    token: str

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def submit(self, *command: str) -> str:
        """Submit a workload; return the URL of its log."""
        request = urllib.request.Request(
            f"{self.url}/v1/workloads",
            json.dumps({"command": command}).encode(),
            {**self.authorization, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            logs_url: str = json.load(answer)["logs_url"]
        return self.url + logs_url


@dataclass(frozen=True, slots=True)
class Followed:
    """A log that has begun. A client calls `go` once it has received something."""

    url: str
    server: Server
    go: Callable[[], None]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on a free port of the loopback, with an empty history."""
    with running_server(tmp_path_factory.mktemp("clients")) as running:
        yield Server(running.url, running.token)
        assert running.stop(PATIENCE) == 0, running.lines


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


def _program(name: str) -> str:
    return shutil.which(name) or _missing(name)


def _follow_with_curl(log: Followed) -> Received:
    curl = [_program("curl"), "-sN", "--fail", "--max-time", str(PATIENCE)]
    curl += ["-H", f"Authorization: Bearer {log.server.token}"]
    with subprocess.Popen([*curl, log.url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        body = b""
        while b"id: 1\n" not in body and (line := process.stdout.readline()):
            body += line
        log.go()
        body += process.stdout.read()
    # It is 18 where the answer lacks its terminal chunk.
    assert process.returncode == 0
    again = [*curl, "-H", "Last-Event-ID: end", "-w", "%{http_code}", log.url]
    status = subprocess.run(again, capture_output=True, check=True).stdout
    return Received(list(_events(body)), [(None, 200), ("end", int(status))])


def _events(body: bytes) -> Iterator[tuple[str, str, str]]:
    """The dispatched events of a stream. Source: the WHATWG HTML standard, section 9.2.6."""
    kind, id_, data = "", "", ""
    # Strict: what the server sends has to be UTF-8, whatever the workload wrote.
    for line in re.split("\r\n|\r|\n", body.decode())[:-1]:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield kind or "message", id_, data.removesuffix("\n")
            kind, data = "", ""
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            id_ = value
        elif name == "data":
            data += value + "\n"


def _follow_with_httpx2(log: Followed) -> Received:
    received = Received()
    with httpx2.Client(headers=log.server.authorization, timeout=PATIENCE) as client:
        with client.sse(log.url) as events:
            received.requests.append((None, events.response.status_code))
            for event in events:
                # It shows the opening's `retry` as an event; that has no id yet.
                if event.id:
                    received.events.append((event.event, event.id, event.data))
                    log.go()
        answer = client.get(log.url, headers={"Last-Event-ID": "end"})
        assert answer.content == b""
        received.requests.append(("end", answer.status_code))
    return received


def _follow_with_chromium(log: Followed) -> Received:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright")
    chromium = _program("chromium-headless-shell")
    patience = PATIENCE * 1000
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=chromium, args=CHROMIUM_ARGUMENTS, timeout=patience
        )
        context = browser.new_context(extra_http_headers=log.server.authorization)
        page = context.new_page()
        answers: list[Any] = []
        page.on("response", lambda answer: answers.append(answer))
        # Its content does not matter: the page has to be of the server's origin.
        page.goto(f"{log.server.url}/healthz", timeout=patience)
        page.evaluate(FOLLOW_IN_PAGE, log.url)
        page.wait_for_function("() => got.length > 0", timeout=patience)
        log.go()
        closed = "() => source.readyState === EventSource.CLOSED"
        page.wait_for_function(closed, timeout=patience)
        events = [(e["kind"], e["id"], e["data"]) for e in page.evaluate("() => got")]
        requests = [
            (answer.request.all_headers().get("last-event-id"), answer.status)
            for answer in answers
            if answer.url == log.url
        ]
        browser.close()
    return Received(events, requests)


def _follow_with_npm_eventsource(log: Followed) -> Received:
    node = _program("node")
    if not (CLIENTS / "node_modules" / "eventsource").is_dir():
        _missing("npm's eventsource (make test installs it)")
    received = Received()
    with subprocess.Popen(
        ["timeout", str(PATIENCE), node, str(CLIENTS / "eventsource.mjs"), log.url],
        env={**os.environ, "TOKEN": log.server.token},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            log.go()
            match json.loads(line):
                case {"kind": "closed", "requests": requests}:
                    received.requests += [(id_, status) for id_, status in requests]
                case {"kind": kind, "id": id_, "data": data}:
                    received.events.append((kind, id_, data))
    assert process.returncode == 0
    return received


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize(
    "follow",
    [_follow_with_curl, _follow_with_httpx2, _follow_with_chromium, _follow_with_npm_eventsource],
    ids=["curl", "httpx2", "chromium", "npm-eventsource"],
)
def test_client_receives_each_line_once_then_end(
    server: Server, follow: Callable[[Followed], Received], case: Case, tmp_path: Path
) -> None:
    written, gate = tmp_path / "written", tmp_path / "gate"
    written.write_bytes(case.data)
    url = server.submit(
        *(sys.executable, "-c", WRITER), str(written), str(gate), str(case.head), str(case.step)
    )

    received = follow(Followed(url, server, gate.touch))

    assert received.of("message") == case.messages()
    [(end_id, end)] = received.of("end")
    assert end_id == "end"
    assert received.events[-1] == ("end", end_id, end)
    assert len(received.events) == len(case.messages()) + 1
    outcome = json.loads(end)
    assert outcome.pop("reason") == "exited"
    assert outcome == {
        "status": "succeeded",
        "exit_code": 0,
        "signal": None,
        "error": None,
        "lines": len(case.messages()),
        "bytes": len(case.data),
    }
    # One answer had it all, and the server told the one who came back not to.
    assert received.requests == [(None, 200), ("end", 204)]


def test_the_cases_hold_what_they_say() -> None:
    assert set(CASES["all-bytes"].data) == set(range(256))
    assert len(CASES["10000-lines"].messages()) == 10_000
