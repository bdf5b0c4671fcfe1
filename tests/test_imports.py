"""Data flows one way, and imports follow it: an arrow that points back fails, and so does a circle
between files. A file is one concept, so its length has a bound."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import trio_logs

PACKAGE = Path(trio_logs.__file__).parent

# From what knows nothing to what knows all; a room may import rooms before it.
ROOMS = [
    "errors",
    "addresses",
    "private_files",
    "data_folder",
    "open_files",
    "quiet_exit",
    "threads",
    "folder_lock",
    "own_log",
    "stderr",
    "tracebacks",
    "json_log",
    "records",
    "escapes",
    "filtering",
    "selection",
    "picking",
    "lines",
    "rests",
    "sse",
    "formats",
    "store",
    "broker",
    "backends",
    "engine",
    "server",
    "settings",
    "tokens",
    "sessions",
    "upkeep",
    "service",
    "api",
    "client",
    "logging",
    "asgi",
    "demo",
    "cli",
]

# Tighter than the order: what these may import, and nothing else of ours.
ALONE: dict[str, set[str]] = {
    "errors": set(),
    "addresses": set(),
    "private_files": set(),
    "data_folder": {"errors", "private_files"},
    "folder_lock": {"data_folder", "errors", "private_files", "threads"},
    "open_files": set(),
    "quiet_exit": set(),
    "threads": set(),
    "own_log": set(),
    "stderr": {"own_log"},
    "tracebacks": set(),
    "json_log": set(),
    "records": set(),
    "escapes": set(),
    "filtering": {"errors", "escapes", "records"},
    "selection": {"filtering", "records"},
    "picking": {"records", "selection"},
    "lines": set(),
    "rests": {"escapes"},
    "sse": {"errors", "records"},
    "formats": {"records", "sse"},
    "store": {"errors", "private_files", "records", "selection", "threads"},
    "broker": {
        "errors",
        "lines",
        "picking",
        "records",
        "rests",
        "selection",
        "store",
        "threads",
    },
    "backends": {"errors", "open_files", "records", "threads"},
    "engine": {"backends", "broker", "errors", "records", "store"},
    "server": {"addresses", "errors"},
    "tokens": {"data_folder", "errors", "settings"},
    "sessions": {"errors", "records", "store", "tokens"},
    "upkeep": {"broker", "engine", "errors", "records", "store"},
    "client": {"addresses", "errors", "records"},
}


def arrows() -> dict[str, set[str]]:
    """The rooms that each room imports, typing-only imports included."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        room = parts[0]
        if room in ("__init__", "__main__"):
            continue
        imported = found.setdefault(room, set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = parts[: len(parts) - node.level]
                if path.name == "__init__.py":
                    base = parts[: len(parts) - node.level]
                target = [*base, *(node.module.split(".") if node.module else [])]
                names = [target[0]] if target else [alias.name for alias in node.names]
                imported |= {name for name in names if name != room}
            elif isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("trio_logs"), f"{path}: import relatively"
    return found


def test_every_room_has_its_place() -> None:
    assert arrows().keys() == set(ROOMS)


def test_no_arrow_points_back() -> None:
    for room, imported in arrows().items():
        for other in imported - {"__version__"}:
            assert ROOMS.index(other) < ROOMS.index(room), f"{room} imports {other}"


def test_the_core_knows_only_what_it_needs() -> None:
    found = arrows()
    for room, allowed in ALONE.items():
        assert found[room] - {"__version__"} <= allowed, room


MAX_LINES = 250

# Files that are longer, each with its reason.
LONGER: dict[str, str] = {}


def imported_files(path: Path, package: Path) -> Iterator[Path]:
    """The files of the package that a file imports, typing-only imports and those within functions
    included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for alias in node.names:
                # A name is a file of the folder, or defined by it.
                candidates = [folder / alias.name, folder]
                files = [
                    file
                    for each in candidates
                    for file in (each.with_suffix(".py"), each / "__init__.py")
                    if file.is_file()
                ]
                assert files, f"{path} imports {alias.name}, which is nowhere"
                if package in files[0].parents:
                    yield files[0]


def check_no_circle(package: Path) -> None:
    """Raises graphlib.CycleError if files of the package import each other."""
    graph = {path: set(imported_files(path, package)) for path in package.rglob("*.py")}
    assert any(graph.values())
    TopologicalSorter(graph).prepare()


def test_no_circle_between_files() -> None:
    check_no_circle(PACKAGE)


def test_a_circle_is_seen(tmp_path: Path) -> None:
    """Through a package, and by an import for types alone."""
    (tmp_path / "room").mkdir()
    (tmp_path / "a.py").write_text("from .room import B\n")
    (tmp_path / "room" / "__init__.py").write_text("from .b import B\n")
    (tmp_path / "room" / "b.py").write_text("class B: ...\n")
    check_no_circle(tmp_path)
    (tmp_path / "room" / "b.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .. import a\nclass B: ...\n"
    )
    with pytest.raises(CycleError):
        check_no_circle(tmp_path)


def test_no_file_is_long_without_a_reason() -> None:
    lengths = {
        str(path.relative_to(PACKAGE)): len(path.read_text().splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    assert {name for name, length in lengths.items() if length > MAX_LINES} == LONGER.keys()
    assert all(LONGER.values())
