"""The modules of the page under Node's own test runner, and under TypeScript."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.test_clients import _missing, _program

pytestmark = pytest.mark.page

WEB = Path(__file__).parent / "web"
FILES = sorted(WEB.glob("*.test.mjs"))
PACKAGE = Path(__file__).parent.parent / "trio_logs" / "web"
MAX_LINES = 250


@pytest.fixture(scope="module", autouse=True)
def node_modules() -> None:
    if not (WEB / "node_modules").is_dir():
        _missing("what tests/web/package.json names (make test installs it)")


def test_the_modules_do_what_their_tests_say() -> None:
    node = [_program("node"), "--test", "--test-reporter=tap", *map(str, FILES)]
    done = subprocess.run(node, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    [passed] = re.findall(r"^# pass (\d+)$", done.stdout, re.M)
    assert int(passed) > len(FILES)
    assert re.search(r"^# skipped 0$", done.stdout, re.M)


def test_their_types_are_right() -> None:
    tsc = WEB / "node_modules" / ".bin" / "tsc"
    done = subprocess.run([tsc, "-p", WEB], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.*")}
    assert [path for path, length in lengths.items() if length > MAX_LINES] == []
