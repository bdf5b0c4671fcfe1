"""A store on a disk that fills up and gets room again.

`python -m tests.full_disk FOLDER` mounts a small file system on the folder first. Run it in a mount
namespace of its own, with `unshare --mount`, so that the mount ends with the process.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import apsw
import trio

from tests.stores import append_line, batch, running
from trio_logs.errors import StoreError
from trio_logs.store.sqlite import SQLiteStore

__all__ = ["fill_and_free"]


async def fill_and_free(
    path: Path, fill: Callable[[], None], free: Callable[[], None], vfs: str | None = None
) -> None:
    """Append until the disk is full, and go on once it has room. Raises AssertionError."""
    async with running(SQLiteStore(path, vfs=vfs)) as store:
        for number in range(1, 11):
            await append_line(store, "w", number)
        fill()
        number = 11
        failure: StoreError | None = None
        with trio.fail_after(30):
            while failure is None:
                try:
                    await append_line(store, "w", number)
                    number += 1
                except StoreError as error:
                    failure = error
        assert str(failure).startswith(f"could not commit to {path.name}: ")
        assert str(failure).endswith("Make room on its disk.")
        assert isinstance(failure.__cause__, apsw.FullError)
        written = [batch(known) for known in range(1, number)]
        for _ in range(3):
            assert await store.read("w", 1, 10**9) == written
            assert store.statistics().bytes == sum(len(one.data) for one in written)
            with suppress(StoreError):
                await append_line(store, "other", 1)
        free()
        await append_line(store, "w", number)
    written.append(batch(number))
    async with running(SQLiteStore(path, vfs=vfs)) as store:
        assert await store.read("w", 1, 10**9) == written


def main() -> None:
    """Mount, fill, free."""
    folder = Path(sys.argv[1])
    options = ["-t", "tmpfs", "-o", "size=1m", "none"]
    subprocess.run(["mount", *options, str(folder)], check=True)
    filler = folder / "filler"

    def fill() -> None:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    trio.run(fill_and_free, folder / "x.db", fill, filler.unlink)
    print("filled and freed")


if __name__ == "__main__":
    main()
