"""What a client can run into."""

from __future__ import annotations

from ..errors import TrioLogsError

__all__ = ["ClientError", "RefusedError", "UnreachableError"]


class ClientError(TrioLogsError):
    """Base of what the client raises."""


class RefusedError(ClientError):
    """The server answered with a problem (RFC 9457); `status` is its code, the message its
    detail."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class UnreachableError(ClientError):
    """The server could not be reached, or broke off, for longer than the client was to try."""
