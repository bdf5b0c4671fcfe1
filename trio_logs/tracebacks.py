"""Exceptions as text for the service's own log, as Python prints them, with a bound for each part.

A traceback must not show the contents of a request or a submission, so it has no local variables.
The task that logs it waits meanwhile, so a deep recursion or a group of 10,000 exceptions must not
take long: only the parts that are shown are read.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator

__all__ = ["format_error"]

MAX_EXCEPTIONS = 16
"""The exceptions that are shown: causes, contexts, and members of groups."""

MAX_FRAMES = 16
"""The innermost frames of each exception."""

MAX_MESSAGE = 1000
"""Characters of a message or note."""

MAX_NOTES = 4

MAX_TEXT = 8 * 1024
"""Characters of the whole text. The middle is cut out, because the last exception tells most."""

_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")
"""The control characters of C0 and C1 except the line feed, and Unicode's line ends. A client may
have sent them, and they would control the terminal that shows the log."""

_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"
_LEFT_OUT = "  ... more left out\n"


def format_error(error: BaseException) -> str:
    """The traceback of an exception with its causes and members, without a newline at the end."""
    text = "".join(_Shown().lines(error)).rstrip("\n")
    if len(text) > MAX_TEXT:
        head = MAX_TEXT // 4
        cut = len(text) - MAX_TEXT
        text = f"{text[:head]}\n... ({cut} characters cut)\n{text[head + cut :]}"
    return text


class _Shown:
    """Counts exceptions, which bounds a tree of any shape. `_seen` has their ids, since causes may
    form a circle. Ids stay unique: the exceptions live as long as the root."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def lines(self, error: BaseException) -> Iterator[str]:
        """The text that Python prints for the exception, in pieces."""
        chain: list[tuple[BaseException, str]] = []
        link = ""
        following: BaseException | None = error
        while following is not None and self._take(following):
            chain.append((following, link))
            link = _CONTEXT if following.__cause__ is None else _CAUSE
            context = None if following.__suppress_context__ else following.__context__
            following = following.__cause__ or context
        if following is not None:
            yield _LEFT_OUT
        for shown, link in reversed(chain):
            yield from _frames(shown)
            yield f"{_name(shown)}: {_cut(_message(shown))}\n"
            for note in _notes(shown):
                yield f"{_cut(note)}\n"
            if isinstance(shown, BaseExceptionGroup):
                yield from self._members(shown)
            yield link

    def _members(self, group: BaseExceptionGroup[BaseException]) -> Iterator[str]:
        for number, member in enumerate(group.exceptions, start=1):
            if len(self._seen) >= MAX_EXCEPTIONS:
                yield _LEFT_OUT
                return
            yield f"  {number} of {len(group.exceptions)}:\n"
            for line in "".join(self.lines(member)).splitlines():
                yield f"    {line}\n"

    def _take(self, error: BaseException) -> bool:
        if id(error) in self._seen or len(self._seen) >= MAX_EXCEPTIONS:
            return False
        self._seen.add(id(error))
        return True


def _frames(error: BaseException) -> Iterator[str]:
    if error.__traceback__ is None:
        return
    yield "Traceback (most recent call last):\n"
    frames = list(traceback.walk_tb(error.__traceback__))
    if len(frames) > MAX_FRAMES:
        yield f"  ... {len(frames) - MAX_FRAMES} outer frames left out\n"
    yield from traceback.StackSummary.extract(iter(frames[-MAX_FRAMES:])).format()


def _name(error: BaseException) -> str:
    kind = type(error)
    place = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    return place + kind.__qualname__


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "<no message: its __str__ raises>"


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", ())
    return [note for note in notes[:MAX_NOTES] if isinstance(note, str)]


def _cut(text: str) -> str:
    if len(text) > MAX_MESSAGE:
        text = f"{text[:MAX_MESSAGE]} ... ({len(text) - MAX_MESSAGE} more characters cut)"
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)
