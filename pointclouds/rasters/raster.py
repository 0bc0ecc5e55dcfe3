"""A point cloud as rasters of any resolution, made on request from the octree level that fits.

Level k is a grid of cells of `resolution` * 2**k. Level 0 reads every point; a coarser one reads the octree down to the first level
whose points are about a cell apart, so that a picture of the whole costs as much as one of a street. The octree keeps one point a cube,
so a coarse surface is never too high, exact on what is flat, and too low by the edge of a cell or so on what is not; edges of roofs may
lie one cell beside their place. The ground is a mean and is not biased by thinning.

A value depends on its own cell, on two cells around (holes in the surface) and on the ground around (`reach`), never on what was asked
for together with it. Values are kept in blocks of 32 cells, for the whole process.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pointclouds.cloud.cloud import Cloud, CloudTile
from pointclouds.copc.hierarchy import Entries
from pointclouds.errors import QueryError
from pointclouds.rasters.cells import CellWindow, Float
from pointclouds.rasters.kept_blocks import KEPT, Cells
from pointclouds.rasters.points import PointWindow, finest_levels, overview_fits
from pointclouds.rasters.products import (
    MARGIN,
    Density,
    Ground,
    Mean,
    MostFrequent,
    Planes,
    Product,
    StandardError,
    Surface,
)
from pointclouds.rasters.terrain import ALL, PLANE_LAYERS, heights_on, missing_places

BANDS: Final = (
    "dtm",
    "dsm",
    "height",
    "intensity",
    "density",
    "classification",
    "red",
    "green",
    "blue",
)
_MEANS: Final = {"intensity": "Intensity", "red": "Red", "green": "Green", "blue": "Blue"}
ERRORS: Final = {"dtm": "dtm_error", "dsm": "dsm_error"}
"""How sure the heights of two bands are: further bands that are given when asked for by name, and are listed nowhere."""
_GROUND_ONLY: Final = frozenset({"ground", "planes", "dtm_error"})
_PRODUCTS: Final = {"dtm": ("ground",), "dsm": ("surface",), "height": ("ground", "surface")}
_STEP: Final = 2
"""Levels from a grid to the one that its missing ground is filled from, and from that to the next."""
_DENSITY_DEPTH: Final = 2
"""How much closer the points are that density is counted from: what lies deeper is spread over boxes of nodes half as large."""
_BLOCK: Final = 32
_BLOCKS_AT_ONCE: Final = 24
_GROUP: Final = 64
_MOST_GROUPS: Final = 400
_POINT_EXTENT: Final = 1e-3
_MOST_LEVELS: Final = 30
_LOOKED_AT: Final = 8
_LOOKED_AT_CELLS: Final = 256
REACH: Final = 100.0
"""Metres (units of the CRS) from which the ground under a cell without ground points is taken, at most."""


class PointRaster:
    """Rasters of a cloud. Safe in threads; reads nothing before it is asked.

    Args:
        ground_classes: the classification codes that are ground.
        resolution: edge of the finest cells, CRS units; None: what `cloud_resolution` finds.
        reach: how far away ground may be that a cell without it is filled from, CRS units; 0 for no filling.
        most_points: points that one part of at most 768 cells a side may read.
    """

    def __init__(
        self,
        cloud: Cloud,
        ground_classes: Sequence[int] = (2,),
        resolution: float | None = None,
        reach: float = REACH,
        most_points: int = 50_000_000,
    ) -> None:
        self.cloud = cloud
        self.ground_classes = tuple(ground_classes)
        self.reach = reach
        self._resolution = resolution
        self._most_points = most_points
        self._name = (str(cloud.path), self.ground_classes, resolution, reach)

    @cached_property
    def resolution(self) -> float:
        """Edge of the finest cells, CRS units."""
        return cloud_resolution(self.cloud) if self._resolution is None else self._resolution

    @cached_property
    def bands(self) -> tuple[str, ...]:
        """Those of BANDS that the cloud has: heights need ground points, colours a point format with them."""
        names = {one.name for one in self.cloud.dimensions}
        whole = self.cloud.table
        tables = [whole.tiles] if whole is not None else (self.cloud.nodes(tile) for tile in self.cloud.tiles)
        has_ground = any(set(self.ground_classes) & set(table.classes) for table in tables)
        left = set() if has_ground else {"dtm", "height"}
        left |= {band for band, dimension in _MEANS.items() if dimension not in names}
        return tuple(band for band in BANDS if band not in left)

    @cached_property
    def last_level(self) -> int:
        """The level whose cells are as large as the cloud."""
        box = self.cloud.box
        edge = max(box[3] - box[0], box[4] - box[1], self.resolution)
        return min(_MOST_LEVELS, math.ceil(math.log2(edge / self.resolution)))

    def cell(self, level: int) -> float:
        """The edge of a level's cells."""
        return self.resolution * 2.0**level

    def level(self, wanted: float) -> int:
        """The level whose cells are nearest to `wanted`, in factors."""
        return min(max(0, round(math.log2(max(wanted, 1e-300) / self.resolution))), self.last_level)

    @cached_property
    def overview_level(self) -> int:
        """The first level of which every band is made of a mosaic's overview alone; 0 where there is none."""
        overview = self.cloud.overview
        if overview is None:
            return 0
        apart = float(overview.facts.get("spacing", self.cloud.spacing(overview)))
        # As overview_fits has it, of the distance that density asks for.
        cell = apart * _DENSITY_DEPTH / math.sqrt(2)
        # The finest level is always made of all points.
        return min(max(1, math.ceil(math.log2(cell / self.resolution) + 1e-6)), self.last_level)

    def spacing(self, level: int) -> float | None:
        """How far apart the points may be that a level is made of; None: all points."""
        return None if level == 0 else self.cell(level)

    def cells(self, level: int, window: CellWindow, bands: Iterable[str]) -> dict[str, Cells]:
        """Values (rows, columns) of cells of a level, float32, NaN where there is nothing.

        Raises:
            QueryError: more points than `most_points` in one part, or a band that is not there.
            UnreadablePointCloudError, InvalidCopcError: a file is damaged.
        """
        wanted = tuple(bands)
        known = {*self.bands, *(error for band, error in ERRORS.items() if band in self.bands)}
        unknown = [band for band in wanted if band not in known]
        if unknown:
            raise QueryError(
                f"the point cloud gives no raster of {unknown[0]!r}; it has {', '.join(self.bands)}"
            )
        names = sorted({product for band in wanted for product in _PRODUCTS.get(band, (band,))})
        # Ground reads the nodes that hold some; beside other products these are read anyway.
        found = self._products(level, window, names)
        if "ground" in found:
            found["ground"] = self._filled(level, window, found["ground"][0])[None]
        return {band: _band(band, found) for band in wanted}

    def sample(self, level: int, x: Float, y: Float, bands: Iterable[str]) -> dict[str, Cells]:
        """Values (n,) of the cells of a level that positions (n,) lie in; NaN outside, where there is nothing, and for NaN.

        Raises:
            QueryError: the positions lie in more than 400 places of 64 x 64 cells, or what `cells` raises.
        """
        wanted, cell = tuple(bands), self.cell(level)
        found = {band: np.full(len(x), np.nan, np.float32) for band in wanted}
        box = self.cloud.box
        with np.errstate(invalid="ignore"):
            inside = (x >= box[0] - cell) & (x <= box[3] + cell) & (y >= box[1] - cell) & (y <= box[4] + cell)
        places = np.flatnonzero(inside)
        column = np.floor(x[places] / cell).astype(np.int64)
        row = np.floor(-y[places] / cell).astype(np.int64)
        # Groups of neighbours: those of one square of cells are read together.
        squares, group = np.unique(np.stack([row, column]) // _GROUP, axis=1, return_inverse=True)
        if squares.shape[1] > _MOST_GROUPS:
            raise QueryError(
                f"the positions lie in {squares.shape[1]} places of {_GROUP * cell:g} units a side; at most {_MOST_GROUPS} are looked "
                "at together. Ask for a shorter line, fewer positions or larger cells"
            )
        order = np.argsort(group, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
            if not part.size:
                continue
            top, left = int(row[part].min()), int(column[part].min())
            window = CellWindow(top, left, int(row[part].max()) - top + 1, int(column[part].max()) - left + 1)
            values = self.cells(level, window, wanted)
            for band in wanted:
                found[band][places[part]] = values[band][row[part] - top, column[part] - left]
        return found

    def _filled(self, level: int, window: CellWindow, ground: Cells) -> Cells:
        """Ground where there was none, from coarser and coarser grids up to `reach`."""
        coarser, factor = window, 1
        missing, weak = np.isnan(ground), []
        ground = ground.copy()
        for number in range(level + _STEP, _MOST_LEVELS, _STEP):
            # Planes of three cells, blended between four, reach two cells far.
            if self.cell(number) * 2 > self.reach or not missing.any():
                break
            for _ in range(_STEP):
                coarser, factor = coarser.coarser(), factor * 2
            around = coarser.grown(1)
            planes = self._products(number, around, ["planes"])["planes"].astype(np.float64)
            x, y = missing_places(window, missing, factor)
            ground[missing] = heights_on(planes[:3], around, x, y, ALL)
            weak.append((planes, around, factor))
            missing = np.isnan(ground)
        # Planes on some sides only, as at the edge of the cloud; then the mean of what ground there is.
        for flat in (False, True):
            for planes, around, factor in weak:
                x, y = missing_places(window, missing, factor)
                level_ones = np.stack([planes[3], 0 * planes[3], 0 * planes[3]]) if flat else planes
                ground[missing] = heights_on(level_ones, around, x, y)
                missing = np.isnan(ground)
        return ground

    # --- blocks ----------------------------------------------------------------------------------------------------------

    def _products(self, level: int, window: CellWindow, names: list[str]) -> dict[str, Cells]:
        """Products (layers, rows, columns) of a window, from blocks."""
        blocks = CellWindow(
            window.row // _BLOCK,
            window.column // _BLOCK,
            (window.row + window.rows - 1) // _BLOCK - window.row // _BLOCK + 1,
            (window.column + window.columns - 1) // _BLOCK - window.column // _BLOCK + 1,
        )
        layers = {name: PLANE_LAYERS if name == "planes" else 1 for name in names}
        found = {name: np.full((count, *window.shape), np.nan, np.float32) for name, count in layers.items()}
        for part in _parts(blocks):
            made = self._blocks(level, part, names)
            for (row, column), values in made.items():
                _place(found, window, CellWindow(row * _BLOCK, column * _BLOCK, _BLOCK, _BLOCK), values)
        return found

    def _blocks(
        self, level: int, blocks: CellWindow, names: list[str]
    ) -> dict[tuple[int, int], dict[str, Cells]]:
        """Some blocks by row and column: kept ones, and the rest made together."""
        places = [
            (blocks.row + row, blocks.column + column)
            for row in range(blocks.rows)
            for column in range(blocks.columns)
        ]
        found = {
            place: {name: KEPT.get((self._name, level, name, *place)) for name in names} for place in places
        }
        missing = [place for place in places if any(values is None for values in found[place].values())]
        if missing:
            rows, columns = [row for row, _ in missing], [column for _, column in missing]
            whole = CellWindow(
                min(rows), min(columns), max(rows) - min(rows) + 1, max(columns) - min(columns) + 1
            )
            window = CellWindow(*(number * _BLOCK for number in whole))
            made = self._made(level, window, names)
            for row, column in missing:
                at = CellWindow(row * _BLOCK, column * _BLOCK, _BLOCK, _BLOCK).within(window)
                for name in names:
                    block = np.ascontiguousarray(made[name][(slice(None), *at)])
                    found[row, column][name] = KEPT.put((self._name, level, name, row, column), block)
        return {
            place: {name: block for name, block in values.items() if block is not None}
            for place, values in found.items()
        }

    def _made(self, level: int, window: CellWindow, names: list[str]) -> dict[str, Cells]:
        if "density" in names and level > 0 and len(names) > 1:
            # It reads deeper than the rest, whose values must not depend on its being asked for too.
            others = [name for name in names if name != "density"]
            return self._made(level, window, others) | self._made(level, window, ["density"])
        cell, spacing = self.cell(level), self.spacing(level)
        if "density" in names and spacing is not None:
            spacing /= _DENSITY_DEPTH
        products = {name: self._product(name, level, window) for name in names}
        ground_only = _GROUND_ONLY.issuperset(names)
        if "density" in names and overview_fits(self.cloud, spacing):
            # The overview's points are copies: the counts of all nodes are spread instead, and no point is read.
            return {name: product.finish().astype(np.float32) for name, product in products.items()}
        points = PointWindow(
            self.cloud, window.grown(MARGIN), cell, spacing, self.ground_classes if ground_only else None
        )
        if points.count > self._most_points:
            raise QueryError(
                f"{points.count} points lie in {window.columns} x {window.rows} cells of {cell:g}; at most {self._most_points} are "
                "read for one part of a raster. Ask for larger cells"
            )
        dimensions = {name for product in products.values() for name in product.dimensions}
        for batch in points.batches(sorted(dimensions)):
            for product in products.values():
                product.add(batch)
        return {name: product.finish().astype(np.float32) for name, product in products.items()}

    def _product(self, name: str, level: int, window: CellWindow) -> Product:
        cell = self.cell(level)
        if name == "surface":
            return Surface(window, complete=level == 0)
        if name == "ground":
            return Ground(window, self.ground_classes)
        if name == "planes":
            return Planes(window, self.ground_classes, cell)
        if name == "classification":
            return MostFrequent(window)
        if name in ERRORS.values():
            return StandardError(window, self.ground_classes if name == ERRORS["dtm"] else None)
        if name == "density":
            return Density(window, cell, lambda part: self._deeper(level, part))
        return Mean(window, _MEANS[name])

    def _deeper(self, level: int, window: CellWindow) -> Float:
        """Points (rows, columns) of nodes below those that a level reads, spread evenly over the box of each node."""
        counts = np.zeros((window.rows + 1, window.columns + 1))
        if level == 0:
            return counts[:-1, :-1]
        spacing = self.cell(level) / _DENSITY_DEPTH
        cell = self.cell(level)
        bounds = window.bounds(cell)
        low, high = np.array([*bounds[:2], -np.inf]), np.array([*bounds[2:], np.inf])
        all_levels = overview_fits(self.cloud, spacing)
        for nodes in _boxes(self.cloud, self.cloud.meeting(low, high)):
            # Comparisons with the NaN of a node without points are false.
            chosen = (nodes.low <= bounds[2:]).all(axis=1) & (nodes.high >= bounds[:2]).all(axis=1)
            if not all_levels:
                chosen &= nodes.levels > finest_levels(nodes.roots, spacing)
            _spread(
                counts,
                window,
                cell,
                nodes.low[chosen],
                nodes.high[chosen],
                nodes.counts[chosen].astype(np.float64),
            )
        return np.maximum(counts.cumsum(axis=0).cumsum(axis=1)[:-1, :-1], 0)


class _Boxes(NamedTuple):
    """Nodes: corners in plan (n, 2), level (n,), points (n,), spacing of the root of their octree (n,)."""

    low: Float
    high: Float
    levels: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]
    roots: Float


def _boxes(cloud: Cloud, tiles: Sequence[CloudTile]) -> Iterator[_Boxes]:
    """The nodes of these tiles: of a mosaic all at once."""
    kept = cloud.table
    if kept is not None and tiles:
        numbers = np.array([cloud.number(tile) for tile in tiles])
        nodes = kept.nodes[kept.rows_of(numbers)]
        spacings = np.array([cloud.spacing(tile) for tile in tiles])
        roots = np.repeat(spacings, np.diff(kept.starts)[numbers])
        yield _Boxes(nodes["low"][:, :2], nodes["high"][:, :2], nodes["level"], nodes["count"], roots)
        return
    for tile in tiles:
        table = cloud.nodes(tile)
        x, y = table.column("X"), table.column("Y")
        entries = table.entries
        roots = np.full(len(entries), cloud.spacing(tile))
        low, high = table.lowest[:, (x, y)], table.highest[:, (x, y)]
        yield _Boxes(low, high, entries["level"], entries["point_count"], roots)


def _spread(steps: Float, window: CellWindow, cell: float, low: Float, high: Float, counts: Float) -> None:
    """Add each count evenly to its box, to each cell as much as lies in it; as steps that two running sums make into values."""
    # A point has no extent: it is given a thousandth of a cell.
    left, right = low[:, 0] / cell, np.maximum(high[:, 0] / cell, low[:, 0] / cell + _POINT_EXTENT)
    top, bottom = -high[:, 1] / cell, np.maximum(-low[:, 1] / cell, -high[:, 1] / cell + _POINT_EXTENT)
    share = counts / ((right - left) * (bottom - top))
    across = [
        *_edge(left - window.column, window.columns, 1),
        *_edge(right - window.column, window.columns, -1),
    ]
    down = [*_edge(top - window.row, window.rows, 1), *_edge(bottom - window.row, window.rows, -1)]
    for row, of_row in down:
        for column, of_column in across:
            np.add.at(steps, (row, column), share * of_row * of_column)


def _edge(place: Float, cells: int, sign: int) -> list[tuple[npt.NDArray[np.int64], Float]]:
    """Where an edge steps up (or down), and by how much: a part in the cell it lies in, the rest in the next."""
    place = np.clip(place, 0, cells)
    whole = np.minimum(np.floor(place), cells - 1).astype(np.int64)
    fraction = place - whole
    return [(whole, sign * (1 - fraction)), (whole + 1, sign * fraction)]


def _band(band: str, found: dict[str, Cells]) -> Cells:
    if band == "height":
        # Below the ground is noise of the ground: a building's height is never less than nothing.
        return np.asarray(np.maximum(found["surface"][0] - found["ground"][0], np.float32(0)))
    return np.asarray(found[_PRODUCTS.get(band, (band,))[0]][0])


def _parts(blocks: CellWindow) -> Iterator[CellWindow]:
    """Parts of a window of blocks that are made together."""
    step = _BLOCKS_AT_ONCE
    for row in range(0, blocks.rows, step):
        for column in range(0, blocks.columns, step):
            yield CellWindow(
                blocks.row + row,
                blocks.column + column,
                min(step, blocks.rows - row),
                min(step, blocks.columns - column),
            )


def _place(found: dict[str, Cells], window: CellWindow, block: CellWindow, values: dict[str, Cells]) -> None:
    """Copy what a block and a window share."""
    top, left = max(window.row, block.row), max(window.column, block.column)
    bottom = min(window.row + window.rows, block.row + block.rows)
    right = min(window.column + window.columns, block.column + block.columns)
    shared = CellWindow(top, left, bottom - top, right - left)
    for name, part in values.items():
        found[name][(slice(None), *shared.within(window))] = part[(slice(None), *shared.within(block))]


def cloud_resolution(cloud: Cloud) -> float:
    """The edge of cells that hold a point or a few: 1, 2 or 5 times a power of ten, at least the distance of points.

    Of a mosaic the densest of the eight largest tiles decides. 1 where all points are at one place.
    """
    tiles = sorted(cloud.tiles, key=lambda one: (-one.count, one.name))[:_LOOKED_AT]
    apart = min((found for tile in tiles if (found := _apart(cloud, tile)) > 0), default=1.0)
    power = 10.0 ** math.floor(math.log10(apart) + 1e-9)
    return next(step * power for step in (1, 2, 5, 10) if step * power >= apart * (1 - 1e-9))


def _apart(cloud: Cloud, tile: CloudTile) -> float:
    """The mean distance of points in plan: from the count and the area that the boxes of nodes cover; 0 where that is none."""
    table = cloud.nodes(tile)
    cell = max(tile.box[3] - tile.box[0], tile.box[4] - tile.box[1]) / _LOOKED_AT_CELLS
    if cell <= 0:
        return 0.0
    window = CellWindow.around(cell, tile.box[0], tile.box[1], tile.box[3], tile.box[4])
    x, y = table.column("X"), table.column("Y")
    chosen = _leaves(table.entries) & (table.entries["point_count"] > 0)
    low, high = table.lowest[chosen][:, (x, y)], table.highest[chosen][:, (x, y)]
    steps = np.zeros((window.rows + 1, window.columns + 1))
    _spread(steps, window, cell, low, high, np.full(len(low), 1e9))
    covered = steps.cumsum(axis=0).cumsum(axis=1) > 1e-3
    return math.sqrt(float(covered.sum()) * cell * cell / max(tile.count, 1))


def _leaves(entries: Entries) -> npt.NDArray[np.bool_]:
    """Which nodes (n,) have no node below: together they cover what the cloud covers, and hardly twice."""
    level = entries["level"].astype(np.int64)
    keys = np.stack([level, *(entries[axis].astype(np.int64) for axis in "xyz")], axis=1)
    parents = np.unique(np.concatenate([level[:, None] - 1, keys[:, 1:] // 2], axis=1), axis=0)
    known, places = np.unique(np.concatenate([keys, parents]), axis=0, return_inverse=True)
    has_child = np.zeros(len(known), np.bool_)
    has_child[places[len(keys) :]] = True
    return np.asarray(~has_child[places[: len(keys)]])
