"""The checks of each request: an allowed Host and, on most routes, the token."""

from __future__ import annotations

import hmac

from quart import request

from ..errors import TrioLogsError
from ..service import Service
from .headers import single_header
from .routes import RouteTable

__all__ = ["Guard", "MisdirectedError", "UnauthorizedError"]


class UnauthorizedError(TrioLogsError):
    """The bearer token is missing or wrong; the message says which."""


class MisdirectedError(TrioLogsError):
    """The request's Host is not one of the allowed names."""


class Guard:
    """Checks each request before its view runs."""

    def __init__(self, service: Service, table: RouteTable) -> None:
        self._token = service.token.encode()
        self._hosts = {_bracketed(name) for name in service.settings.allowed_hosts}
        self._table = table

    def check(self) -> None:
        """Check the current request. Raises MisdirectedError, UnauthorizedError, or
        InvalidRequestError for a header that is given twice."""
        self._check_host(single_header("Host"))
        if not self._is_open():
            self._check_token(single_header("Authorization"))

    def _check_host(self, host: str | None) -> None:
        # HTTP/1.0 may lack it: load balancers check so, and no page in a browser can.
        if self._hosts and host and _host_name(host) not in self._hosts:
            raise MisdirectedError(
                f"this server does not answer for the host {host!r}: allow it with --allowed-host"
            )

    def _is_open(self) -> bool:
        # The router's own match decides: no spelling of a path can reach a view around it.
        rule = request.url_rule
        if rule is not None:
            return self._table.named(rule.endpoint).is_open
        return self._table.is_open(request.path)

    def _check_token(self, given: str | None) -> None:
        """Check the token. Raises UnauthorizedError. See RFC 6750, section 2.1."""
        scheme, _, token = (given or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise UnauthorizedError(
                "the token is missing: send the header `Authorization: Bearer TOKEN`"
            )
        if not hmac.compare_digest(token.encode(), self._token):
            raise UnauthorizedError(
                "the token is wrong: send that of this service as `Authorization: Bearer TOKEN`"
            )


def _bracketed(name: str) -> str:
    """A name or address as `_host_name` returns it; an IPv6 address may lack its brackets."""
    name = name.lower()
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


def _host_name(host: str) -> str:
    """The name or address in a Host header, without the port."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()
