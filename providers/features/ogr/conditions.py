"""Finds the features of a query in one state of a layer, in order: by the index, then by conditions on columns."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from providers.errors import AnswerTooLarge, InvalidParameter
from providers.features.in_place import QUERY_SECONDS, cursor_key
from providers.features.ogr.layer import LayerState, Positions
from providers.features.query import GEOMETRY, BBox, Cursor, ItemQuery, SortKey
from providers.features.schema import FieldDefinition
from providers.features.source import FeatureColumns
from providers.features.store.select import boxes_of

_FIRST_CHUNK = 2_000
_LARGEST_CHUNK = 50_000
_GEOMETRY_CHUNK = 2_000  # features are read from the file to look at their geometry
_HIGHEST_NUMBER = (1 << 63) - 1


class OrderedSearch:
    """One query on one state. Raises InvalidParameter for a cursor of another query, AnswerTooLarge when time runs out."""

    def __init__(self, state: LayerState, query: ItemQuery, hidden: frozenset[str]) -> None:
        self._state = state
        self._query = query
        self._hidden = hidden
        self._deadline = time.monotonic() + QUERY_SECONDS
        self._needed = _needed_fields(query, state, hidden)
        self._needs_geometry = query.filter is not None and _speaks_of_geometry(query.filter.node)
        self._is_conditional = bool(query.equals or query.datetime or query.filter or query.q)
        self._key = cursor_key(query, _HIGHEST_NUMBER)
        if query.cursor is not None:
            _check_cursor(query, state)

    def first(self, limit: int) -> Positions:
        """The places of the first features of the page, in order."""
        wanted = self._query.offset + limit
        if self._query.sortby:
            ordered = self._after_cursor(self._in_order(self._selected(self._candidates(), None)))
            return ordered[self._query.offset : wanted]
        candidates = self._candidates()
        if self._key is not None:
            begin = int(np.searchsorted(self._state.numbers, self._key, side="right"))
            candidates = candidates[np.searchsorted(candidates, begin) :]
        return self._selected(candidates, wanted)[self._query.offset : wanted]

    def count(self) -> int:
        """Exact number of features that match, wherever the page begins."""
        return len(self._selected(self._candidates(), None))

    def cheap_count(self, *, more: bool, returned: int) -> int | None:
        """The number matched where it is known, or where this one page holds the end of the answer."""
        if not self._is_conditional:
            return len(self._candidates())
        if more or self._query.cursor is not None or (self._query.offset and not returned):
            return None
        return self._query.offset + returned

    def cursor_at(self, position: int) -> Cursor:
        """The cursor of a page that ends with this feature."""
        values = [self._state.column(name)[position] for name, _ in self._query.sortby]
        return (*values, int(self._state.numbers[position]))

    # --- which -------------------------------------------------------------------------------------------------------

    def _candidates(self) -> Positions:
        """Ascending places of the features that meet the box, or may do so."""
        state, bbox = self._state, self._query.bbox
        if bbox is None and not self._needs_geometry:
            return np.arange(len(state), dtype=np.int64)
        mask = np.full(len(state), True)
        if bbox is not None:
            mask &= np.logical_or.reduce([_meets(state.envelopes, box) for box in boxes_of(bbox)])
        if self._needs_geometry and self._query.filter is not None:
            from providers.features.parquet.filter_sql import necessary_boxes

            for box in necessary_boxes(self._query.filter.node):
                mask &= _meets(state.envelopes, box)
        return np.flatnonzero(mask).astype(np.int64)

    def _selected(self, candidates: Positions, wanted: int | None) -> Positions:
        """Those of ascending candidates that pass every condition; at most `wanted`."""
        if not self._is_conditional:
            return candidates if wanted is None else candidates[:wanted]
        found: list[Positions] = []
        count = 0
        for part in self._parts(candidates):
            if time.monotonic() > self._deadline:
                raise _too_long()
            passed = part[self._passes(part)]
            found.append(passed)
            count += len(passed)
            if wanted is not None and count >= wanted:
                break
        selected = np.concatenate([np.empty(0, dtype=np.int64), *found])
        return selected if wanted is None else selected[:wanted]

    def _parts(self, candidates: Positions) -> Iterator[Positions]:
        reads = self._needs_geometry
        size = _GEOMETRY_CHUNK if reads else _FIRST_CHUNK
        start = 0
        while start < len(candidates):
            yield candidates[start : start + size]
            start += size
            size = size if reads else min(size * 2, _LARGEST_CHUNK)

    def _passes(self, positions: Positions) -> NDArray[np.bool_]:
        from providers.features.cql2 import matches_query

        state = self._state
        if self._needs_geometry:
            read = state.features(positions, ())
            geometries = state.in_crs84(read.geometries)
        else:
            geometries = np.full(len(positions), None, dtype=object)
        places = positions.tolist()
        columns = {
            field.name: [values[place] for place in places]
            for field in self._needed
            for values in (state.column(field.name),)
        }
        numbers = state.numbers[positions].tolist()
        table = FeatureColumns(numbers, [""] * len(numbers), geometries, columns)
        return matches_query(replace(self._query, bbox=None), table, state.schema, self._hidden)

    # --- in which order ------------------------------------------------------------------------------------------------

    def _in_order(self, selected: Positions) -> Positions:
        state, sortby = self._state, self._query.sortby
        order = state.orders.get(sortby)
        if order is None:
            order = _order(state, sortby)
            state.keep_order(sortby, order)
        if len(selected) == len(state):
            return order
        mask = np.zeros(len(state), dtype=bool)
        mask[selected] = True
        return order[mask[order]]

    def _after_cursor(self, ordered: Positions) -> Positions:
        """Those behind the cursor: what comes after it is the end of `ordered`, so it is found by halving."""
        if self._query.cursor is None:
            return ordered
        low, high = 0, len(ordered)
        while low < high:
            middle = (low + high) // 2
            if self._is_after(int(ordered[middle])):
                high = middle
            else:
                low = middle + 1
        return ordered[low:]

    def _is_after(self, position: int) -> bool:
        for (name, descending), limit in zip(self._query.sortby, self._query.cursor or (), strict=False):
            value, end = _sortable(self._state.column(name)[position]), _sortable(limit)
            if value == end:
                continue
            if value is None or end is None:
                return value is None
            return bool(value < end) if descending else bool(value > end)
        return int(self._state.numbers[position]) > (self._key or 0)


def _order(state: LayerState, sortby: Sequence[SortKey]) -> Positions:
    """Every place in the order of the keys: the last key first, each sort leaving equal values as they are."""
    places = list(range(len(state)))
    for name, descending in reversed(sortby):
        values = [_sortable(value) for value in state.column(name)]
        present = [place for place in places if values[place] is not None]
        present.sort(key=values.__getitem__, reverse=descending)
        places = present + [place for place in places if values[place] is None]
    return np.array(places, dtype=np.int64)


def _sortable(value: Any) -> Any:
    """Instants without their Z: "…:00" then comes before "…:00.5"."""
    return value[:-1] if isinstance(value, str) and value.endswith("Z") and _is_instant(value) else value


def _is_instant(text: str) -> bool:
    return len(text) >= 20 and text[10:11] == "T" and text[13:14] == ":"


def _meets(envelopes: NDArray[np.float64], box: BBox | Sequence[float]) -> NDArray[np.bool_]:
    west, south, east, north = box
    # Comparisons with NaN are false: what has no geometry meets no box.
    found: NDArray[np.bool_] = (
        (envelopes[:, 0] <= east)
        & (envelopes[:, 2] >= west)
        & (envelopes[:, 1] <= north)
        & (envelopes[:, 3] >= south)
    )
    return found


def _needed_fields(query: ItemQuery, state: LayerState, hidden: frozenset[str]) -> list[FieldDefinition]:
    """The fields that the conditions look at."""
    names = set(query.equals)
    if query.datetime is not None and state.schema.time_field is not None:
        names.add(state.schema.time_field)
    if query.filter is not None:
        names |= _mentioned(query.filter.node)
    texts = {
        field.name
        for field in state.schema.fields
        if query.q and field.type == "string" and field.format is None and field.name not in hidden
    }
    return [field for field in state.schema.fields if field.name in names | texts]


def _mentioned(node: Any) -> set[str]:
    """Names of the attributes in a filter; `GEOMETRY` among them where it speaks of the geometry."""
    from pygeofilter import ast

    if isinstance(node, ast.Attribute):
        return {str(node.name)}
    if not isinstance(node, ast.Node):
        return set()
    return {name for child in node.get_sub_nodes() for name in _mentioned(child)}


def _speaks_of_geometry(node: Any) -> bool:
    return GEOMETRY in _mentioned(node)


def _check_cursor(query: ItemQuery, state: LayerState) -> None:
    """Raise InvalidParameter where a value of the cursor is not of the type of its field."""
    kinds: dict[str, tuple[type, ...]] = {
        "string": (str,),
        "integer": (int,),
        "number": (int, float),
        "boolean": (bool,),
    }
    for (name, _), value in zip(query.sortby, query.cursor or (), strict=False):
        if value is not None and type(value) not in kinds[state.schema.by_name[name].type]:
            raise InvalidParameter(
                "cursor", str(query.cursor), "a cursor taken from a next link of the same query"
            )


def _too_long() -> AnswerTooLarge:
    return AnswerTooLarge(
        "The answer takes longer than the time one may take; ask for a smaller bbox or a narrower filter"
    )
