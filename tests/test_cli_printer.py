"""Several logs on two outputs, which may be one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from trio_logs.cli.outputs import Outputs
from trio_logs.cli.printer import Look, Printer
from trio_logs.client import Gap, Line, LogRecord, Reset

TIME = datetime(2026, 1, 31, 12, tzinfo=UTC)


def line(text: str, stream: str = "stdout", *, partial: bool = False) -> Line:
    return Line(1, TIME, stream, text, partial)


@pytest.mark.parametrize("are_one", [True, False])
async def test_nothing_falls_into_a_line_that_comes_in_parts(tmp_path: Path, are_one: bool) -> None:
    with (
        (tmp_path / "out").open("wb") as out,
        (tmp_path / "err").open("wb") as err,
        Outputs.open(out.fileno(), out.fileno() if are_one else err.fileno()) as outputs,
    ):
        a, b = (Printer(outputs, Look(), name, f"{name} | ") for name in "ab")
        await a.print([line("one,", partial=True)])
        await a.print([line(" two,", partial=True)])
        await b.print([line("whole")])
        await a.print([line(" three,\x1b[3", partial=True)])
        await a.print([line("1m four"), line("next")])
        await b.print([line("odd,", partial=True)])
        await b.print([line("error", "stderr")])
        await b.print([line(" even,", partial=True)])
        await b.print([Gap(8, 9)])
        await b.print([line(" last", partial=True)])
        await a.finish()
        await b.finish()
    gone = "trio-logs: lines 8 to 9 are missing: the service has trimmed its history\n"
    told = ["b | error\n", gone]
    start = "a | one, two,\nb | whole\na |  three, four\na | next\nb | odd,"
    shown = (tmp_path / "out").read_text()
    if are_one:
        assert shown == f"{start}\n{told[0]}b |  even,\n{told[1]}b |  last\n"
    else:
        assert shown == f"{start} even, last\n"
        assert (tmp_path / "err").read_text() == "".join(told)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (Gap(8, 8, "store"), "line 8 is missing: the store of the service had failed"),
        (Gap(8, 9, "damaged"), "lines 8 to 9 are missing: the store of the service is damaged"),
        (Gap(8, 9, "deleted"), "lines 8 to 9 are missing: the workload was deleted"),
        (Gap(8, 9, "of_later"), "lines 8 to 9 are missing: of_later"),
        (Reset("beyond_head"), "the log starts again: the service has lost lines"),
        (Reset("not_ended", "It goes on."), "the log starts again: It goes on."),
        (Reset("An old sentence."), "the log starts again: An old sentence."),
    ],
)
async def test_what_a_log_lacks_is_told_in_words(
    tmp_path: Path, record: LogRecord, told: str
) -> None:
    with (
        (tmp_path / "out").open("wb") as out,
        (tmp_path / "err").open("wb") as err,
        Outputs.open(out.fileno(), err.fileno()) as outputs,
    ):
        await Printer(outputs, Look(), "a").print([record])
    assert (tmp_path / "err").read_text().startswith(f"trio-logs: {told}")
