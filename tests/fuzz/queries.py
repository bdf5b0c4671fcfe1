"""The parameters and headers of requests: the parsers of `trio_logs.api`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from tests.fuzz import Target
from trio_logs.api.answers import NotAcceptableError
from trio_logs.api.list_query import parse_list_query
from trio_logs.api.query import accepted, parse_log_query
from trio_logs.api.search_parameters import parse_matches_query, parse_search_query
from trio_logs.api.several_query import parse_several_query
from trio_logs.errors import InvalidRequestError

__all__ = ["TARGETS"]

NOW = 1_800_000_000_000_000

_NAMES = (
    *("from", "to", "tail", "limit", "since", "until", "stream", "filter", "ignore_case", "regex"),
    *("before", "after", "status", "label", "name", "id", "search", "counts", "workload", "events"),
    *("context", "per_workload", "follow", "times", "format", "download", "code", "sinceSeconds"),
    *("tailLines", "sinceTime", "timestamps", "unfinished", "invert", "mode", "heartbeat"),
)
_VALUES = st.one_of(
    st.sampled_from(
        [
            *("", "0", "1", "-1", "end", "stop", "true", "yes", "9" * 18, "9" * 19, "1e9", "²"),
            *("1h", "1h30m", "0.5s", "99999999d", "2026-01-31T12:00:00Z", "2026-13-01T00:00:00Z"),
            *("9999-12-31T23:59:60Z", "0001-01-01T00:00:00+14:00", "stdout", "a=b", "a=", "=", "*"),
            *(
                "(",
                "(a|b)*",
                "a{1000}{1000}",
                "[[:alpha:]]",
                "\\p{Greek}",
                "(?i)x",
                "\\C",
                "x" * 5000,
            ),
            *("failed", "running", "text/event-stream", "application/json", "a:1", "a@2", "\ud800"),
        ]
    ),
    st.text(max_size=8),
    st.integers().map(str),
    st.floats().map(str),
)
_PAIRS = st.lists(
    st.tuples(st.one_of(st.sampled_from(_NAMES), st.text(max_size=4)), _VALUES), max_size=5
)
_QUERIES = st.one_of(
    _PAIRS,
    st.text(alphabet="%&=+;abcdef0123456789ftil", max_size=40).map(
        lambda text: parse_qsl(text, keep_blank_values=True)
    ),
)
_HEADERS = st.one_of(
    st.none(),
    st.sampled_from(
        ["", "*/*", "text/*;q=0", "application/x-ndjson", "text/event-stream;q=x", ",;,="]
    ),
    st.text(max_size=12),
)
_REQUESTS = st.tuples(
    _QUERIES, st.lists(_HEADERS.map(lambda each: each or ""), max_size=2), _HEADERS
)


def check(request: tuple[list[tuple[str, str]], list[str], str | None]) -> None:
    """Each parser reads it, or says that it is invalid."""
    parameters, accept, last_event_id = request
    parsers: list[Callable[[], Any]] = [
        lambda: parse_log_query(parameters, accepted(accept), last_event_id, NOW),
        lambda: parse_several_query(parameters, accepted(accept), last_event_id, NOW),
        lambda: parse_list_query(MultiDict(parameters), NOW),
        lambda: parse_search_query(parameters, NOW),
        lambda: parse_matches_query(parameters, NOW),
    ]
    for parse in parsers:
        try:
            parse()
        except (InvalidRequestError, NotAcceptableError) as error:
            # The answer is JSON.
            str(error).encode()


TARGETS = [Target("query", _REQUESTS, check)]
