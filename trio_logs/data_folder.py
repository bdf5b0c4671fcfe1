"""The data folder: where it is, and what the service leaves in it for clients on this machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["default_data_folder", "read_address", "token_path", "write_address"]


def default_data_folder() -> Path:
    """`$TRIO_LOGS_DATA`, or else `trio_logs` in the user's data folder (XDG base directories)."""
    if folder := os.environ.get("TRIO_LOGS_DATA"):
        return Path(folder)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "trio_logs"


def token_path(folder: Path) -> Path:
    """Where the bearer token is, in a file that only its owner can read."""
    return folder / "token"


def write_address(folder: Path, url: str) -> None:
    """Leave the address of the service that uses this folder. It stays when the service ends: one
    that is started again listens there again, most likely, and its clients wait for it."""
    path = folder / "address"
    # By renaming: a client never reads half of it.
    fresh = path.with_suffix(".new")
    fresh.write_text(url + "\n")
    fresh.replace(path)


def read_address(folder: Path) -> str | None:
    """The address of the service that uses this folder, or used it last."""
    with suppress(OSError):
        return (folder / "address").read_text().strip() or None
    return None
