"""Times that follow the wall clock, but not its mistakes; without I/O."""

from __future__ import annotations

import math

__all__ = ["SteadyClock"]

TOLERANCE = 1_000_000
"""Microseconds: a smaller step is a correction, as NTP makes them. The clock follows at once."""

BELIEVED_AFTER = 60_000_000
"""Microseconds that the wall clock must run on after a step until this clock follows."""


class SteadyClock:
    """A clock that never steps back, and ignores a wall clock that is wrong for less than a minute.

    Between two reads, it advances as `elapsed` does: a count of microseconds that no one sets, such
    as CLOCK_BOOTTIME of clock_gettime(2). If the wall clock steps back for good, this clock runs at
    half speed until the wall clock has caught up, so that times keep their order.
    """

    def __init__(self) -> None:
        # What is to be added to `elapsed`: as believed, and as the wall clock says now.
        self._offset: int | None = None
        self._doubtful: int | None = None
        self._doubtful_since = 0
        self._steady_since = -math.inf
        # The last time that was returned; and, if the wall clock is behind it, where and when that
        # began.
        self._last = 0
        self._behind: tuple[int, int] | None = None

    def follows(self, wall: int) -> bool:
        """Take over a time that follows the last one closely; False if `read` has to judge it. This
        saves the second clock where times are read all the time."""
        if self._doubtful is None and self._last <= wall <= self._last + TOLERANCE:
            self._last = wall
            return True
        return False

    def read(self, wall: int, elapsed: int) -> int:
        """The time now, in microseconds since the Unix epoch."""
        believed = self.believed(wall, elapsed)
        if believed >= self._last:
            self._last, self._behind = believed, None
        else:
            start, since = self._behind = self._behind or (self._last, elapsed)
            self._last = max(self._last, start + (elapsed - since) // 2)
        return self._last

    def believed(self, wall: int, elapsed: int) -> int:
        """The time that the wall clock shows, unless it has just stepped. It may step back."""
        offset = wall - elapsed
        if self._offset is None:
            self._offset = offset
        elif abs(offset - self._offset) <= TOLERANCE:
            self._offset = offset
            self._doubtful = None
        else:
            self._steady_since = elapsed
            if self._doubtful is None or abs(offset - self._doubtful) > TOLERANCE:
                self._doubtful_since = elapsed
            self._doubtful = offset
            if elapsed - self._doubtful_since >= BELIEVED_AFTER:
                self._offset, self._doubtful = offset, None
        return elapsed + self._offset

    def steady_for(self, elapsed: int) -> float:
        """For how long there has been no reason to doubt the wall clock, in microseconds."""
        return elapsed - self._steady_since

    def follow(self, moment: int, wall: int, elapsed: int) -> None:
        """Return no earlier time than this from now on: an earlier process has noted it. 0 is no
        time.

        The clock may have been set between the two processes, by any amount: the hardware clock of
        a machine that has just booted may be hours ahead. So the clock is doubted from now on.
        """
        if moment:
            # What the wall clock says now is what it may step away from.
            self.believed(wall, elapsed)
            self._steady_since = elapsed
        if moment > self._last:
            self._last, self._behind = moment, None

    def forget(self) -> None:
        """Forget what `follow` was told, and earlier doubts: times may step back once."""
        self._last, self._behind = 0, None
        self._steady_since = -math.inf
