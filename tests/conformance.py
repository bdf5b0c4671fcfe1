"""Holds the service against its own description, with requests that schemathesis makes of it.

`python -m tests.conformance` does it with many, and takes the options of `schemathesis run`.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import STDOUT

import trio

from tests.live import open_live
from trio_logs.backends import Execution
from trio_logs.backends.process import ProcessBackend
from trio_logs.backends.push import PushLimits
from trio_logs.records import Outcome
from trio_logs.settings import Settings

__all__ = ["Verdict", "hold_against_description"]

TESTS = Path(__file__).parent
CONFIGURATION = TESTS / "schemathesis.toml"
LINES = r"echo one; echo two >&2; printf 'thr\303\251e\r\nfour'"


class Harmless(ProcessBackend):
    """Runs one command that ends at once, whatever it is given: nothing that is made up is run."""

    async def run(self, execution: Execution) -> Outcome:
        spec = replace(execution.spec, command=("sh", "-c", LINES), env={}, cwd=None)
        return await super().run(replace(execution, spec=spec))


@dataclass(frozen=True)
class Verdict:
    """Whether all is well, how many cases were made, and what schemathesis printed."""

    passed: bool
    cases: int
    output: str


async def hold_against_description(data: Path, *options: str) -> Verdict:
    """Serve from the folder `data`, and have schemathesis at it."""
    # Workloads that nobody pushes to end soon, and their streams with them.
    settings = Settings(data=data, push=PushLimits(patience=0.3))
    async with open_live(settings, backends={"process": Harmless()}) as live:
        # Each answer with changes of workloads ends at once, as in a shutdown.
        live.service.engine.changes.detach()
        program = Path(sys.executable).with_name("schemathesis")
        command = [program, "--config-file", CONFIGURATION, "run", f"{live.url}/openapi.json"]
        command += ["--header", f"Authorization: Bearer {live.service.token}", *options]
        # It imports its hooks from here, and leaves files where it runs.
        environment = {
            **os.environ,
            "PYTHONPATH": str(TESTS.parent),
            "TRIO_LOGS_TOKEN": live.service.token,
        }
        done = await trio.run_process(
            command, cwd=data, env=environment, capture_stdout=True, stderr=STDOUT, check=False
        )
        passed = done.returncode == 0 and live.server.statistics().failed == 0
        output = done.stdout.decode()
        count = re.search("([0-9]+) generated", output)
        return Verdict(passed, int(count[1]) if count else 0, output)


async def main() -> None:
    """Print what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        options = sys.argv[1:] or ["--max-examples", "400"]
        verdict = await hold_against_description(Path(folder), *options)
    print(verdict.output)
    sys.exit(not verdict.passed)


if __name__ == "__main__":
    trio.run(main)
