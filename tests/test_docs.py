"""The reference names what there is, no more and no less, with the defaults that it has."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest
from cyclopts import Argument
from prometheus_client.parser import text_string_to_metric_families

import trio_logs
from tests.server_process import running_server
from trio_logs import broker, client, errors, settings, sse
from trio_logs.api.bodies import (
    FinishRequest,
    Problem,
    ResizeRequest,
    StopRequest,
    Submission,
    WorkloadRecord,
)
from trio_logs.api.list_query import PAGE_PARAMETERS
from trio_logs.api.openapi.document import make_document
from trio_logs.api.query import ALIASES, NAMES
from trio_logs.api.search_parameters import SEARCH_PARAMETERS
from trio_logs.api.session_bodies import CodeRequest, OneTimeCode, SessionKey, SignIn
from trio_logs.api.table import TABLE
from trio_logs.cli import CLIENTS, connection, create_app, exits
from trio_logs.cli.environment import variable
from trio_logs.client import requests, search_requests
from trio_logs.records import Detached, End, Gap, Outcome, Reset, Status, Stop, Unfinished
from trio_logs.server import ServerLimits
from trio_logs.settings import Settings
from trio_logs.store import Retention

PACKAGE = Path(trio_logs.__file__).parent
REFERENCE = Path(__file__).parent.parent / "docs" / "reference"


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


LIMITS = [kind for kind in get_type_hints(Settings).values() if dataclasses.is_dataclass(kind)]
CLASSES = {kind.__name__: kind for kind in (Settings, ServerLimits, *LIMITS)}


def test_each_class_of_settings_has_its_section() -> None:
    titles = set(re.findall(r"^## (.+)$", (REFERENCE / "settings.md").read_text(), re.M))
    assert (
        titles - {"Memory", "Open files", "Environment variables", "Configuration file"}
        == CLASSES.keys()
    )


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_settings(name: str) -> None:
    documented = rows(section("settings", name))
    fields = {field.name: field.default for field in dataclasses.fields(CLASSES[name])}
    assert documented.keys() == fields.keys()
    for field, default in fields.items():
        if isinstance(default, int | float | str | None):
            assert ast.literal_eval(documented[field][0].strip("`")) == default, field


def test_the_default_retention() -> None:
    assert rows(section("settings", "Settings"))["retention"][0] == "10 GiB, 30 days"
    retention = settings.Settings(Path()).retention
    assert retention == Retention(10 * 1024**3, 30 * 24 * 3600)


def test_environment_variables() -> None:
    """Those that are read by name, from what is always called `environ`, and those of `serve`."""
    sources = {str(path.relative_to(PACKAGE)): path.read_text() for path in PACKAGE.rglob("*.py")}
    read = {
        name
        for source in sources.values()
        for name in re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"", source)
    }
    documented = rows(section("settings", "Environment variables"))
    options = {variable(option): option for option in arguments("serve")}
    assert documented.keys() == read | options.keys()
    for name, option in options.items():
        assert documented[name] == [f"`{option}`"] or option == "--data"
    # These hand all of it on to one of the others, or pass it to commands by names of the user's.
    passed_on = {
        name
        for name, source in sources.items()
        if re.search(r"\bgetenv\b|\bos\.environ\b(?!\.get\(\"|\[\")", source)
    }
    assert passed_on == {
        "asgi.py",
        "backends/process_start.py",
        "cli/connection.py",
        "cli/diagnosis.py",
        "cli/environment.py",
        "cli/sinks.py",
        "cli/variables.py",
    }


def test_configuration_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("nonsense = 1")
    with pytest.raises(exits.UsageError) as refused:
        connection.find_connection(None, {"TRIO_LOGS_CONFIG": str(path)})
    keys = set(re.findall(r"`(\w+)`", str(refused.value)))
    assert rows(section("settings", "Configuration file")).keys() == keys


CONNECTION = ("--server", "--token")


def commands() -> set[str]:
    """Those of the help: a script for completion calls another one."""
    app = create_app([])
    return {name for name in app if not name.startswith("-") and app[name].show}


def arguments(command: str) -> dict[str, Argument]:
    """The arguments and options of a command, by the first name of each."""
    found = create_app([])[command].assemble_argument_collection()
    return {each.names[0]: each for each in found if each.show}


def test_commands() -> None:
    titles = set(re.findall(r"^## (.+)$", (REFERENCE / "command-line.md").read_text(), re.M))
    others = {"Server and token", "Ids and names", "Times", "Durations", "Output", "Exit codes"}
    assert titles - others == commands()


def test_options_of_the_connection() -> None:
    documented = rows(section("command-line", "Server and token"))
    assert documented.keys() == set(CONNECTION)
    sentence, _, _ = section("command-line", "Server and token").partition(" look for")
    talking = {name for name in commands() if arguments(name).keys() >= documented.keys()}
    assert set(re.findall(r"`(\w+)`", sentence)) == talking == CLIENTS.keys()


@pytest.mark.parametrize("command", sorted(commands()))
def test_options(command: str) -> None:
    text = section("command-line", command)
    documented = rows(text)
    found = {name: each for name, each in arguments(command).items() if name not in CONNECTION}
    assert documented.keys() == found.keys()
    for name, argument in found.items():
        written, meaning = documented[name]
        assert all(f"`{each}`" in text for each in argument.names), name
        assert set(choices(argument.hint)) <= set(re.findall(r"`(\w+)`", meaning)), name
        match argument.field_info.default:
            case bool() as default:
                assert written == ("on" if default else "off"), name
            case int() | float() as default:
                assert float(written.strip("`")) == default, name
            case (only,):
                assert written == f"`{only}`", name
            case inspect.Parameter.empty:
                without = {"grep": "all logs", "pipe": "standard input"}
                assert written == without.get(command, "required"), name


def choices(hint: Any) -> list[str]:
    """The words that an option takes, if it takes only some."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [choice for each in get_args(hint) for choice in choices(each)]


def test_exit_codes() -> None:
    text = section("command-line", "Exit codes")
    codes = {code for name in exits.__all__ if isinstance(code := getattr(exits, name), int)}
    assert {int(code) for code in re.findall(r"`(\d+)`", text)} == codes | {0}
    assert rows(text).keys() == {str(code) for code in codes | {0} if code < 128} | {"128 + N"}


DOCUMENT = make_document(TABLE)


def test_routes_and_their_status_codes() -> None:
    """`test_openapi` holds the description against the service."""
    described = {
        f"{method.upper()} {path.replace('{workload_id}', '{id}')}": sorted(operation["responses"])
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }
    documented = rows(section("http", "Routes"))
    assert {name: cells[-1].split(", ") for name, cells in documented.items()} == described


def test_problems() -> None:
    text = section("http", "Problems")
    assert rows(text).keys() == {field.name for field in msgspec.structs.fields(Problem)}
    described = {name.removeprefix("Problem") for name in DOCUMENT["components"]["responses"]}
    sources = [*(PACKAGE / "api").glob("*.py"), *(PACKAGE / "server").glob("*.py")]
    named = {
        str(getattr(HTTPStatus, name).value)
        for path in sources
        for name in re.findall(r"HTTPStatus\.([A-Z_]+)\b", path.read_text())
    }
    # Those of h11, which the server answers for it.
    named |= {"400", "431", "501"}
    assert set(re.findall(r"^\| (\d+) \|", text, re.M)) == described | named - {"204", "304"}


def test_fields_of_bodies_and_answers() -> None:
    for title, *kinds in (
        ("A workload", WorkloadRecord),
        ("Submit", Submission),
        ("Stop", StopRequest),
        ("Resize", ResizeRequest),
        ("Finish", FinishRequest),
        ("Sign-in", SignIn, SessionKey),
        ("Codes", CodeRequest, OneTimeCode),
    ):
        names = {field.name for kind in kinds for field in msgspec.structs.fields(kind)}
        assert rows(section("http", title)).keys() == names
    documented = section("http", "A workload")
    assert {status for status in Status if f"`{status}`" in documented} == set(Status)
    assert rows(section("http", "Logs")).keys() == {*NAMES, *ALIASES}
    assert rows(section("http", "List")).keys() == set(PAGE_PARAMETERS)
    assert rows(section("http", "Search")).keys() == {*SEARCH_PARAMETERS, "progress", "end"}


def test_headers_of_requests() -> None:
    page = (REFERENCE / "http.md").read_text()
    described = re.findall(r"'name': '([\w-]+)', 'in': 'header'", str(DOCUMENT["paths"]))
    assert described
    for name in described:
        assert re.search(rf"`{name}\b", page), name


def test_events() -> None:
    outcome = Outcome(Status.SUCCEEDED)
    records = (
        Gap(1, 2),
        End(outcome, 1, 2),
        Detached(),
        Reset("reason"),
        Stop("to", 2),
        Unfinished("", ""),
    )
    found = {name: list(data) for name, data in map(sse.control, records)}
    documented = rows(section("events", "Control events"))
    assert {name: re.findall(r"`(\w+)`", cells[0]) for name, cells in documented.items()} == found
    fields = {field.name for field in msgspec.structs.fields(sse.LogLine)}
    assert rows(section("events", "The event stream")).keys() == fields


def test_metrics(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        text = server.get("/metrics").text
    found = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(text)
    }
    assert rows((REFERENCE / "metrics.md").read_text()).keys() == found


def test_python() -> None:
    documented = rows(section("python", "Embedding"))
    assert documented.keys() == set(trio_logs.__all__) - {"__version__"}
    for kind in (broker.LogBroker, broker.LogWriter):
        told = set(re.findall(r"`(\w+)`", documented[kind.__name__][0]))
        assert told >= {name for name in vars(kind) if not name.startswith("_")}
    exceptions = rows(section("python", "Exceptions"))
    assert exceptions.keys() == set(errors.__all__)


def test_the_client() -> None:
    table = rows(section("python", "The client").partition("### Searching")[0])
    documented = {name: cells for name, cells in table.items() if "(" in name}
    assert table.keys() - documented.keys() == set(client.__all__)
    signatures = {re.match(r"\w+", name)[0]: name for name in documented}  # type: ignore[index]
    for kind in (client.Client, client.SyncClient):
        assert signatures.keys() == {name for name in dir(kind) if not name.startswith("_")}
        for name, written in signatures.items():
            takes = inspect.signature(getattr(kind, name))
            bare = [
                each.replace(annotation=each.empty)
                for each in takes.parameters.values()
                if each.name != "self"
            ]
            assert written == f"{name}{inspect.Signature(bare)}"
    for method, kind in (
        ("submit", requests.SubmitOptions),
        ("list", requests.ListOptions),
        ("follow", requests.FollowOptions),
        ("follow_several", requests.SeveralOptions),
        ("search", search_requests.SearchOptions),
        ("matches", search_requests.MatchOptions),
    ):
        told = re.split(r"Options(?:\]\(#searching\))?: ", documented[signatures[method]][0])[1]
        assert set(re.findall(r"`(\w+)`", told)) == set(get_type_hints(kind)), method


def test_each_test_that_the_page_on_security_names_is_there() -> None:
    text = (REFERENCE.parent / "explanation" / "security.md").read_text()
    named = re.findall(r"`(tests/[a-z0-9_]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 20
    for file, test in named:
        source = (Path(__file__).parents[1] / file).read_text()
        assert not test or f"def {test}(" in source, f"{file} has no {test}"
