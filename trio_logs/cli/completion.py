"""`trio-logs completion`: a script for a shell that completes commands, options, names and ids."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from cyclopts import UNSET, App, Parameter

__all__ = ["completion"]

COMMANDS = ("logs", "wait", "grep", "inspect", "stop", "rerun", "rm", "open")
"""Those whose arguments are names or ids of workloads; the first one of `grep` is a pattern."""

BASH = r"""
_trio_logs_with_workloads() {
  _trio_logs "$@"
  local word="${COMP_WORDS[COMP_CWORD]}" command="${COMP_WORDS[1]}"
  local first=2 before="${COMP_WORDS[COMP_CWORD-1]}" found quoted
  [[ "$command" == grep ]] && first=3
  if [[ " %(commands)s " == *" $command "* && $COMP_CWORD -ge $first && "$word" != -* &&
    " %(valued)s " != *" $before "* && ${#COMPREPLY[@]} -eq 0 ]]; then
    while IFS= read -r found; do
      printf -v quoted '%%q' "$found"
      COMPREPLY+=("$quoted")
    done < <("${COMP_WORDS[0]}" complete "$command" "$word" 2>/dev/null)
  fi
}

# Behind -- stands a command of another program, as behind sudo.
_trio_logs_with_commands() {
  local at word="${COMP_WORDS[COMP_CWORD]}"
  if [[ "${COMP_WORDS[1]}" == run || "${COMP_WORDS[1]}" == pipe ]]; then
    for ((at = 2; at < COMP_CWORD; at++)); do
      [[ "${COMP_WORDS[at]}" == -- ]] || continue
      if declare -F _command_offset >/dev/null; then
        _command_offset $((at + 1))
        return
      fi
      compopt -o filenames 2>/dev/null
      COMPREPLY=()
      ((COMP_CWORD == at + 1)) && mapfile -t COMPREPLY < <(compgen -c -- "$word")
      [[ ${#COMPREPLY[@]} -gt 0 ]] || mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return
    done
  fi
  _trio_logs_with_workloads
}

complete -F _trio_logs_with_commands trio-logs
"""

ZSH = r"""
_trio_logs_workloads() {
  local -a found
  found=("${(@f)$(trio-logs complete ${words[1]} "${(Q)PREFIX}" 2>/dev/null)}")
  compadd -- ${found:#}
}
"""

FISH = r"""
complete -c trio-logs -n '__fish_trio-logs_using_command %(command)s' -f \
    -a '(trio-logs complete %(command)s (commandline -ct))'
"""


def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish"], Parameter(help="The shell that reads the script.")
    ],
    /,
) -> int:
    """Print a script that completes commands, options, and names and ids of workloads.

    For bash, put `source <(trio-logs completion bash)` into ~/.bashrc. For zsh, write it to a file
    `_trio-logs` in a folder of `$fpath`; for fish, to ~/.config/fish/completions/trio-logs.fish.
    """
    from . import create_app

    app = create_app([])
    script = app.generate_completion(shell=shell)
    match shell:
        case "bash":
            script += BASH % {"commands": " ".join(COMMANDS), "valued": " ".join(_valued(app))}
        case "zsh":
            script = _with_workloads(app, script)
        case "fish":
            script += "".join(FISH % {"command": command} for command in COMMANDS)
    print(script)
    return 0


def _valued(app: App) -> list[str]:
    """The options of these commands that take a value."""
    return sorted(
        {
            name
            for command in COMMANDS
            for argument in app[command].assemble_argument_collection()
            for name in argument.names
            if name.startswith("-") and argument.match(name)[1] is UNSET
        }
    )


def _with_workloads(app: App, script: str) -> str:
    """The script for zsh, where arguments that name workloads get an action."""
    helps = {
        str(argument.parameter.help)
        for command in COMMANDS
        for argument in app[command].assemble_argument_collection()
        if argument.names[0] in ("IDS", "ID")
    }
    for text in helps:
        # Colons are escaped in the script; these texts have none.
        script = re.sub(rf"('[*1-9]:{re.escape(text)})'", r"\1:_trio_logs_workloads'", script)
    title, _, rest = script.partition("\n")
    return f"{title}\n{ZSH}{rest}"
