"""Data flows one way, and imports follow it: an arrow that points back fails."""

from __future__ import annotations

import ast
from pathlib import Path

import trio_logs

PACKAGE = Path(trio_logs.__file__).parent

# From what knows nothing to what knows all; a room may import rooms before it.
ROOMS = [
    "errors",
    "addresses",
    "data_folder",
    "threads",
    "own_log",
    "stderr",
    "tracebacks",
    "records",
    "selection",
    "lines",
    "sse",
    "formats",
    "store",
    "broker",
    "backends",
    "engine",
    "server",
    "settings",
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
    "data_folder": set(),
    "threads": set(),
    "own_log": set(),
    "stderr": {"own_log"},
    "tracebacks": set(),
    "records": set(),
    "selection": {"records"},
    "lines": set(),
    "sse": {"errors", "records"},
    "formats": {"records", "sse"},
    "store": {"errors", "records", "selection", "threads"},
    "broker": {"errors", "lines", "records", "selection", "store"},
    "backends": {"errors", "records", "threads"},
    "engine": {"backends", "broker", "errors", "records", "store"},
    "server": {"addresses", "errors"},
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
