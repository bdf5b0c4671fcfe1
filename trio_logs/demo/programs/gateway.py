"""An access log: 40,000 requests at once, then some each second, for hours."""

from __future__ import annotations

import random
import sys
import time

PACE = float(sys.argv[1]) if sys.argv[1:] else 1.0
"""What multiplies the pauses."""

PAST, REQUESTS = 40_000, 100_000
PATHS = ("/", "/cart", "/search?q=lamp", "/api/orders", "/api/stock", "/assets/index.js")
COLOURS = {200: 32, 304: 36, 404: 33, 500: 31}


def main() -> None:
    chance = random.Random(80)
    for number in range(REQUESTS):
        status = chance.choices(tuple(COLOURS), (90, 6, 3, 1))[0]
        method = "POST" if chance.random() < 0.2 else "GET "
        path, took = chance.choice(PATHS), chance.expovariate(1 / 30)
        client = f"10.0.{chance.randrange(8)}.{chance.randrange(1, 255)}"
        print(
            f"{client:<12} {method} \033[{COLOURS[status]}m{status}\033[0m"
            f" \033[90m{took:6.1f} ms\033[0m {path}",
            flush=number >= PAST,
        )
        if status == 500:
            sys.stdout.flush()
            print(f"error: {path}: upstream timed out after {took:.0f} ms", file=sys.stderr)
        if number >= PAST:
            time.sleep(chance.uniform(0, 0.2) * PACE)


if __name__ == "__main__":
    main()
