"""The two tokens of a service: one that allows everything, and one that only reads."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass

from .data_folder import ensure_token, read_only_token_path, token_path
from .errors import InvalidRequestError
from .settings import Settings

__all__ = ["ROLES", "Tokens", "load_tokens"]

ROLES = (False, True)
"""The values of `read_only`, for both tokens."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Each is printable ASCII without spaces, and they differ."""

    full: str
    read_only: str

    def hash(self, read_only: bool, kind: str, secret: str) -> bytes:
        """The id of a session or code that has this secret and the rights of one of the tokens.

        It also depends on that token: it fits no other one, nor a token that changes its rights.
        """
        token = self.read_only if read_only else self.full
        text = f"{'read-only' if read_only else 'full'} {kind} {secret}"
        return hmac.digest(token.encode(), text.encode(), "sha256")

    def mark(self, read_only: bool) -> bytes:
        """Tells a token from the one before it. It is short, so that nobody who reads it can find a
        weak token by trial."""
        return self.hash(read_only, "mark", "")[:2]


def load_tokens(settings: Settings, *, is_shared: bool = False) -> Tokens:
    """The tokens of the settings, of `$TRIO_LOGS_TOKEN` and `$TRIO_LOGS_READ_ONLY_TOKEN`, or of the
    data folder: for each, the first place that has one counts.

    A token of the data folder is created on first use. With a shared store, the read-only token is
    never that of the data folder: nodes have folders of their own, and the same tokens. Raises
    DataFolderError if a file can't be used, and InvalidRequestError for a token that no header can
    hold, or if both are equal.
    """
    full = settings.token or os.environ.get("TRIO_LOGS_TOKEN")
    read_only = settings.read_only_token or os.environ.get("TRIO_LOGS_READ_ONLY_TOKEN")
    full = _checked(full or ensure_token(token_path(settings.data)), "token")
    if not read_only:
        read_only = (
            ensure_token(read_only_token_path(settings.data)) if not is_shared else _nobodys(full)
        )
    found = Tokens(full, _checked(read_only, "read-only token"))
    if found.full == found.read_only:
        raise InvalidRequestError(
            "the read-only token is the token itself, so it would allow everything: give"
            f" TRIO_LOGS_READ_ONLY_TOKEN another value, or delete"
            f" {read_only_token_path(settings.data)}"
        )
    return found


def _checked(token: str, name: str) -> str:
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise InvalidRequestError(f"the {name} must be printable ASCII without spaces")
    return token


def _nobodys(full: str) -> str:
    """A read-only token that nobody was given. All nodes make the same one of their token, so they
    keep each other's sessions."""
    return hmac.digest(full.encode(), b"no read-only token was given", "sha256").hex()
