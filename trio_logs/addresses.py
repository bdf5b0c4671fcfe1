"""Which addresses mean this machine and no other."""

from __future__ import annotations

import ipaddress
from contextlib import suppress

__all__ = ["is_loopback"]


def is_loopback(host: str) -> bool:
    """Whether a name or an address, without brackets, can only mean this machine."""
    # Not by how it starts: 127.example.com may be anywhere.
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"
