"""A terrain that is served: any of its tiles, made now; layer.json; heights of the ground as it is drawn."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tiles.terrain.elevation import BLOCK, SMALL_BLOCK, ElevationModel, Heights
from tiles.terrain.errors import TerrainError
from tiles.terrain.mesh import TileMesh, read_tile
from tiles.terrain.quantized_mesh import encode_tile
from tiles.terrain.recipe import TerrainRecipe, read_recipe
from tiles.terrain.surface import Surface
from tiles.terrain.terrain_rgb import Encoding, ImageFormat, rgb_tile
from tiles.terrain.tiling import (
    GEOGRAPHIC,
    METADATA_LEVELS,
    Availability,
    Box,
    TerrainGrid,
    grid_by_id,
)
from tiles.terrain.water import Water, open_water

# Largest error (m) of a mesh at level 0 of EPSG:4326: under half of what a client assumes of 65 samples along half a turn;
# each level halves it, so simplification stays invisible at the distance a level is drawn from.
ERROR_AT_LEVEL_0 = 30_000.0
_MOST_LISTED = 200


class TerrainTiles:
    """The tiles of one terrain by its recipe. Safe in threads; opens the elevation model at the first tile that is made.

    Use `open`; close it, or use it as a context manager.
    """

    def __init__(self, folder: Path, recipe: TerrainRecipe, *, whole: bool = False) -> None:
        self._folder = folder
        self.recipe = recipe
        self._block = BLOCK if whole else SMALL_BLOCK
        self._lock = threading.RLock()
        self._surface: Surface | None = None
        self._water: Water | None = None
        self._availability: dict[str, Availability] = {}

    @classmethod
    def open(cls, folder: Path, *, whole: bool = False) -> TerrainTiles:
        """The terrain in a folder; `whole`: most of its tiles will be asked for. Raises TerrainError where it has no recipe."""
        recipe = read_recipe(folder)
        if recipe is None:
            raise TerrainError(f"{folder.name} was built without a recipe: publish its elevation model anew")
        return cls(folder, recipe, whole=whole)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the elevation model."""
        with self._lock:
            if self._surface is not None:
                self._surface.model.close()
            self._surface = None
            self._availability.clear()

    @property
    def surface(self) -> Surface:
        """The ground. Raises TerrainError where its model is gone."""
        with self._lock:
            if self._surface is None:
                model = ElevationModel(self.recipe.model_path(self._folder), self._block)
                self._surface = Surface(
                    model, self.recipe.vertical_in(self._folder), (self.recipe.lowest, self.recipe.highest)
                )
            return self._surface

    def deepest(self, grid: TerrainGrid = GEOGRAPHIC) -> int:
        """The deepest level: a level of EPSG:3857 has half as many columns."""
        return self.recipe.deepest + (0 if grid is GEOGRAPHIC else 1)

    def availability(self, grid: TerrainGrid = GEOGRAPHIC) -> Availability:
        """The tiles there are. Of a mosaic: when it was opened."""
        with self._lock:
            if grid.id not in self._availability:
                made = Availability(grid, self.surface.boxes(), self.deepest(grid))
                self._availability[grid.id] = made
            return self._availability[grid.id]

    def tile(self, z: int, x: int, y: int, grid: str = GEOGRAPHIC.id) -> bytes | None:
        """A quantized-mesh tile, `y` from the south; None where the terrain has no such tile.

        Raises TerrainError for an unknown tiling, or where the elevation model is gone or damaged.
        """
        tiling = grid_by_id(grid)
        if not self.availability(tiling).has(z, x, y):
            return None
        with self._lock:
            return self._encoded(tiling, z, x, y)

    def _encoded(self, grid: TerrainGrid, level: int, x: int, y: int) -> bytes:
        deepest = self.deepest(grid)
        samples, ground = self.surface.samples(grid, level, x, y, 2 ** (deepest - level))
        if self.recipe.water is not None and self._water is None:
            self._water = open_water(self.recipe.water, self._folder)
        metadata = None
        if level % METADATA_LEVELS == 0:
            metadata = {"available": self.availability(grid).below(level, x, y)}
        return encode_tile(
            samples,
            self.error_of(level, grid),
            water=None if self._water is None else self._water.mask(ground),
            metadata=metadata,
        )

    def error_of(self, level: int, grid: TerrainGrid = GEOGRAPHIC) -> float:
        """The largest error (m) that simplifying may leave in a mesh of a level."""
        if level >= self.deepest(grid):
            return self.recipe.max_error
        return ERROR_AT_LEVEL_0 * (2.0 / grid.columns) / 2.0**level

    def layer_json(self, grid: TerrainGrid = GEOGRAPHIC, version: str = "1.0.0") -> dict[str, Any]:
        """The description that clients start from.

        `available` lists every level where that is short, else the ten first; the metadata of tiles have them all.
        """
        return layer_document(
            self.recipe.attribution,
            self.surface.bounds,
            self.availability(grid),
            version,
            has_water=self.recipe.water is not None,
        )

    def rgb(
        self,
        z: int,
        x: int,
        y: int,
        *,
        size: int = 256,
        encoding: Encoding = "mapbox",
        form: ImageFormat = "webp",
    ) -> bytes:
        """A tile of heights as colours: see tiles.terrain.terrain_rgb.rgb_tile."""
        with self._lock:
            return rgb_tile(self.surface, z, x, y, size=size, encoding=encoding, form=form)

    @property
    def largest_difference(self) -> float:
        """The bound (m) of the drawn ground's distance from the model's bilinear surface at the samples of the deepest level.

        The simplifier's error, and half a step of the stored heights. Between samples the model may be rougher than its tiles
        where its pixels are smaller than their spacing.
        """
        step = (self.recipe.highest - self.recipe.lowest) / 32767 / 2.0
        return self.recipe.max_error + step

    def ground_to_ellipsoid(self, lonlat: NDArray[np.float64], heights: Heights) -> Heights:
        """Heights (n,) in the model's own reference at longitudes and latitudes (n, 2), above the ellipsoid."""
        return self.surface.to_ellipsoid(lonlat, heights)

    def own_heights(self, lonlat: NDArray[np.float64]) -> Heights:
        """Heights (n,) of the elevation model itself at longitudes and latitudes (n, 2), in its own reference; NaN where it has none."""
        with self._lock:
            return self.surface.sampled(lonlat)

    def mesh_heights(self, lonlat: NDArray[np.float64]) -> Heights:
        """Heights (n,) above the ellipsoid, at longitudes and latitudes (n, 2), of the triangles that a client draws from near.

        NaN where the terrain has no tile of the deepest level. Each tile met costs some milliseconds, each place some microseconds.
        """
        places = np.asarray(lonlat, dtype=np.float64)
        level, grid = self.recipe.deepest, GEOGRAPHIC
        result = np.full(len(places), np.nan)
        columns, rows = grid.size(level)
        usable = np.flatnonzero(np.isfinite(places).all(axis=1))
        x = np.clip((places[usable, 0] + 180.0) / 360.0 * columns, 0, columns - 1e-6).astype(np.int64)
        y = np.clip((places[usable, 1] + 90.0) / 180.0 * rows, 0, rows - 1e-6).astype(np.int64)
        key = x * rows + y
        order = np.argsort(key, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
            if not group.size:
                continue
            mesh = self.mesh(level, int(x[group[0]]), int(y[group[0]]))
            if mesh is not None:
                result[usable[group]] = mesh.heights(places[usable[group], :2])
        return result

    def mesh(self, z: int, x: int, y: int, grid: TerrainGrid = GEOGRAPHIC) -> TileMesh | None:
        """A tile as a client draws it, None where there is no such tile."""
        content = self._kept(z, x, y) if grid is GEOGRAPHIC else None
        if content is None:
            content = self.tile(z, x, y, grid.id)
        return None if content is None else read_tile(content, grid.box(z, x, y))

    def _kept(self, z: int, x: int, y: int) -> bytes | None:
        if z > self.recipe.prebuilt:
            return None
        try:
            return (self._folder / f"{z}/{x}/{y}.terrain").read_bytes()
        except FileNotFoundError:
            return None


def layer_document(
    attribution: str, bounds: Box, availability: Availability, version: str, *, has_water: bool
) -> dict[str, Any]:
    """layer.json of a terrain in one tiling, whose data lie within `bounds`."""
    west, south, east, north = bounds
    levels = range(availability.deepest + 1)
    if sum(len(availability.ranges(level)) for level in levels) > _MOST_LISTED:
        levels = range(min(METADATA_LEVELS, availability.deepest) + 1)
    extensions = ["octvertexnormals", "metadata"]
    if has_water:
        extensions.insert(1, "watermask")
    return {
        "tilejson": "2.1.0",
        "name": "terrain",
        "version": version,
        "format": "quantized-mesh-1.0",
        "scheme": "tms",
        "projection": availability.grid.projection,
        "tiles": ["{z}/{x}/{y}.terrain?v={version}"],
        "minzoom": 0,
        "maxzoom": availability.deepest,
        "bounds": [-180.0, -90.0, 180.0, 90.0],
        "valid_bounds": [west, south, east if east <= 180.0 else east - 360.0, north],
        "attribution": attribution,
        "extensions": extensions,
        "metadataAvailability": METADATA_LEVELS,
        "available": availability.listed(levels),
    }
