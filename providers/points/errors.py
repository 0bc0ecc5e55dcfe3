"""What can go wrong when points are asked for, beside `providers.errors`.

AnswerTooLarge
`-- TooManyPoints     the answer has more points than one request may read (HTTP 413)
"""

from __future__ import annotations

from providers.errors import AnswerTooLarge


class TooManyPoints(AnswerTooLarge):
    """More points than one request may read: how many, and how many are allowed."""

    def __init__(self, asked: int, allowed: int) -> None:
        self.asked = asked
        self.allowed = allowed
        super().__init__(
            f"this would read {asked:,} points; one request may read {allowed:,}: ask for a smaller bbox, for a coarser resolution "
            "(metres), or for at most so many points by max-points"
        )
