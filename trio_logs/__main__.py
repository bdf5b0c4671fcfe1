"""The program: `trio-logs`, and `python -m trio_logs`."""

from __future__ import annotations

import signal
import sys

from .quiet_exit import exit_quietly

__all__ = ["main"]


def main() -> None:
    """Run a command. What a signal does is decided first: the imports below take a quarter of a
    second."""
    words = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if words[:1] == ["serve"]:
        exit_quietly()
        from .cli import main as run
    else:
        # During an import, the handler of Python would print a traceback.
        handler = signal.getsignal(signal.SIGINT)
        if handler is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        from .cli import main as run

        signal.signal(signal.SIGINT, handler)
    run()


if __name__ == "__main__":
    main()
