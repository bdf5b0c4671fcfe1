"""Standard error whose reader is gone, or takes nothing."""

from __future__ import annotations

import os
from contextlib import closing

import pytest

from tests.full_pipe import PATIENCE, Pipe
from tests.siege import case
from tests.siege.trial import Trial
from tests.unread_stderr import have_it_log, served
from trio_logs.own_log import OwnLog


def log_without_a_queue(patch: pytest.MonkeyPatch) -> None:
    """Each record is written where it is made."""
    patch.setattr(OwnLog, "put", lambda self, record: os.write(self._descriptor, record))


def count_nothing(patch: pytest.MonkeyPatch) -> None:
    """Records that are dropped are not counted."""
    patch.setattr(OwnLog, "_account_for", lambda self, record, written: False)


@case(count_nothing, in_suite=True, plants_in_suite=True)
def lost(trial: Trial) -> None:
    """The reader is gone: the service runs and ends as always, and counts what it drops."""
    with (
        closing(Pipe()) as pipe,
        served(trial.data, pipe.writer, trial.prefix()) as server,
    ):
        pipe.close_reader()
        have_it_log(server)
        assert server.metric("trio_logs_own_log_dropped_total") >= 4
        assert server.stop(PATIENCE) == 0


@case(log_without_a_queue)
def stalled(trial: Trial) -> None:
    """The pipe is full: nobody waits for its reader."""
    with (
        closing(Pipe()) as pipe,
        served(trial.data, pipe.writer, trial.prefix()) as server,
    ):
        with trial.healthy(server):
            have_it_log(server, 4 if trial.is_short else 500)
        assert server.stop(PATIENCE) == 0
