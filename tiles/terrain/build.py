"""An elevation model -> a folder of quantized-mesh tiles with layer.json.

Tiling: EPSG:4326, two tiles at level 0, rows from the south (TMS), as Cesium asks for. Both root tiles always exist,
flat where there are no data, and so does every tile above and beside the data that is needed to reach it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.terrain.elevation import ElevationModel
from tiles.terrain.errors import TerrainError
from tiles.terrain.quantized_mesh import GRID, TileGrid, encode_tile
from tiles.three_d.files import FileWriter
from tiles.three_d.placement import horizontal_path
from tiles.three_d.vertical import VerticalReference, to_ellipsoid

DEEPEST_LEVEL = 22
_METRES_PER_DEGREE = 111_320.0
# Largest error (m) of a mesh at level 0: under half of what a client assumes of 65 samples along half a turn; each level
# halves it, so simplification stays invisible at the distance a level is drawn from.
_ERROR_AT_LEVEL_0 = 30_000.0
# From this level on a tile is small enough for PROJ to be asked at every eighth sample only.
_SMALL_TILE_LEVEL = 9
_COARSE = 8
# Around the model the ground sinks over this share of its longer side: a cliff there would open gaps between levels.
_FADE = 0.03

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class TerrainSummary:
    """What was built. `bbox84h`: west, south, bottom, east, north, top of the data, degrees and metres above the
    ellipsoid. `bytes` counts the plain files, `gzip_bytes` their compressed siblings."""

    min_zoom: int
    max_zoom: int
    tile_count: int
    bytes: int
    gzip_bytes: int
    bbox84h: tuple[float, float, float, float, float, float]
    height_reference: str


class _TileRange(NamedTuple):
    """Columns and rows of the tiles of a level, both ends included."""

    level: int
    west: int
    south: int
    east: int
    north: int

    def available(self) -> list[dict[str, int]]:
        """As layer.json lists it."""
        return [{"startX": self.west, "startY": self.south, "endX": self.east, "endY": self.north}]


def build_terrain(
    out_dir: Path,
    dem_path: Path,
    *,
    vertical: VerticalReference | None = None,
    attribution: str = "",
    max_zoom: int | None = None,
    max_error: float | None = None,
    report: Progress | None = None,
) -> TerrainSummary:
    """Write `layer.json` and `{z}/{x}/{y}.terrain` for an elevation model (any CRS, metres in band 1) into `out_dir`.

    `vertical` says what its heights refer to (default: the ellipsoid). The deepest level follows from the model's pixel
    size unless `max_zoom` says otherwise. `max_error` (m) is the largest error of the mesh at that level. Where the model
    has no data the ground lies at its lowest height; around its border it slopes down to that. `report(done, total)` is called after every tile.

    Raises TerrainError where the file is no elevation model, PlacementError where it cannot be placed.
    """
    with ElevationModel(dem_path) as model:
        surface = _Surface(model, vertical or VerticalReference.ellipsoidal())
        deepest = _deepest_level(model) if max_zoom is None else max_zoom
        if not 0 <= deepest <= DEEPEST_LEVEL:
            raise TerrainError(f"level {deepest} was asked; allowed are 0 to {DEEPEST_LEVEL}")
        ranges = _ranges(surface.bounds_with_fade(), deepest)
        total = sum((one.east - one.west + 1) * (one.north - one.south + 1) for one in ranges)
        writer = FileWriter(out_dir)
        done = 0
        for one in ranges:
            error = _ERROR_AT_LEVEL_0 / 2.0**one.level
            if one.level == deepest and max_error is not None:
                error = max_error
            for x in range(one.west, one.east + 1):
                for y in range(one.south, one.north + 1):
                    grid = surface.grid(one.level, x, y, deepest)
                    writer.write(f"{one.level}/{x}/{y}.terrain", encode_tile(grid, one.level, error))
                    done += 1
                    if report is not None:
                        report(done, total)
        writer.write("layer.json", orjson.dumps(_layer_json(ranges, attribution), option=orjson.OPT_INDENT_2))
        west, south, east, north = surface.bounds
        return TerrainSummary(
            min_zoom=0,
            max_zoom=deepest,
            tile_count=done,
            bytes=writer.plain_bytes,
            gzip_bytes=writer.gzip_bytes,
            bbox84h=(west, south, surface.lowest, east, north, surface.highest),
            height_reference=surface.description,
        )


class _Surface:
    """The model's heights above the ellipsoid on the grid of a tile."""

    def __init__(self, model: ElevationModel, vertical: VerticalReference) -> None:
        self._model = model
        self._vertical = vertical
        self._path, border = horizontal_path(model.horizontal, model.outline())
        if not np.isfinite(border).all():
            raise TerrainError("the elevation model reaches out of the area of its CRS; cut it first")
        low, high = border.min(axis=0), border.max(axis=0)
        if high[0] - low[0] > 180.0:
            raise TerrainError("the elevation model crosses the antimeridian; cut it there into two")
        self.bounds = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        self._fade = max(_FADE * max(model.width, model.height), 1.0)
        self.lowest, self.highest, self.description = self._overview()

    def bounds_with_fade(self) -> tuple[float, float, float, float]:
        """The box of all that is not flat."""
        west, south, east, north = self.bounds
        wide, high = (east - west) * _FADE * 1.5, (north - south) * _FADE * 1.5
        return (west - wide, south - high, east + wide, north + high)

    def _overview(self) -> tuple[float, float, str]:
        """Lowest and highest ellipsoidal height on a coarse grid over the model, and how heights were brought there."""
        west, south, east, north = self.bounds
        count = 257
        longitude, latitude = np.meshgrid(np.linspace(west, east, count), np.linspace(south, north, count))
        lonlat = np.column_stack((longitude.ravel(), latitude.ravel()))
        coarseness = 1
        while max(self._model.width, self._model.height) / coarseness > 2.0 * count:
            coarseness *= 2
        found = self._model.heights(self._path.inverse(lonlat), coarseness)
        known = np.isfinite(found)
        if not known.any():
            raise TerrainError("the elevation model holds no heights, only gaps")
        heights, description = to_ellipsoid(self._model.crs, lonlat[known], found[known], self._vertical)
        return float(heights.min()), float(heights.max()), description

    def grid(self, level: int, x: int, y: int, deepest: int) -> TileGrid:
        """The tile's heights; outside the model they sink from its border to its lowest height, where its gaps lie too."""
        size = 180.0 / 2**level
        west, south = -180.0 + x * size, -90.0 + y * size
        # Fractions of the tile, one sample beyond each edge.
        share = np.arange(-1, GRID + 1) / (GRID - 1)
        longitude, latitude = np.meshgrid(west + share * size, np.clip(south + share * size, -90.0, 90.0))
        lonlat = np.column_stack((longitude.ravel(), latitude.ravel()))
        places = (
            self._places(west, south, size, share)
            if level >= _SMALL_TILE_LEVEL
            else self._path.inverse(lonlat)
        )
        usable = np.isfinite(places).all(axis=1)
        nearest, distance = self._model.nearest(places[usable])
        found = np.full(len(lonlat), np.nan)
        share_of_model = np.zeros(len(lonlat))
        share_of_model[usable] = np.maximum(1.0 - distance / self._fade, 0.0)
        wanted = share_of_model > 0.0
        found[wanted] = self._model.heights(nearest[wanted[usable]], 2 ** (deepest - level))
        heights = np.full(len(lonlat), self.lowest)
        known = np.isfinite(found)
        if known.any():
            inside, _ = to_ellipsoid(self._model.crs, lonlat[known], found[known], self._vertical)
            heights[known] += (inside - self.lowest) * share_of_model[known]
        return TileGrid(west, south, west + size, south + size, heights.reshape(GRID + 2, GRID + 2))

    def _places(
        self, west: float, south: float, size: float, share: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Places of all samples in the model's CRS, between exact ones at every eighth; exact on the tile's corners, and
        on an edge found from that edge alone, so that both neighbours find the same."""
        knots = np.linspace(0.0, 1.0, _COARSE + 1)
        longitude, latitude = np.meshgrid(west + knots * size, south + knots * size)
        exact = self._path.inverse(np.column_stack((longitude.ravel(), latitude.ravel())))
        cell = np.clip(np.floor(share * _COARSE), 0, _COARSE - 1).astype(np.int64)
        part = share * _COARSE - cell
        weights = np.zeros((len(share), _COARSE + 1))
        rows = np.arange(len(share))
        weights[rows, cell] = 1.0 - part
        weights[rows, cell + 1] = part
        net = exact.reshape(_COARSE + 1, _COARSE + 1, 2)
        return np.asarray(np.einsum("ai,bj,ijc->abc", weights, weights, net, optimize=True)).reshape(-1, 2)


def _deepest_level(model: ElevationModel) -> int:
    """The level whose samples lie about as far apart as the model's pixels."""
    spacing_at_0 = 180.0 * _METRES_PER_DEGREE / (GRID - 1)
    return int(np.clip(round(float(np.log2(spacing_at_0 / model.pixel_size()))), 0, DEEPEST_LEVEL))


def _ranges(bounds: tuple[float, float, float, float], deepest: int) -> list[_TileRange]:
    west, south, east, north = bounds
    ranges = [_TileRange(0, 0, 0, 1, 0)]
    for level in range(1, deepest + 1):
        size = 180.0 / 2**level
        last_x, last_y = 2 ** (level + 1) - 1, 2**level - 1
        ranges.append(
            _TileRange(
                level,
                int(np.clip((west + 180.0) // size, 0, last_x)),
                int(np.clip((south + 90.0) // size, 0, last_y)),
                int(np.clip((east + 180.0) // size, 0, last_x)),
                int(np.clip((north + 90.0) // size, 0, last_y)),
            )
        )
    return ranges


def _layer_json(ranges: list[_TileRange], attribution: str) -> dict[str, Any]:
    return {
        "tilejson": "2.1.0",
        "name": "terrain",
        "version": "1.0.0",
        "format": "quantized-mesh-1.0",
        "scheme": "tms",
        "projection": "EPSG:4326",
        "tiles": ["{z}/{x}/{y}.terrain"],
        "minzoom": 0,
        "maxzoom": ranges[-1].level,
        "bounds": [-180.0, -90.0, 180.0, 90.0],
        "attribution": attribution,
        "extensions": ["octvertexnormals"],
        "available": [one.available() for one in ranges],
    }
