"""What a seeding is to make: layers, grids, levels, an area; and its division into numbered units of 8 x 8 tiles.

Units are computed from their number, never listed: a plan may have billions.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

from server.seeding.errors import SeedingError
from tiles.errors import TileOutOfRange, TilesError
from tiles.grids import TileId, TileRange, grid, tile_bounds_crs84, tile_range

EDGE = 8
"""Tiles along an edge of a unit: whole blocks of every size in which maps are drawn."""

type Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Layer:
    """One look of one collection. `kind`: "map" or "tiles" (vector); `extension` and `style` (None: its default) are of maps.

    `box` is the CRS84 box of the collection.
    """

    collection: str
    kind: str
    extension: str
    style: str | None
    box: Box


@dataclass(frozen=True, slots=True)
class SeedingPlan:
    """What is to be made. `area` is a CRS84 box (west > east crosses the antimeridian) or None, `coverage` a WKT polygon or None."""

    layers: tuple[Layer, ...]
    grids: tuple[str, ...]
    min_zoom: int
    max_zoom: int
    area: Box | None = None
    coverage: str | None = None

    def document(self) -> dict[str, Any]:
        """The plan as JSON."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> SeedingPlan:
        """The plan of `document()`. Raises SeedingError."""
        try:
            layers = tuple(Layer(**(one | {"box": tuple(one["box"])})) for one in document["layers"])
            area = document["area"]
            return cls(
                layers,
                tuple(document["grids"]),
                document["min_zoom"],
                document["max_zoom"],
                None if area is None else tuple(area),
                document["coverage"],
            )
        except (KeyError, TypeError) as error:
            raise SeedingError(f"the plan of this seeding is damaged: {error!r}") from error


class Unit(NamedTuple):
    """Part of a plan: the tiles of `tiles`, at most 8 x 8, of one layer and level."""

    layer: Layer
    grid: str
    tiles: TileRange


class _Stretch(NamedTuple):
    layer: Layer
    grid: str
    tiles: TileRange
    columns: int
    units: int


class Division:
    """The units of a plan, by number from 0 on; levels rise, so that what many look at first is made first."""

    def __init__(self, plan: SeedingPlan) -> None:
        self._plan = plan
        self._stretches = list(_stretches(plan))
        self._ends = list(accumulate(stretch.units for stretch in self._stretches))

    @property
    def units(self) -> int:
        """How many there are."""
        return self._ends[-1] if self._ends else 0

    @property
    def most_tiles(self) -> int:
        """Tiles at most; those outside of a coverage are not made."""
        return sum(
            (one.tiles.max_column - one.tiles.min_column + 1) * (one.tiles.max_row - one.tiles.min_row + 1)
            for one in self._stretches
        )

    def unit(self, number: int) -> Unit:
        """The unit of a number. Raises IndexError."""
        if not 0 <= number < self.units:
            raise IndexError(number)
        at = bisect_right(self._ends, number)
        layer, grid_id, tiles, columns, units = self._stretches[at]
        row, column = divmod(number - (self._ends[at] - units), columns)
        left, top = (tiles.min_column // EDGE + column) * EDGE, (tiles.min_row // EDGE + row) * EDGE
        return Unit(
            layer,
            grid_id,
            TileRange(
                tiles.zoom,
                max(left, tiles.min_column),
                max(top, tiles.min_row),
                min(left + EDGE - 1, tiles.max_column),
                min(top + EDGE - 1, tiles.max_row),
            ),
        )

    def tiles(self, unit: Unit) -> Iterator[TileId]:
        """The tiles of a unit that touch the coverage."""
        block = unit.tiles
        for y in range(block.min_row, block.max_row + 1):
            for x in range(block.min_column, block.max_column + 1):
                tile = TileId(block.zoom, x, y)
                if self._covered is None or self._meets(unit.grid, tile):
                    yield tile

    @cached_property
    def _covered(self) -> Any:
        if self._plan.coverage is None:
            return None
        import shapely

        shape = shapely.from_wkt(self._plan.coverage)
        shapely.prepare(shape)
        return shape

    def _meets(self, grid_id: str, tile: TileId) -> bool:
        import shapely

        try:
            box = tile_bounds_crs84(grid_id, tile)
        except TileOutOfRange:
            return True
        return bool(self._covered.intersects(shapely.box(*box)))


def _stretches(plan: SeedingPlan) -> Iterator[_Stretch]:
    for zoom in range(plan.min_zoom, plan.max_zoom + 1):
        for layer in plan.layers:
            for grid_id in plan.grids:
                pyramid = grid(grid_id)
                if not pyramid.min_zoom <= zoom <= pyramid.max_zoom:
                    continue
                for box in _boxes(layer.box, plan):
                    tiles = tile_range(grid_id, box, zoom)
                    columns = tiles.max_column // EDGE - tiles.min_column // EDGE + 1
                    rows = tiles.max_row // EDGE - tiles.min_row // EDGE + 1
                    yield _Stretch(layer, grid_id, tiles, columns, columns * rows)


def _boxes(box: Box, plan: SeedingPlan) -> Iterator[Box]:
    """The parts of a layer's box that lie in the area and around the coverage; those over the antimeridian are two."""
    limits = [plan.area] if plan.area is not None else []
    if plan.coverage is not None:
        import shapely

        limits.append(shapely.from_wkt(plan.coverage).bounds)
    parts = _split(box)
    for limit in limits:
        parts = [
            (max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3]))
            for one in parts
            for other in _split(limit)
        ]
    yield from (one for one in parts if one[0] <= one[2] and one[1] <= one[3])


def _split(box: Box) -> list[Box]:
    west, south, east, north = box
    return [box] if west <= east else [(west, south, 180.0, north), (-180.0, south, east, north)]


def check_plan(plan: SeedingPlan) -> None:
    """Raise SeedingError where grids, levels or area make no sense."""
    try:
        pyramids = [grid(one) for one in plan.grids]
    except TilesError as error:
        raise SeedingError(str(error)) from error
    if not 0 <= plan.min_zoom <= plan.max_zoom or not any(
        one.min_zoom <= plan.max_zoom and plan.min_zoom <= one.max_zoom for one in pyramids
    ):
        levels = "; ".join(f"{one.id} has {one.min_zoom} to {one.max_zoom}" for one in pyramids)
        raise SeedingError(f"levels {plan.min_zoom}-{plan.max_zoom} are not there: {levels}")
    if plan.area is not None:
        check_box(plan.area)
    if not plan.layers:
        raise SeedingError("there is nothing to seed: name collections that have tiles or a map")


def check_box(box: Box) -> None:
    """Raise SeedingError where a CRS84 box (west, south, east, north) is none."""
    west, south, east, north = box
    sound = all(map(math.isfinite, box)) and -90 <= south <= north <= 90
    if not sound or not (-180 <= west <= 180 and -180 <= east <= 180):
        raise SeedingError(
            f"the box {west},{south},{east},{north} is none; allowed: west,south,east,north in degrees, south below north"
        )
