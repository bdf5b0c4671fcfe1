"""Programs that tests need, and that a machine may lack."""

from __future__ import annotations

import os
import shutil

import pytest

__all__ = ["need_programs", "needed"]


def need_programs(*names: str) -> None:
    """Skip the test if one of the programs is missing; in CI, fail."""
    for name in names:
        needed(shutil.which(name), name)


def needed(found: object, what: str) -> None:
    """Skip the test if it was not found; in CI, fail."""
    if not found:
        assert "CI" not in os.environ, f"{what} is missing"
        pytest.skip(f"{what} is missing")
