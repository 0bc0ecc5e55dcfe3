"""Values that depend on features, as branches: which features get which value. Both converters make rules of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, NamedTuple

from tiles.errors import StyleError
from tiles.maps.images import parse_colour
from tiles.maps.style_filters import NEVER, Comparison, Filter, Present, all_of, negation

MAXIMUM_BRANCHES = 256
_TOO_MANY = (
    f"a layer distinguishes more than {MAXIMUM_BRANCHES} kinds of features; make layers with filters of it"
)
_STEPS = 8


class Branch(NamedTuple):
    """A value for the features of a filter (None: all), between two zoom levels of ours (`high` not included)."""

    value: Any
    filter: Filter | None = None
    low: float = 0.0
    high: float = 25.0


class Notes:
    """What was not understood, each once, in order."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}

    def add(self, note: str) -> None:
        """Note something."""
        if len(self._found) < 200:
            self._found[note[:300]] = None

    def all(self) -> tuple[str, ...]:
        """Everything noted."""
        return tuple(self._found)


@dataclass(frozen=True, slots=True)
class Combination:
    """One value for each of several names, for the features of a filter between two zoom levels."""

    values: dict[str, Any]
    filter: Filter | None
    low: float
    high: float


def combinations(properties: Mapping[str, Sequence[Branch]]) -> list[Combination]:
    """Every combination of the branches of several properties that can be met. Raises StyleError where there are too many."""
    found = [Combination({}, None, 0.0, 25.0)]
    for name, branches in properties.items():
        grown = []
        for one, branch in product(found, branches):
            low, high = max(one.low, branch.low), min(one.high, branch.high)
            filter_ = all_of(one.filter, branch.filter)
            if low < high and filter_ != NEVER and not _contradicts(one.filter, branch.filter):
                grown.append(Combination(one.values | {name: branch.value}, filter_, low, high))
            if len(grown) > MAXIMUM_BRANCHES:
                raise StyleError(_TOO_MANY)
        found = grown
    return found


def _contradicts(first: Filter | None, second: Filter | None) -> bool:
    """Whether two filters plainly leave nothing over: one is the negation of (a part of) the other."""
    if first is None or second is None:
        return False
    ones = getattr(first, "parts", (first,)) if type(first).__name__ == "AllOf" else (first,)
    others = getattr(second, "parts", (second,)) if type(second).__name__ == "AllOf" else (second,)
    return any(negation(one) == other or negation(other) == one for one in ones for other in others)


def decided(
    cases: Iterable[tuple[Filter | None, Sequence[Branch]]], otherwise: Sequence[Branch]
) -> list[Branch]:
    """The first case that is met decides; `otherwise` where none is."""
    found: list[Branch] = []
    before: list[Filter] = []
    for condition, branches in cases:
        # Each case carries all before it: refused before the work grows with the square of the cases.
        if len(before) >= MAXIMUM_BRANCHES:
            raise StyleError(_TOO_MANY)
        found += [one._replace(filter=all_of(*before, condition, one.filter)) for one in branches]
        before.append(negation(condition))
    found += [one._replace(filter=all_of(*before, one.filter)) for one in otherwise]
    return [one for one in found if one.filter != NEVER]


def stepped(field: str, first: Any, steps: Sequence[tuple[float, Any]]) -> list[Branch]:
    """`first` below the first number, and each value from its number on. Features without the field get none."""
    if not steps:
        return [Branch(first)]
    if len(steps) > MAXIMUM_BRANCHES:
        raise StyleError(_TOO_MANY)
    found = [Branch(first, Comparison(field, "<", steps[0][0]))]
    for (low, value), (high, _) in pairwise(steps):
        found.append(Branch(value, all_of(Comparison(field, ">=", low), Comparison(field, "<", high))))
    return [*found, Branch(steps[-1][1], Comparison(field, ">=", steps[-1][0]))]


def graduated(
    field: str, stops: Sequence[tuple[float, Any]], between: Callable[[Any, Any, float], Any]
) -> list[Branch]:
    """Values that change steadily with a field, in steps that are hardly seen."""
    if len(stops) == 1:
        return [Branch(stops[0][1], Present(field))]
    if len(stops) > MAXIMUM_BRANCHES:
        raise StyleError(_TOO_MANY)
    steps: list[tuple[float, Any]] = []
    parts = max(2, min(_STEPS, MAXIMUM_BRANCHES // 8 // len(stops)))
    for (low, before), (high, after) in pairwise(stops):
        for part in range(parts):
            share = (part + 0.5) / parts
            steps.append((low + (high - low) * part / parts, between(before, after, share)))
    return stepped(field, stops[0][1], [*steps, stops[-1]])


def mixed(before: Any, after: Any, share: float) -> Any:
    """A number or a colour between two others."""
    if isinstance(before, str) and isinstance(after, str):
        first, second = parse_colour(before), parse_colour(after)
        return hex_colour(*(round(a + (b - a) * share) for a, b in zip(first, second, strict=True)))
    return before + (after - before) * share


def hex_colour(red: float, green: float, blue: float, alpha: float = 255) -> str:
    """#rrggbb, or #rrggbbaa where it is not opaque, of numbers from 0 to 255."""
    numbers = [min(255, max(0, round(value))) for value in (red, green, blue, alpha)]
    return "#" + "".join(f"{number:02x}" for number in numbers[: 3 if numbers[3] == 255 else 4])
