"""The features of one answer, read in slices within bounds of bytes and time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from typing import Final

from providers.features.item_columns import item_columns
from providers.features.page_budget import BudgetedColumns, columns_within
from providers.features.query import Cursor, ItemQuery
from providers.features.search_places import place_for
from providers.features.source import Ability, FeatureColumns
from server.http.places import Places
from server.http.wfs.query import FeatureQuery
from server.http.wfs.resuming import page_ends

_SECONDS: Final = 60.0
"""Of reading and writing one answer. Clients of WFS take a page that is shorter than `count` for the last one, so a page is ended
early only where it must be; what is written waits on disk and not in memory (`spool`)."""


class Reading:
    """The features that a query selects. `returned` and `cursor` are right once `slices` has come to its end.

    The first slice is read when it is made: what is refused is refused before anything is answered. `matched` is exact, or
    None where counting would cost more than the page. What goes on past the budget of one page of items takes one of `places`,
    so that long answers leave threads to the others; `slices` raises Overloaded where there is none.
    """

    def __init__(
        self, query: FeatureQuery, places: Places, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._query = query
        self._places = places
        self._clock = clock
        self._started = clock()
        self.returned = 0
        self.cursor: Cursor | None = None
        self.matched: int | None = None
        if query.ids is None:
            self._page = self._read(self._from_its_start(query.items))
            self.matched = self._page.number_matched
        else:
            self._page = self._read_ids(query.ids)

    @property
    def _state(self) -> Hashable:
        asked = self._query.kind.asked
        return asked.budget_key, asked.source.change(), asked.decision.key

    def _from_its_start(self, items: ItemQuery) -> ItemQuery:
        """The query as the store is asked it: with a cursor, the offset only says what the page is counted from."""
        cursor = items.cursor
        if cursor is None and items.offset and Ability.CURSOR in self._query.kind.asked.source.abilities:
            cursor = page_ends.find(self._state, items, items.offset)
        return items if cursor is None else replace(items, cursor=cursor, offset=0)

    def _read(self, items: ItemQuery) -> BudgetedColumns:
        asked = self._query.kind.asked
        with place_for(asked.source, items):
            return columns_within(asked.source, items, asked.hidden, key=asked.budget_key)

    def _read_ids(self, ids: tuple[str, ...]) -> BudgetedColumns:
        asked, items = self._query.kind.asked, self._query.items
        found = [
            columns
            for feature_id in ids
            if (columns := item_columns(asked.source, feature_id, asked.hidden)) is not None
        ]
        self.matched = len(found)
        shown = [] if items.hits_only else found[items.offset : items.offset + items.limit]
        return BudgetedColumns(shown, None, self.matched)

    def slices(self) -> Iterator[FeatureColumns]:
        """All of them, to be read once."""
        items, is_long = self._query.items, False
        yield from self._shown(self._page)
        with contextlib.ExitStack() as place:
            while self.cursor is not None and self.returned < items.limit and self._in_time():
                if not is_long:
                    is_long = True
                    place.enter_context(self._places.taken())
                left = items.limit - self.returned
                yield from self._shown(self._read(replace(items, offset=0, cursor=self.cursor, limit=left)))
        if self.cursor is not None:
            page_ends.keep(self._state, items, items.offset + self.returned, self.cursor)
        is_whole = self.cursor is None and self._query.ids is None and not items.hits_only
        if self.matched is None and is_whole and (self.returned or not items.offset):
            self.matched = items.offset + self.returned

    def _shown(self, page: BudgetedColumns) -> Iterator[FeatureColumns]:
        for columns in page.slices:
            self.returned += len(columns)
            yield columns
        self.cursor = page.cursor

    def _in_time(self) -> bool:
        return self._clock() - self._started < _SECONDS
