"""Where the server listens: TCP, a unix socket, or an inherited descriptor."""

from __future__ import annotations

import os
import socket
import ssl
import stat
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import trio

from ..addresses import is_loopback
from ..errors import InvalidRequestError

__all__ = ["Bind", "DescriptorBind", "TCPBind", "UnixBind", "load_tls", "url_of"]

BACKLOG = 2048
"""Connections that wait for an accept; more than 100 clients may reconnect at the same moment."""

STALE_SECONDS = 0.05
"""How long a server may take from the making of a unix socket until it listens."""


class Bind(ABC):
    """An address to listen on."""

    @staticmethod
    def parse(text: str) -> Bind:
        """Read `HOST:PORT` (an IPv6 address stands in brackets; port 0 lets the system choose),
        `unix:PATH`, or `fd://N`. Raises InvalidRequestError."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if path and not _is_utf8(path):
                raise InvalidRequestError(f"--bind {text!r}: the path is not UTF-8: give another")
            if path:
                return UnixBind(Path(path))
        elif text.startswith("fd://"):
            number = text.removeprefix("fd://")
            if number.isascii() and number.isdecimal():
                return DescriptorBind(int(number))
        else:
            host, _, port = text.rpartition(":")
            if host and port.isascii() and port.isdecimal() and int(port) <= 65_535:
                return TCPBind(host.removeprefix("[").removesuffix("]"), int(port))
        raise InvalidRequestError(
            f"--bind {text!r}: give HOST:PORT, such as 127.0.0.1:8000, unix:PATH or fd://N"
        )

    @property
    @abstractmethod
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""

    @abstractmethod
    async def listen(self) -> list[trio.SocketListener]:
        """Open the listeners. Raises OSError, with the reason, if that fails."""

    def release(self) -> None:  # noqa: B027 - most binds leave nothing behind
        """Remove the traces of the listeners in the file system, once they are closed."""


@dataclass(frozen=True, slots=True)
class TCPBind(Bind):
    """A name or address, and a port."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    async def listen(self) -> list[trio.SocketListener]:
        return await trio.open_tcp_listeners(self.port, host=self.host, backlog=BACKLOG)


@dataclass(frozen=True, slots=True)
class UnixBind(Bind):
    """A socket in the file system. Processes that may write to it may connect; see umask(2)."""

    path: Path
    # What tells the socket that `listen` made from another one at its path.
    _made: list[tuple[int, int]] = field(default_factory=list, init=False, compare=False)

    @property
    def is_loopback(self) -> bool:
        return True

    async def listen(self) -> list[trio.SocketListener]:
        await self._remove_stale()
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(str(self.path))
            self._made[:] = [self._identity()]
            opened.listen(BACKLOG)
            return [_listener(opened)]

    def release(self) -> None:
        # Another server may have made a socket here, after somebody had deleted this one.
        with suppress(OSError):
            if self._identity() in self._made:
                self.path.unlink()

    def _identity(self) -> tuple[int, int]:
        found = self.path.lstat()
        return found.st_dev, found.st_ino

    async def _remove_stale(self) -> None:
        """Remove the socket of a server that was killed; raise OSError for any other file."""
        try:
            if not stat.S_ISSOCK(self.path.lstat().st_mode):
                raise OSError(f"{self.path} exists and is not a socket: give another path")
            before = self._identity()
            if self._is_refused():
                # Another server may have made it just now, and listen in a moment.
                await trio.sleep(STALE_SECONDS)
                if self._is_refused() and self._identity() == before:
                    self.path.unlink()
                    return
        except FileNotFoundError:
            return
        raise OSError(f"{self.path} is in use by another server")

    def _is_refused(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(self.path))
            except ConnectionRefusedError:
                return True
            except BlockingIOError:
                pass  # its queue is full
        return False


@dataclass(frozen=True, slots=True)
class DescriptorBind(Bind):
    """An inherited listening socket. The first one of systemd's socket activation is 3; see
    sd_listen_fds(3)."""

    number: int

    @property
    def is_loopback(self) -> bool:
        try:
            with socket.socket(fileno=os.dup(self.number)) as inherited:
                address = inherited.getsockname()
        except OSError:
            return False  # `listen` raises the error
        return isinstance(address, str) or TCPBind(*address[:2]).is_loopback

    async def listen(self) -> list[trio.SocketListener]:
        try:
            inherited = socket.socket(fileno=self.number)
        except OSError as error:
            raise OSError(f"fd://{self.number} is not a socket: {error}") from error
        with inherited:
            if not inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                inherited.detach()
                raise OSError(f"fd://{self.number} is not a listening socket")
            return [_listener(inherited)]


def _is_utf8(text: str) -> bool:
    """Whether an argument, which may be any bytes, is text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _listener(opened: socket.socket) -> trio.SocketListener:
    """A listener that owns the socket."""
    return trio.SocketListener(
        trio.socket.from_stdlib_socket(socket.socket(fileno=opened.detach()))
    )


def url_of(listener: trio.SocketListener, scheme: str) -> str:
    """The URL of a listener, or `unix:` and the path of a unix socket."""
    address = listener.socket.getsockname()
    if isinstance(address, str):
        return f"unix:{address}"
    host, port, *_ = address
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def load_tls(certfile: Path, keyfile: Path | None = None) -> ssl.SSLContext:
    """A TLS context for a server: TLS 1.2 or later, and HTTP/1.1 only.

    `keyfile` None takes the key from `certfile`. Raises OSError, with the reason.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certfile, keyfile)
    except OSError as error:  # ssl.SSLError is one
        raise OSError(f"can't use {certfile} and its key for TLS: {error}") from error
    return context
