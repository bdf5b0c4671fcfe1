"""Each option of `serve` is a variable as well, by one rule."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from tests.command_line import trio_logs
from tests.server_process import running_server
from tests.test_docs import arguments
from trio_logs.cli import CLIENTS, create_app
from trio_logs.cli.environment import variable
from trio_logs.settings import Settings

OPTIONS = {name: each for name, each in arguments("serve").items() if name != "--data"}


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("TRIO_LOGS_"):
            monkeypatch.delenv(name)


def given(*argv: str, command: str = "serve") -> dict[str, Any]:
    """The arguments that a command is called with."""
    _, bound, _ = create_app([command]).parse_args([command, *argv])
    return bound.arguments


def sample(hint: Any) -> tuple[str, Any]:
    """A value of an option in its variable, and as the command has it."""
    kinds = get_args(hint) or (hint,)
    if get_origin(hint) is Literal:
        return kinds[-1], kinds[-1]
    if get_origin(hint) is tuple:
        return " a, b:1 ,,", ("a", "b:1")
    for kind, found in ((bool, ("yes", True)), (float, ("2.5", 2.5)), (int, ("7", 7))):
        if kind in kinds:
            return found
    return ("/x y", Path("/x y")) if Path in kinds else ("x", "x")


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_a_variable(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = OPTIONS[option].field_info.name
    assert name not in given()
    text, expected = sample(OPTIONS[option].hint)
    monkeypatch.setenv(variable(option), text)
    assert given()[name] == expected
    monkeypatch.setenv(variable(option), " ")
    assert name not in given()


def test_the_rule() -> None:
    assert variable("--max-connections-per-peer") == "TRIO_LOGS_MAX_CONNECTIONS_PER_PEER"


def test_the_command_line_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIO_LOGS_GRACE", "1")
    monkeypatch.setenv("TRIO_LOGS_BIND", "127.0.0.1:1,127.0.0.1:2")
    found = given("--grace", "2", "--bind", "unix:x")
    assert (found["grace"], found["bind"]) == (2.0, ("unix:x",))


def test_other_commands_have_no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in CLIENTS:
        for option in arguments(command):
            if option not in ("--server", "--token"):
                monkeypatch.setenv(variable(option), "7")
    assert given(command="ps") == {}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TRIO_LOGS_GRACE", "soon", "TRIO_LOGS_GRACE"),
        ("TRIO_LOGS_MAX_RUNNING", "0", "TRIO_LOGS_MAX_RUNNING. Give a number, 1 or more."),
        ("TRIO_LOGS_LOG_FORMAT", "xml", '"text", "json"'),
        ("TRIO_LOGS_ACCESS_LOG", "maybe", "TRIO_LOGS_ACCESS_LOG"),
        ("TRIO_LOGS_BIND", "8000", "give HOST:PORT"),
    ],
)
def test_a_malformed_variable_is_named(tmp_path: Path, name: str, value: str, message: str) -> None:
    found = trio_logs(tmp_path, "serve", **{name: value})
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert message in found.stderr


def test_a_server_takes_its_variables(tmp_path: Path) -> None:
    prefix = ("env", "TRIO_LOGS_ALLOWED_HOST=one.example,two.example", "TRIO_LOGS_ACCESS_LOG=1")
    with running_server(tmp_path / "data", prefix=prefix) as server:
        found = {
            host: server.get("/readyz", Host=host).status_code
            for host in ("one.example", "two.example", "three.example")
        }
        assert found == {"one.example": 200, "two.example": 200, "three.example": 421}
        assert server.stop() == 0
    assert sum("path=/readyz" in line for line in server.lines) == 3


def test_the_app_for_other_servers_has_the_same_name(tmp_path: Path) -> None:
    hosts = frozenset({"one.example", "two.example"})
    for name in ("TRIO_LOGS_ALLOWED_HOST", "TRIO_LOGS_ALLOWED_HOSTS"):
        found = Settings.from_environment({name: "one.example, two.example"})
        assert found.allowed_hosts == hosts
