"""The data folder: its place, and the files in it for clients on the same machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = [
    "default_data_folder",
    "read_address",
    "read_only_token_path",
    "token_path",
    "write_address",
]


def default_data_folder() -> Path:
    """`$TRIO_LOGS_DATA`, or else `trio_logs` in the user's data folder (XDG base directories)."""
    if folder := os.environ.get("TRIO_LOGS_DATA"):
        return Path(folder)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "trio_logs"


def token_path(folder: Path) -> Path:
    """The file with the bearer token; only its owner can read it."""
    return folder / "token"


def read_only_token_path(folder: Path) -> Path:
    """The file with the token that only reads; only its owner can read it."""
    return folder / "token.read-only"


def write_address(folder: Path, url: str) -> None:
    """Write the address of the service that uses this folder. Raises OSError.

    The file stays when the service ends: a restarted service most likely has the same address, and
    clients wait for it there.
    """
    path = folder / "address"
    # A rename is atomic, so a client never reads half an address.
    fresh = path.with_suffix(".new")
    fresh.write_text(url + "\n")
    fresh.replace(path)


def read_address(folder: Path) -> str | None:
    """The address of the service that uses this folder, or last used it; None without one."""
    with suppress(OSError):
        return (folder / "address").read_text().strip() or None
    return None
