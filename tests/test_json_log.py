"""The service's own log as JSON: whatever comes to standard error, each line is one object."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import trio_logs
from tests.full_pipe import PAGE, PATIENCE, Pipe
from tests.test_own_log import running_log
from tests.test_own_log_processes import served
from trio_logs.json_log import MAX_TEXT, dropped_object, encode_object, text_object

EVERY_WAY = """
import logging, sys, warnings
import structlog
from trio_logs.logging import configure_logging

configure_logging(log_format="json")
log = structlog.get_logger()
log.info("one", path="a\\nb\\x1b[31m\\x7f", text="\\ud800", odd={1, 2}, long="x" * 100_000)
log.debug("not shown")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("caught")
logging.getLogger("library").error("two\\nlines")
warnings.warn("three")
print("four", 4, file=sys.stderr)
print("", file=sys.stderr)
print("five" * 10_000, file=sys.stderr)
sys.stderr.write("six")
raise ValueError("seven")
"""


def objects(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    for each in found:
        assert list(each)[:3] == ["timestamp", "level", "event"]
        assert each["timestamp"].endswith("Z")
    return found


def test_each_line_is_an_object() -> None:
    command = [sys.executable, "-c", EVERY_WAY]
    said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert said.returncode == 1
    assert said.stderr.isascii()
    assert said.stderr.replace("\n", "").isprintable()
    # The end of the process flushes the line that has no end.
    one, caught, two, three, four, five, seven, six = objects(said.stderr)
    assert (one["level"], one["event"], one["path"]) == ("info", "one", "a\nb\x1b[31m\x7f")
    assert (one["text"], one["odd"]) == ("\ud800", "{1, 2}")
    assert one["long"] == "x" * MAX_TEXT + " ... (98000 more characters cut)"
    assert (caught["level"], caught["event"]) == ("error", "caught")
    assert caught["exception"].startswith("Traceback (most recent call last):\n")
    assert caught["exception"].endswith("\nZeroDivisionError: division by zero")
    assert (two["level"], two["event"]) == ("error", "two\nlines")
    assert "UserWarning: three" in three["event"]
    assert four["event"] == "four 4"
    assert five["event"].startswith("fivefive")
    assert six["event"] == "six"
    assert (seven["level"], seven["event"]) == ("critical", "uncaught exception")
    assert seven["exception"].endswith("\nValueError: seven")


def test_dropped_records_are_told_as_an_object() -> None:
    with closing(Pipe()) as pipe:
        pipe.fill()
        with running_log(pipe.writer, max_records=2, notice=dropped_object) as log:
            for number in range(5):
                log.put(text_object(f"{number}\n"))
            os.read(pipe.reader, PAGE)
            assert log.drain(PATIENCE)
        first, second, notice = objects(pipe.rest().decode())
    assert [first["event"], second["event"]] == ["0", "1"]
    assert (notice["level"], notice["dropped"]) == ("warning", 3)


FLOOD = """
import sys, structlog
from trio_logs.logging import configure_logging

configure_logging(log_format="json")
for number in range(2_000):
    structlog.get_logger().info("one")
print("logged", flush=True)
sys.stdin.read()
"""


def test_each_line_is_an_object_after_a_stall() -> None:
    """Its queue was full: one of the lines says so."""
    with closing(Pipe()) as pipe:
        command = [sys.executable, "-c", FLOOD]
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, stderr=pipe.writer, **streams) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"logged\n"
            process.stdin.close()
            said = objects(pipe.rest().decode())
    assert {each["event"] for each in said} == {"one", "log records dropped"}
    assert len(said) - 1 + said[-1]["dropped"] == 2_000


def test_an_event_that_is_no_text() -> None:
    [found] = objects(encode_object(ValueError("x"), "info").decode())  # type: ignore[arg-type]
    assert found["event"] == "x"


def test_the_service(tmp_path: Path) -> None:
    said = tmp_path / "said"
    variables = os.environ | {"TRIO_LOGS_LOG_FORMAT": "json"}
    with said.open("wb") as stderr, served(tmp_path / "data", stderr, env=variables) as server:
        assert server.stop(PATIENCE) == 0
    listening, stopping = objects(said.read_text())
    assert (listening["event"], listening["url"]) == ("listening", server.url)
    assert (stopping["event"], stopping["signal"]) == ("shutting down", "SIGTERM")


@pytest.mark.parametrize(
    ("bind", "code", "message"),
    [("unix:/no/such/x", 1, "can't listen on unix:/no/such/x"), ("8000", 2, "give HOST:PORT")],
)
def test_why_it_does_not_start(tmp_path: Path, bind: str, code: int, message: str) -> None:
    found = trio_logs(tmp_path, "serve", "--log-format", "json", "--bind", bind)
    [said] = objects(found.stderr)
    assert (found.returncode, said["level"]) == (code, "error")
    assert message in said["event"]
