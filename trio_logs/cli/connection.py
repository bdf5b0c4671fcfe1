"""Which server a command talks to, with which token, and where it found both.

A command looks for each of the two separately: a flag, the environment, the configuration file, the
data folder. It sends a token only to the server that the token's source is for.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from cyclopts import Parameter

from ..addresses import base_url, is_loopback, without_user
from ..data_folder import default_data_folder, read_address, read_only_token_path, token_path
from ..errors import DataFolderError
from .config_file import read_config
from .exits import UsageError

if TYPE_CHECKING:
    from ..client import Client

__all__ = [
    "BY_DEFAULT",
    "FROM_DATA_FOLDER",
    "Connect",
    "Connection",
    "Flags",
    "connection_of",
    "describe",
    "find_connection",
    "find_read_only_token",
]

DEFAULT_SERVER = "http://127.0.0.1:8000"

FROM_FLAG = "from the command line"
FROM_ENVIRONMENT = "from the environment"
FROM_DATA_FOLDER = "from the data folder"
BY_DEFAULT = "the default"


@Parameter(name="*", group="Connection")
@dataclass(frozen=True, slots=True)
class Flags:
    """The options of the connection."""

    server: Annotated[
        str | None,
        Parameter(metavar="URL", help="URL of the server, or unix:PATH. [env: TRIO_LOGS_SERVER]"),
    ] = None
    token: Annotated[
        str | None,
        Parameter(
            # One in 64 tokens of the service starts with a hyphen.
            allow_leading_hyphen=True,
            help="Bearer token of the server; prefer [env: TRIO_LOGS_TOKEN].",
        ),
    ] = None


Connect = Annotated[Flags | None, Parameter(help="")]


@dataclass(frozen=True, slots=True)
class Connection:
    """A server and its token, each with the place where it was found, in words."""

    server: str
    server_source: str
    token: str | None
    token_source: str

    @property
    def is_local(self) -> bool:
        """Whether the server has the folders of this machine, as far as the place tells where its
        address was found. A loopback address may lead to a container, or through a tunnel."""
        return self.server.startswith("unix:") or self.server_source == FROM_DATA_FOLDER

    def client(self, on_outage: Callable[[str], Awaitable[None]] | None = None) -> Client:
        """A client of the server, to use as a context manager; `on_outage` is that of `Client`.
        Raises UsageError if the server's URL, or its proxy's, can't be used."""
        # The HTTP libraries load slowly, and a command may fail before it needs them.
        from httpx2 import InvalidURL

        from ..client import Client, ClientError

        if self.server.startswith("unix:"):
            path = self.server.removeprefix("unix:")
            return Client("http://localhost", self.token, uds=path, on_outage=on_outage)
        url = _checked(self.server, self.server_source)
        try:
            return Client(url, self.token, on_outage=on_outage)
        except (InvalidURL, UnicodeError):
            raise _no_server(self.server, self.server_source) from None
        except ClientError as error:
            raise UsageError(str(error)) from error
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"the environment's proxy for {self.server} can't be used: {error}"
            ) from error

    def __str__(self) -> str:
        token = "no token found" if self.token is None else f"token {self.token_source}"
        return f"Server {self.server} ({self.server_source}), {token}."


def find_connection(flags: Flags | None, environ: Mapping[str, str] = os.environ) -> Connection:
    """Look in all places. Raises UsageError for a file or value that can't be read."""
    flags = flags or Flags()
    path, config = read_config(environ)
    from_file = f"from {path}"
    folder = default_data_folder()
    address = _read_address(folder)
    server, server_source = _first(
        (flags.server, FROM_FLAG),
        (environ.get("TRIO_LOGS_SERVER"), FROM_ENVIRONMENT),
        (config.get("server"), from_file),
        (address, FROM_DATA_FOLDER),
        (DEFAULT_SERVER, BY_DEFAULT),
    )
    server = _checked(server or "", server_source)
    places = [(flags.token, FROM_FLAG), (environ.get("TRIO_LOGS_TOKEN"), FROM_ENVIRONMENT)]
    if "server" not in config or _checked(config["server"], from_file) == server:
        places.append((config.get("token"), from_file))
    if server == address or _is_here(server):
        places.append((_read_token(token_path(folder)), FROM_DATA_FOLDER))
    token, token_source = _first(*places)
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        # The message leaves the token out: a broken token is still a secret.
        raise UsageError(
            f"the token {token_source} is malformed: a token is printable ASCII without spaces"
        )
    return Connection(server, server_source, token, token_source)


def find_read_only_token(
    connection: Connection, environ: Mapping[str, str] = os.environ
) -> str | None:
    """The read-only token of a server: from the environment, or from the data folder if the server
    is here. Raises UsageError if the file can't be read."""
    if token := environ.get("TRIO_LOGS_READ_ONLY_TOKEN"):
        return token
    folder = default_data_folder()
    if connection.server == _read_address(folder) or _is_here(connection.server):
        return _read_token(read_only_token_path(folder))
    return None


def describe(arguments: Sequence[str]) -> str:
    """One line on the server and the token's place, for a command with these arguments."""
    try:
        return str(connection_of(arguments))
    except UsageError as error:
        return str(error)


def connection_of(arguments: Sequence[str]) -> Connection:
    """The connection of a command with these arguments. Raises UsageError."""
    return find_connection(_flags_of(arguments))


def _flags_of(arguments: Iterable[str]) -> Flags:
    """The flags among arguments that may be malformed: help is shown before they are parsed."""
    found: dict[str, str] = {}
    waiting = ""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if waiting:
            found[waiting], waiting = argument, ""
        elif name in ("--server", "--token"):
            if equals:
                found[name[2:]] = value
            else:
                waiting = name[2:]
        elif argument == "--":
            break
    return Flags(**found)


def _first(*places: tuple[str | None, str]) -> tuple[str | None, str]:
    for value, source in places:
        if value:
            return value, source
    return None, ""


def _read_address(folder: Path) -> str | None:
    try:
        return read_address(folder)
    except DataFolderError as error:
        raise UsageError(f"{error}; or set another TRIO_LOGS_DATA") from error


def _read_token(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"can't read the token: {error}; give --token") from error


def _checked(server: str, source: str) -> str:
    if server.startswith("unix:") and server != "unix:":
        return server
    with suppress(ValueError):
        return base_url(server)
    raise _no_server(server, source)


def _no_server(server: str, source: str) -> UsageError:
    return UsageError(
        f"the server {source} is {without_user(server)!r}: give a URL such as {DEFAULT_SERVER}, or"
        " unix:PATH"
    )


def _is_here(server: str) -> bool:
    """Whether the server is on this machine."""
    return server.startswith("unix:") or is_loopback(urlsplit(server).hostname or "")
