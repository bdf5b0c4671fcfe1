"""Which server a command talks to, with which token, and where it got these from.

Each of the two is looked for on its own: a flag, the environment, the configuration file, the data
folder. A token is sent to no server but the one that its source means.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from cyclopts import Parameter

from ..addresses import is_loopback
from ..data_folder import default_data_folder, read_address, token_path
from .exits import UsageError

if TYPE_CHECKING:
    from ..client import Client

__all__ = ["Connect", "Connection", "Flags", "describe", "find_connection", "refusal"]

DEFAULT_SERVER = "http://127.0.0.1:8000"

FROM_FLAG = "from the command line"
FROM_ENVIRONMENT = "from the environment"
FROM_DATA_FOLDER = "from the data folder"


@Parameter(name="*", group="Connection")
@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line says about the connection."""

    server: Annotated[
        str | None, Parameter(help="URL of the server, or unix:PATH. [env: TRIO_LOGS_SERVER]")
    ] = None
    token: Annotated[
        str | None,
        Parameter(
            # One in 64 of those that the service makes starts with it.
            allow_leading_hyphen=True,
            help="Its bearer token; better given by [env: TRIO_LOGS_TOKEN].",
        ),
    ] = None


Connect = Annotated[Flags | None, Parameter(help="")]


@dataclass(frozen=True, slots=True)
class Connection:
    """A server and its token, each with a few words on where it was found."""

    server: str
    server_source: str
    token: str | None
    token_source: str

    def client(self, on_outage: Callable[[str], Awaitable[None]] | None = None) -> Client:
        """A client for it, to be used as a context manager; `on_outage` is the client's. Raises
        UsageError if the server's URL is none, or its proxy's can't be used."""
        # The libraries for HTTP take a moment; not every command gets so far.
        from httpx2 import InvalidURL

        from ..client import Client

        if self.server.startswith("unix:"):
            path = self.server.removeprefix("unix:")
            return Client("http://localhost", self.token, uds=path, on_outage=on_outage)
        try:
            return Client(self.server, self.token, on_outage=on_outage)
        except (InvalidURL, UnicodeError):
            raise _no_server(self.server, self.server_source) from None
        except (ImportError, ValueError) as error:
            raise UsageError(f"the environment's proxy for {self.server}: {error}") from error

    def refusal(self) -> str:
        """Why the server does not take the token, where there may be a better one, and how."""
        folder = default_data_folder()
        if self.token is None:
            places = f"--token, TRIO_LOGS_TOKEN, {_config_path(os.environ)} and {folder}"
            why = f"{self.server} wants a token, and none for it is in {places}"
        else:
            source = self.token_source
            source += f" {folder}" if source == FROM_DATA_FOLDER else ""
            why = f"the token {source} is not that of {self.server}"
        return (
            f"{why}; `trio-logs token` prints it where the service runs, with TRIO_LOGS_DATA set to"
            " its --data"
        )

    def __str__(self) -> str:
        token = "no token found" if self.token is None else f"token {self.token_source}"
        return f"Server {self.server} ({self.server_source}), {token}."


def find_connection(flags: Flags | None, environ: Mapping[str, str] = os.environ) -> Connection:
    """Look in all places. Raises UsageError for what can't be read."""
    flags = flags or Flags()
    path, config = _read_config(environ)
    from_file = f"from {path}"
    folder = default_data_folder()
    address = read_address(folder)
    server, server_source = _first(
        (flags.server, FROM_FLAG),
        (environ.get("TRIO_LOGS_SERVER"), FROM_ENVIRONMENT),
        (config.get("server"), from_file),
        (address, FROM_DATA_FOLDER),
        (DEFAULT_SERVER, "the default"),
    )
    server = _checked(server or "", server_source)
    places = [(flags.token, FROM_FLAG), (environ.get("TRIO_LOGS_TOKEN"), FROM_ENVIRONMENT)]
    if config.get("server", server).rstrip("/") == server:
        places.append((config.get("token"), from_file))
    if server == address or _is_here(server):
        places.append((_read_token(folder), FROM_DATA_FOLDER))
    token, token_source = _first(*places)
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        # Without the token itself, which is a secret also where it is broken.
        raise UsageError(
            f"the token {token_source} can't be one: tokens are printable ASCII without spaces"
        )
    return Connection(server, server_source, token, token_source)


def describe(arguments: Sequence[str]) -> str:
    """One line on what a command with these arguments would use; without the token itself."""
    try:
        return str(find_connection(_flags_of(arguments)))
    except UsageError as error:
        return str(error)


def refusal(arguments: Sequence[str]) -> str:
    """What to say if the server refuses the token of a command with these arguments."""
    return find_connection(_flags_of(arguments)).refusal()


def _flags_of(arguments: Iterable[str]) -> Flags:
    """The flags, where the rest may be anything: help is shown before all of it is read."""
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


def _config_path(environ: Mapping[str, str]) -> Path:
    if given := environ.get("TRIO_LOGS_CONFIG"):
        return Path(given)
    base = environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base, "trio_logs", "config.toml")


def _read_config(environ: Mapping[str, str]) -> tuple[Path, dict[str, str]]:
    """The configuration file's path, and what is in it: `server` and `token`, both optional."""
    path = _config_path(environ)
    try:
        config: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if environ.get("TRIO_LOGS_CONFIG"):
            raise UsageError(f"TRIO_LOGS_CONFIG: there is no file {path}") from None
        return path, {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"can't read {path}: {error}") from error
    for name, value in config.items():
        if name not in ("server", "token") or not isinstance(value, str):
            raise UsageError(f"{path}: it may have `server` and `token`, two strings; not {name!r}")
    return path, config


def _read_token(folder: Path) -> str | None:
    try:
        return token_path(folder).read_text().strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"can't read the token: {error}; give --token") from error


def _checked(server: str, source: str) -> str:
    with suppress(ValueError):
        parts = urlsplit(server)
        # The port is read when it is asked for.
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return server.rstrip("/")
        if parts.scheme == "unix" and parts.path:
            return server
    raise _no_server(server, source)


def _no_server(server: str, source: str) -> UsageError:
    return UsageError(
        f"the server {source} is {server!r}: give a URL such as {DEFAULT_SERVER}, or unix:PATH"
    )


def _is_here(server: str) -> bool:
    """Whether only this machine can be meant."""
    return server.startswith("unix:") or is_loopback(urlsplit(server).hostname or "")
