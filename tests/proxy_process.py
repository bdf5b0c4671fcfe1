"""The proxies of docs/howto/proxies.md as child processes, run by the page's own configurations."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trio
import trustme

from tests.live import PATIENCE, RawStream
from tests.programs import need_programs

__all__ = ["HOST", "PROXIES", "Proxy", "running_proxy", "unix_form"]

PAGE = (Path(__file__).parent.parent / "docs" / "howto" / "proxies.md").read_text()

HOST = "logs.example.com"
UPSTREAM = "127.0.0.1:8000"
PEM = f"/etc/ssl/private/{HOST}.pem"

# What the distribution has elsewhere comes into the proxy's folder, and listens on the loopback.
NGINX_FOLDERS = """http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
"""
CADDY_OPTIONS = """{
    admin off
    auto_https disable_redirects
    default_bind 127.0.0.1
    servers {
        protocols h1 h2
    }
}
"""


Change = tuple[str, str]


@dataclass(frozen=True)
class Kind:
    """The name of a proxy's block in the page, what runs it, and what is put in place of what;
    `plain` is what makes it do without TLS, as the page's comments say. `before` goes first."""

    block: str
    command: tuple[str, ...]
    changes: tuple[Change, ...]
    plain: tuple[Change, ...]
    before: str = ""


PROXIES = {
    "nginx": Kind(
        "nginx",
        ("nginx", "-p", ".", "-e", "stderr", "-g", "daemon off; pid pid;", "-c", "config"),
        (("listen 443", "listen 127.0.0.1:PORT"), ("http {\n", NGINX_FOLDERS)),
        (
            ("443 ssl http2", "443"),
            (f"        ssl_certificate {PEM};\n", ""),
            (f"        ssl_certificate_key {PEM};\n", ""),
        ),
    ),
    "caddy": Kind(
        "caddyfile",
        ("caddy", "run", "--adapter", "caddyfile", "--config", "config"),
        ((f"{HOST} {{\n", f"{HOST}:PORT {{\n"),),
        ((f"    tls {PEM} {PEM}\n", ""), (f"{HOST} {{\n", f"http://{HOST} {{\n")),
        CADDY_OPTIONS,
    ),
    "haproxy": Kind(
        "haproxy",
        ("haproxy", "-db", "-f", "config"),
        (("bind :443", "bind 127.0.0.1:PORT"),),
        ((f" ssl crt {PEM} alpn h2,http/1.1", ""),),
    ),
}


def unix_form(name: str, path: Path) -> str:
    """How the page has a proxy name the service's unix socket at `path`."""
    [form] = re.findall(rf"`(unix\S+)` in the place of `{UPSTREAM}`", _section(name))
    return _replace(form, "/run/trio-logs.sock", str(path))


def _section(name: str) -> str:
    """A proxy's part of the page, from its configuration on."""
    _, _, rest = PAGE.partition(f"\n```{PROXIES[name].block}\n")
    assert rest, f"the page has no block for {name}"
    return rest.partition("\n## ")[0]


def _replace(text: str, old: str, new: str) -> str:
    assert old in text, f"the page has no {old!r}"
    return text.replace(old, new)


@dataclass(frozen=True)
class Proxy:
    """A running proxy; `trusted` is the certificate to trust, or None without TLS."""

    name: str
    port: int
    token: str
    trusted: Path | None

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"

    @property
    def curl(self) -> list[str]:
        """The start of a command that makes requests through it."""
        return [
            *("curl", "-sN", "--max-time", str(PATIENCE), "--cacert", str(self.trusted)),
            *("--resolve", f"{HOST}:{self.port}:127.0.0.1"),
        ]

    @asynccontextmanager
    async def follow(self, path: str, *headers: str) -> AsyncIterator[RawStream]:
        """A stream on a connection of its own, its head read; left without a word on exit."""
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {HOST}:{self.port}",
            f"Authorization: Bearer {self.token}",
            *headers,
        ]
        stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        if self.trusted is not None:
            context = ssl.create_default_context(cafile=self.trusted)
            # Compatible: a server may end the connection without saying so in TLS.
            stream = trio.SSLStream(stream, context, server_hostname=HOST, https_compatible=True)
        raw = RawStream(stream)
        try:
            with trio.fail_after(PATIENCE):
                await stream.send_all(("\r\n".join(lines) + "\r\n\r\n").encode())
                await raw.read_head()
            yield raw
        finally:
            await trio.aclose_forcefully(stream)


@contextmanager
def running_proxy(
    name: str, upstream: str, token: str, *changes: Change, tls: bool = True
) -> Iterator[Proxy]:
    """A proxy in front of the service at `upstream`, as the page has it but for `changes`.

    It runs as a user without rights, in a folder of its own, and is ended on exit.
    """
    need_programs(name, "curl")
    kind, port = PROXIES[name], _free_port()
    config = _section(name).partition("\n```")[0] + "\n"
    encryption = ((PEM, "pem"),) if tls else kind.plain
    for old, new in (*changes, *encryption, *kind.changes, (UPSTREAM, upstream)):
        config = _replace(config, old, new)
    authority = trustme.CA()
    # Not in pytest's folder, into which only the user who runs the tests can look.
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        (folder / "config").write_text((kind.before + config).replace("PORT", str(port)))
        authority.cert_pem.write_to_path(folder / "trusted")
        authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(folder / "pem")
        process = _start(kind, folder)
        stack.callback(_end, process)
        _await_listening(process, port, folder)
        yield Proxy(name, port, token, folder / "trusted" if tls else None)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _start(kind: Kind, folder: Path) -> subprocess.Popen[bytes]:
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        for path in (folder, folder / "config", folder / "pem"):
            shutil.chown(path, "nobody", "nogroup")
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            kind.command,
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": ".", "XDG_DATA_HOME": "."},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            **user,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def _await_listening(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError(f"{process.args} does not listen: {(folder / 'log').read_text()}")
