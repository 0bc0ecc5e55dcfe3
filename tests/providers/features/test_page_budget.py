"""Pages end before they grow too large, with a cursor that leads on, and nothing is lost or told twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import shapely

from providers.features.page_budget import MeanSizes, PageBudget, columns_within, page_within
from providers.features.query import ItemQuery
from providers.features.source import ColumnPage, FeatureColumns, FeaturePage


@dataclass
class Numbers:
    """A source of `count` features of `size` bytes each; `calls` are the limits it was asked for."""

    count: int
    size: int
    calls: list[int] = field(default_factory=list)

    def _range(self, query: ItemQuery) -> tuple[range, tuple[int] | None, int | None]:
        self.calls.append(query.limit)
        start = query.offset if query.cursor is None else int(str(query.cursor[0])) + 1
        shown = range(start, min(self.count, start + query.limit))
        more = shown.stop < self.count and len(shown) > 0
        return shown, (shown[-1],) if more else None, None

    def page(self, query: ItemQuery, hidden: frozenset[str] = frozenset()) -> FeaturePage:
        shown, cursor, matched = self._range(query)
        return FeaturePage([b"%d".ljust(self.size) % number for number in shown], cursor, matched)

    def columns(self, query: ItemQuery, hidden: frozenset[str] = frozenset()) -> ColumnPage:
        shown, cursor, matched = self._range(query)
        geometries = np.empty(len(shown), dtype=object)
        geometries[:] = [shapely.LineString([(0, 0)] * 40) for _ in shown]
        columns = FeatureColumns(list(shown), list(map(str, shown)), geometries, {"name": ["x"] * len(shown)})
        return ColumnPage(columns, cursor, matched)


def pages(source: Any, query: ItemQuery, budget: PageBudget) -> list[FeaturePage]:
    from dataclasses import replace

    sizes, result = MeanSizes(), []
    while True:
        page = page_within(source, query, key="k", budget=budget, sizes=sizes)
        result.append(page)
        if page.cursor is None:
            return result
        query = replace(query, cursor=page.cursor, offset=0)


@pytest.mark.parametrize("limit", [1, 99, 100, 101, 1000, 2500, 10_000])
def test_everything_comes_once_and_in_order(limit: int) -> None:
    source = Numbers(2500, 20)
    found = [body for page in pages(source, ItemQuery(limit=limit), PageBudget()) for body in page.bodies]
    assert [int(body) for body in found] == list(range(2500))


def test_a_page_ends_early_near_its_budget() -> None:
    source, budget = Numbers(5000, 10_000), PageBudget(body_bytes=1_000_000)
    found = pages(source, ItemQuery(limit=5000), budget)
    sizes = [sum(map(len, page.bodies)) for page in found]
    assert len(found) > 10
    assert max(sizes) <= 2_000_000
    assert sum(page.number_returned for page in found) == 5000


def test_one_feature_larger_than_the_budget_is_still_given() -> None:
    source, budget = Numbers(3, 2_000_000), PageBudget(body_bytes=1000)
    sizes = MeanSizes()
    sizes.learn(("bodies", "k"), 1, 2_000_000)
    page = page_within(source, ItemQuery(limit=3), key="k", budget=budget, sizes=sizes)  # type: ignore[arg-type] # a part of a source
    assert page.number_returned == 1
    assert page.cursor is not None


def test_a_page_ends_when_its_time_is_over() -> None:
    source, ticks = Numbers(5000, 10), iter(range(0, 1000, 4))
    page = page_within(
        source,  # type: ignore[arg-type] # a part of a source
        ItemQuery(limit=5000),
        budget=PageBudget(seconds=10),
        sizes=MeanSizes(),
        clock=lambda: float(next(ticks)),
    )
    assert 100 < page.number_returned < 5000
    assert page.cursor is not None


def test_a_known_collection_is_asked_once() -> None:
    source, sizes = Numbers(5000, 100), MeanSizes()
    page_within(source, ItemQuery(limit=50), key="k", sizes=sizes)  # type: ignore[arg-type] # a part of a source
    source.calls.clear()
    page_within(source, ItemQuery(limit=1000), key="k", sizes=sizes)  # type: ignore[arg-type] # a part of a source
    assert source.calls == [1000]


def test_the_number_matched_is_told_where_the_page_holds_the_end() -> None:
    source = Numbers(250, 10)
    assert page_within(source, ItemQuery(limit=1000), sizes=MeanSizes()).number_matched == 250  # type: ignore[arg-type] # a part
    late = page_within(source, ItemQuery(limit=1000, offset=90), sizes=MeanSizes())  # type: ignore[arg-type] # a part
    assert (late.number_returned, late.number_matched) == (160, 250)
    cut = page_within(source, ItemQuery(limit=200), sizes=MeanSizes())  # type: ignore[arg-type] # a part
    assert cut.number_matched is None


def test_columns_keep_to_the_budget_too() -> None:
    source = Numbers(5000, 0)
    page = columns_within(
        source, ItemQuery(limit=5000), budget=PageBudget(body_bytes=1_000_000), sizes=MeanSizes()
    )  # type: ignore[arg-type] # a part
    assert 0 < page.number_returned < 5000
    assert page.cursor is not None
    assert [key for part in page.slices for key in part.keys] == list(range(page.number_returned))
