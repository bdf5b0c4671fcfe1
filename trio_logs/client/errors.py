"""The exceptions of the client."""

from __future__ import annotations

from ..errors import TrioLogsError

__all__ = ["ClientError", "RefusedError", "UnreachableError"]


class ClientError(TrioLogsError):
    """Base of the client's exceptions. The class itself is for an answer that is not the service's:
    a proxy, or another service, may have sent it."""


class RefusedError(ClientError):
    """The server answered with a problem (RFC 9457), or with another error or redirect. `status` is
    the status code; the message is the problem's detail. `is_problem`: it is the service that
    answered so, as far as one can tell."""

    def __init__(self, status: int, detail: str, *, is_problem: bool = True) -> None:
        super().__init__(detail)
        self.status = status
        self.is_problem = is_problem


class UnreachableError(ClientError):
    """No answer came, or no log within the patience; the message says why."""
