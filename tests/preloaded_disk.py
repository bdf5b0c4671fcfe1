"""A disk that fails, is slow or hangs when a test wants it to, under a server that is a process.

Unlike `failing_disk`, it is below SQLite: a library in C that the dynamic linker loads before the C
library, ld.so(8). It concerns the files of one folder, and no workload that writes elsewhere.
"""

from __future__ import annotations

import errno
import functools
import mmap
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

__all__ = ["COMPILER", "PreloadedDisk"]

COMPILER = shutil.which("cc")
"""Without one, there is no such disk."""

SOURCE = Path(__file__).with_suffix(".c")

OPERATIONS = ("write", "sync", "read", "truncate")
CHANGES = ("write", "sync", "truncate")

RULE = struct.Struct("iii")
PASS, FAIL, DELAY, HANG = range(4)


@functools.cache
def _library() -> tuple[tempfile.TemporaryDirectory[str], Path]:
    """Compiled once; the folder lasts as long as this process."""
    folder = tempfile.TemporaryDirectory()
    library = Path(folder.name, "disk.so")
    assert COMPILER is not None
    command = [COMPILER, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return folder, library


class PreloadedDisk:
    """The disk of the files in `folder`. Start the server with `prefix`. The other methods switch
    the disk at any time."""

    def __init__(self, rules: Path, folder: Path) -> None:
        rules.write_bytes(bytes(RULE.size * len(OPERATIONS)))
        with rules.open("r+b") as file:
            self._rules = mmap.mmap(file.fileno(), 0)
        self.prefix = (
            "env",
            f"LD_PRELOAD={_library()[1]}",
            f"DISK_RULES={rules}",
            f"DISK_FOLDER={folder.resolve()}",
        )

    def healthy(self) -> None:
        """Let every call pass, those that hang now included."""
        self._set(OPERATIONS, PASS)

    def fail(self, *operations: str, code: int = errno.EIO) -> None:
        """Have these operations fail with that errno."""
        self._set(operations, FAIL, code)

    def slow(self, seconds: float, *operations: str) -> None:
        """Have each of these calls take so much longer; by default each change."""
        self._set(operations or CHANGES, DELAY, round(seconds * 1000))

    def hang(self, *operations: str) -> None:
        """Have these calls, by default each change, wait until `healthy`."""
        self._set(operations or CHANGES, HANG)

    def met(self, operation: str) -> int:
        """How many calls of that operation were not let pass."""
        return int(RULE.unpack_from(self._rules, self._place(operation))[2])

    def _place(self, operation: str) -> int:
        return RULE.size * OPERATIONS.index(operation)

    def _set(self, operations: tuple[str, ...], action: int, value: int = 0) -> None:
        for operation in operations:
            # The count of calls stays. The action comes last: it makes the rule valid.
            place = self._place(operation)
            struct.pack_into("i", self._rules, place + 4, value)
            struct.pack_into("i", self._rules, place, action)
