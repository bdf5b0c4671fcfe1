"""A moment of `python -m tests.fuzz`, with the same inputs each time."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import strategies as st

from tests import fuzz
from tests.fuzz import Target

SCRIPT = Path(__file__).parent / "web" / "row_fuzz.mjs"


@pytest.mark.parametrize("target", [*fuzz.targets()], ids=lambda target: target.name)
def test_nothing_is_found(target: Target) -> None:
    assert fuzz.run(target, 0, seed=1, examples=30) >= 30


def test_a_finding_is_raised() -> None:
    def check(number: int) -> None:
        assert number < 1000, "a finding"

    with pytest.raises(AssertionError, match="a finding"):
        fuzz.run(Target("any", st.integers(), check), 0, seed=1)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is missing")
def test_nothing_is_found_in_rows() -> None:
    environment = {**os.environ, "SECONDS": "0.3", "SEED": "1"}
    subprocess.run(["node", str(SCRIPT)], env=environment, check=True, capture_output=True)
