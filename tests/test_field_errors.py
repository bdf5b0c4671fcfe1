"""What the service says of a JSON body with a wrong field."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.live import Live, open_live
from trio_logs.api.bodies import FinishRequest, ResizeRequest, StopRequest, Submission
from trio_logs.api.field_errors import explain
from trio_logs.settings import Settings


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (Submission, {"name": 5}, "name: it is a string or null, not a whole number"),
        (Submission, {"name": "x" * 201}, "name: it is a string of 200 characters at most"),
        (Submission, {"command": "ls"}, "command: it is an array, not a string"),
        (Submission, {"command": ["a", 1]}, "command[1]: it is a string, not a whole number"),
        (Submission, {"env": {"A": None}}, "a value in env: it is a string, not null"),
        (
            Submission,
            {"labels": {"": "a"}},
            "a name in labels: it is a string of 1 characters or more",
        ),
        (
            Submission,
            {"labels": {"a=": "a"}},
            "a name in labels: it is a string that matches the expression ^[^=]+$",
        ),
        (
            Submission,
            {"labels": {"a": "x" * 201}},
            "a value in labels: it is a string of 200 characters at most",
        ),
        (Submission, {"timeout": 0}, "timeout: it is a number above 0"),
        (Submission, {"timeout": "5m"}, "timeout: it is a number or null, not a string"),
        (Submission, {"nmae": "x"}, "the body: there is no field `nmae`"),
        (Submission, [1], "the body: it is an object, not an array"),
        (Submission, {"pty": "yes"}, "pty: it is `true` or `false`, not a string"),
        (ResizeRequest, {"columns": 5}, "the body: the field `rows` is missing"),
        (ResizeRequest, {"columns": 0, "rows": 1}, "columns: it is a whole number from 1"),
        (ResizeRequest, {"columns": 70000, "rows": 1}, "columns: it is a whole number up to 65535"),
        (
            ResizeRequest,
            {"columns": 1.5, "rows": 1},
            "columns: it is a whole number, not one with a fraction",
        ),
        (StopRequest, {"grace": -1}, "grace: it is a number from 0"),
        (FinishRequest, {"exit_code": 256}, "exit_code: it is a whole number up to 255"),
    ],
)
def test_words(kind: Any, body: object, said: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(msgspec.json.encode(body), type=kind)
    assert explain(str(caught.value)) == said


def test_an_unknown_message_stays() -> None:
    assert explain("Something new - at `$.a`") == "a: Something new"


async def test_a_problem_has_these_words(tmp_path: Any) -> None:
    live: Live
    async with open_live(Settings(data=tmp_path / "data")) as live:
        answer = await live.client.post("/v1/workloads", json={"command": ["true"], "name": 5})
    assert answer.status_code == 422
    assert answer.json()["detail"] == "name: it is a string or null, not a whole number"
