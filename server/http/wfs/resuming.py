"""Where pages ended that were asked for by startIndex, so that the next one goes on from there.

GDAL and QGIS read by STARTINDEX and follow no `next` links. A store that skips a million features for one page does so for each
of the pages after it; from the cursor of the page before, every page costs the same. It is a memory of this process only:
what is not in it is skipped to.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from providers.features.query import Cursor, ItemQuery

_KEPT: Final = 1024


class PageEnds:
    """Cursors by query and index; bounded, and shared by threads."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._ends: OrderedDict[Hashable, Cursor] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, state: Hashable, items: ItemQuery, index: int) -> Cursor | None:
        """The cursor that stands before the feature `index` of the query; `state` is the collection's, in all that edits change."""
        with self._lock:
            return self._ends.get(_key(state, items, index))

    def keep(self, state: Hashable, items: ItemQuery, index: int, cursor: Cursor) -> None:
        """Remember it."""
        key = _key(state, items, index)
        with self._lock:
            self._ends[key] = cursor
            self._ends.move_to_end(key)
            while len(self._ends) > self._kept:
                self._ends.popitem(last=False)


def _key(state: Hashable, items: ItemQuery, index: int) -> Hashable:
    """What decides which features a query selects, in which order."""
    return state, items.bbox, "" if items.filter is None else items.filter.text, items.sortby, index


page_ends: Final = PageEnds()
"""Those of this process."""
