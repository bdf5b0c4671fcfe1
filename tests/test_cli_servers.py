"""What a command says of a server that is not quite the one it wants, and of its token."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.answering import answer, answering
from tests.command_line import trio_logs
from tests.server_process import ServerProcess
from trio_logs.addresses import base_url
from trio_logs.cli.outputs import trying_again
from trio_logs.client import Client, ClientError
from trio_logs.client.backoff import is_temporary


def test_answers_of_proxies_that_may_get_better() -> None:
    later = {status for status in range(400, 600) if is_temporary(status)}
    assert later == {408, 425, 429, 500, 502, 503, 504, *range(520, 531)}


async def test_such_an_answer_is_asked_again() -> None:
    answers = [
        *(answer("text/html", b"<p>", status) for status in ("500 Oops", "522 Timed Out")),
        answer("text/plain; charset=utf-8", b"line\n"),
    ]
    async with answering(lambda number: answers[number]) as server, Client(server.url) as client:
        assert await client.raw("x", patience=60) == b"line\n"
    assert len(server.heads) == 3


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://h", "http://h"),
        ("http://h/", "http://h"),
        ("http://h:1/v1", "http://h:1"),
        ("https://h/v1/", "https://h"),
        ("https://h/logs/v1", "https://h/logs"),
        ("https://h/v12", "https://h/v12"),
        ("http://me:secret@[::1]:5/?q#f", "http://[::1]:5"),
        ("http://me:p@ss@h", "http://h"),
    ],
)
def test_what_of_an_address_counts(given: str, used: str) -> None:
    assert base_url(given) == used


@pytest.mark.parametrize("url", ["http://me:secret@a..b", "ftp://me:secret@h", "http://h:x"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ClientError, match="is no URL of a server") as refused:
        Client(url)
    assert "secret" not in str(refused.value)


def test_addresses_that_users_paste(server: ServerProcess, tmp_path: Path) -> None:
    pasted = server.url.replace("://", "://me:secret@") + "/v1"
    options = ("--server", pasted)
    found = trio_logs(server.data, "ps", *options)
    assert (found.returncode, found.stderr) == (0, "")
    shown = trio_logs(server.data, "ps", *options, "--help", COLUMNS="200").stdout
    assert f"Server {server.url} (from the command line), token from the data folder." in shown
    for url, code in (("http://me:secret@127.0.0.1:9/v1", 69), ("http://me:secret@a..b", 2)):
        found = trio_logs(tmp_path, "ps", "--server", url)
        assert found.returncode == code
        assert "secret" not in found.stderr
        assert found.stderr.count("\n") == 1


def test_what_is_not_at_an_address(server: ServerProcess) -> None:
    """In words for people, without those of Python."""
    for url, code, told in (
        (f"{server.url}/api", 66, "there is no path '/api/v1/workloads': /openapi.json lists"),
        (server.url.replace("http:", "https:"), 69, "it does not speak TLS: its address begins"),
        ("unix:/no/such", 69, "unix:/no/such does not answer: No such file or directory;"),
    ):
        found = trio_logs(server.data, "ps", "--server", url)
        assert found.returncode == code
        assert told in found.stderr
        assert "Errno" not in found.stderr
        assert "[" not in found.stderr


def test_a_sentence_goes_on() -> None:
    assert trying_again("Make room on its disk.") == "Make room on its disk; trying again"


def test_authorities_that_are_not_there(tmp_path: Path) -> None:
    options = ("--server", "https://logs.invalid", "--token", "x")
    found = trio_logs(tmp_path, "ps", *options, SSL_CERT_FILE="/nowhere/ca.pem")
    told = "SSL_CERT_FILE names /nowhere/ca.pem, which can't be used: No such file or directory"
    assert (found.returncode, found.stderr) == (2, f"trio-logs: {told}\n")


def test_a_token_that_is_wrong_or_only_reads(server: ServerProcess) -> None:
    wrong = trio_logs(server.data, "ps", "--token", "other")
    assert wrong.returncode == 77
    assert f"{server.url} refuses the token from the command line: it is wrong;" in wrong.stderr
    reading = {"TRIO_LOGS_TOKEN": (server.data / "token.read-only").read_text().strip()}
    assert trio_logs(server.data, "ps", **reading).returncode == 0
    for command, code in ((("run", "true"), 77), (("pipe", "true"), 0)):
        found = trio_logs(server.data, *command, **reading)
        assert found.returncode == code
        assert "is read-only: it allows GET and HEAD" in found.stderr
        assert found.stderr.endswith("; this command sends the token from the environment\n")
        assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "refusal",
    [
        answer("text/html", b"<p>", "404 Not Found"),
        answer("application/problem+json", b'{"detail":"no such path"}', "404 Not Found"),
        answer("application/json", b'{"workloads": 5}'),
    ],
)
async def test_a_server_of_another_version_is_named(tmp_path: Path, refusal: bytes) -> None:
    version = answer("application/json", b'{"version":"9.1","api":2}')
    async with answering(lambda number: version if number else refusal) as server:

        def ask() -> tuple[int, str]:
            found = trio_logs(tmp_path, "ps", "--server", server.url, "--token", "x")
            return found.returncode, found.stderr

        code, told = await trio.to_thread.run_sync(ask)
    assert code in (1, 66)
    assert told == (
        f"trio-logs: {server.url} runs trio_logs 9.1 with version 2 of the HTTP interface, and this"
        " command speaks version 1: install that trio_logs here\n"
    )
