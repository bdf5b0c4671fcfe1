"""Which server a command talks to, and with which token."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from tests.command_line import started, trio_logs
from tests.server_process import running_server
from trio_logs.cli.address import leave_address
from trio_logs.cli.connection import Connection, Flags, describe, find_connection
from trio_logs.cli.diagnosis import explain_answer
from trio_logs.cli.exits import UsageError
from trio_logs.client.errors import RefusedError
from trio_logs.data_folder import read_address, write_address
from trio_logs.server import Bind

HERE = "http://127.0.0.1:1"
THERE = "https://logs.example"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the data folder, and where the configuration is."""
    monkeypatch.setenv("TRIO_LOGS_DATA", str(tmp_path))
    (tmp_path / "trio_logs").mkdir()
    return tmp_path


def find(
    home: Path, server: str | None = None, token: str | None = None, **environ: str
) -> Connection:
    return find_connection(Flags(server, token), {"XDG_CONFIG_HOME": str(home), **environ})


def configure(home: Path, text: str) -> str:
    path = home / "trio_logs" / "config.toml"
    path.write_text(text)
    return f"from {path}"


def test_each_place_is_behind_the_one_before(home: Path) -> None:
    found = [find(home)]
    (home / "token").write_text("in-folder\n")
    found.append(find(home))
    write_address(home, HERE)
    found.append(find(home))
    in_file = configure(home, f"server = '{THERE}/'\ntoken = 'in-file'")
    found.append(find(home))
    variables = {"TRIO_LOGS_SERVER": "http://in-env", "TRIO_LOGS_TOKEN": "in-env"}
    found.append(find(home, **variables))
    found.append(find(home, "http://in-flag", "in-flag", **variables))
    assert found == [
        Connection("http://127.0.0.1:8000", "the default", None, ""),
        Connection("http://127.0.0.1:8000", "the default", "in-folder", "from the data folder"),
        Connection(HERE, "from the data folder", "in-folder", "from the data folder"),
        Connection(THERE, in_file, "in-file", in_file),
        Connection("http://in-env", "from the environment", "in-env", "from the environment"),
        Connection("http://in-flag", "from the command line", "in-flag", "from the command line"),
    ]


def test_a_token_is_for_the_server_that_its_place_means(home: Path) -> None:
    (home / "token").write_text("in-folder")
    assert find(home, THERE).token is None
    for here in ("http://localhost:5", "http://[::1]:5", "unix:/run/x"):
        assert find(home, here).token == "in-folder"
    configure(home, f"server = '{THERE}'\ntoken = 'in-file'")
    assert find(home, THERE + "/").token == "in-file"
    assert find(home, "https://logs.example.evil").token is None
    assert find(home, "http://127.evil").token is None
    assert find(home, HERE).token == "in-folder"
    configure(home, "token = 'for-any'")
    assert find(home, "https://other").token == "for-any"


def test_a_file_that_was_named(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text("server = 'unix:/run/x'")
    assert find(home, TRIO_LOGS_CONFIG=str(path)).server == "unix:/run/x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server = 'logs.example'", "is 'logs.example': give a URL"),
        ("server = 'ftp://x'", "give a URL"),
        ("server = 'unix:'", "give a URL"),
        ("server = 'http://127.0.0.1:abc'", "give a URL"),
        ("server = 'http://[::1'", "give a URL"),
        ("server = 5", "'server' is not valid; write"),
        ("tokem = 'x'", "'tokem' is not valid"),
        ("server = ", "can't read .*config.toml"),
    ],
)
def test_what_can_not_be_read_is_named(home: Path, text: str, message: str) -> None:
    configure(home, text)
    with pytest.raises(UsageError, match=message):
        find(home)


def test_a_named_file_must_exist(home: Path) -> None:
    with pytest.raises(UsageError, match="which does not exist"):
        find(home, TRIO_LOGS_CONFIG="/nowhere")
    assert find(home).server == "http://127.0.0.1:8000"


def test_help_tells_what_would_be_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    (home / "token").write_text("secret")
    expected = f"Server {HERE} (from the command line), token from the data folder."
    assert describe(["logs", "--server", HERE, "--help"]) == expected
    assert describe(["logs", "--help", f"--server={HERE}"]) == expected
    told = describe(["run", "--token", "secret", "--", "x", "--server", HERE])
    assert told == "Server http://127.0.0.1:8000 (the default), token from the command line."
    configure(home, "server = 5")
    assert "both strings" in describe(["--help"])


def test_a_running_server_is_found(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_server(data) as server:
        found = trio_logs(data, "token")
        shown = trio_logs(data, "token", "--help", COLUMNS="200")
    assert (found.returncode, found.stdout, found.stderr) == (0, server.token + "\n", "")
    line = f"Server {server.url} (from the data folder), token from the data folder."
    assert line in shown.stdout.splitlines()
    assert server.token not in shown.stdout


@pytest.mark.parametrize(
    ("bind", "bound", "left"),
    [
        ("127.0.0.1:0", "http://127.0.0.1:5", "http://127.0.0.1:5"),
        ("0.0.0.0:5", "https://0.0.0.0:5", "https://127.0.0.1:5"),
        ("[::]:5", "http://[::]:5", "http://[::1]:5"),
        ("localhost:0", "https://127.0.0.1:5", "https://localhost:5"),
        ("logs.example:0", "https://[::1]:5", "https://logs.example:5"),
        ("fd://3", "http://0.0.0.0:5", "http://127.0.0.1:5"),
        ("unix:/run/x", "unix:/run/x", "unix:/run/x"),
        ("unix:x/y.sock", "unix:x/y.sock", f"unix:{Path.cwd()}/x/y.sock"),
    ],
)
def test_the_address_that_is_left_can_be_used(
    tmp_path: Path, bind: str, bound: str, left: str
) -> None:
    leave_address(tmp_path, bound, Bind.parse(bind))
    assert read_address(tmp_path) == left
    assert [path.name for path in tmp_path.iterdir()] == ["address"]


@pytest.mark.parametrize("token", ["in-folder", None])
def test_a_stranger_on_the_default_port(home: Path, token: str | None) -> None:
    """The service failed to start since another program has the port, so it has left no address.
    The command must not send its user to fetch the token of that program."""
    if token is not None:
        (home / "token").write_text(token)
    error = RefusedError(401, "the token is wrong", is_problem=True)
    told = explain_answer(find(home), error)
    assert "`trio-logs token`" not in told
    assert f"because no service has left its address in {home}: start one" in told
    write_address(home, "http://127.0.0.1:8000")
    assert "`trio-logs token`" in explain_answer(find(home), error)


@pytest.mark.parametrize("token", ["geheim\u00fc", "geheim\udcfc", "geheim a", "geheim\x01"])
def test_a_token_that_can_not_be_one_is_not_told(home: Path, token: str) -> None:
    with pytest.raises(UsageError, match="the token from the environment is malformed") as refused:
        find(home, TRIO_LOGS_TOKEN=token)
    assert "geheim" not in str(refused.value)
    (home / "token").write_bytes(b"geheim\xff")
    with pytest.raises(UsageError) as refused:
        find(home)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://1.2.3.999", "http://\udce9", "http://[v1.x]"])
def test_a_url_that_only_looks_like_one(url: str) -> None:
    with pytest.raises(UsageError, match="give a URL"):
        Connection(url, "from the command line", None, "").client()


NO_PROXY_THERE = dict.fromkeys(("http_proxy", "all_proxy"), "http://127.0.0.1:9")


def test_on_this_machine_no_proxy_is_used(tmp_path: Path) -> None:
    """It would get the token, and mean another machine by the same address."""
    path = tmp_path / "socket"
    with running_server(tmp_path / "data", "--bind", f"unix:{path}") as server:
        for url in (server.url, f"unix:{path}"):
            found = trio_logs(server.data, "ps", "--server", url, **NO_PROXY_THERE)
            assert (found.returncode, found.stderr) == (0, "")


def test_a_proxy_that_can_not_be_used_is_one_line(tmp_path: Path) -> None:
    found = trio_logs(tmp_path, "ps", "--server", "http://logs.invalid", http_proxy="ftp://x")
    assert found.returncode == 2
    assert "the environment's proxy for http://logs.invalid can't be used: " in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_token_may_start_with_a_hyphen(tmp_path: Path) -> None:
    assert trio_logs(tmp_path, "token", "--token", "-x").stdout == "-x\n"


def test_a_certificate_for_the_name_that_is_bound(tmp_path: Path) -> None:
    authority = trustme.CA()
    pem, data = tmp_path / "pem", tmp_path / "data"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with started(data, "serve", "--bind", "localhost:0", "--certfile", str(pem)) as server:
        assert server.stderr is not None
        assert server.stderr.readline().startswith("Listening on https://")
        found = trio_logs(data, "ps", SSL_CERT_FILE=str(tmp_path / "ca.pem"))
        assert (found.returncode, found.stderr) == (0, "")
        refused = trio_logs(data, "ps")
        assert refused.returncode == 69
        assert "certificate verify failed" in refused.stderr


def test_no_token_is_one_line(tmp_path: Path) -> None:
    found = trio_logs(tmp_path, "token", "--server", THERE)
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.startswith(f"trio-logs: no token for {THERE}: give --token")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["bogus"], ["token", "--bogus"], ["token", "--server"]])
def test_what_can_not_be_parsed_is_one_line(tmp_path: Path, arguments: list[str]) -> None:
    found = trio_logs(tmp_path, *arguments)
    assert found.returncode == 2
    assert found.stderr.startswith("trio-logs: ")
    assert found.stderr.count("\n") == 1
