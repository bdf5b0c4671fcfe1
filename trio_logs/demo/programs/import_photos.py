"""A progress bar that redraws one line with carriage returns, with warnings beside it on stderr."""

from __future__ import annotations

import sys
import time

PACE = float(sys.argv[1]) if sys.argv[1:] else 1.0
"""What multiplies the pauses."""

COUNT = 1200


def main() -> None:
    print("reading the album list", flush=True)
    for number in range(COUNT + 1):
        full, rest = divmod(number * 30 * 8 // COUNT, 8)
        bar = ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if full < 30 else "")).ljust(30)
        percent = 100 * number // COUNT
        print(f"\rphotos: {percent:3}%|{bar}| {number}/{COUNT} [10.0 it/s]", end="", flush=True)
        if number % 150 == 149:
            warning = (
                f"\033[33mwarning\033[0m: IMG_{number:04}.jpg has no date: used that of its file"
            )
            print(warning, file=sys.stderr, flush=True)
        time.sleep(0.1 * PACE)
    print(f"\nimported {COUNT} photos", flush=True)


if __name__ == "__main__":
    main()
