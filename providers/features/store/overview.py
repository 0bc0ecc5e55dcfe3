"""From which zoom a feature is drawn: what keeps the tiles of a whole city small.

A feature appears at the zoom where its envelope is as long as three screen pixels, or earlier as the representative of its
neighbours: at every zoom a tile has 48 x 48 cells, and in each cell one feature is shown, the largest. From
`full_zoom` on all are shown. Zooms are those of WebMercatorQuad with 256 pixels a tile.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FULL_TILE = 4000  # features in the densest tile of the zoom from which all are shown
_LAST_ZOOM = 16
_PIXELS = 256
_CELLS = 48  # along the side of a tile
_SHOWN = 3  # pixels


def full_zoom(x: NDArray[np.float64], y: NDArray[np.float64]) -> int:
    """The lowest zoom whose densest tile holds few enough features. `x`, `y` are CRS84 centres, without NaN."""
    for zoom in range(_LAST_ZOOM):
        if len(x) <= _FULL_TILE or int(_counts(_cells(x, y, zoom, 1)).max()) <= _FULL_TILE:
            return zoom
    return _LAST_ZOOM


def first_zooms(
    x: NDArray[np.float64], y: NDArray[np.float64], size: NDArray[np.float64], full: int
) -> NDArray[np.int64]:
    """Per feature (CRS84 centre; longer side of the envelope, degrees) the zoom it first appears at, `full` at most."""
    with np.errstate(divide="ignore"):
        by_size = np.ceil(np.log2(_SHOWN * 360.0 / _PIXELS / size))
    zooms = np.clip(by_size, 0, full).astype(np.int64)
    largest_first = np.argsort(-size, kind="stable")
    for zoom in range(full):
        is_shown = zooms[largest_first] <= zoom
        shown = int(is_shown.sum())
        if shown == len(zooms):
            break
        # Features that are shown anyway come first, so a cell that holds one gets no other.
        candidates = np.concatenate([largest_first[is_shown], largest_first[~is_shown]])
        _, first = np.unique(_cells(x[candidates], y[candidates], zoom, _CELLS), return_index=True)
        zooms[candidates[first[first >= shown]]] = zoom
    return zooms


def _cells(x: NDArray[np.float64], y: NDArray[np.float64], zoom: int, per_tile: int) -> NDArray[np.int64]:
    """Number of the cell (a `per_tile`th of a tile's side) that holds each point, in spherical Mercator."""
    count = (1 << zoom) * per_tile
    latitude = np.radians(np.clip(y, -85.05, 85.05))
    column = np.floor((x + 180.0) / 360.0 * count).astype(np.int64)
    row = np.floor((1.0 - np.arcsinh(np.tan(latitude)) / np.pi) / 2.0 * count).astype(np.int64)
    return column * count + row


def _counts(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(cells, return_counts=True)[1]
