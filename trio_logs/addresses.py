"""Loopback addresses: those that can only mean this machine."""

from __future__ import annotations

import ipaddress
from contextlib import suppress

__all__ = ["is_loopback"]


def is_loopback(host: str) -> bool:
    """Whether a name or an address, without brackets, can only mean this machine."""
    # A prefix is not enough: the name 127.example.com may resolve to any machine.
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"
