"""Instants of a coverage, chosen by a moment or a span."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from providers.coverages.errors import OutsideCoverage
from providers.coverages.request import TimeRange
from providers.errors import InvalidParameter
from tiles.errors import UnknownInstant

_NAMED = 5


@lru_cache(maxsize=4096)
def epoch_seconds(instant: str) -> int:
    """Whole seconds since 1970-01-01T00:00:00Z of an RFC 3339 instant."""
    return int(datetime.fromisoformat(instant).timestamp())


def chosen_instants(instants: Sequence[str], asked: TimeRange) -> tuple[str, ...]:
    """Those that were asked for, rising.

    Raises InvalidParameter where there are no instants at all, UnknownInstant for a moment that is none of them,
    OutsideCoverage for a span without any.
    """
    if not instants:
        raise InvalidParameter(asked.name, asked.text, "nothing: this coverage has no time axis")
    start, end = asked.span
    found = tuple(
        one
        for one in instants
        if (start is None or epoch_seconds(one) >= start) and (end is None or epoch_seconds(one) <= end)
    )
    if found:
        return found
    if asked.slice and start is not None:
        near = sorted(sorted(instants, key=lambda one: abs(epoch_seconds(one) - start))[:_NAMED])
        raise UnknownInstant(
            f"{asked.name} {asked.text[:80]!r} is none of the {len(instants)} instants of this coverage; near it are "
            f"{', '.join(near)}; an interval or a date gives all instants within it"
        )
    raise OutsideCoverage(
        f"No instant lies within {asked.name} {asked.text[:80]!r}; the coverage has {len(instants)}, from {instants[0]} "
        f"to {instants[-1]}"
    )
