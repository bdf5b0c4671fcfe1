"""A traceback in the service's own log is short, plain, and cheap, whatever was raised."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.server_process import running_server
from trio_logs.tracebacks import MAX_EXCEPTIONS, MAX_TEXT, format_error

SECRET = "correct-horse-battery-staple"


class CountedError(Exception):
    """Counts how often its text is made."""

    texts = 0

    def __str__(self) -> str:
        type(self).texts += 1
        return "counted"


class UnspeakableError(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise ValueError


def raised(error: BaseException, secret: str = SECRET) -> BaseException:
    """With a traceback, whose frame has a local variable."""
    try:
        raise error  # noqa: TRY301 - the traceback is what is wanted
    except BaseException as caught:
        return caught


def test_it_reads_as_python_prints_it() -> None:
    error = ValueError("outer\nsecond line")
    error.__cause__ = raised(KeyError("inner"))
    error.add_note("a note")
    first, *lines = format_error(raised(error)).split("\n")
    assert first == "Traceback (most recent call last):"
    assert lines[2:] == [
        "KeyError: 'inner'",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        "Traceback (most recent call last):",
        lines[0],
        "    raise error  # noqa: TRY301 - the traceback is what is wanted",
        "ValueError: outer",
        "second line",
        "a note",
    ]


def test_a_group_of_many_is_looked_at_only_as_far_as_it_is_shown() -> None:
    CountedError.texts = 0
    members = [raised(CountedError()) for _ in range(10_000)]
    group = BaseExceptionGroup("many", [BaseExceptionGroup("inner", members), *members])
    text = format_error(group)
    assert CountedError.texts < MAX_EXCEPTIONS
    assert text.count("more left out") == 2


def test_many_long_messages_lose_their_middle() -> None:
    members = [ValueError(f"{number} {'m' * 900}") for number in range(MAX_EXCEPTIONS - 1)]
    text = format_error(BaseExceptionGroup("many", members))
    assert text.startswith("ExceptionGroup: many (15 sub-exceptions)\n  1 of 15:\n")
    assert text.endswith(f"    {format_error(members[-1])}")
    assert re.search(r"m\n\.\.\. \(\d+ characters cut\)\nm", text)
    assert MAX_TEXT < len(text) < MAX_TEXT + 100


def test_a_long_chain_shows_its_end() -> None:
    error: BaseException = CountedError()
    for number in range(1000):
        following = ValueError(number)
        following.__context__ = error
        error = following
    text = format_error(error)
    assert text.endswith("ValueError: 999")
    assert text.startswith("  ... more left out\nValueError: 984\n")


def test_causes_in_a_circle() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert format_error(one).count("ValueError") == 2


def test_a_deep_recursion_shows_its_innermost_frames() -> None:
    def ping(depth: int) -> None:
        if depth == 0:
            raise ValueError("deep")
        pong(depth - 1)

    def pong(depth: int) -> None:
        ping(depth - 1)

    with pytest.raises(ValueError) as caught:
        ping(500)
    text = format_error(caught.value)
    assert "486 outer frames left out" in text
    assert text.count("\n") < 60


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (ValueError("m" * 1_000_000), f"ValueError: {'m' * 1000} ... (999000 more characters cut)"),
        (ValueError("\x1b[2J\r\x85"), r"ValueError: \x1b[2J\r\x85"),
        (UnspeakableError(), "UnspeakableError: <no message: its __str__ raises>"),
    ],
)
def test_messages(error: Exception, end: str) -> None:
    assert format_error(raised(error)).endswith(end)


def test_no_local_variable_is_shown() -> None:
    assert SECRET not in format_error(raised(ValueError("no")))


PLUGIN = """
from trio_logs.backends.process import ProcessBackend
from trio_logs.errors import InvalidSpecError

class Careless(ProcessBackend):
    def check(self, spec):
        environment = dict(spec.env)
        if not spec.name:
            raise RuntimeError("check failed")

    async def run(self, execution):
        raise InvalidSpecError("forged\\x1b[2J")
"""


def test_a_failing_check_does_not_tell_the_environment(tmp_path: Path) -> None:
    (tmp_path / "careless.py").write_text(PLUGIN)
    installed = tmp_path / "careless-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: careless\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[trio_logs.backends]\nbad = careless:Careless\n")
    prefix = ("env", f"PYTHONPATH={tmp_path}")
    with running_server(tmp_path / "data", prefix=prefix) as server:
        body = {"backend": "bad", "command": ["true"], "env": {"TOKEN": SECRET}}
        assert server.post("/v1/workloads", body).status_code == 500
        workload = server.post("/v1/workloads", {**body, "name": "passes"}).json()
        assert b"forged" in server.get(workload["logs_url"]).content
        assert server.stop() == 0
    text = "".join(server.lines)
    assert SECRET not in text
    assert "request failed" in text
    assert 'raise RuntimeError("check failed")\nRuntimeError: check failed\n' in text
    assert r"error='forged\x1b[2J' workload=" in text
    assert len(server.lines) < 60
