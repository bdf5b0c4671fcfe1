"""`python -m tests.siege.planted MODULE:PLANT,... COMMAND ...`: a `trio-logs` with planted faults.

The command is one of `command_line.launch`; it runs in this process.
"""

from __future__ import annotations

import importlib
import sys
import warnings

import pytest

from trio_logs.cli import main


def run(names: str, command: list[str]) -> None:
    """Plant the faults, then do what the command says."""
    for name in names.split(","):
        module, _, plant = name.partition(":")
        getattr(importlib.import_module(module), plant)(pytest.MonkeyPatch())
    sys.argv = command[command.index("trio_logs") :]
    warnings.simplefilter("error")
    main()


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2:])
