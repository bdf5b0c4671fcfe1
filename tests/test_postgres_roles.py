"""Which role may do what in PostgreSQL, the versions of the tables, and secrets in URLs."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
import trio

from tests.postgres_server import PostgresServer
from tests.shared_stores import MARKS, PostgresDatabase, node
from tests.stores import batch, running, workload
from trio_logs.errors import StoreError
from trio_logs.records import Outcome, Status, now
from trio_logs.store import Retention
from trio_logs.store.postgres import PostgresStore, trimming
from trio_logs.store.postgres.__main__ import grant, main
from trio_logs.store.postgres.server import Server
from trio_logs.store.sessions import Code, Session

OK = Outcome(Status.SUCCEEDED, 0)


@pytest.fixture
def role(postgres: PostgresDatabase) -> Iterator[str]:
    """A role that may only connect."""
    name = f"role_{secrets.token_hex(6)}"
    postgres.execute(f"CREATE ROLE {name} LOGIN")
    yield name
    postgres.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def with_role(postgres: PostgresDatabase, role: str) -> PostgresStore:
    return PostgresStore(postgres.server.url(user=role), schema=postgres.schema)


async def test_a_role_needs_few_rights(postgres: PostgresDatabase, role: str) -> None:
    # The owner makes the tables.
    async with running(postgres.node()):
        pass
    with pytest.RaisesGroup(pytest.RaisesExc(StoreError, match="Grant the role of the service")):
        async with running(with_role(postgres, role)):
            pass
    with Server(postgres.server.url(), postgres.schema).open_writer() as owner:
        grant(owner, postgres.schema, role)
    async with running(with_role(postgres, role)) as store:
        await exercise(store)
        with pytest.raises(StoreError, match="must be owner"):
            await store._database.write(lambda transaction: transaction.execute("DROP TABLE logs"))


async def exercise(store: PostgresStore) -> None:
    """Call what writes to each table."""
    await store.join(node("a"), MARKS)
    await store.beat(address=None, draining=False)
    await store.create(workload("w"), key="key")
    [owned] = await store.claim(1, 7)
    await store.remember_owned("w", owned.epoch, "handle")
    await store.request("w", b"{}")
    await store.append("w", [batch(1)], expected=1, epoch=1, size=7)
    [node_a] = await store.nodes()
    assert await store.bury("a", node_a.counter, OK, 9) == ["w"]
    await store.forget_remains(["w"])
    await store.add_code(Code(b"c", b"m", False, now() + 10**9), now())
    session = Session(b"s", b"m", False, now(), now() + 10**9)
    assert await store.take_code([b"c"], None, now(), {b"c": session}) is not None
    assert await store.trim(Retention(max_bytes=0)) == 1
    await store.delete("w")
    with trio.fail_after(20):
        while await store._database.read(trimming.has_deleted):
            await trio.sleep(0.01)


def test_the_owner_prepares_a_database(
    postgres_server: PostgresServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = f"made_{secrets.token_hex(6)}"
    postgres_server.execute(f"CREATE DATABASE {name}")
    postgres_server.execute(f"CREATE ROLE {name} LOGIN")
    try:
        url = postgres_server.url(name)
        for _ in range(2):
            assert main([url, name]) is None
            expected = "The tables in the schema trio_logs are of version 2.\n"
            assert capsys.readouterr().out == expected

        async def serve() -> None:
            async with running(PostgresStore(postgres_server.url(name, user=name))) as store:
                await exercise(store)

        trio.run(serve)
        assert 'role "nobody" does not exist' in str(main([url, "nobody"]))
        assert "usage" in str(main([]))
        assert "write it as postgresql://" in str(main(["secret secret"]))
    finally:
        postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        postgres_server.execute(f"DROP ROLE {name}")


async def test_a_role_that_may_not_make_tables(postgres: PostgresDatabase, role: str) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(StoreError, match="permission denied for database")):
        async with running(with_role(postgres, role)):
            pass


async def test_tables_of_a_later_version_are_refused(postgres: PostgresDatabase) -> None:
    async with running(postgres.node()):
        pass
    postgres.execute("UPDATE version SET version = version + 1")
    match = "its tables are of version 3, and this service reads versions up to 2"
    with pytest.RaisesGroup(pytest.RaisesExc(StoreError, match=match)):
        async with running(postgres.node()):
            pass


async def test_nodes_that_start_at_once_make_the_tables_once(postgres: PostgresDatabase) -> None:
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as starts:
            for _ in range(4):
                starts.start_soon(nursery.start, postgres.node().run)
        assert postgres.execute("SELECT version FROM version") == [(2,)]
        nursery.cancel_scope.cancel()


async def test_tables_of_version_1_are_migrated(postgres: PostgresDatabase) -> None:
    async with running(postgres.node()) as store:
        await store.create(workload("w"))
    postgres.execute("DROP TABLE skipped; UPDATE version SET version = 1")
    async with running(postgres.node()) as store:
        assert (await store.changes(0, 1)).newest == 1
    assert postgres.execute("SELECT version FROM version") == [(2,)]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret%zz@localhost/x",
        "postgresql://me:secret@localhost/x?secret=1",
        "host=localhost password=secret secret",
    ],
)
def test_no_password_is_in_the_error_of_a_url(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        PostgresStore(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "write it as postgresql://" in str(caught.value)


async def test_no_password_is_in_the_error_of_a_connection(
    postgres_server: PostgresServer, capfd: pytest.CaptureFixture[str]
) -> None:
    store = PostgresStore(f"postgresql://nobody:secret@/x?host={postgres_server.folder}")
    with pytest.RaisesGroup(pytest.RaisesExc(StoreError)) as caught:
        async with running(store):
            pass
    [error] = caught.value.exceptions
    assert 'role "nobody" does not exist' in str(error)
    assert "secret" not in f"{error} {error.__cause__} {store!r} {vars(store)}"
    assert "secret" not in capfd.readouterr().err


async def test_the_url_and_its_variables_are_those_of_libpq(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def shown(url: str) -> set[object]:
        async with running(PostgresStore(url, schema=postgres.schema)) as store:
            row = await store._database.read(
                lambda connection: connection.execute(
                    "SELECT current_setting('application_name'), current_setting('work_mem')"
                ).fetchone()
            )
        return set(row or ())

    url = postgres.server.url()
    assert "trio-logs" in await shown(url)
    assert await shown(f"{url}&application_name=mine&options=-cwork_mem%3D7MB") == {"mine", "7MB"}
    monkeypatch.setenv("PGHOST", str(postgres.server.folder))
    monkeypatch.setenv("PGOPTIONS", "-cwork_mem=9MB")
    monkeypatch.setenv("PGAPPNAME", "ours")
    assert await shown("user=postgres") == {"ours", "9MB"}


async def test_a_server_that_takes_no_writes_is_refused(postgres: PostgresDatabase) -> None:
    read_only = f"{postgres.server.url()}&options=-cdefault_transaction_read_only%3Don"
    match = "session is read-only"
    with pytest.RaisesGroup(pytest.RaisesExc(StoreError, match=match)):
        async with running(PostgresStore(read_only, schema=postgres.schema)):
            pass
