"""The access log: one record for each answer at its end, and nothing in it that opens a door."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
import trustme

from tests.full_pipe import PATIENCE, Pipe, wait_for
from tests.server_process import ServerProcess
from tests.test_own_log_processes import served
from tests.test_server import ANY_PORT, connect, hello, read_all, serving
from trio_logs.errors import IncompleteAnswerError
from trio_logs.server import PORT, Server, UnixBind, load_tls
from trio_logs.server.ports import CountingPorts

LAST = b"Host: x\r\nConnection: close\r\n\r\n"


PAGE = Path(__file__).parent.parent / "docs" / "reference" / "log.md"


async def test_its_fields_are_documented() -> None:
    _, [found] = await exchange(b"GET / HTTP/1.1\r\n" + LAST)
    _, _, text = PAGE.read_text().partition("## Accesses")
    names = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)))
    assert sorted(names) == sorted({*found, "seconds"})


async def exchange(request: bytes, app: Any = hello, **options: Any) -> tuple[bytes, list[Any]]:
    """What is answered to what is sent at once, and the records."""
    server = serving(Server(access_log=True), app=app, **options)
    with structlog.testing.capture_logs() as records:
        async with server as (url, _), await connect(url) as stream:
            await stream.send_all(request)
            answers = await read_all(stream)
    assert {record.pop("event") for record in records} <= {"request"}
    assert {record.pop("log_level") for record in records} <= {"info"}
    assert all(record.pop("seconds") >= 0 for record in records)
    return answers, records


def record(**fields: Any) -> dict[str, Any]:
    usual = {"client": "127.0.0.1", "method": "GET", "complete": True, "user_agent": None}
    return usual | fields


async def test_each_answer_of_a_connection_is_a_record() -> None:
    one = b"GET /a%1b%20b?code=secret&tail=3 HTTP/1.1\r\nHost: x\r\nUser-Agent: it/1\r\n\r\n"
    two = b"HEAD /" + b"y" * 600 + b" HTTP/1.1\r\nAuthorization: Bearer secret\r\n" + LAST
    answers, records = await exchange(one + two)
    first, mark, second = answers.partition(b"hello")
    assert records == [
        record(path="/a%1b%20b", status=200, bytes=len(first + mark), user_agent="it/1"),
        record(method="HEAD", path=f"/{'y' * 499}...", status=200, bytes=len(second)),
    ]
    assert "secret" not in str(records)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"GARBAGE\r\n\r\n", {"method": None, "path": None, "status": 400}),
        (b"GET ?code=x HTTP/1.1\r\n" + LAST, {"path": "", "status": 400}),
        (b"GET /x?code=x HTTP/1.2\r\n" + LAST, {"path": "/x", "status": 505}),
        (
            b"POST /x?code=x HTTP/1.1\r\nContent-Length: 9\r\nUser-Agent: it/1\r\n" + LAST,
            {"method": "POST", "path": "/x", "status": 413, "user_agent": "it/1"},
        ),
    ],
)
async def test_refusals_of_the_server_itself(request_: bytes, expected: dict[str, Any]) -> None:
    answers, records = await exchange(request_, body_limit=lambda method, path: 8)
    assert records == [record(bytes=len(answers), **expected)]


async def test_a_refusal_while_the_app_has_the_request_is_one_record() -> None:
    """Its body turns out to be malformed."""
    head = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answers, records = await exchange(head + b"1\r\nx\r\nno number\r\n")
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert records == [record(method="POST", path="/x", status=400, bytes=len(answers))]


async def test_a_refusal_after_an_answer_has_a_record_of_its_own() -> None:
    answers, records = await exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGARBAGE\r\n\r\n")
    first = answers.index(b"hello") + len(b"hello")
    # The second one is refused while the first one ends.
    assert sorted(records, key=lambda found: found["status"]) == [
        record(path="/", status=200, bytes=first),
        record(method=None, path=None, status=400, bytes=len(answers) - first),
    ]


async def cut_short(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise IncompleteAnswerError


async def test_an_answer_that_the_service_cuts() -> None:
    answers, records = await exchange(b"GET / HTTP/1.1\r\n" + LAST, app=cut_short)
    assert answers.endswith(b"half\r\n")
    assert records == [record(path="/", status=200, bytes=len(answers), complete=False)]


@pytest.mark.parametrize("answers", [True, False])
async def test_a_client_that_disconnects(answers: bool) -> None:
    """Before the answer has begun, there is no status."""
    begun = trio.Event()

    async def wait(scope: Any, receive: Any, send: Any) -> None:
        if answers:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    with structlog.testing.capture_logs() as records:
        async with serving(Server(access_log=True), app=wait) as (url, _):
            stream = await connect(url)
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await begun.wait()
            await stream.aclose()
    [found] = records
    assert (found["status"], found["complete"]) == (200 if answers else None, False)


async def test_a_client_that_reads_nothing_does_not_get_its_last_chunk() -> None:
    """The write of the last chunk fails, and the app can't know that."""
    aborted = trio.Event()

    async def flood(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        aborted.set()
        await send({"type": "http.response.body", "body": b"x" * 50_000_000})

    with structlog.testing.capture_logs() as records:
        async with serving(Server(access_log=True), app=flood) as (url, _):
            stream = await connect(url)
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await stream.receive_some(1)
            await aborted.wait()
            await stream.aclose()
    [found] = records
    assert found["complete"] is False
    assert 0 < found["bytes"] < 50_000_000


async def test_chunks_written_by_others_count() -> None:
    """As a broker writes them: past the app of the answer, while that waits."""
    chunks = [b"direct", b"", b"x" * 20]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"own", "more_body": True})
        port = scope["extensions"][PORT]
        for chunk in chunks:
            assert not port.outlet.send_each([port.number], chunk)
        await send({"type": "http.response.body"})

    answers, records = await exchange(b"GET / HTTP/1.1\r\n" + LAST, app=app)
    assert b"direct" in answers
    assert records == [record(path="/", status=200, bytes=len(answers))]


def test_what_the_kernel_does_not_take_is_left_to_the_transport() -> None:
    ports, rest = CountingPorts(), []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        port = ports.add(rest.append)
        ports.open(port, ours.fileno())
        gone = ports.add(rest.append)
        chunk = b"x" * 10_000_000
        assert ports.send_each([port, gone], chunk) == [gone]
        assert ports.bytes_of(port) == len(b"989680\r\n") + len(chunk) + 2 - len(rest[0])
        assert ports.bytes_of(gone) == 0
        ports.close(port)
    for each in (port, gone):
        ports.remove(each)
        with pytest.raises(KeyError):
            ports.bytes_of(each)


async def test_over_tls_and_over_a_unix_socket(tmp_path: Path) -> None:
    authority, path = trustme.CA(), tmp_path / "cert.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    request = b"GET / HTTP/1.1\r\n" + LAST
    server = Server(access_log=True, tls=load_tls(path))
    with structlog.testing.capture_logs() as records:
        async with serving(server, ANY_PORT, UnixBind(tmp_path / "socket")) as (url, _):
            port = int(url.rpartition(":")[2])
            context = ssl.create_default_context()
            authority.configure_trust(context)
            async with await trio.open_ssl_over_tcp_stream(
                "localhost", port, ssl_context=context, https_compatible=True
            ) as stream:
                await stream.send_all(request)
                encrypted = len(await read_all(stream))
            async with await trio.open_unix_socket(tmp_path / "socket") as plain:
                await plain.send_all(request)
                clear = len(await read_all(plain))
    assert [found["client"] for found in records] == ["127.0.0.1", "unix"]
    assert records[0]["bytes"] > encrypted
    assert records[1]["bytes"] == clear


async def test_it_is_off_by_default() -> None:
    with structlog.testing.capture_logs() as records:
        async with serving(Server()) as (url, _), await connect(url) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\n" + LAST)
            await read_all(stream)
    assert records == []


@contextmanager
def logging_server(data: Path, stderr: Any) -> Iterator[ServerProcess]:
    """A server that logs accesses as JSON."""
    options = {"TRIO_LOGS_ACCESS_LOG": "1", "TRIO_LOGS_LOG_FORMAT": "json"}
    with served(data, stderr, env=os.environ | options) as server:
        yield server


def test_a_stream_of_the_service(tmp_path: Path) -> None:
    """It is logged at its end, with all of its bytes: those that the broker wrote directly, too."""
    gate, said = tmp_path / "gate", tmp_path / "said"
    script = f"until [ -e {gate} ]; do sleep 0.01; done; seq 100"
    with said.open("wb") as stderr, logging_server(tmp_path / "data", stderr) as server:
        workload = server.post("/v1/workloads", {"command": ["sh", "-c", script]}).json()
        host, _, port = server.url.rpartition("//")[2].rpartition(":")
        head = [f"GET {workload['logs_url']} HTTP/1.1", f"Host: {host}", "Connection: close"]
        head += [f"Authorization: Bearer {server.token}", "", ""]
        with (
            socket.create_connection((host, int(port)), PATIENCE) as client,
            client.makefile("rb") as answer,
        ):
            client.sendall("\r\n".join(head).encode())
            start = [answer.readline()]
            while b": open" not in start[-1]:
                start.append(answer.readline())
            gate.touch()
            received = b"".join([*start, answer.read()])
        assert b"event: end" in received
        assert server.metric("trio_logs_batches_pushed_total") > 0
        assert server.stop(PATIENCE) == 0
    records = [json.loads(line) for line in said.read_text().splitlines()]
    [found] = [each for each in records if each.get("path") == workload["logs_url"]]
    assert (found["status"], found["complete"]) == (200, True)
    assert found["bytes"] == len(received)
    assert found["seconds"] > 0


def test_it_holds_no_token_code_or_key(tmp_path: Path) -> None:
    said = tmp_path / "said"
    secrets = ["wrong-token", "code-in-query", "code-in-body", "text-searched", "user:password"]
    with said.open("wb") as stderr, logging_server(tmp_path / "data", stderr) as server:
        wrong = {"Authorization": "Bearer wrong-token"}
        with server.client() as client:
            for path in ("/v1/workloads/x/logs?download&code=code-in-query", "/?token=wrong-token"):
                client.get(path)
            client.get(f"/v1/search?filter=text-searched&access_token={server.token}")
            client.get("/v1/workloads", headers=wrong)
            client.get("/v1/workloads", auth=("user:password", "wrong-token"))
            client.post("/v1/session", json={"code": "code-in-body"})
            referred = {"Referer": "http://x/#code=code-in-query", "Cookie": "key=wrong-token"}
            client.get("/healthz", headers=referred)
        assert server.stop(PATIENCE) == 0
    text = said.read_text()
    assert text.count('"event": "request"') == 7
    assert [secret for secret in (server.token, *secrets) if secret in text] == []


def test_a_standard_error_that_stalls_or_is_lost_delays_no_answer(tmp_path: Path) -> None:
    with ExitStack() as stack:
        pipe = stack.enter_context(closing(Pipe()))
        pipe.fill()
        server = stack.enter_context(logging_server(tmp_path / "data", pipe.writer))
        client = stack.enter_context(server.client())
        for _ in range(20):
            assert client.get("/healthz").status_code == 200
        assert server.metric("trio_logs_own_log_dropped_total") == 0
        pipe.close_reader()
        wait_for(lambda: server.metric("trio_logs_own_log_dropped_total") >= 20)
        assert client.get("/healthz").status_code == 200
        assert server.stop(PATIENCE) == 0
