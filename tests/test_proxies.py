"""What docs/howto/proxies.md says of nginx, Caddy and HAProxy, in front of a server process."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import pytest
import trio

from tests.checker import Transcript, faults
from tests.live import PATIENCE, RawStream, open_live, parse_events
from tests.proxy_process import HOST, PROXIES, Proxy, running_proxy, unix_form
from tests.server_process import ServerProcess, running_server
from trio_logs.settings import Settings
from trio_logs.sse import KEEP_ALIVE, OPENING

pytestmark = pytest.mark.surroundings

AT_ONCE = 1.0
"""Seconds within which what is written is seen, and a client that left is noticed."""

LINE_BY_LINE = """
import os, sys, time
for number, gate in enumerate(sys.argv[1:], 1):
    deadline = time.monotonic() + 30
    while not os.path.exists(gate) and time.monotonic() < deadline:
        time.sleep(0.002)
    print(f"<line {number}>", flush=True)
"""
"""Writes a line each time that the next of some files is there."""

ON_AND_ON = """
import itertools, time
for number in itertools.count(1):
    print(f"line {number}", flush=True)
    time.sleep(0.002)
"""

LINES = 16_384
MUCH = f"""
for number in range({LINES}):
    print(f"{{number:<1023}}")
"""
"""16 MiB: more than fits into the buffers on the way to a client."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("server"), "--allowed-host", HOST) as it:
        yield it


@pytest.fixture(scope="module", params=PROXIES)
def proxy(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[Proxy]:
    with running_proxy(request.param, address(server.url), server.token) as it:
        yield it


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the server itself."""
    async with client_of(server) as it:
        yield it


def client_of(server: ServerProcess) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        base_url=server.url, headers=server.headers, timeout=PATIENCE, verify=False
    )


def address(url: str) -> str:
    return url.rpartition("//")[2]


async def submit(client: httpx2.AsyncClient, *command: str) -> str:
    """Submit a workload; return the path of its log."""
    answer = await client.post("/v1/workloads", json={"command": command})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["logs_url"])


async def metric(client: httpx2.AsyncClient, name: str) -> int:
    text = (await client.get("/metrics")).text
    [line] = [line for line in text.split("\n") if line.startswith(f"trio_logs_{name} ")]
    return int(float(line.split()[1]))


async def await_readers(client: httpx2.AsyncClient, count: int, seconds: float = PATIENCE) -> None:
    """Wait until the service has `count` streams."""
    with trio.fail_after(seconds):
        while await metric(client, "subscriptions") != count:
            await trio.sleep(0.01)


async def curl(proxy: Proxy, *arguments: str, token: str | None = None) -> str:
    authorization = ("-H", f"Authorization: Bearer {token or proxy.token}")
    command = [*proxy.curl, *authorization, *arguments]
    found = await trio.run_process(command, capture_stdout=True)
    return found.stdout.decode()


async def test_lines_pass_at_once(proxy: Proxy, client: httpx2.AsyncClient, tmp_path: Path) -> None:
    gates = [tmp_path / str(number) for number in range(4)]
    path = await submit(client, sys.executable, "-c", LINE_BY_LINE, *map(str, gates))
    async with AsyncExitStack() as stack:
        streams: list[RawStream] = []
        with trio.fail_after(AT_ONCE):
            for kind in ("text/event-stream", "application/x-ndjson", "text/plain"):
                following = proxy.follow(f"{path}?follow=true", f"Accept: {kind}")
                streams.append(await stack.enter_async_context(following))
            # Before there is a line.
            assert await streams[0].read_until(b"retry") == OPENING
        for number, gate in enumerate(gates, 1):
            gate.touch()
            with trio.fail_after(AT_ONCE):
                for stream in streams:
                    await stream.read_until(b"<line %d>" % number)
        for stream in streams:
            await stream.read_all()
            assert stream.ended  # by its terminal chunk
    assert parse_events(streams[0].body)[-1][0] == "end"
    assert b'"event":"end"' in streams[1].body
    assert streams[2].body == b"<line 1>\n<line 2>\n<line 3>\n<line 4>\n"


async def test_a_client_that_leaves_is_noticed_at_once(
    proxy: Proxy, client: httpx2.AsyncClient
) -> None:
    path = await submit(client, "sleep", "60")
    await await_readers(client, 0)
    async with proxy.follow(path) as stream:
        await stream.read_until(b"retry")
        assert await metric(client, "subscriptions") == 1
    # The next heartbeat, which could not be sent, is due in 15 seconds.
    await await_readers(client, 0, AT_ONCE)


async def test_requests_pass_as_they_are(proxy: Proxy, tmp_path: Path) -> None:
    workloads = f"{proxy.url}/v1/workloads"
    written = ("--http1.1", "-o", str(tmp_path / "answer"), "-w", "%{http_code} %{content_type}")
    # The service answers for the public name only.
    assert await curl(proxy, *written, workloads) == "200 application/json"
    unauthorized = "401 application/problem+json"
    assert await curl(proxy, *written, workloads, token="another") == unauthorized
    body = tmp_path / "body"
    # Without `Expect`: with it, a body that is too long is answered by 100 and 413 in one go, and
    # now and then HAProxy holds back the end of that until there is more of the request.
    post = ("-H", "Expect:", "-H", "Content-Type: application/json", "--data-binary", f"@{body}")
    for size, expected in (
        (1024 * 1024, "201 application/json"),
        (1024 * 1024 + 1, "413 application/problem+json"),
    ):
        body.write_bytes(b'{"command":["true"]}'.ljust(size))
        for how in ("Transfer-Encoding: chunked", "Accept: application/json"):
            assert await curl(proxy, *written, *post, "-H", how, workloads) == expected


async def test_connections_to_the_service_are_kept(
    proxy: Proxy, client: httpx2.AsyncClient
) -> None:
    before = await metric(client, "connections_accepted_total")
    await curl(proxy, *[f"{proxy.url}/healthz"] * 10)
    assert await metric(client, "connections_accepted_total") <= before + 1


async def test_one_http_2_connection_has_more_than_six_streams(
    proxy: Proxy, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    path = await submit(client, sys.executable, "-c", LINE_BY_LINE, str(gate))
    await await_readers(client, 0)
    outputs = [tmp_path / f"{number}.out" for number in range(10)]
    arguments = ["--http2", "-Z", "-w", "%{http_version} %{num_connects}\n"]
    for output in outputs:
        arguments += ["-o", str(output), f"{proxy.url}{path}"]
    told: list[str] = []

    async def follow() -> None:
        told.extend((await curl(proxy, *arguments)).splitlines())

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await await_readers(client, len(outputs))
            gate.touch()
    assert sorted(told) == ["2 0"] * 9 + ["2 1"]
    for output in outputs:
        assert [name for name, _, _ in parse_events(output.read_bytes())] == ["message", "end"]


async def test_a_stalled_client_does_not_stop_others(
    proxy: Proxy, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    await await_readers(client, 0)
    path = await submit(client, sys.executable, "-c", MUCH)
    async with proxy.follow(path):
        text = ("-H", "Accept: text/plain", "-o", str(output))
        await curl(proxy, *text, f"{proxy.url}{path}?follow=true")
        assert output.read_bytes() == b"".join(b"%-1023d\n" % number for number in range(LINES))
        # What the stalled client does not take is neither in the proxy nor in the kernel.
        assert await metric(client, "subscriptions") == 1


async def test_no_packet_waits_for_more_without_tls(
    server: ServerProcess, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    for name in PROXIES:
        gates = [tmp_path / f"{name}{number}" for number in range(10)]
        path = await submit(client, sys.executable, "-c", LINE_BY_LINE, *map(str, gates))
        with running_proxy(name, address(server.url), server.token, tls=False) as proxy:
            async with proxy.follow(path) as stream:
                await stream.read_until(b"retry")
                # The kernel sends a packet that is not full after 0.2 s at the latest, see tcp(7).
                with trio.fail_after(AT_ONCE):
                    for number, gate in enumerate(gates, 1):
                        gate.touch()
                        await stream.read_until(b"<line %d>" % number)


async def test_the_service_at_a_unix_socket(tmp_path: Path) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        folder.chmod(0o711)
        path = folder / "trio-logs.sock"
        # The proxy's user has to be able to write to it.
        umask = ("sh", "-c", 'umask 0 && exec "$@"', "sh")
        arguments = ("--allowed-host", HOST, "--bind", f"unix:{path}")
        server = stack.enter_context(running_server(tmp_path, *arguments, prefix=umask))
        async with client_of(server) as client:
            log = await submit(client, "echo", "hello")
        for name in PROXIES:
            with running_proxy(name, unix_form(name, path), server.token) as proxy:
                async with proxy.follow(log) as stream:
                    await stream.read_all()
            assert [event[0] for event in parse_events(stream.body)] == ["message", "end"], name


async def test_a_stream_that_is_cut_is_resumed_where_it_was(tmp_path: Path) -> None:
    arguments = ("--allowed-host", HOST)
    with ExitStack() as stack:
        server = stack.enter_context(running_server(tmp_path, *arguments))
        proxies = [
            stack.enter_context(running_proxy(name, address(server.url), server.token))
            for name in PROXIES
        ]
        async with client_of(server) as client:
            path = await submit(client, sys.executable, "-c", ON_AND_ON)
        transcripts = {proxy: Transcript(1, []) for proxy in proxies}
        cut: list[Proxy] = []

        async def read(proxy: Proxy, enough: int | None) -> None:
            """Go on where the transcript ends, until it has enough lines or the answer ends."""
            transcript = transcripts[proxy]
            async with proxy.follow(path, f"Last-Event-ID: {transcript.next - 1}") as stream:
                assert stream.status == 200
                try:
                    while enough is None or stream.body.count(b"\n\n") < enough:
                        if not await stream.read_chunk():
                            break
                except EOFError:
                    cut.append(proxy)
            whole, _, _ = stream.body.rpartition(b"\n\n")
            for name, id_, data in parse_events(whole):
                if name == "message":
                    transcript.events.append(("line", int(id_), data))
                else:
                    assert name == "end", (name, data)
                    transcript.events.append(("end", data["lines"]))

        with trio.fail_after(PATIENCE):
            for enough in (50, 51, 52):
                for proxy in proxies:
                    await read(proxy, enough)
            assert cut == []
            async with trio.open_nursery() as nursery:
                for proxy in proxies:
                    nursery.start_soon(read, proxy, None)
                async with client_of(server) as client:
                    await await_readers(client, len(proxies))
                server.kill()
            # The Caddy of Debian 12 ends an answer that was cut as if it were whole.
            assert {proxy.name for proxy in cut} >= {"nginx", "haproxy"}
            again = ("--bind", address(server.url))
            stack.enter_context(running_server(tmp_path, *arguments, *again))
            for proxy in proxies:
                await read(proxy, None)
    for proxy, transcript in transcripts.items():
        kind, lines = transcript.events[-1][:2]
        assert kind == "end", proxy.name
        transcript.written = [f"line {number}" for number in range(1, int(lines) + 1)]
        assert faults(transcript) == [], proxy.name


async def test_the_heartbeat_keeps_a_quiet_stream(tmp_path: Path) -> None:
    """With the page's minutes made seconds: a stream without it is cut where there is a limit."""
    kept: list[str] = []

    async def follow(proxy: Proxy, path: str, beats: int) -> None:
        async with proxy.follow(path) as stream:
            with trio.move_on_after(2.5) as waiting:
                try:
                    await stream.read_all()
                except EOFError:
                    return
            assert waiting.cancelled_caught
        assert stream.body.count(KEEP_ALIVE) >= beats
        kept.append(proxy.name)

    async def follow_all(heartbeat: float, beats: int) -> None:
        settings = Settings(data=tmp_path / str(heartbeat), heartbeat=heartbeat)
        async with open_live(settings) as live:
            log = (await live.submit("sleep", "60"))["logs_url"]
            with ExitStack() as stack:
                async with trio.open_nursery() as nursery:
                    for name in PROXIES:
                        running = running_proxy(
                            name, address(live.url), live.service.token, ("60s", "1s")
                        )
                        nursery.start_soon(follow, stack.enter_context(running), log, beats)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow_all, 0.2, 5)
        nursery.start_soon(follow_all, 60, 0)
    # Caddy has no limit, so there it is kept both times.
    assert sorted(kept) == ["caddy", "caddy", "haproxy", "nginx"]
