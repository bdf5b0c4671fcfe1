"""A migration that waits for a lock until its time limit."""

from __future__ import annotations

import sys
import time

BLUE, END = "\033[34m", "\033[0m"


def main() -> None:
    for change in ("a1f0 create orders", "b27c add orders.currency"):
        print(f"{BLUE}INFO{END}  [alembic] Running upgrade -> {change}", flush=True)
    print("waiting for a lock on table orders", file=sys.stderr, flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main()
