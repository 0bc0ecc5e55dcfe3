"""The collections that one client may list, found quickly: 10,000 of them must not cost a request more than ten.

A catalogue never changes, so what is worked out of it once is good until the next one comes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from server.http.ogc.conformance import classes_of_all
from server.http.scope import Scope
from server.identity.decision import Action, Principal, decide
from server.registry.catalogue import Catalogue, Collection

_KEPT_VIEWS = 32


class Box(NamedTuple):
    """CRS84 degrees; `west > east` crosses the antimeridian."""

    west: float
    south: float
    east: float
    north: float


class CollectionIndex:
    """The collections of one view that one client may list, ordered by tenant and id."""

    def __init__(self, collections: Sequence[Collection]) -> None:
        self.collections = list(collections)

    def selected(
        self, words: Sequence[str], box: Box | None, heights: tuple[float, float] | None = None
    ) -> list[Collection]:
        """Those whose texts hold every word (casefolded already) and whose extent shares a point with the box.

        `heights` (lowest, highest; metres) are the third dimension of the box; an extent without heights has all of them.
        """
        found: Sequence[int] = range(len(self.collections))
        if box is not None:
            found = self._meeting(box)
        if heights is not None:
            lowest, highest = heights
            bottoms, tops = self._heights
            # Not the other way round: a comparison with NaN (no heights) is false.
            apart = (bottoms > highest) | (tops < lowest)
            found = [number for number in found if not apart[number]]
        if words:
            texts = self._texts
            found = [number for number in found if all(word in texts[number] for word in words)]
        return [self.collections[number] for number in found]

    @cached_property
    def classes(self) -> list[str]:
        """The conformance classes of the view."""
        from providers.features.conformance import CHECKS

        return classes_of_all(self.collections, CHECKS)

    @cached_property
    def extent(self) -> Box | None:
        """The box around all of them; None where none has an extent. The whole round where one lies over the antimeridian."""
        west, south, east, north = self._boxes
        if not self.collections or bool(np.isnan(west).all()):
            return None
        low, high = float(np.nanmin(south)), float(np.nanmax(north))
        if bool((west > east).any()):
            return Box(-180.0, low, 180.0, high)
        return Box(float(np.nanmin(west)), low, float(np.nanmax(east)), high)

    def _meeting(self, box: Box) -> list[int]:
        west, south, east, north = self._boxes
        meets = (south <= box.north) & (north >= box.south)
        if box.west <= box.east:
            sideways = (west <= box.east) & (east >= box.west)
            # An extent across the antimeridian reaches from its west to 180 and from -180 to its east.
            across = (west > east) & ((west <= box.east) | (east >= box.west))
        else:
            sideways = (east >= box.west) | (west <= box.east)
            across = west > east
        return list(np.flatnonzero(meets & (sideways | across)).tolist())

    @cached_property
    def _texts(self) -> list[str]:
        return [
            "\n".join(
                (
                    collection.qualified_id,
                    *collection.titles.values(),
                    *collection.descriptions.values(),
                    *collection.keywords,
                )
            ).casefold()
            for collection in self.collections
        ]

    @cached_property
    def _boxes(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """(4, n): west, south, east, north; NaN, which meets nothing, without an extent."""
        boxes = np.full((len(self.collections), 4), np.nan)
        for number, collection in enumerate(self.collections):
            box = collection.bbox
            if len(box) == 6:
                boxes[number] = (box[0], box[1], box[3], box[4])
            elif box:
                boxes[number] = box
        return boxes.T

    @cached_property
    def _heights(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """(2, n): bottom, top in metres; NaN without heights."""
        heights = np.full((len(self.collections), 2), np.nan)
        for number, collection in enumerate(self.collections):
            if len(collection.bbox) == 6:
                heights[number] = (collection.bbox[2], collection.bbox[5])
        return heights.T


class CollectionViews:
    """The indexes of the present catalogue, by view and client; the least used give way."""

    def __init__(self) -> None:
        self._catalogue: Catalogue | None = None
        self._views: OrderedDict[tuple[Scope, Principal], CollectionIndex] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, catalogue: Catalogue, scope: Scope, who: Principal) -> CollectionIndex:
        """What `who` may list in a view of this catalogue."""
        key = scope, who
        with self._lock:
            if self._catalogue is not catalogue:
                self._catalogue = catalogue
                self._views.clear()
            index = self._views.get(key)
            if index is not None:
                self._views.move_to_end(key)
                return index
        index = CollectionIndex(
            [
                collection
                for collection in scope.collections(catalogue)
                if decide(who, Action.LIST, collection).allowed
            ]
        )
        with self._lock:
            if self._catalogue is catalogue:
                self._views[key] = index
                while len(self._views) > _KEPT_VIEWS:
                    self._views.popitem(last=False)
        return index
