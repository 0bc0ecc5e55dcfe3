"""The zoom from which an edited feature is drawn: by its size, or earlier where nothing stands for its place yet.

`overview` thins a whole collection when it is built. An edit asks only about its own cells: beginning with the finest, as long as
no other feature is shown there. A feature that stays in its finest cell keeps what it stood for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from providers.features.query import BBox
from providers.features.store.editor_rows import Row
from providers.features.store.layout import StoreFacts
from providers.features.store.overview import cell_box, cell_of, zoom_of

_MOST_RANGES = 9  # cells of the key grid that cover a cell of a tile: a few statements each
_MOST_ROWS = 1000  # that are looked at in each; where there are more, one of them stands for the place


def edited_zooms(
    connection: sqlite3.Connection, facts: StoreFacts, rows: Sequence[Row], bounds84: NDArray[np.float64]
) -> list[int]:
    """Per row the zoom at which it first appears, `facts.full_zoom` at most. Call it before the rows are written.

    Of rows that did not move, whose zoom stays as it is stored, the number means nothing.
    """
    zooms = [facts.full_zoom] * len(rows)
    if facts.full_zoom == 0:
        return zooms
    places = _Places(connection, facts)
    sizes = np.nan_to_num((bounds84[:, 2:] - bounds84[:, :2]).max(axis=1), nan=-1.0)
    for number in np.argsort(-sizes, kind="stable").tolist():
        if rows[number].moved and sizes[number] >= 0:
            zooms[number] = places.zoom(rows[number].old_key, *bounds84[number].tolist())
    return zooms


class _Places:
    """Which cells have a feature that is shown: in the store, or of the rows asked about before."""

    def __init__(self, connection: sqlite3.Connection, facts: StoreFacts) -> None:
        self._connection = connection
        self._space = facts.space
        self._full = facts.full_zoom
        self._taken: set[tuple[int, int, int]] = set()  # zoom, column, row

    def zoom(self, old_key: int | None, west: float, south: float, east: float, north: float) -> int:
        x, y = (west + east) / 2, (south + north) / 2
        zoom = zoom_of(east - west, north - south, self._full)
        kept = self._kept(old_key, x, y)
        if kept is not None:
            zoom = min(zoom, kept)
        else:
            while zoom > 0 and not self._is_shown(zoom - 1, x, y, old_key):
                zoom -= 1
        self._taken.update((z, *cell_of(x, y, z)) for z in range(zoom, self._full))
        return zoom

    def _kept(self, old_key: int | None, x: float, y: float) -> int | None:
        """The zoom it had, where it has moved within its finest cell."""
        if old_key is None:
            return None
        row = self._connection.execute(_STOOD, (old_key,)).fetchone()
        finest = self._full - 1
        if row is None or row[1] is None or cell_of(row[1], row[2], finest) != cell_of(x, y, finest):
            return None
        return int(row[0])

    def _is_shown(self, zoom: int, x: float, y: float, but: int | None) -> bool:
        """Whether a tile of this zoom shows another feature in the cell that holds the point."""
        column, row = cell_of(x, y, zoom)
        if (zoom, column, row) in self._taken:
            return True
        west, south, east, north = cell_box(column, row, zoom)
        wanted = (zoom, -1 if but is None else but, 2 * west, 2 * east, 2 * south, 2 * north)
        ranges = self._space.ranges(BBox(west, south, east, north), 0.0, 0.0, _MOST_RANGES)
        found = any(self._connection.execute(_SHOWN, (*part, *wanted)).fetchone() for part in ranges)
        return found or any(self._connection.execute(_MANY, part).fetchone() for part in ranges)


_STOOD = "SELECT zoom, (minx + maxx) / 2, (miny + maxy) / 2 FROM fragment WHERE key = ?"
_SHOWN = (
    "SELECT 1 FROM (SELECT key, zoom, minx, miny, maxx, maxy FROM fragment WHERE key BETWEEN ? AND ?"  # noqa: S608 - our own number
    f" LIMIT {_MOST_ROWS}) WHERE zoom <= ? AND key <> ? AND minx + maxx >= ? AND minx + maxx < ?"
    " AND miny + maxy >= ? AND miny + maxy < ? LIMIT 1"
)
_MANY = f"SELECT 1 FROM fragment WHERE key BETWEEN ? AND ? LIMIT 1 OFFSET {_MOST_ROWS}"  # noqa: S608 - our own number
