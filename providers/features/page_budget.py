"""Pages that end before they grow too large or take too long: legally, with a cursor to go on from.

A page of `limit` features is asked for in one call where what is known of the collection says that it fits, and in slices where
nothing is known yet or it may not fit.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import NamedTuple

import shapely

from providers.features.query import Cursor, ItemQuery
from providers.features.source import NO_FIELDS, FeatureColumns, FeaturePage, FeatureSource

_FIRST_SLICE = 100  # features of a collection of which nothing is known
_FITTING = (
    1000  # features of average size are asked for at once up to here, so the clock is looked at now and then
)
_KEPT = 4096  # collections whose mean size is remembered


@dataclass(frozen=True, slots=True)
class PageBudget:
    """The most that one page may hold and take: `body_bytes` of encoded features, `seconds` of the store's time.

    Both are looked at between slices: a page passes them by one slice at most.
    """

    body_bytes: int = 32 << 20
    seconds: float = 10.0


class MeanSizes:
    """The mean size of an encoded feature, in bytes, of collections that have been read from; bounded, and shared by threads."""

    def __init__(self) -> None:
        self._means: OrderedDict[Hashable, float] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> float | None:
        """The mean of the last pages, None where nothing has been read."""
        return self._means.get(key)

    def learn(self, key: Hashable, count: int, size: int) -> None:
        """Remember `count` features of `size` bytes together; large ones are remembered at once, small ones slowly."""
        if not count:
            return
        mean = size / count
        with self._lock:
            known = self._means.get(key, mean)
            self._means[key] = max(mean, 0.75 * known + 0.25 * mean)
            self._means.move_to_end(key)
            while len(self._means) > _KEPT:
                self._means.popitem(last=False)


@dataclass(frozen=True, slots=True)
class BudgetedColumns:
    """A page as columns, in the slices it was read in; `cursor` and `number_matched` as in `FeaturePage`."""

    slices: list[FeatureColumns]
    cursor: Cursor | None
    number_matched: int | None

    @property
    def number_returned(self) -> int:
        """Features on this page."""
        return sum(map(len, self.slices))


class _Slice[Payload](NamedTuple):
    payload: Payload
    features: int
    size: int
    cursor: Cursor | None
    matched: int | None


_sizes = MeanSizes()
_DEFAULT = PageBudget()
type Clock = Callable[[], float]


def page_within(
    source: FeatureSource,
    query: ItemQuery,
    hidden: frozenset[str] = NO_FIELDS,
    *,
    key: Hashable = None,
    budget: PageBudget = _DEFAULT,
    sizes: MeanSizes = _sizes,
    clock: Clock = time.monotonic,
) -> FeaturePage:
    """A page of at most `query.limit` features that keeps to the budget, with a cursor where it ends early.

    `key` names the collection in its generation.
    """

    def ask(part: ItemQuery) -> _Slice[FeaturePage]:
        page = source.page(part, hidden)
        size = sum(map(len, page.bodies))
        return _Slice(page, len(page.bodies), size, page.cursor, page.number_matched)

    slices, cursor, matched = _within(ask, query, ("bodies", key), budget, sizes, clock)
    if len(slices) == 1:
        return slices[0].payload
    bodies = [body for one in slices for body in one.payload.bodies]
    return FeaturePage(bodies, cursor, matched, slices[0].payload.crs)


def columns_within(
    source: FeatureSource,
    query: ItemQuery,
    hidden: frozenset[str] = NO_FIELDS,
    *,
    key: Hashable = None,
    budget: PageBudget = _DEFAULT,
    sizes: MeanSizes = _sizes,
    clock: Clock = time.monotonic,
) -> BudgetedColumns:
    """The same page as columns; a coordinate counts as 24 bytes, a value as 32."""
    if query.hits_only:
        return BudgetedColumns([], None, source.page(query, hidden).number_matched)

    def ask(part: ItemQuery) -> _Slice[FeatureColumns]:
        page = source.columns(part, hidden)
        columns = page.columns
        coordinates = int(shapely.get_num_coordinates(columns.geometries).sum())
        size = 24 * coordinates + 32 * len(columns) * len(columns.columns)
        return _Slice(columns, len(columns), size, page.cursor, page.number_matched)

    slices, cursor, matched = _within(ask, query, ("columns", key), budget, sizes, clock)
    return BudgetedColumns([one.payload for one in slices], cursor, matched)


def _within[Payload](
    ask: Callable[[ItemQuery], _Slice[Payload]],
    query: ItemQuery,
    key: Hashable,
    budget: PageBudget,
    sizes: MeanSizes,
    clock: Clock,
) -> tuple[list[_Slice[Payload]], Cursor | None, int | None]:
    """The slices of a page, where it ended, and the number matched."""
    first = query.limit if query.hits_only else _fitting(query.limit, sizes.get(key), budget.body_bytes)
    started = clock()
    part = ask(query if first >= query.limit else replace(query, limit=first))
    sizes.learn(key, part.features, part.size)
    slices, count, size = [part], part.features, part.size
    while part.cursor is not None and count < query.limit:
        left = budget.body_bytes - size
        if left <= 0 or clock() - started > budget.seconds:
            break
        wanted = _fitting(query.limit - count, size / max(1, count), left)
        part = ask(replace(query, limit=wanted, offset=0, cursor=part.cursor))
        sizes.learn(key, part.features, part.size)
        slices.append(part)
        count += part.features
        size += part.size
    matched = slices[0].matched
    if matched is None and part.cursor is None and query.cursor is None and (count or not query.offset):
        matched = query.offset + count
    return slices, part.cursor, matched


def _fitting(wanted: int, mean: float | None, left: int) -> int:
    """How many features to ask for at once: all that is wanted where half of what is left holds it, else a slice."""
    if mean is None:
        return min(wanted, _FIRST_SLICE)
    if wanted <= _FITTING and wanted * mean <= left / 2:
        return wanted
    return max(1, min(wanted, _FITTING, int(left / 2 / max(mean, 1.0))))
