"""How long a query may take: pages end early with a cursor, and no statement holds a thread or a read transaction for long."""

from __future__ import annotations

from time import monotonic

PAGE_SECONDS = 1.0
"""A search that has looked for so long ends its page where it is; the next one goes on from there."""
LONGEST_SECONDS = 5.0
"""A statement that cannot be ended and resumed is interrupted after so long."""
INSTRUCTIONS = 50_000
"""Steps of SQLite's machine (a millisecond or two) between two looks at the clock."""


class Clock:
    """A moment in the future by which something has to end."""

    __slots__ = ("_end",)

    def __init__(self, seconds: float) -> None:
        self._end = monotonic() + seconds

    def restart(self, seconds: float) -> None:
        """Begin anew."""
        self._end = monotonic() + seconds

    def is_up(self) -> bool:
        """Whether the moment has come."""
        return monotonic() >= self._end
