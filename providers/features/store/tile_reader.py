"""Vector tiles of the embedded store, from its tile parts."""

from __future__ import annotations

import math
import sqlite3
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from providers.features.source import NO_FIELDS, TileWindow
from providers.features.store.tile_parts import ALL, FAR, HEAD, Encoded, PartColumns, beside
from tiles.grids import HALF_CIRCUMFERENCE
from tiles.vector.fixed_point import (
    EXTENT,
    FULL_DETAIL,
    LAST_ZOOM,
    OVERVIEW_DETAIL,
    FixedFeatures,
    TileFraming,
    encode_fixed_layer,
    touching,
)
from tiles.vector.message import Tags

if TYPE_CHECKING:
    from providers.features.store.reader import FeatureStore

_MAXIMUM_FEATURES = 20_000
_MERCATOR = "http://www.opengis.net/def/crs/EPSG/0/3857"
_ROUNDING = 1e-6
_BLOCKS = (
    "SELECT p.band, p.first, (SELECT group_concat(key) FROM tile_gone g WHERE g.part = i.id),"
    " p.heads, p.paths, p.vertices, p.codes, p.sizes, p.texts"
    " FROM tile_index i CROSS JOIN tile_part p ON p.id = i.id"
    " WHERE i.maxx >= ? AND i.minx <= ? AND i.maxy >= ? AND i.miny <= ? AND i.maxband >= ? AND i.minband <= ?"
)


@dataclass(frozen=True, slots=True)
class Values:
    """The values of a store by code: all their bytes, and where each begins and (at the next entry) ends."""

    content: NDArray[np.uint8]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def table(self, codes: NDArray[np.intp]) -> bytes:
        """The bytes of these values, one after the other."""
        sizes = self.starts[codes + 1] - self.starts[codes]
        ends = np.cumsum(sizes)
        positions = np.arange(int(ends[-1]) if ends.size else 0)
        positions += np.repeat(self.starts[codes] - (ends - sizes), sizes)
        return self.content[positions].tobytes()


_NO_VALUES = Values(np.empty(0, np.uint8), np.zeros(1, np.int64))


class _PartState:
    """What is kept of an open store: its columns, and the values known so far (codes are never given twice)."""

    def __init__(self, columns: PartColumns | None) -> None:
        self.columns = columns
        self._values = _NO_VALUES
        self._lock = threading.Lock()

    def values(self, connection: sqlite3.Connection) -> Values:
        """All values that the present state of the store can name."""
        known = self._values
        row = connection.execute("SELECT max(code) FROM tile_value").fetchone()
        if row[0] is None or row[0] < len(known):
            return known
        with self._lock:
            known = self._values
            rows = connection.execute(
                "SELECT body FROM tile_value WHERE code >= ? ORDER BY code", (len(known),)
            ).fetchall()
            bodies = [body for (body,) in rows]
            fresh = np.frombuffer(b"".join(bodies), dtype=np.uint8)
            ends = known.starts[-1] + np.cumsum(np.fromiter(map(len, bodies), np.int64, len(bodies)))
            self._values = Values(
                np.concatenate([known.content, fresh]), np.concatenate([known.starts, ends])
            )
            return self._values


_states: weakref.WeakKeyDictionary[FeatureStore, _PartState] = weakref.WeakKeyDictionary()
_states_lock = threading.Lock()


def _state_of(store: FeatureStore, connection: sqlite3.Connection) -> _PartState:
    with _states_lock:
        state = _states.get(store)
        if state is None:
            state = _states[store] = _PartState(PartColumns.read(connection))
        return state


class _Blocks(NamedTuple):
    """Features of the blocks a tile asked for, and their attributes in the order of `PartColumns`."""

    heads: NDArray[np.void]
    features: FixedFeatures
    codes: NDArray[np.int32]
    sizes: NDArray[np.uint32]
    texts: NDArray[np.uint8]


def embedded_tile(
    store: FeatureStore,
    window: TileWindow,
    layer: str,
    hidden: frozenset[str] = NO_FIELDS,
    asof: str | None = None,
) -> bytes:
    """A tile with one layer; b"" where nothing lies in it: of the tile parts where they serve, else of the geometries."""
    if asof is not None:
        past = store.at(asof)
        return b"" if past is None else embedded_tile(past, window, layer, hidden)
    fields = [
        field.name
        for field in store.schema.fields
        if field.name not in hidden and (window.fields is None or field.name in window.fields)
    ]
    framing = None if store.is_past else _framing_of(window)
    made = None if framing is None else parts_tile(store, framing, layer, fields)
    if made is not None:
        return made
    from providers.tiles.generic import generic_tile

    return generic_tile(store, window, layer, fields, store.facts.full_zoom)


def _framing_of(window: TileWindow) -> TileFraming | None:
    """The tile of WebMercatorQuad that a window shows, None where it shows something else, or too fine a tile."""
    if window.crs.uri != _MERCATOR or window.extent != EXTENT:
        return None
    minx, _, maxx, maxy = window.bounds
    tiles = 2 * HALF_CIRCUMFERENCE / (maxx - minx)
    column = (minx + HALF_CIRCUMFERENCE) / (maxx - minx)
    row = (HALF_CIRCUMFERENCE - maxy) / (maxx - minx)
    framing = TileFraming(round(math.log2(tiles)), round(column), round(row), window.buffer)
    exact = all(abs(number - round(number)) < _ROUNDING for number in (math.log2(tiles), column, row))
    return framing if exact and 0 <= framing.zoom <= LAST_ZOOM else None


def parts_tile(
    store: FeatureStore,
    framing: TileFraming,
    layer: str,
    fields: Sequence[str],
) -> bytes | None:
    """A tile of WebMercatorQuad up to zoom 19 with these attributes; b"" where nothing lies in it.

    None where the store has no tile parts (it was built by an earlier release).
    """
    with store.snapshot() as connection:
        state = _state_of(store, connection)
        if state.columns is None:
            return None
        full_zoom = store.facts.full_zoom
        is_far = framing.zoom <= full_zoom - FAR
        minx, miny, maxx, maxy = framing.box()
        bands = (beside(framing.zoom), framing.zoom) if is_far else (ALL, beside(ALL))
        rows = connection.execute(_BLOCKS, (minx, maxx, miny, maxy, *bands)).fetchall()
        values = state.values(connection)
    if not rows:
        return b""
    rows.sort(key=_place)
    blocks = _chosen(_joined(rows, state.columns), framing, full_zoom)
    if not len(blocks.features):
        return b""
    detail = FULL_DETAIL if framing.zoom >= full_zoom else OVERVIEW_DETAIL
    tags = _TagMaker(blocks, state.columns, values, fields)
    return encode_fixed_layer(layer, blocks.features, tags, framing, detail)


def _place(row: tuple[Any, ...]) -> tuple[int, int]:
    return row[0], row[1]


def _joined(rows: Sequence[tuple[Any, ...]], columns: PartColumns) -> _Blocks:
    """The arrays of all blocks, one behind the other; without what edits have taken out of them."""
    encoded = Encoded.of_blocks([row[3:] for row in rows], columns)
    gone = [text for _, _, text, *_ in rows if text is not None]
    if gone:
        keys = np.array(",".join(gone).split(","), dtype=np.int64)
        counts = [len(row[3]) // HEAD.itemsize for row in rows]
        is_block = np.repeat([0 <= row[0] <= ALL for row in rows], counts)
        encoded = encoded.take(np.flatnonzero(~(is_block & np.isin(encoded.heads["key"], keys))))
    head, marks = encoded.heads, encoded.marks
    features = FixedFeatures(
        head["id"],
        head["known"] != 0,
        head["kind"],
        np.ascontiguousarray(head.view("u1").reshape(len(head), HEAD.itemsize)[:, 16:32]).view("<i4"),
        head["paths"].astype(np.int64),
        (marks >> 1).astype(np.int64),
        (marks & 1).astype(np.bool_),
        encoded.vertices,
    )
    return _Blocks(head, features, encoded.codes, encoded.sizes, encoded.texts)


def _chosen(blocks: _Blocks, framing: TileFraming, full_zoom: int) -> _Blocks:
    """The features that lie in the tile and are shown at its zoom; the largest ones where they are too many."""
    bounds = blocks.features.bounds
    kept = touching(bounds, framing)
    if framing.zoom < full_zoom:
        kept &= blocks.heads["zoom"] <= framing.zoom
    if int(kept.sum()) > _MAXIMUM_FEATURES:
        sides = bounds.astype(np.int64)
        size = np.maximum(sides[:, 2] - sides[:, 0], sides[:, 3] - sides[:, 1])
        size[~kept] = -1
        order = np.lexsort((-size, blocks.heads["zoom"]))
        kept[order[kept[order]][_MAXIMUM_FEATURES:]] = False
    if kept.all():
        return blocks
    bytes_of = np.repeat(kept, blocks.sizes.sum(axis=1, dtype=np.int64))
    return _Blocks(
        blocks.heads[kept],
        blocks.features.select(kept),
        blocks.codes[kept],
        blocks.sizes[kept],
        blocks.texts[np.flatnonzero(bytes_of)],
    )


class _TagMaker:
    """The attributes of features, by their positions."""

    def __init__(self, blocks: _Blocks, columns: PartColumns, values: Values, fields: Sequence[str]) -> None:
        self._blocks = blocks
        self._values = values
        wanted = set(fields)
        if columns.id_name is not None:
            wanted.add(columns.id_name)
        self._coded = [i for i, name in enumerate(columns.coded) if name in wanted]
        self._plain = [i for i, name in enumerate(columns.plain) if name in wanted]
        self._all_plain = len(self._plain) == len(columns.plain)
        names = [columns.coded[i] for i in self._coded] + [columns.plain[i] for i in self._plain]
        # As they stand in the schema, the id first: `numbers` of a call has the coded ones before the plain ones.
        wanted_order = [name for name in (columns.id_name, *fields) if name in names]
        self._order = [names.index(name) for name in wanted_order]
        self._keys = tuple(wanted_order)

    def __call__(self, chosen: NDArray[np.intp]) -> Tags:
        """Tags of these features: first the values that have codes, each once, then the others as they come."""
        everything = len(chosen) == len(self._blocks.heads)
        codes = self._blocks.codes[:, self._coded]
        sizes = self._blocks.sizes
        if not everything:
            codes = codes[chosen]
        seen = np.zeros(len(self._values) + 1, dtype=np.bool_)  # the last one is for what is missing
        seen[codes] = True
        seen[-1] = False
        used = np.flatnonzero(seen)
        places = np.full(len(seen), -1, dtype=np.int32)
        places[used] = np.arange(len(used))
        texts = self._blocks.texts
        if not everything or not self._all_plain:
            kept = np.zeros(sizes.shape, dtype=np.bool_)
            kept[np.ix_(chosen, self._plain)] = True
            texts = texts[np.flatnonzero(np.repeat(kept.reshape(-1), sizes.reshape(-1)))]
            sizes = sizes[np.ix_(chosen, self._plain)]
        there = sizes > 0
        plain = (np.cumsum(there.reshape(-1)) - 1 + len(used)).reshape(there.shape)
        numbers = np.concatenate(
            [places[codes], np.where(there, plain, -1)], axis=1, dtype=np.int32, casting="unsafe"
        )
        table = self._values.table(used) + texts.tobytes()
        numbers = numbers[:, self._order]
        present = (numbers >= 0).any(axis=0)
        if present.all():
            return Tags(self._keys, numbers, table)
        keys = tuple(key for key, shown in zip(self._keys, present.tolist(), strict=True) if shown)
        return Tags(keys, numbers[:, present], table)
