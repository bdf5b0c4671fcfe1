"""The code blocks of docs/ run as they stand, but for ports. Those of howto/proxies.md are run by
`test_proxies`, and its `sh` block, a line that needs the proxy's name, is held against the command
line here. `test_sign_in_proxies` runs the first block of howto/sign-in.md."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from textwrap import dedent

import apsw
import httpx2
import psycopg
import pytest
import trio
from playwright.sync_api import Page, sync_playwright

import trio_logs
from tests.command_line import trio_logs as trio_logs_command
from tests.postgres_server import running_postgres
from tests.programs import need_programs, needed
from tests.server_process import running_server
from tests.stores import running, workload
from tests.test_clients import CHROMIUM_ARGUMENTS
from tests.test_docs import arguments, rows, section
from tests.test_readme import blocks as readme_blocks
from tests.test_readme import free_port
from tests.test_store_schema import ROWS, VERSION_3
from trio_logs.cli.descriptors import DESCRIPTORS
from trio_logs.client import End, Line, SyncClient
from trio_logs.store.postgres import PostgresStore
from trio_logs.store.sqlite import schema

pytestmark = pytest.mark.surroundings

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


HANGS = 240
"""Seconds after which a script hangs. The tutorial starts 20 commands, and on a machine with ten
busy processes for each core, each of them takes seconds."""


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text()
    found = re.findall(rf"^ *```{language}\n.*?^ *```$", text, re.MULTILINE | re.DOTALL)
    return [dedent(block).removeprefix(f"```{language}\n").removesuffix("```") for block in found]


def test_no_block_is_forgotten() -> None:
    """Whoever adds a block says here which test runs it."""
    found = {
        (str(file.relative_to(DOCS)), language)
        for file in DOCS.rglob("*.md")
        for language in re.findall(r"^ *```([\w-]+)$", file.read_text(), re.MULTILINE)
    }
    assert found == {
        ("howto/install.md", "sh"),
        # These three by `test_nodes_postgres`.
        *(("howto/nodes.md", language) for language in ("sh", "text", "haproxy")),
        ("howto/proxies.md", "sh"),
        ("howto/sign-in.md", "sh"),
        ("howto/read-only.md", "sh"),
        ("howto/page.md", "sh"),
        *(("howto/proxies.md", proxy) for proxy in ("nginx", "caddyfile", "haproxy")),
        ("howto/embed.md", "python"),
        ("howto/systemd.md", "ini"),
        ("howto/systemd.md", "sh"),
        ("howto/upgrade.md", "sh"),
        ("howto/upgrade.md", "text"),
        # These two by `test_container`.
        ("howto/container.md", "sh"),
        ("howto/container.md", "dockerfile"),
        ("howto/backend.md", "python"),
        ("howto/backend.md", "toml"),
        *(("howto/progress.md", language) for language in ("python", "sh", "text")),
        *(("howto/push.md", language) for language in ("bash", "python", "sh", "text")),
        *(("howto/browser.md", language) for language in ("nginx", "html", "js")),
        *(("reference/python.md", language) for language in ("python", "sh")),
        ("howto/ci.md", "bash"),
        ("howto/history.md", "sh"),
        # By SQLite's own program, which tests do not need.
        ("howto/history.md", "text"),
        *(("howto/postgres.md", language) for language in ("sh", "sql")),
        *(("howto/search.md", language) for language in ("sh", "text")),
        ("tutorial/first-build.md", "sh"),
        ("tutorial/first-build.md", "text"),
        # A drawing.
        ("explanation/page.md", "text"),
    }


def test_the_command_of_the_proxies_page() -> None:
    [line] = blocks("howto/proxies.md", "sh")
    program, command, *given = line.split()
    assert (program, command) == ("trio-logs", "serve")
    assert set(given[::2]) <= arguments("serve").keys()


def shell(folder: Path, script: str, **environment: str) -> str:
    """What bash prints when it runs that, where `make demo` has been."""
    need_programs("curl")
    (folder / ".venv").symlink_to(sys.prefix)
    # Who types it waits for the line that says it listens.
    bind = f"127.0.0.1:{free_port()}"
    started = f"trio-logs serve --bind {bind}"
    ready = f"until curl -s -o /dev/null {bind}/healthz; do sleep 0.05; done"
    script = re.sub(r"trio-logs serve(.*) &", rf"{started}\1 &\n{ready}", script)
    found = subprocess.run(
        ["bash", "-c", "set -m\ntrap 'kill $(jobs -p)' EXIT\n" + script],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=HANGS,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_progress(tmp_path: Path) -> None:
    """The bar of the first block is what `test_cli_progress` looks at. Here, the workloads wait
    until their followers have the prompt, and not for five seconds."""
    first, second = blocks("howto/progress.md", "sh")
    [expected] = blocks("howto/progress.md", "text")
    [program] = blocks("howto/progress.md", "python")
    (tmp_path / "program.py").write_text(program)
    os.mkfifo(tmp_path / "gate")
    submission, curl = second.split("\n", 1)
    submission = submission.replace("--detach", "--detach --cwd .").replace(
        "sleep 5", "read _ <gate"
    )
    curl = curl.replace("http://127.0.0.1:8000", "$(cat data/address)").rstrip()
    client = (
        f"{shlex.quote(sys.executable)} -u program.py $(cat data/address) $(trio-logs token) $id"
    )
    assert submission.count("gate") == curl.count("address") == 1
    script = f". .venv/bin/activate\n{first}"
    for name, follow in (("curl", curl), ("client", client)):
        script += (
            f"{submission}\n{follow} > {name} &\n"
            f"until grep -q Name {name}; do sleep 0.05; done\necho > gate; wait %+\n"
        )
    assert shell(tmp_path, script) == "step 3 of 3\n"
    assert expected in (tmp_path / "curl").read_text()
    assert (tmp_path / "client").read_text() == "stdout now: Name: \nline 1: Name: Ada\n"


def test_installing(tmp_path: Path) -> None:
    """As it stands, but that pip, hatchling and what the package needs are those of the tests. The
    one that is under test is not among them: it is there by a .pth file, which only site reads."""
    install, link = blocks("howto/install.md", "sh")
    assert readme_blocks("sh")[1] == install
    script = install.replace(" -m venv ", " -m venv --without-pip ")
    script = script.replace(
        "/bin/pip install ",
        "/bin/python -m pip install --quiet --no-index --no-deps --no-build-isolation ",
    )
    script = "set -e\n" + script + link + "cd; .local/bin/trio-logs --version\n"
    given = {
        "HOME": str(tmp_path),
        "PATH": os.pathsep.join([f"{sys.prefix}/bin", os.environ["PATH"]]),
        "PYTHONPATH": sysconfig.get_path("purelib"),
    }
    command = ["bash", "-c", script]
    found = subprocess.run(
        command, cwd=ROOT, env=os.environ | given, capture_output=True, text=True, timeout=120
    )
    assert (found.returncode, found.stdout) == (0, f"{trio_logs.__version__}\n"), found.stderr
    [package] = tmp_path.glob("trio-logs/lib/*/site-packages/trio_logs")
    assert files(package) == files(Path(trio_logs.__file__).parent)


def files(folder: Path) -> dict[Path, bytes]:
    """What a package consists of."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(folder): path.read_bytes() for path in found}


def test_the_tutorial(tmp_path: Path) -> None:
    """The second terminal is a job of the first."""
    make, both, serve, run, follow, code, *later = blocks("tutorial/first-build.md", "sh")
    listening, lines, three, stream, resumed = blocks("tutorial/first-build.md", "text")
    assert make == "make demo\n"
    assert listening == "Listening on http://127.0.0.1:8000\n"
    # A build that was stopped with Ctrl-C before: as the page says, `logs` reads the new one.
    running = "until trio-logs ps | grep -q running; do sleep 0.1; done"
    stopped = "trio-logs run --name build -- sleep 60 2>first.txt &"
    before = f"{stopped}\n{running}; kill -INT $!; wait $!\n"
    begun = 'until [ "$(trio-logs ps -q | wc -l)" = 2 ]; do sleep 0.1; done'
    second = f"({begun}; {follow.strip()}) >second.txt 2>&1 &"
    script = "\necho =====\n".join([both + serve + before + second, run + code, *later])
    printed = shell(tmp_path, script.replace("sleep 2", "sleep 0.5")).split("=====\n")
    _, ran, looked, streamed, then, restarted, again = printed
    # Only between stdout and stderr, the order may be another one.
    told, _, followed = (tmp_path / "second.txt").read_text().partition("\n")
    assert told.startswith("trio-logs: several workloads are named 'build': this is the newest")
    assert followed.startswith(lines)
    told = followed.removeprefix(lines)
    assert re.fullmatch(r"trio-logs: \w+ failed with exit code 3 \(5 lines\)\n", told)
    assert ran == lines.replace("warning: unused variable\n", "") + three
    assert re.sub(r"\S+Z ", "TIME ", looked).splitlines()[-1] == "TIME linking failed"
    assert streamed.strip() == stream.strip()
    assert then == resumed
    assert restarted == ""
    assert again == lines.replace("warning: unused variable\n", "")


def test_a_step_of_ci(tmp_path: Path) -> None:
    run, codes, pipe, look = blocks("howto/ci.md", "bash")
    (tmp_path / "Makefile").write_text("test:\n\t@echo build $$BUILD; test ! -e broken || exit 5\n")
    given = "PATH=$PWD/.venv/bin:$PATH; export TRIO_LOGS_DATA=$PWD/data MAKEFLAGS=\n"
    script = given + "trio-logs serve &\n" + f"{run}echo code=$?; touch broken\n"
    # The first two have names of their own; a name that fits several is refused.
    script += f"BUILD=8; ({codes}); echo code=$?\n"
    script += f"BUILD=9; ({pipe}); echo code=$?; {look} cat tail.log\n"
    printed = shell(tmp_path, script, BUILD="7", COMMIT="abc", CHECKOUT=str(tmp_path))
    assert "build 7\ncode=0\n" in printed
    # make's own exit code where a recipe fails
    assert printed.count("code=2\n") == 2
    table = printed[printed.index("ID ") :]
    assert [line.split()[1] for line in table.splitlines()[1:3]] == ["tests-9", "tests-7"]
    assert table.count("build 9\n") == 2


def test_links_to_sign_in(tmp_path: Path) -> None:
    _, links = blocks("howto/sign-in.md", "sh")
    token, reading = blocks("howto/read-only.md", "sh")
    given = "PATH=$PWD/.venv/bin:$PATH; export TRIO_LOGS_DATA=$PWD/data\n"
    given += "trio-logs serve --public-url https://logs.example.com &\n"
    given += "trio-logs run --name nightly --detach -- true >id.txt\n"
    [opened] = blocks("howto/page.md", "sh")
    printed = shell(tmp_path, given + links + token + reading + opened).splitlines()
    workload = (tmp_path / "id.txt").read_text().strip()
    patterns = [
        "https://logs.example.com/#code=[\\w-]{22}",
        f"https://logs.example.com/w/{workload}#code=[\\w-]{{22}}",
        (tmp_path / "data" / "token.read-only").read_text().strip(),
        "https://logs.example.com/#code=[\\w-]{22}",
    ]
    patterns += patterns[:2]
    assert len(printed) == len(patterns)
    assert all(re.fullmatch(*pair) for pair in zip(patterns, printed, strict=True)), printed


def test_searching(tmp_path: Path) -> None:
    start, *commands = blocks("howto/search.md", "sh")
    given = f"set -e; PATH=$PWD/.venv/bin:$PATH\n{start}"
    _, *printed = shell(tmp_path, "\necho =====\n".join([given, *commands])).split("=====\n")
    assert printed == blocks("howto/search.md", "text")


def test_a_backup(tmp_path: Path) -> None:
    backup, restore = blocks("howto/history.md", "sh")
    kept = "PATH=$PWD/.venv/bin:$PATH; export TRIO_LOGS_DATA=$PWD/data\n"
    kept += "trio-logs serve &\nseq 3 | trio-logs pipe --name kept >/dev/null\n"
    stop = "kill %1; wait %1\n"
    printed = shell(tmp_path, kept + backup + stop + restore + "trio-logs logs kept\n")
    assert printed == "1\n2\n3\n"
    for name in ("backup.db", "backup.token", "restored/trio_logs.db", "restored/token"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_a_database(tmp_path: Path) -> None:
    creation, look = blocks("howto/postgres.md", "sql")
    [preparation] = blocks("howto/postgres.md", "sh")

    async def serve(url: str) -> None:
        async with running(PostgresStore(url)) as store:
            await store.create(workload("made"))

    with running_postgres() as server:
        for statement in creation.strip().split("\n"):
            server.execute(statement)
        # Its host is a folder: a socket is there.
        preparation = preparation.replace("@$DATABASE_HOST/trio_logs", "@/trio_logs?host=$HOST")
        script = f". .venv/bin/activate\n{preparation}"
        assert shell(tmp_path, script, HOST=str(server.folder)) == (
            "The tables in the schema trio_logs are of version 2.\n"
        )
        trio.run(serve, server.url("trio_logs", user="trio_logs"))
        with psycopg.connect(server.url("trio_logs", user="trio_logs")) as connection:
            found = [connection.execute(each.encode()) for each in look.strip().split(";\n")]
            assert [cursor.fetchall() for cursor in found[-2:]] == [
                [(b"made", "queued", None, b"made", 0)],
                [],
            ]


def test_an_upgrade_and_the_way_back(tmp_path: Path) -> None:
    """From a database of an earlier version; pip has its own test."""
    [(copy, install), serve, back] = [
        block.splitlines() for block in blocks("howto/upgrade.md", "sh")
    ]
    assert install in blocks("howto/install.md", "sh")[0]
    data = tmp_path / "data"
    data.mkdir()
    with closing(apsw.Connection(str(data / "trio_logs.db"))) as database:
        database.execute(VERSION_3 + ROWS).fetchall()
        # Old lines would be removed.
        database.execute("UPDATE batches SET time = unixepoch() * 1000000")
    logs = "PATH=$PWD/.venv/bin:$PATH\n{}\ntrio-logs logs done\nkill %1; wait %1"
    script = "\n".join([copy, logs.format("\n".join(serve)), *back])
    assert shell(tmp_path, script, HOME=str(tmp_path)) == "line 1\nline 2\n"
    assert [version(tmp_path / name) for name in ("data.newer", "data", "data.before")] == [
        schema.VERSION,
        3,
        3,
    ]


def version(folder: Path) -> int:
    """The version of the database in a data folder."""
    with closing(apsw.Connection(str(folder / "trio_logs.db"))) as database:
        found = database.pragma("user_version")
    assert isinstance(found, int)
    return found


def test_a_downgrade(tmp_path: Path) -> None:
    page = (DOCS / "howto" / "upgrade.md").read_text()
    [newest] = re.findall(r"^\| (\d+) \| [\d.]+ \|", page, re.MULTILINE)
    assert int(newest) == schema.VERSION
    path = tmp_path / "trio_logs.db"
    with closing(apsw.Connection(str(path))) as database:
        database.execute(f"CREATE TABLE later (x); PRAGMA user_version = {schema.VERSION + 1}")
    path.chmod(0o600)
    before = path.read_bytes()
    found = trio_logs_command(tmp_path, "serve")
    [told] = blocks("howto/upgrade.md", "text")
    assert (found.returncode, found.stderr) == (1, told.replace("/home/me/data", str(tmp_path)))
    assert path.read_bytes() == before


@contextmanager
def nginx(folder: Path, server: str, port: int) -> Iterator[None]:
    """With that `server` block, which listens on the port, and no other; until exit."""
    folders = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    http = ["access_log off;", "types { text/html html; }"]
    http += [f"{name}_temp_path {name};" for name in folders]
    (folder / "config").write_text(f"events {{}} http {{ {' '.join(http)}\n{server} }}")
    # By itself, what root starts becomes a user that may not look into pytest's folder.
    directives = "daemon off; pid pid; user root;" if os.geteuid() == 0 else "daemon off; pid pid;"
    command = ["nginx", "-p", str(folder), "-e", "stderr", "-g", directives, "-c", "config"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None:
            with suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
        yield
    finally:
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said


def test_following_from_a_browser(tmp_path: Path) -> None:
    """The page shows a line at once, and outlives the service."""
    [config], [page] = blocks("howto/browser.md", "nginx"), blocks("howto/browser.md", "html")
    need_programs("nginx", "chromium-headless-shell")
    (tmp_path / "index.html").write_text(page.replace("3000", "300"))
    port, upstream, gate = free_port(), free_port(), tmp_path / "gate"
    bind = ("--bind", f"127.0.0.1:{upstream}")
    script = f"echo one; until test -e {gate}; do sleep 0.01; done; echo two"
    with ExitStack() as stack:
        with running_server(tmp_path / "data", *bind) as server:
            for old, new in (
                ("listen 80", f"listen 127.0.0.1:{port}"),
                ("/srv/logs", str(tmp_path)),
                ("127.0.0.1:8000", f"127.0.0.1:{upstream}"),
                ("TOKEN", (server.data / "token.read-only").read_text().strip()),
            ):
                assert old in config
                config = config.replace(old, new)
            stack.enter_context(nginx(tmp_path, config, port))
            with SyncClient(server.url, server.token) as client:
                workload = client.submit(["sh", "-c", script])
            play = stack.enter_context(sync_playwright())
            browser = play.chromium.launch(
                executable_path=shutil.which("chromium-headless-shell"), args=CHROMIUM_ARGUMENTS
            )
            stack.callback(browser.close)
            url = f"http://127.0.0.1:{port}"
            one = browser.new_page()
            one.goto(f"{url}/#{workload.id}")
            shown(one, "one\n")
            gate.touch()
            shown(one, "one\ntwo\nend: succeeded\n")
            # Nothing else passes.
            assert httpx2.get(f"{url}/v1/workloads").status_code == 404
            logs = f"{url}/v1/workloads/{workload.id}/logs"
            assert httpx2.post(logs, content=b"x").status_code == 403
            assert server.stop() == 0
        late = browser.new_page()
        with late.expect_response(logs + "?*") as answer:
            late.goto(f"{url}/#{workload.id}")
        assert answer.value.status == 502
        with running_server(tmp_path / "data", *bind):
            shown(late, "one\ntwo\nend: succeeded\n")


def shown(page: Page, text: str) -> None:
    """Wait until the page shows that and no more."""
    page.wait_for_function("text => document.querySelector('pre').textContent === text", arg=text)


def test_following_with_fetch(tmp_path: Path) -> None:
    [module] = blocks("howto/browser.md", "js")
    modules = ROOT / "tests" / "clients" / "node_modules"
    need_programs("node")
    needed(modules.is_dir(), "npm's eventsource (make test installs it)")
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "follow.mjs").write_text(module)
    (tmp_path / "main.mjs").write_text("""
        import { follow } from "./follow.mjs";
        const source = follow(...process.argv.slice(2));
        source.onmessage = (event) => console.log(event.data);
        source.addEventListener("end", () => source.close());
    """)
    with running_server(tmp_path / "data") as server:
        with SyncClient(server.url, server.token) as client:
            workload = client.submit(["seq", "3"])
        logs = f"{server.url}/v1/workloads/{workload.id}/logs"
        command = ["node", "main.mjs", logs, server.token]
        found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert found.stdout == "1\n2\n3\n", found.stderr


def test_embedding(tmp_path: Path) -> None:
    [program] = blocks("howto/embed.md", "python")
    port = free_port()
    (tmp_path / "rooms.py").write_text(program.replace("8080", str(port)))
    url = f"http://127.0.0.1:{port}/rooms/hall"
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "rooms.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "Running on" in line:
                break
        assert httpx2.post(url, content=b"before").status_code == 204
        with httpx2.stream("GET", url, timeout=10) as answer:
            chunks = answer.iter_bytes()
            assert next(chunks) == b"before\n"
            assert httpx2.post(url, content=b"live").status_code == 204
            assert next(chunks) == b"live\n"
        for number in range(9):
            assert httpx2.post(url, content=b"%d" % number).status_code == 204
        last = httpx2.get(f"{url}/last").content.split(b"\n")
        assert last == [b"live", *(b"%d" % number for number in range(9)), b""]
    finally:
        process.kill()
        process.communicate()


def run_workload(
    data: Path, modules: Path, backend: str, command: list[str], *arguments: str
) -> tuple[list[str], str]:
    """Its lines and its end, on a server that finds `modules`."""
    prefix = ("env", f"PYTHONPATH={os.pathsep.join([str(modules), *sys.path])}")
    with (
        running_server(data, *arguments, prefix=prefix) as server,
        SyncClient(server.url, server.token) as client,
    ):
        workload = client.submit(command, backend=backend)
        *lines, end = client.follow(workload.id, patience=10)
    assert all(isinstance(line, Line) for line in lines)
    assert isinstance(end, End)
    return [line.text for line in lines], end.outcome.status


def test_a_function(tmp_path: Path) -> None:
    [module] = blocks("reference/python.md", "python")
    [serve] = blocks("reference/python.md", "sh")
    [body] = re.findall(r'`({"backend".*})`', (DOCS / "reference/python.md").read_text())
    (tmp_path / "counting.py").write_text(module)
    script = f"""
        PATH=$PWD/.venv/bin:$PATH; export TRIO_LOGS_DATA=$PWD/data
        {serve}
        curl -s -H "Authorization: Bearer $(trio-logs token)" -H "Content-Type: application/json" \
            -d '{body}' "$(cat data/address)/v1/workloads" >workload
        trio-logs logs "$(sed 's/.*"id":"\\([^"]*\\)".*/\\1/' workload)"
        trio-logs ps --json"""
    printed = shell(tmp_path, script)
    assert printed.startswith("1\n2\n3\n")
    assert '"status":"succeeded"' in printed


def test_pushing(tmp_path: Path) -> None:
    [pipe], [program] = blocks("howto/push.md", "bash"), blocks("howto/push.md", "python")
    printed, *answered = blocks("howto/push.md", "text")
    need_programs("curl")
    with running_server(tmp_path / "data") as server:

        def run(*command: str) -> str:
            command = tuple(part.replace("http://127.0.0.1:8000", server.url) for part in command)
            found = subprocess.run(
                command, cwd=tmp_path, capture_output=True, text=True, timeout=60
            )
            assert found.returncode == 0, found.stderr
            return found.stdout

        assert run(sys.executable, "-W", "error", "-c", program) == printed
        script = "set -e\n" + "\necho; echo =====\n".join(blocks("howto/push.md", "sh"))
        assert [part.strip() for part in run("bash", "-c", script).split("=====")] == [
            part.strip() for part in answered
        ]
        (tmp_path / "Makefile").write_text("all:\n\t@echo compiling; echo careful >&2\n")
        pipe = pipe.replace("trio-logs", f"{sys.executable} -m trio_logs")
        variables = f"export TRIO_LOGS_SERVER={server.url} TRIO_LOGS_TOKEN={server.token}\n"
        printed = run("bash", "-ec", f"{variables}{pipe}")
        assert printed == "compiling\ncompiling\ncareful\n"


def test_a_backend(tmp_path: Path) -> None:
    [module] = blocks("howto/backend.md", "python")
    [declaration] = blocks("howto/backend.md", "toml")
    (tmp_path / "countdown.py").write_text(module)
    # What an installer makes of the declaration.
    project = tomllib.loads(declaration)["project"]
    name, version = project["name"], project["version"]
    installed = tmp_path / f"{name}-{version}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    )
    [(group, points)] = project["entry-points"].items()
    lines = [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
    (installed / "entry_points.txt").write_text("\n".join(lines))
    found = run_workload(tmp_path / "d", tmp_path, "countdown", ["3"])
    assert found == (["3", "2", "1"], "succeeded")


def systemd_units() -> tuple[configparser.ConfigParser, configparser.ConfigParser]:
    """The units of the socket and of the service."""
    listen, run = (configparser.ConfigParser() for _ in range(2))
    *units, _ = blocks("howto/systemd.md", "ini")
    for unit, text in zip((listen, run), units, strict=True):
        unit.read_string(text)
    return listen, run


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """Its tools do, without a running systemd."""
    need_programs("systemd-analyze", "systemctl", "useradd")
    folder = tmp_path / "etc" / "systemd" / "system"
    folder.mkdir(parents=True)
    *units, edited = blocks("howto/systemd.md", "ini")
    # What `systemctl edit` writes.
    (folder / "trio-logs.service.d").mkdir()
    (folder / "trio-logs.service.d" / "override.conf").write_text(edited)
    for name, text in zip(("socket", "service"), units, strict=True):
        # `verify` looks for the program.
        program = text.replace("/opt/trio-logs/bin/trio-logs", sys.executable)
        (folder / f"trio-logs.{name}").write_text(program)

    def run(*command: str) -> str:
        found = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout + found.stderr

    service = str(folder / "trio-logs.service")
    assert run("systemd-analyze", "verify", service) == ""
    rated = run("systemd-analyze", "security", "--offline=true", "--threshold=50", service)
    [score] = re.findall(r"Overall exposure level for trio-logs.service: ([\d.]+) OK", rated)
    assert f"rates these units {score}," in (DOCS / "howto" / "systemd.md").read_text()

    change = configparser.ConfigParser()
    change.read_string(edited)
    set_there, _, _ = change["Service"]["Environment"].partition("=")
    assert set_there in rows(section("settings", "Environment variables"))
    [commands] = blocks("howto/systemd.md", "sh")
    useradd, reload, enable = map(shlex.split, commands.splitlines())
    assert reload == ["systemctl", "daemon-reload"]
    for name in ("passwd", "group", "shadow", "gshadow"):
        (tmp_path / "etc" / name).touch()
    run(useradd[0], "--prefix", str(tmp_path), *useradd[1:])
    _, unit = systemd_units()
    assert (tmp_path / "etc" / "passwd").read_text().startswith(f"{unit['Service']['User']}:")
    assert (tmp_path / "home" / unit["Service"]["User"]).is_dir()
    enable.remove("--now")
    run(enable[0], f"--root={tmp_path}", *enable[1:])
    assert (folder / "sockets.target.wants" / "trio-logs.socket").is_symlink()
    assert (folder / "multi-user.target.wants" / "trio-logs.service").is_symlink()


def test_the_units_of_systemd(tmp_path: Path) -> None:
    """Without systemd: the command runs on a socket handed on as descriptor 3."""
    listen, run = systemd_units()
    assert run["Unit"]["Requires"] == "trio-logs.socket"
    # The soft limit is that of the workloads.
    assert run["Service"]["LimitNOFILE"] == f"1024:{DESCRIPTORS}"
    program, *arguments = shlex.split(run["Service"]["ExecStart"])
    assert program.endswith("/trio-logs")
    folder = f"/var/lib/{run['Service']['StateDirectory']}"
    arguments[arguments.index(folder)] = str(tmp_path / "data")
    host, _, _ = listen["Socket"]["ListenStream"].partition(":")
    hand_on = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.argv[2], sys.argv[2:])"
    with socket.create_server((host, 0)) as listener:
        port, number = listener.getsockname()[1], listener.fileno()
        command = [sys.executable, "-c", hand_on, str(number)]
        command += [sys.executable, "-m", "trio_logs", *arguments]
        process = subprocess.Popen(command, pass_fds=[number], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Listening on")
        answers = [
            httpx2.get(f"http://{host}:{port}/readyz", headers={"Host": name}).status_code
            for name in ("localhost", "elsewhere")
        ]
        assert answers == [200, 421]
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
