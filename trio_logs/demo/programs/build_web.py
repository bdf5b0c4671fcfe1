"""A build that fails: groups, colours, errors on stderr, a progress bar, and exit code 2."""

from __future__ import annotations

import sys
import time

PACE = float(sys.argv[1]) if sys.argv[1:] else 1.0
"""What multiplies the pauses."""

GREY, RED, GREEN, YELLOW, BLUE, PURPLE, CYAN = (f"\033[{code}m" for code in (90, *range(31, 37)))
BOLD, END = "\033[1m", "\033[0m"
PACKAGES = ("react", "react-dom", "zod", "immer", "vite", "rollup", "esbuild", "typescript")
TYPE_ERRORS = f"""\
src/cart/total.ts{GREY}:{YELLOW}41{GREY}:{YELLOW}17{END} {GREY}-{END} {BOLD}{RED}error{END} \
{GREY}TS2345:{END} Argument of type 'string | undefined' is not assignable to
  parameter of type 'string'.

{GREY}41{END}   return format(sum(items), currency)
{RED}                              ~~~~~~~~{END}
src/cart/total.test.ts{GREY}:{YELLOW}12{GREY}:{YELLOW}3{END} {GREY}-{END} {BOLD}{RED}error{END} \
{GREY}TS2554:{END} Expected 2 arguments, but got 1.

Found {BOLD}{RED}2 errors{END} in 2 files.
"""
CHUNKS = (
    (f"{GREEN}index.html", 0.61, 0.35),
    (f"{CYAN}assets/index-3c1f.css", 48.2, 9.11),
    (f"{CYAN}assets/index-9a0d.js", 312.87, 98.02),
    (f"{CYAN}assets/vendor-7f2a.js", 812.4, 241.77),
)


def say(text: str, seconds: float = 0.05) -> None:
    print(text, flush=True)
    time.sleep(seconds * PACE)


def install() -> None:
    say("::group::Install dependencies")
    for number in range(24):
        package = PACKAGES[number % len(PACKAGES)]
        version = f"{number % 7 + 1}.{number * 5 % 11}.{number * 3 % 13}"
        say(f"{GREEN}+{END} {package}-{number // len(PACKAGES)}@{version}")
    say(f"added 214 packages in {CYAN}12s{END}")
    say("::endgroup::", 0.3)


def transform() -> None:
    for count in range(1, 2842, 71):
        print(
            f"\rtransforming ({count}) {GREY}src/module-{count}.ts{END}\033[K", end="", flush=True
        )
        time.sleep(0.04 * PACE)
    say(f"\r{GREEN}✓{END} 2841 modules transformed.\033[K", 0.4)


def check() -> None:
    say("::group::Type check", 0.6)
    for line in TYPE_ERRORS.splitlines():
        print(line, file=sys.stderr, flush=True)
        time.sleep(0.05 * PACE)
    say("::endgroup::", 0.3)


def upload() -> None:
    for percent in range(68):
        full = 30 * percent // 100
        bar = f"{GREEN}{'━' * full}{GREY}{'━' * (30 - full)}{END}"
        shown = f"\ruploading source maps  {bar}  {PURPLE}{percent}%{END}  1.4 MB/s"
        print(shown, end="", flush=True)
        time.sleep(0.06 * PACE)
    time.sleep(0.5 * PACE)
    print(flush=True)
    # Two pipes have no order between them.
    time.sleep(0.1)


def main() -> int:
    say(f"{GREY}${END} npm run build", 0.3)
    say(f"{GREY}> web@4.2.0 build{END}")
    say(f"{GREY}> vite build --mode production{END}")
    say("", 0.3)
    install()
    say(f"{CYAN}vite v6.0.3{END} {GREEN}building for production...{END}", 0.3)
    transform()
    check()
    say(
        f"{YELLOW}warn{END}  chunk {CYAN}vendor-7f2a.js{END} is 812 kB after minification;"
        " see https://vite.dev/guide/build"
    )
    say("rendering chunks (118)...", 0.5)
    for name, size, packed in CHUNKS:
        space = " " * (32 - len(name))
        say(f"{GREY}dist/{name}{space}{GREY}{size:7.2f} kB │ gzip: {packed:6.2f} kB{END}", 0.15)
    upload()
    print(
        f"{BOLD}{RED}npm error{END} Lifecycle script `build` failed with error code 2",
        file=sys.stderr,
        flush=True,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
