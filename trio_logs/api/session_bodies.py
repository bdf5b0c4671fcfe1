"""The bodies of sign-in, as msgspec types; see `bodies`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from .bodies import Moment

__all__ = ["CodeRequest", "CodeState", "OneTimeCode", "SessionKey", "SessionState", "SignIn"]

# Printable ASCII, as in a URL, without the part behind `#`.
_LOG = r'^/v1/workloads/[A-Za-z0-9_-]{1,64}/logs\?[!"$-~]+$'


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    """How a browser signs in: by a code or, without one, by the bearer token of the request."""

    code: str | msgspec.UnsetType = msgspec.UNSET


class SessionKey(msgspec.Struct):
    """A new session. Send `key` as the bearer token. The session ends at `expires_at`, unless it is
    used before. With `read_only`, it allows GET and HEAD."""

    key: str
    expires_at: Moment
    read_only: bool


class SessionState(msgspec.Struct):
    """The session of the request; the fields are those of `SessionKey`."""

    expires_at: Moment
    read_only: bool


class CodeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What a code is for: with `download`, for that log, which has the parameter `download`, too;
    without it, for a sign-in."""

    download: Annotated[str, msgspec.Meta(pattern=_LOG, max_length=8192)] | msgspec.UnsetType = (
        msgspec.UNSET
    )


class OneTimeCode(msgspec.Struct):
    """A code that works once, until `expires_at`. `url` is where a browser uses it; null if the
    service does not know its own address."""

    code: str
    expires_at: Moment
    url: str | None


class CodeState(msgspec.Struct):
    """A code that was not used yet, and when it expires."""

    expires_at: Moment
