"""The modules of the page as one module; sans-IO.

A browser spends some milliseconds on each request, however small its answer. The modules are many,
so the time to the first lines would grow with their number. Joined, they are one request.

Each module becomes a function that runs once and returns its exports. Its text stays as it is, but
for the lines that import and the word `export`. Only the forms that the page uses are understood.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import PurePosixPath

__all__ = ["joined"]

_IMPORT = re.compile(r'^import (?:\* as (\w+)|\{([^}]*)\}) from "(\.\.?/[\w./-]+)";?$', re.M)
_EXPORT = re.compile(r"^export (?=(?:async function|function|class|const)\b\W*(\w+))", re.M)
# Exports of variables that change, and modules that load others later, would need more than this.
_OTHER = re.compile(r"^(?:import|export)\b.*|\bimport\.meta\b.*|(?:await|=>) import\(.*", re.M)


def joined(modules: Mapping[str, str], start: str) -> str:
    """The module `start` with all that it imports, directly or not. `modules` has texts by path.

    Raises ValueError, which names the module, for an import or export of another form, for an
    import of a module that is not there, and for modules that import each other in a circle.
    """
    needed: dict[str, set[str]] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = _imported(name, modules)
            waiting += needed[name]
    try:
        order = list(TopologicalSorter(needed).static_order())
    except CycleError as error:
        circle = " imports ".join(reversed(error.args[1]))
        raise ValueError(f"modules of the page import each other: {circle}") from None
    return "\n".join(_as_function(name, modules[name]) for name in order)


def _imported(name: str, modules: Mapping[str, str]) -> set[str]:
    found = {_path(name, address) for _, _, address in _IMPORT.findall(modules[name])}
    for missing in found - modules.keys():
        raise ValueError(f"{name} imports {missing}, which is not a module of the page")
    return found


def _path(name: str, address: str) -> str:
    """The path of what a module calls by a relative address."""
    parts = list(PurePosixPath(name).parent.parts)
    for part in address.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _as_function(name: str, text: str) -> str:
    def imported(found: re.Match[str]) -> str:
        everything, some, address = found.groups()
        names = everything or "{" + some.replace(" as ", ": ") + "}"
        return f"const {names} = {_variable(_path(name, address))}"

    exports = _EXPORT.findall(text)
    body = _EXPORT.sub("", _IMPORT.sub(imported, text))
    if other := _OTHER.search(body):
        raise ValueError(f"{name} has {other[0]!r}, which can't be joined")
    return (
        f"// {name}\nconst {_variable(name)} = (() => {{\n{body}\n"
        f"return {{ {', '.join(exports)} }}\n}})()\n"
    )


def _variable(name: str) -> str:
    return "$" + re.sub(r"\W", "_", name)
