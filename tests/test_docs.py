"""The reference names what there is, no more and no less, with the defaults that it has."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx2
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from quart import Quart

import trio_logs
from tests.live import Live
from tests.server_process import running_server
from trio_logs import client, settings, sse
from trio_logs.api import create_app, query
from trio_logs.api.workloads import StopBody, SubmitBody, represent
from trio_logs.broker import BrokerLimits
from trio_logs.cli import app as command_line
from trio_logs.client import requests
from trio_logs.engine import EngineLimits
from trio_logs.records import Detached, End, Gap, Outcome, Reset, Status, Workload, WorkloadSpec
from trio_logs.server import ServerLimits
from trio_logs.store import Retention

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]


def section(page: str, title: str) -> str:
    """A page's part below a heading, up to the next one."""
    text = (REFERENCE / f"{page}.md").read_text()
    [found] = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    return found


def rows(text: str) -> dict[str, list[str]]:
    """The rows of tables by their first cell, which is code; the other cells as written."""
    found: dict[str, list[str]] = {}
    for line in text.split("\n"):
        if row := re.fullmatch(r"\| `([^`]+)` \|(.*)\|", line):
            assert row[1] not in found, f"{row[1]} is there twice"
            found[row[1]] = [cell.strip() for cell in row[2].split(" | ")]
    return found


@pytest.mark.parametrize(
    "kind", [settings.Settings, BrokerLimits, EngineLimits, Retention, ServerLimits]
)
def test_settings(kind: type) -> None:
    documented = rows(section("settings", kind.__name__))
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    assert documented.keys() == fields.keys()
    for name, default in fields.items():
        if default is dataclasses.MISSING or isinstance(default, frozenset):
            continue
        assert ast.literal_eval(documented[name][0].strip("`")) == default, name


def test_the_default_retention() -> None:
    assert rows(section("settings", "Settings"))["retention"][0] == "10 GiB, 30 days"
    retention = settings.Settings(Path()).retention
    assert retention == Retention(10 * 1024**3, 30 * 24 * 3600)


def test_environment_variables() -> None:
    """Those that the modules with configuration read, by way of `environ`."""
    source = inspect.getsource(settings)
    read = set(re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"", source))
    assert rows(section("settings", "Environment variables")).keys() == read
    package = Path(trio_logs.__file__).parent
    elsewhere = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if re.search(r"\bos\.(environ|getenv)\b", file.read_text())
    }
    # The first hands its own on, and the second passes it to commands.
    assert elsewhere == {"settings.py", "asgi.py", "backends/process.py"}


def commands() -> set[str]:
    return {name for name in command_line if not name.startswith("-")}


def options(command: str) -> dict[str, object]:
    """The options of a command with their defaults, without their negative forms."""
    return {
        argument.names[0]: argument.field_info.default
        for argument in command_line[command].assemble_argument_collection()
    }


def test_commands() -> None:
    page = (REFERENCE / "command-line.md").read_text()
    assert set(re.findall(r"^## (.+)$", page, re.M)) == commands()


@pytest.mark.parametrize("command", sorted(commands()))
def test_options(command: str) -> None:
    documented = rows(section("command-line", command))
    found = options(command)
    assert documented.keys() == found.keys()
    for name, default in found.items():
        written = documented[name][0]
        match default:
            case int() | float():
                assert float(written.strip("`")) == default, name
            case (only,):
                assert written == f"`{only}`", name


def routes(app: Quart) -> Iterable[str]:
    for rule in app.url_map.iter_rules():
        if rule.endpoint != "static":
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                yield f"{method} {rule.rule.replace('<workload_id>', '{id}')}"


async def test_routes(open_server: OpenServer) -> None:
    async with open_server() as live:
        found = set(routes(create_app(live.service)))
    assert rows(section("http", "Routes")).keys() == found


def test_fields_of_bodies_and_answers() -> None:
    answer = represent(Workload("id", WorkloadSpec(("true",)), 0))
    assert rows(section("http", "A workload")).keys() == answer.keys()
    documented = section("http", "A workload")
    assert {status for status in Status if f"`{status}`" in documented} == set(Status)
    for title, kind in (("Submit", SubmitBody), ("Stop", StopBody)):
        names = {field.name for field in msgspec.structs.fields(kind)}
        assert rows(section("http", title)).keys() == names
    assert rows(section("http", "Logs")).keys() == {*query._NAMES, *query._ALIASES}


async def test_parameters_of_the_list(open_server: OpenServer) -> None:
    async with open_server() as live:
        answer = await live.client.get("/v1/workloads", params={"nonsense": "1"})
    names = answer.json()["detail"].partition("there are: ")[2].split(", ")
    assert rows(section("http", "List")).keys() == set(names)


def test_events() -> None:
    outcome = Outcome(Status.SUCCEEDED)
    records = (Gap(1, 2), End(outcome, 1, 2), Detached(), Reset("reason"))
    found = {name: list(data) for name, data in map(sse.control, records)}
    documented = rows(section("events", "Control events"))
    assert {name: re.findall(r"`(\w+)`", cells[0]) for name, cells in documented.items()} == found
    fields = {field.name for field in msgspec.structs.fields(sse._Line)}
    assert rows(section("events", "The event stream")).keys() == fields


def test_metrics(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        text = httpx2.get(f"{server.url}/metrics", headers=server.headers).text
    found = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(text)
    }
    assert rows((REFERENCE / "metrics.md").read_text()).keys() == found


def test_python() -> None:
    names = set(trio_logs.__all__) - {"__version__"}
    assert rows(section("python", "Embedding")).keys() == names
    documented = rows(section("python", "The client"))
    signatures = {re.match(r"\w+", name)[0]: name for name in documented}  # type: ignore[index]
    for kind in (client.Client, client.SyncClient):
        assert signatures.keys() == {name for name in vars(kind) if not name.startswith("_")}
        for name, written in signatures.items():
            takes = inspect.signature(getattr(kind, name))
            bare = [
                each.replace(annotation=each.empty)
                for each in takes.parameters.values()
                if each.name != "self"
            ]
            assert written == f"{name}{inspect.Signature(bare)}"
    for method, kind in (("submit", requests.SubmitOptions), ("follow", requests.FollowOptions)):
        told = documented[signatures[method]][0].partition("Options: ")[2]
        assert set(re.findall(r"`(\w+)`", told)) == set(kind.__annotations__), method
