"""The workloads to look at in the page: small programs that print as real ones do."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

__all__ = ["RUNNING", "workloads"]

PROGRAMS = Path(__file__).parent / "programs"

RUNNING = 4
"""Workloads at once. The last one waits for a minute, so that the list has a queued one."""

LIST: tuple[dict[str, Any], ...] = (
    {"name": "lint", "command": ["lint.py"], "labels": {"team": "web"}},
    {"name": "build-web", "command": ["build_web.py"], "labels": {"team": "web"}},
    {
        "name": "migrate-staging",
        "command": ["migrate.py"],
        "labels": {"team": "platform"},
        "timeout": 8,
    },
    {"name": "gateway", "command": ["gateway.py"], "labels": {"team": "platform"}},
    {"name": "train-resnet50", "command": ["train.py"], "labels": {"team": "research"}},
    {"name": "import-photos", "command": ["import_photos.py"], "labels": {"team": "research"}},
    {"name": "api-integration", "command": ["api_tests.py"], "labels": {"team": "web"}},
    {"name": "nightly-backup", "command": ["backup.py"], "labels": {"team": "platform"}},
)


def workloads() -> list[dict[str, Any]]:
    """The body of `POST /v1/workloads` for each, in the order in which to submit them."""
    # The page shows the command, so that names the interpreter without its folder.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.defpath))
    environment = {"PATH": path, "PYTHONIOENCODING": "utf-8"}
    return [
        {**each, "command": ["python3", *each["command"]], "cwd": str(PROGRAMS), "env": environment}
        for each in LIST
    ]
