"""The checks of each request: an allowed Host, a token or a session's key, and what it allows."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from quart import g, request

from ..errors import InvalidRequestError, TrioLogsError
from ..service import Service
from ..sessions import SessionStream
from ..store.sessions import Session
from .headers import single_header
from .routes import Route, RouteTable

__all__ = [
    "STREAM",
    "Access",
    "ForbiddenError",
    "Guard",
    "MisdirectedError",
    "UnauthorizedError",
    "authenticate",
    "current_access",
    "download_target",
    "session_stream",
]

STREAM = "trio_logs.session_stream"
"""The ASGI extension that holds the `SessionStream` of a request that may last."""


class UnauthorizedError(TrioLogsError):
    """The token, the key or the code is missing or wrong; the message says which."""


class ForbiddenError(TrioLogsError):
    """The token or key is right, and does not allow the request."""


class MisdirectedError(TrioLogsError):
    """The request's Host is not one of the allowed names."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a request may do. `session` is the session whose key it sent; None: it sent a token, or
    a code."""

    read_only: bool
    session: Session | None = None


def current_access() -> Access:
    """That of the current request, whose route is not open."""
    access: Access = g.access
    return access


def session_stream() -> SessionStream | None:
    """The `SessionStream` of the current request; None if the request does not last."""
    extensions: Any = request.scope.get("extensions") or {}
    found: SessionStream | None = extensions.get(STREAM)
    return found


def download_target(workload_id: str, parameters: Iterable[tuple[str, str]]) -> str:
    """A log with these parameters, in the form that a code for its download has. `code` is left
    out. URLs of the same path and parameters may differ in what they encode."""
    query = urlencode([(name, value) for name, value in parameters if name != "code"])
    return f"/v1/workloads/{workload_id}/logs?{query}"


async def authenticate(service: Service) -> Access:
    """Check the bearer token of the current request; see RFC 6750, section 2.1.

    Raises UnauthorizedError, InvalidRequestError if the header is there twice, and StoreError.
    """
    scheme, _, given = (single_header("Authorization") or "").partition(" ")
    given = given.strip()
    if scheme.lower() != "bearer" or not given:
        raise UnauthorizedError(
            "the token is missing: send the header `Authorization: Bearer TOKEN`"
        )
    tokens = service.tokens
    # In constant time, whichever of the two it is.
    is_full = hmac.compare_digest(given.encode(), tokens.full.encode())
    is_read_only = hmac.compare_digest(given.encode(), tokens.read_only.encode())
    if is_full or is_read_only:
        return Access(read_only=not is_full)
    session = await service.sessions.find(given, session_stream())
    if session is None:
        raise UnauthorizedError(
            "the token is wrong, or the session has ended: send the token of this service as"
            " `Authorization: Bearer TOKEN`, or sign in again"
        )
    return Access(session.read_only, session)


class Guard:
    """Checks each request before its view runs."""

    def __init__(self, service: Service, table: RouteTable) -> None:
        self._service = service
        settings = service.settings
        self._hosts = {_bracketed(name) for name in settings.allowed_hosts}
        if self._hosts and settings.public_url is not None:
            self._hosts.add(str(_host_name(urlsplit(settings.public_url).netloc)))
        self._table = table

    async def check(self) -> None:
        """Check the current request. Raises MisdirectedError, UnauthorizedError, ForbiddenError,
        InvalidRequestError for a header that is given twice, and StoreError."""
        self._check_host(single_header("Host"))
        route = self._route()
        if route.is_open if route is not None else self._table.is_open(request.path):
            return
        if route is not None and route.takes_code and self._has_code():
            g.access = await self._use_code()
            return
        g.access = await authenticate(self._service)
        if g.access.read_only and not (
            request.method in ("GET", "HEAD") or (route is not None and route.is_for_all)
        ):
            raise ForbiddenError(
                "the token, or the session, is read-only: it allows GET and HEAD; send the token"
                " that allows everything"
            )

    def _check_host(self, host: str | None) -> None:
        # HTTP/1.0 may lack it: load balancers check so, and no page in a browser can.
        if not host:
            return
        name = _host_name(host)
        if name is None:
            # A link that begins with `a:1@b` leads to b.
            raise MisdirectedError(
                f"the Host {host!r} is wrong: send a name or an address, and a port if need be"
            )
        if self._hosts and name not in self._hosts:
            raise MisdirectedError(
                f"this server does not answer for the host {host!r}: allow it with --allowed-host"
            )

    def _route(self) -> Route | None:
        # The router's own match decides: no spelling of a path can reach a view around it. OPTIONS
        # matches any route of a path.
        rule = request.url_rule
        if rule is None or request.method == "OPTIONS":
            return None
        return self._table.named(rule.endpoint)

    def _has_code(self) -> bool:
        """Whether a code stands for the token: a link can't carry headers."""
        return "code" in request.args and not request.headers.getlist("Authorization")

    async def _use_code(self) -> Access:
        codes = request.args.getlist("code")
        if len(codes) > 1:
            raise InvalidRequestError("code: give it once")
        arguments = request.view_args or {}
        target = download_target(arguments["workload_id"], request.args.items(multi=True))
        code = await self._service.sessions.open_download(codes[0], target, session_stream())
        if code is None:
            raise UnauthorizedError(
                "the code is wrong, was used, has expired, or is for another download: ask for a"
                " new one with POST /v1/session/codes"
            )
        return Access(read_only=True)


def _bracketed(name: str) -> str:
    """A name or address as `_host_name` returns it; an IPv6 address may lack its brackets."""
    name = name.lower()
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


def _host_name(host: str) -> str | None:
    """The name or address in a Host header, without the port. None if the header has something
    else. Source: RFC 9110, section 7.2."""
    found = re.fullmatch(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]*)?", host.lower(), re.ASCII)
    return found and found[1]
