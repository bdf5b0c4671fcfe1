"""The unfinished lines of a log that another node extends."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress

import trio

from ..errors import StoreError
from ..store.shared import ASKED_SECONDS
from .news import News
from .shown import Shown, decode
from .topic import Topic

__all__ = ["Asking"]

ASK_SECONDS = ASKED_SECONDS / 2 - 1
"""Seconds from one question to the next: twice within the time for which the owner answers one."""

WAIT_SECONDS = 1.0
"""How long a question may take."""

ANSWER_SECONDS = 2.0
"""How long a reader that does not follow waits for the answer, which comes within a second."""


class Asking:
    """Asks the owner for unfinished lines while a reader wants them. Gives an answer to the topic
    once the topic has published the line that the answer follows."""

    def __init__(self, topic: Topic, news: News) -> None:
        self._topic = topic
        self._news = news
        # An answer of the owner that follows a line which this node has not published yet.
        self._shown: Shown | None = None
        # Set and replaced once an answer is left with the topic.
        self._left = trio.Event()
        # When to ask again, on Trio's clock.
        self._ask_at = -math.inf

    async def ask(self) -> None:
        """Ask if it is time. The owner's answer may be lost, and so may the question."""
        if self._topic.unfinished.are_watched and trio.current_time() >= self._ask_at:
            self._ask_at = trio.current_time() + ASK_SECONDS
            with trio.move_on_after(WAIT_SECONDS), suppress(StoreError):
                await self._news.ask(self._topic.workload_id)

    async def answer(self) -> None:
        """Ask, and wait for an answer."""
        left = self._left
        with trio.move_on_after(ANSWER_SECONDS), suppress(StoreError):
            await self._news.ask(self._topic.workload_id)
            await left.wait()

    def shown(self, content: bytes) -> None:
        """The owner tells what it has."""
        shown = decode(content)
        if shown is not None and shown.line >= self._topic.head:
            self._shown = shown
            self._leave()

    def published(self, streams: Iterable[str]) -> None:
        """Lines of these streams were published, in this step: each ends what its stream showed."""
        unfinished, ended = self._topic.unfinished, set(streams)
        unfinished.leave({each: r for each, r in unfinished.rests.items() if each not in ended})
        self._leave()

    def skipped(self) -> None:
        """Lines were passed over, or the log has ended, in this step."""
        self._topic.unfinished.leave({})

    def _leave(self) -> None:
        if self._shown is not None and self._shown.line == self._topic.head:
            texts, self._shown = self._shown.texts, None
            self._topic.unfinished.leave({each: text.encode() for each, text in texts.items()})
            self._left.set()
            self._left = trio.Event()
