"""Addresses: what is a loopback address, and what of a server's URL counts."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from urllib.parse import urlsplit

__all__ = ["API_VERSION", "base_url", "is_loopback", "without_user"]

API_VERSION = 1
"""The version of the HTTP interface that this version of the client speaks."""


def is_loopback(host: str) -> bool:
    """Whether a name or an address, without brackets, can only mean this machine."""
    # A prefix is not enough: the name 127.example.com may resolve to any machine.
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"


def base_url(url: str) -> str:
    """The URL of a server without what users paste along: `/v1` at its end, a query, a fragment,
    and a user, which would replace the token.

    Raises ValueError if it is no HTTP URL, or if its host or port can't be one.
    """
    parts = urlsplit(url)
    # urlsplit checks the port when it is read.
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("it is no HTTP URL")
    # Raises UnicodeError, a ValueError, for labels that are empty or too long.
    parts.hostname.encode("idna")
    host = parts.netloc.rpartition("@")[2]
    path = parts.path.rstrip("/").removesuffix(f"/v{API_VERSION}").rstrip("/")
    return f"{parts.scheme}://{host}{path}"


def without_user(url: str) -> str:
    """A URL, however malformed, as it may be shown."""
    return re.sub(r"(?<=//)[^/]*@", "", url)
