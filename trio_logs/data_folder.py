"""The data folder: its place, and the files in it for clients on the same machine."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from .errors import DataFolderError
from .private_files import check_owner, read_private, write_atomically

__all__ = [
    "check_data_folder",
    "default_data_folder",
    "ensure_token",
    "read_address",
    "read_only_token_path",
    "token_path",
    "write_address",
]

LONGEST = 490
"""Bytes of the folder's path. SQLite takes 512 for a file, with what it adds to the name."""


def default_data_folder() -> Path:
    """`$TRIO_LOGS_DATA`, or else `trio_logs` in the user's data folder (XDG base directories)."""
    if folder := os.environ.get("TRIO_LOGS_DATA"):
        return Path(folder)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "trio_logs"


def check_data_folder(folder: Path) -> None:
    """Raise DataFolderError for a path that SQLite can't use."""
    try:
        path = os.path.realpath(folder).encode()
    except UnicodeEncodeError:
        raise DataFolderError(
            f"the path of the data folder {str(folder)!r} is not UTF-8: give another folder"
        ) from None
    except ValueError as error:
        raise DataFolderError(f"can't use the data folder {str(folder)!r}: {error}") from error
    if len(path) > LONGEST:
        raise DataFolderError(
            f"the path of the data folder {folder} has {len(path)} bytes, and SQLite takes"
            f" {LONGEST}: give a shorter one"
        )


def token_path(folder: Path) -> Path:
    """The file with the bearer token; only its owner can read it."""
    return folder / "token"


def read_only_token_path(folder: Path) -> Path:
    """The file with the token that only reads; only its owner can read it."""
    return folder / "token.read-only"


def ensure_token(path: Path) -> str:
    """The token in a file, which is created on first use. Raises DataFolderError."""
    try:
        if not os.path.lexists(path):
            write_atomically(path, secrets.token_urlsafe(32) + "\n")
        token = read_private(path).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataFolderError(f"can't use the token in {path}: {error}") from error
    if not token:
        raise DataFolderError(f"{path} is empty: delete it, and a new token is made")
    return token


def write_address(folder: Path, url: str) -> None:
    """Write the address of the service that uses this folder. Raises OSError.

    The file stays when the service ends: a restarted service most likely has the same address, and
    clients wait for it there.
    """
    write_atomically(folder / "address", url + "\n", 0o644)


def read_address(folder: Path) -> str | None:
    """The address of the service that uses this folder, or last used it; None without one.

    Commands send the token to this address. So this raises DataFolderError for a file that another
    user has written, or could write.
    """
    path = folder / "address"
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            found = os.fstat(file.fileno())
            check_owner(path, found, folder.stat().st_uid)
            if found.st_mode & 0o022:
                raise PermissionError(f"{path} can be written by other users: restart the service")
            return file.read().strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataFolderError(f"can't use the server's address in {path}: {error}") from error
