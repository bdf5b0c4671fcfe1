"""Several logs on two outputs, which may be one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from trio_logs.cli.printer import Look, Outputs, Printer
from trio_logs.client import Gap, Line

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
    told = ["b | error\n", "trio-logs: lines 8 to 9 are gone: retention\n"]
    start = "a | one, two,\nb | whole\na |  three, four\na | next\nb | odd,"
    shown = (tmp_path / "out").read_text()
    if are_one:
        assert shown == f"{start}\n{told[0]}b |  even,\n{told[1]}b |  last\n"
    else:
        assert shown == f"{start} even, last\n"
        assert (tmp_path / "err").read_text() == "".join(told)
