"""The variables of a workload: from `--env-file` and `--env`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .exits import UsageError
from .given import pairs, text

__all__ = ["collect_variables"]


def collect_variables(
    files: Sequence[Path], given: Sequence[str], environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The variables of the files, a later file over an earlier one, and those of `--env` over all.

    A variable is written K=V, or K to copy it from `environ`. Raises UsageError, also for a K of
    `--env` that is not set.
    """
    found: dict[str, str] = {}
    for path in files:
        found.update(_read(path, environ))
    complete = []
    for each in given:
        if "=" not in each:
            if each not in environ:
                raise UsageError(f"--env {each}: {each} is not set here; give {each}=VALUE")
            each = f"{each}={environ[each]}"
        complete.append(each)
    return {**found, **pairs("--env", complete)}


def _read(path: Path, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The variables of a file as `docker run --env-file` reads it: a line each, without quotes or
    escapes; empty lines and those that start with `#` count for nothing, nor does a K that is not
    set here."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise UsageError(f"--env-file {path}: it is not UTF-8") from None
    except OSError as error:
        raise UsageError(f"--env-file {path}: {error.strerror or error}") from error
    for number, line in enumerate(lines, 1):
        line = line.lstrip().removesuffix("\r")
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        place = f"--env-file {path}, line {number}"
        if not name or any(map(str.isspace, name)):
            raise UsageError(f"{place}: {name!r} is not a variable's name; write K=V")
        if equals:
            yield name, value
        elif name in environ:
            yield name, text(place, environ[name])
