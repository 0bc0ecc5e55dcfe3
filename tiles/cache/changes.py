"""What data says about its edits, so that kept tiles follow them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

type Box84 = tuple[float, float, float, float]
"""west, south, east, north in degrees of CRS84."""

type Change = int | str
"""A state of the data: a number that rises with every edit, or a text that is another one after an edit."""


class ChangeLog(Protocol):
    """Data that counts its edits and remembers where they were."""

    def change(self) -> Change:
        """The present state; costs microseconds."""
        ...

    def dirty_since(self, change: Change) -> Sequence[Box84] | None:
        """Boxes that cover all that changed after `change`; [] where nothing did, None where that is not known any more."""
        ...

    def touched_since(self, change: Change, box84: Box84) -> bool:
        """Whether anything that meets the box changed after `change`; True where that is not known."""
        ...


class Unchanging:
    """The log of data that is never edited."""

    def change(self) -> Change:
        """Always 0."""
        return 0

    def dirty_since(self, change: Change) -> Sequence[Box84] | None:
        """Nothing."""
        return []

    def touched_since(self, change: Change, box84: Box84) -> bool:
        """Never."""
        return False
