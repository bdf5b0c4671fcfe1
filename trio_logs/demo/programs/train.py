"""A training job: a progress bar for each epoch, and the figures after it. It runs for hours."""

from __future__ import annotations

import math
import random
import sys
import time

PACE = float(sys.argv[1]) if sys.argv[1:] else 1.0
"""What multiplies the pauses."""

GREEN, YELLOW, CYAN, GREY, END = (f"\033[{code}m" for code in (32, 33, 36, 90, 0))
EPOCHS, STEPS = 90, 320


def main() -> None:
    chance = random.Random(50)
    print(f"{GREY}device{END} cuda:0  {GREY}precision{END} bf16  {GREY}batch{END} 256", flush=True)
    for epoch in range(1, EPOCHS + 1):
        for step in range(0, STEPS + 1, 20):
            loss = 4.6 * math.exp(-(epoch + step / STEPS) / 30) + chance.uniform(0, 0.05)
            speed = chance.randint(2790, 2880)
            print(
                f"epoch {CYAN}{epoch:2}{END}/{EPOCHS}  step {YELLOW}{step:3}{END}  "
                f"loss {GREEN}{loss:.4f}{END}  lr 0.0{110 - epoch}  {speed} img/s",
                flush=True,
            )
            progress(epoch, step)
        top1 = 76.3 * (1 - math.exp(-epoch / 12)) + chance.uniform(-0.3, 0.3)
        print(f"\r\033[Kvalidation  top-1 {GREEN}{top1:.2f} %{END}", flush=True)
        print(f"{GREY}saved checkpoint-{epoch:03}.pt{END}", flush=True)


def progress(epoch: int, step: int) -> None:
    """Redraw one line, as tqdm does, until the next figures are due."""
    for part in range(step, min(step + 20, STEPS), 2):
        percent = 100 * part // STEPS
        full = 25 * part // STEPS
        bar = "█" * full + " " * (25 - full)
        print(f"\rEpoch {epoch}: {percent:3}%|{bar}| {part}/{STEPS}", end="", flush=True)
        time.sleep(0.1 * PACE)
    print("\r\033[K", end="", flush=True)


if __name__ == "__main__":
    main()
