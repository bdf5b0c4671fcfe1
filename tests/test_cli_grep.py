"""`trio-logs grep`, as a process of its own, against the real service, and against grep(1)."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command_line import PROGRAM, environment, started, trio_logs
from tests.server_process import ServerProcess, running_server
from trio_logs.client import SyncClient

LOGS = {
    "apple": "one error\ntwo\nthree\nfour error, error\nfive\nsix\nseven\neight\nnine Error\n",
    "pear": "a.c\nabc\n(x\n-x -y\n\nlast\twith tab: error\n",
    "plum": "nothing\nat\nall\n",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("grep") / "data") as running:
        with SyncClient(running.url, running.token) as client:
            for name, text in LOGS.items():
                workload = client.submit([], backend="push", name=name, labels={"kind": "fruit"})
                client.push(workload.id, [text.encode()])
        yield running


def grep(data: Path, *arguments: str) -> tuple[int, str, str]:
    """The exit code, standard output and standard error."""
    found = trio_logs(data, "grep", *arguments)
    return found.returncode, found.stdout, found.stderr


SAME = [
    "error apple",
    "error apple pear plum",
    "-in error apple pear plum",
    "-c error apple pear plum",
    "-cv error pear apple",
    "-lv error apple plum pear",
    "-lc error apple pear plum",
    "-o error apple pear",
    "-onA1 e+ apple",
    "-v e apple pear",
    "-vo e apple",
    "-m1 error apple pear",
    "-m0 error apple",
    "-A1 error apple pear",
    "-C1 -m1 error apple pear",
    "-nA0 error apple",
    "-nC2 -B0 error apple",
    "-1 error apple",
    "-vnC1 e apple",
    "-e -x -e ^f apple pear",
    "-F -e a.c -e (x pear",
    "-e a) -e (b apple",
    "-n -- -x pear",
    "nowhere apple pear",
    "-e= pear",
    "-n2 error apple",
    "-ni1 error apple pear",
    "-h error apple pear",
    "-Hn error apple",
    "-q error apple pear",
    "-q nowhere apple pear",
    "-L error plum apple pear",
    "-wo four|error apple",
    "-F -w a.c pear",
    "-xvn two|three apple",
    "-xw a apple plum",
    "-wi -e nine -e x pear apple",
    "--color=always -nC1 error apple pear",
    "--color=always -on e+ apple pear",
    "--color=always -c error apple pear",
    "--color=always -l error apple pear",
]


@pytest.mark.parametrize("line", SAME)
def test_as_grep_does(data: Path, tmp_path: Path, line: str) -> None:
    for name, text in LOGS.items():
        (tmp_path / name).write_text(text)
    arguments = line.split()
    regex = [] if "-F" in arguments else ["-E"]
    expected = subprocess.run(
        ["grep", *regex, *arguments],
        cwd=tmp_path,
        env={"LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    code, printed, told = grep(data, *arguments)
    # grep(1) also erases to the end of the line.
    plain = expected.stdout.replace("\x1b[K", "").replace("\x1b[m", "\x1b[0m")
    assert (code, printed) == (expected.returncode, plain)
    assert bool(told) == bool(expected.stderr)


def test_all_logs_are_searched_newest_first(data: Path, client: SyncClient) -> None:
    assert grep(data, "-m1", "error") == (0, "pear:last\twith tab: error\napple:one error\n", "")
    assert grep(data, "-c", "^t") == (0, "plum:0\npear:0\napple:2\n", "")
    assert grep(data, "-l", "nothing|^six$") == (0, "plum\napple\n", "")
    assert grep(data, "error", "--label", "kind=wood") == (1, "", "")
    assert grep(data, "-c", "error", "--status", "failed", "--status", "lost") == (1, "", "")
    both = ("--label", "kind=fruit", "--status", "lost", "--status", "succeeded")
    assert grep(data, "-l", "error", *both) == (0, "pear\napple\n", "")
    assert grep(data, "-c", "error", *both, "apple", "plum") == (0, "apple:2\nplum:0\n", "")
    assert grep(data, "-c", "x", "--label", "kind=wood", "apple") == (1, "", "")
    assert grep(data, "error", "--until", "1h") == (1, "", "")
    assert grep(data, "error", "--stream", "stderr") == (1, "", "")
    assert grep(data, "-c", "error", "--since", "1h", "apple") == (0, "2\n", "")


def test_several_of_one_name_are_told_apart(tmp_path: Path) -> None:
    with (
        running_server(tmp_path / "data") as server,
        SyncClient(server.url, server.token) as client,
    ):
        ids = []
        for name in ("twin", "twin", "a\nb", None):
            options = {} if name is None else {"name": name}
            workload = client.submit([], backend="push", **options)  # type: ignore[arg-type]
            client.push(workload.id, [b"x\n"])
            ids.append(workload.id)
        expected = "".join(f"{each}:x\n" for each in reversed(ids))
        assert grep(server.data, "x") == (0, expected, "")
        named = f"twin:x\n{ids[3]}:x\n"
        assert grep(server.data, "x", ids[0], ids[3]) == (0, named, "")


def test_objects_for_scripts(data: Path, client: SyncClient) -> None:
    apple, pear = (next(iter(client.list(name=name))).id for name in ("apple", "pear"))
    code, printed, _ = grep(data, "--json", "-m1", "-B1", "four|abc", "apple", "pear")
    *found, end = map(json.loads, printed.split("\n")[:-1])
    assert code == 0
    assert [(each["workload"], each["seq"], each.get("context")) for each in found] == [
        (apple, 3, True),
        (apple, 4, None),
        (pear, 1, True),
        (pear, 2, None),
    ]
    assert found[1]["text"] == "four error, error"
    assert end == {"event": "end", "count": 2, "complete": True, "next": None}
    _, printed, _ = grep(data, "--json", "-c", "error", "apple", "plum")
    counts = [json.loads(line) for line in printed.split("\n")[:-1]]
    assert [each["count"] for each in counts] == [2, 0]
    _, printed, _ = grep(data, "--json", "-l", "error", "apple", "plum")
    assert json.loads(printed) == {"workload": apple}


@pytest.mark.parametrize(
    ("context", "ids"), [("-nB2", []), ("-A1", []), ("-C1", ["apple", "pear"])]
)
def test_a_limit_says_how_to_go_on(data: Path, ids: list[str], context: str) -> None:
    """The pages together are what one search prints, also the lines around matches."""
    whole = grep(data, context, "e.r|six|^f|abc", *ids)[1]
    found = ""
    more: list[str] = []
    while True:
        limit = ("--limit", "1")
        code, printed, told = grep(data, context, *limit, "e.r|six|^f|abc", *ids, *more)
        # The last logs may have nothing.
        assert code == (0 if printed else 1)
        found += printed
        if not told:
            break
        said = re.fullmatch(
            r"trio-logs: --limit 1 ended the search; to go on, add (--resume \S+)\n", told
        )
        assert said
        more = said[1].split()
    assert found == whole
    assert more


ERRORS = [
    ([], 2, "grep: give a pattern, such as: trio-logs grep error"),
    (["("], 2, "PATTERN '(': RE2 refuses this expression"),
    (["-e", "a)", "-e", "(b"], 2, "-e 'a)': RE2 refuses this expression"),
    (["x{1000}" * 3], 2, "its program has 3,004 instructions, and 2,000 are the most"),
    (["x", "nobody"], 66, "no workload has the id or name 'nobody'"),
    (["x", ""], 2, "grep: an id is empty"),
    (["x", "--since", "soon"], 2, "--since 'soon': give a time such as 2026-01-31"),
    (["-c", "x", "--until", "soon"], 2, "--until 'soon': give a time"),
    (["x", "--resume", "soon"], 2, "--resume: it is the `next`"),
    (["x", "apple", "--resume", "a.1.1"], 2, "--resume 'a.1.1': it is of none of the given logs"),
    (["x", "--label", "a"], 2, "--label 'a': write K=V"),
    (["x", "--status", "done"], 2, "status"),
    (["x", "-m", "-1"], 2, "Give a number, 0 or more"),
    (["x", "--limit", "0"], 2, "Give a number, 1 or more"),
    (["-c", "x", "--limit", "1"], 2, "grep: --limit has no meaning with -c, -l, -L or -q"),
    (["-o", "x", "--json"], 2, "grep: -o has no meaning with --json"),
    (["-l", "x", "-L"], 2, "grep: -l has no meaning with -L"),
    (["-hH", "x"], 2, "grep: -H has no meaning with -h"),
    (["-h"], 2, "grep: give a pattern, such as: trio-logs grep error"),
    (["x", "--colour"], 2, "--colour"),
    (["x", "--token", "wrong"], 77, "refuses the token from the command line"),
    (["x", "--server", "http://127.0.0.1:9"], 69, "is the service running"),
    (["x", "apple", "--server", "unix:/no/such"], 69, "unix:/no/such does not answer: "),
]


@pytest.mark.parametrize(("arguments", "code", "message"), ERRORS)
def test_errors_are_one_line(data: Path, arguments: list[str], code: int, message: str) -> None:
    found = grep(data, *arguments)
    assert message in found[2]
    assert (found[0], found[1], found[2].count("\n")) == (code, "", 1)


def test_an_error_counts_more_than_a_line(data: Path) -> None:
    """As in grep(1), the other logs are searched all the same."""
    for option, printed in (("-n", "apple:1:one error\n"), ("-c", "apple:1\n"), ("-l", "apple\n")):
        code, shown, told = grep(data, option, "one", "nobody", "apple", "nothing")
        assert (code, shown) == (66, printed)
        assert told.count("no workload has the id or name") == 2


def test_what_fails_without_a_code_of_its_own_is_no_missing_line(data: Path) -> None:
    """1 would mean that no line matches."""
    with Path("/dev/full").open("w") as full:
        found = subprocess.run(
            [*PROGRAM, "grep", "error"],
            env=environment(data),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert "No space left" in found.stderr


def test_colours_of_the_log_return_behind_a_match(data: Path, client: SyncClient) -> None:
    workload = client.submit([], backend="push", name="coloured")
    text = b"\x1b[32mgreen err\x1b[1mor\x1b[0m \x1b]0;title\x07and \x1b[2Jmore error\n"
    client.push(workload.id, [text, b"10% error\r50% error\r99%\n"])
    assert grep(data, "error", "coloured")[1] == "green error and more error\n50% error\n"
    hit = "\x1b[01;31merror\x1b[0m"
    found = trio_logs(data, "grep", "error", "coloured", FORCE_COLOR="1")
    assert found.stdout.split("\n")[:-1] == [
        f"\x1b[32mgreen \x1b[0m{hit}\x1b[32m\x1b[1m\x1b[0m and more {hit}\x1b[0m",
        f"50% {hit}",
    ]
    assert grep(data, "-o", "error and", "coloured") == (0, "error and\n", "")
    client.delete(workload.id)


def test_a_reader_that_leaves_ends_it_quietly(data: Path, client: SyncClient) -> None:
    workload = client.submit(["seq", "120000"])
    list(client.follow(workload.id, tail=0))
    for number, code in ((None, 141), (signal.SIGINT, 130)):
        with started(data, "grep", "", workload.id) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "1\n"
            if number is None:
                process.stdout.close()
            else:
                process.send_signal(number)
            assert process.wait(20) == code
            assert process.stderr.read() == ""
    # All of it, over more than one page.
    found = trio_logs(data, "grep", "", workload.id)
    assert found.stdout.split("\n")[:-1] == [str(number) for number in range(1, 120_001)]
    client.delete(workload.id)
