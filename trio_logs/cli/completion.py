"""`trio-logs completion`: a script for a shell that completes commands and options."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

__all__ = ["completion"]


def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish"], Parameter(help="The shell that reads the script.")
    ],
    /,
) -> int:
    """Print a script that completes commands and options.

    For bash, put `source <(trio-logs completion bash)` into ~/.bashrc. For zsh, write it to a file
    `_trio-logs` in a folder of `$fpath`; for fish, to ~/.config/fish/completions/trio-logs.fish.
    """
    from . import create_app

    print(create_app([]).generate_completion(shell=shell))
    return 0
