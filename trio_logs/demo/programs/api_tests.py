"""A test run: 340 results, one failure with a traceback, and a summary."""

from __future__ import annotations

import sys
import time

PACE = float(sys.argv[1]) if sys.argv[1:] else 1.0
"""What multiplies the pauses."""

RED, GREEN, YELLOW, GREY, BOLD, END = (f"\033[{code}m" for code in (31, 32, 33, 90, 1, 0))
FILES = ("orders", "carts", "auth", "search", "export")
TESTS = ("create", "resume", "cancel", "lists", "expires")
COUNT, FAILING = 340, 187


def main() -> int:
    print(f"{BOLD}{' test session starts ':=^80}{END}")
    print("platform linux -- Python 3.13, pytest-9.0, pluggy-1.6")
    print(f"collected {COUNT} items\n", flush=True)
    for number in range(1, COUNT + 1):
        name = f"tests/integration/test_{FILES[number % 5]}.py::test_{TESTS[number * 3 % 7 % 5]}"
        result = f"{BOLD}{RED}FAILED" if number == FAILING else f"{GREEN}PASSED"
        if number % 41 == 0:
            result = f"{YELLOW}SKIPPED"
        percent = f"[{100 * number // COUNT:3}%]"
        print(f"{name}[{number}] {result}{END} {GREY}{percent}{END}", flush=True)
        if number % 60 == 0:
            print("retrying the connection to postgres: 1 of 3", file=sys.stderr, flush=True)
        time.sleep(0.2 * PACE)
    print(f"\n{BOLD}{RED}{' FAILURES ':=^80}{END}")
    print(f"{RED}{f' test_resume[{FAILING}] ':_^80}{END}\n")
    print("    def test_resume(client):")
    print("        answer = client.get('/v1/carts/7', headers={'Last-Event-ID': '3'})")
    print(f"{BOLD}{RED}>       assert answer.status_code == 200{END}")
    print(f"{BOLD}{RED}E       assert 503 == 200{END}\n")
    passed = COUNT - 1 - COUNT // 41
    print(f"{RED}{f' 1 failed, {passed} passed, {COUNT // 41} skipped ':=^80}{END}", flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
