"""The look-up of a command's program: it may hang, on a network disk that does not answer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import outcome
import trio

from ..errors import InvalidSpecError, NotStartedError
from ..records import WorkloadSpec
from ..threads import Threads
from .process_start import environment_of, not_started
from .stop import Stop

__all__ = ["Lookups", "check_size"]

LOOKUPS = 4
"""So many starts may hang, in folders on network disks that do not answer, and the others go on."""

LOOKUP_SECONDS = 1.0
"""How long a start looks for its program after a stop was requested."""

MAX_FOLDERS = 1000
"""Folders of PATH: to look into so many takes some 10 ms of a thread."""

MAX_VARIABLES = 5000
"""Variables of a command: to pass so many on takes some 5 ms of Trio's thread."""


def check_size(env: Mapping[str, str]) -> None:
    """Raises InvalidSpecError if a start with these variables would delay others."""
    if len(env) > MAX_VARIABLES:
        raise InvalidSpecError(
            f"env: {len(env)} variables are too many: give {MAX_VARIABLES} at most"
        )
    folders = env.get("PATH", "").count(os.pathsep) + 1
    if folders > MAX_FOLDERS:
        raise InvalidSpecError(
            f"env: a PATH of {folders} folders is too long: give {MAX_FOLDERS} at most, or the"
            " path of the program as the command"
        )


class Lookups:
    """Threads that look up programs. Bound of the look-ups that wait: the workloads that run.

    `start` comes first, and raises RuntimeError if the system refuses a thread.
    """

    def __init__(self) -> None:
        threads = Threads("process lookup", LOOKUPS)
        self.start, self.close = threads.start, threads.close
        self._threads = threads

    async def program(self, spec: WorkloadSpec, stop: Stop) -> str | None:
        """The absolute path of the program; None if a stop came before it was found. Raises
        NotStartedError if `exec` would refuse the command."""
        found: outcome.Outcome[str] | None = None

        async def give_up() -> None:
            await stop.wait()
            await trio.sleep(LOOKUP_SECONDS)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(give_up)
            look_up = partial(outcome.capture, _program_of, spec)
            found = await self._threads.run(look_up, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()
        return None if found is None else found.unwrap()


def _program_of(spec: WorkloadSpec) -> str:
    """The absolute path of the program. Raises NotStartedError if `exec` would refuse the command,
    in clearer words.

    On a network disk that does not answer, it never returns.
    """
    try:
        return _find_program(spec)
    except OSError as error:
        raise not_started(error) from error


def _find_program(spec: WorkloadSpec) -> str:
    if spec.cwd is not None and not Path(spec.cwd).is_dir():
        raise NotStartedError(f"cwd: there is no folder {spec.cwd}")
    program, folder = spec.command[0], spec.cwd or "."
    found: str | None
    if "/" in program:
        path = Path(folder, program)
        found = str(path) if path.is_file() and os.access(path, os.X_OK) else None
    else:
        # The command looks up relative folders of PATH from its own working folder.
        places = [
            str(Path(folder, place)) for place in environment_of(spec)["PATH"].split(os.pathsep)
        ]
        found = shutil.which(program, path=os.pathsep.join(places))
    if found is None:
        raise NotStartedError(f"command: {_why_not(program, folder, spec)}")
    return str(Path(found).absolute())


def _why_not(program: str, folder: str, spec: WorkloadSpec) -> str:
    """Why no program was found, as the end of a sentence."""
    if "/" in program:
        path = Path(folder, program)
        if path.is_dir():
            return f"{program!r} is a folder, not a program"
        if path.is_file():
            return f"the service has no permission to run {program!r}: make the file executable"
    nothing = f"there is no program {program!r} that can be run"
    if program.startswith("/"):
        return nothing
    place = str(Path(folder).absolute())
    if "/" not in program:
        place = f"the PATH of {'the workload' if 'PATH' in spec.env else 'the service'}"
    return f"{nothing}; it was looked for in {place}"
