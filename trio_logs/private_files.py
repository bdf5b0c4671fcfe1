"""Files that only their owner can read, from their first byte on.

The umask belongs to the whole process, so changing it would race with other threads. Instead, each
file is created with its mode. A symbolic link is never followed: whoever may write to the folder
could point it at a file elsewhere.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

__all__ = [
    "check_owner",
    "make_private",
    "open_private",
    "protect",
    "read_private",
    "write_atomically",
]

PRIVATE = 0o600


def open_private(path: Path, flags: int) -> int:
    """Open a regular file of this user with mode 600; return its descriptor. `flags` are those of
    open(2).

    A file of this user that others could read or write becomes private, and the service's log says
    so. Raises OSError, also for a symbolic link and for a file of another user but root.
    """
    # O_NONBLOCK: the open of a FIFO would wait for its other end.
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, PRIVATE)
    try:
        _protect(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def make_private(path: Path) -> None:
    """As `open_private`, for a file that another library opens by its path; see `protect`."""
    with suppress(FileExistsError):
        os.close(open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    protect(path)


def protect(path: Path) -> None:
    """As `open_private`, for a file that exists and may be in use. Raises OSError.

    The close of a descriptor releases all POSIX locks of the process on its file, and SQLite holds
    such locks; see fcntl_locking(2). With O_PATH it does not.
    """
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _protect(path, descriptor)
    finally:
        os.close(descriptor)


def read_private(path: Path) -> str:
    """The text of a file that `open_private` accepts. Raises OSError, and UnicodeDecodeError."""
    with os.fdopen(open_private(path, os.O_RDONLY), encoding="utf-8") as file:
        return file.read()


def write_atomically(path: Path, text: str, mode: int = PRIVATE) -> None:
    """Replace a file, or create it: no reader sees half of the text. Raises OSError."""
    fresh = path.with_name(f"{path.name}.new")
    # It may be left from a crash, or be a symbolic link.
    fresh.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(fresh, flags, mode), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def check_owner(path: Path, found: os.stat_result, *also: int) -> None:
    """Raise OSError if this is no regular file of this user, of root, or of a user in `also`."""
    if stat.S_ISLNK(found.st_mode):
        raise OSError(f"{path} is a symbolic link: put the file itself in its place")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{path} is not a regular file: remove it")
    if found.st_uid not in (os.geteuid(), 0, *also):
        raise PermissionError(
            f"{path} belongs to another user, number {found.st_uid}: remove it, or give it to user"
            f" {os.geteuid()}"
        )


def _protect(path: Path, descriptor: int) -> None:
    found = os.fstat(descriptor)
    check_owner(path, found)
    # Only its owner may change the mode; root has chosen who reads its file.
    if found.st_mode & 0o077 and found.st_uid == os.geteuid():
        # Through /proc, since fchmod(2) takes no descriptor of O_PATH.
        Path(f"/proc/self/fd/{descriptor}").chmod(PRIVATE)
        # Commands use this module, and structlog loads slowly.
        import structlog

        structlog.get_logger("trio_logs.data").warning(
            "other users could open this file: it is private now",
            path=str(path),
            mode=f"{stat.S_IMODE(found.st_mode):o}",
        )
