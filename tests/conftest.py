"""What tests share: stores of both kinds, a running service, and a server over real sockets."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings

from tests.command_line import environment
from tests.forked import ensure_fork_server
from tests.leaks import no_leaks as no_leaks
from tests.leaks import pytest_collection_modifyitems as pytest_collection_modifyitems
from tests.live import Live, open_live
from tests.postgres_server import PostgresServer, running_postgres
from tests.server_process import ServerProcess, running_server
from tests.shared_stores import Database, MakeNode, MemoryDatabase, PostgresDatabase
from tests.terminal import Terminal, open_terminal
from trio_logs.client import SyncClient
from trio_logs.settings import Settings
from trio_logs.store import LogStore
from trio_logs.store.memory import MemoryStore
from trio_logs.store.sqlite import SQLiteStore

# Time limits of single examples fail on a busy machine, and say nothing about the code.
settings.register_profile("suite", deadline=None, max_examples=100)
settings.load_profile("suite")

# What a workload inherits; some machines have none.
os.environ.setdefault("LANG", "C.UTF-8")
# What would change what commands of tests do; a make that was started by make prints more.
for variable in (
    "TRIO_LOGS_TOKEN",
    "TRIO_LOGS_READ_ONLY_TOKEN",
    "TRIO_LOGS_PUBLIC_URL",
    "TRIO_LOGS_STORE",
    "TRIO_LOGS_NODE",
    "TRIO_LOGS_DRAIN",
    "TRIO_LOGS_SERVER",
    "TRIO_LOGS_CONFIG",
    "MAKEFLAGS",
    "MAKELEVEL",
):
    os.environ.pop(variable, None)
# A shell has what it runs in the background ignore Ctrl-C, and nohup has it ignore SIGHUP; commands
# of tests would, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def fork_server() -> None:
    """It outlives the test that is the first to need it."""
    ensure_fork_server()


@pytest.fixture
def kolkata(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The zone of this machine is Asia/Kolkata, 5:30 hours before UTC, without summer time."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def record_figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Have a line printed at the end of the run, in whatever process the test runs."""
    return partial(record_property, "figure")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have recorded."""
    passed: list[pytest.TestReport] = terminalreporter.getreports("passed")
    figures = [value for report in passed for name, value in report.user_properties]
    if figures:
        terminalreporter.section("figures")
        for figure in figures:
            terminalreporter.write_line(str(figure))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that the tests of a file share."""
    with running_server(tmp_path_factory.mktemp("server") / "data") as running:
        yield running


@pytest.fixture
def client(server: ServerProcess) -> Iterator[SyncClient]:
    """A client of that server."""
    with SyncClient(server.url, server.token) as opened:
        yield opened


@pytest.fixture
def data(server: ServerProcess) -> Path:
    """The data folder of that server."""
    return server.data


@pytest.fixture
def terminal(server: ServerProcess, tmp_path: Path) -> Iterator[Terminal]:
    """A terminal in which the commands find that server, and nothing of the user's."""
    variables = {
        name: value
        for name, value in environment(server.data).items()
        if name in ("PATH", "HOME", "LANG", "PYTHONPATH", "TRIO_LOGS_DATA", "XDG_CONFIG_HOME")
    }
    with open_terminal(tmp_path, {**variables, "LC_ALL": "C.UTF-8"}) as opened:
        yield opened


@pytest.fixture(scope="session")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that tests of the page share: none of them may count its workloads."""
    with running_server(tmp_path_factory.mktemp("pages")) as running:
        yield running


@pytest.fixture(scope="session")
def long_log(page_server: ServerProcess) -> str:
    """The id of a log of `browsing.LONG` lines."""
    # Playwright takes a third of a second to import; few processes need it.
    from tests.browsing import LONG_SCRIPT, finished

    return finished(page_server, LONG_SCRIPT, name="long")


def pytest_itemcollected(item: pytest.Item) -> None:
    """A test with PostgreSQL starts the server of its process before it looks for leaks."""
    if not isinstance(item, pytest.Function):
        return
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    if "postgres" in parameters or "postgres" in item.fixturenames:
        # A copy: the list belongs to all parameters of the test.
        item.fixturenames = ["postgres_server", *item.fixturenames]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that all tests of this process share."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def lasting_postgres(postgres_server: PostgresServer) -> PostgresDatabase:
    """A schema for a test that opens many stores, and clears it after each."""
    return PostgresDatabase(postgres_server)


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[PostgresDatabase]:
    """An empty PostgreSQL database, or rather a schema of one: that is made in no time."""
    database = PostgresDatabase(postgres_server)
    yield database
    database.drop()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], LogStore]:
    """Makes a store; the same one each time, or one of the same file or database."""
    if request.param == "memory":
        memory = MemoryStore()
        return lambda: memory
    if request.param == "postgres":
        # Only here: a test of another store needs no server.
        database: PostgresDatabase = request.getfixturevalue("postgres")
        return database.node
    return lambda: SQLiteStore(tmp_path / "logs.db")


@pytest.fixture(params=["memory", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    """An empty database that nodes share."""
    if request.param == "memory":
        return MemoryDatabase()
    database: PostgresDatabase = request.getfixturevalue("postgres")
    return database


@pytest.fixture
def make_node(database: Database) -> MakeNode:
    """Makes the store of another node over the same database."""
    return database.node


@pytest.fixture
def open_server(
    tmp_path: Path,
) -> Callable[..., AbstractAsyncContextManager[Live]]:
    """Opens a service with SQLite and a server in this process, on a free port."""

    @asynccontextmanager
    async def opener(**changes: object) -> AsyncIterator[Live]:
        data = tmp_path / "data"
        async with open_live(Settings(data=data, **changes)) as live:  # type: ignore[arg-type]
            yield live

    return opener
