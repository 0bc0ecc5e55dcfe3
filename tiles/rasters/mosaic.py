"""A mosaic of many scenes: overlapping, of different resolutions and CRSs, of one or many instants.

A request opens the few scenes its box meets, from the uppermost down, and stops when every pixel has a value. Where so much
is asked at once that many scenes would be met, cells of an overview of the whole are read instead (mosaic_edits builds them).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.cache.changes import Box84, Change
from tiles.crs import named_crs, transformer
from tiles.errors import RasterError, UnknownInstant
from tiles.rasters.cog import CogSource, span_of
from tiles.rasters.datasets import described_band, footprint84
from tiles.rasters.mosaic_index import (
    COMPOSITE,
    MosaicIndex,
    MosaicRules,
    cell_range,
    lease_index,
)
from tiles.rasters.source import Bounds, RasterBand, RasterBlock, RasterDescription, Resampling

MOST_SCENES = 512
"""Beneath that many scenes at one place nothing is looked for."""
_OVERVIEW_SLACK = 1.2


@dataclass(frozen=True, slots=True)
class _State:
    """The mosaic at one change."""

    change: int
    rules: MosaicRules
    description: RasterDescription
    levels: dict[str, int]


class Part(NamedTuple):
    """A file to draw from: its path, its own box and CRS."""

    path: Path
    bounds: Bounds
    crs: str


class MosaicSource:
    """A mosaic by the path of its index; implements RasterSource. Opens nothing until it is asked for something.

    Scenes that come or go are seen by the next call. Raises RasterError where it is gone or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = path.parent
        self._state: _State | None = None

    @property
    def description(self) -> RasterDescription:
        """What it holds at this moment."""
        return self._present().description

    @property
    def rules(self) -> MosaicRules:
        """What holds for all its scenes."""
        return self._present().rules

    def read(
        self,
        bounds: Bounds,
        shape: tuple[int, int],
        bands: Sequence[int],
        *,
        instant: str | None = None,
        resampling: Resampling = "nearest",
    ) -> RasterBlock:
        """A box of its own CRS as `shape` (rows, columns)."""
        crs = self._present().rules.crs
        block = self.warp(bounds, crs, shape, bands, instant=instant, resampling=resampling)
        if block is not None:
            return block
        values = np.zeros((len(bands), *shape), dtype=self._present().rules.dtype)
        return RasterBlock(values, np.zeros(values.shape, dtype=np.bool_), bounds)

    def warp(
        self,
        bounds: Bounds,
        crs: str,
        shape: tuple[int, int],
        bands: Sequence[int],
        *,
        instant: str | None = None,
        resampling: Resampling = "bilinear",
    ) -> RasterBlock | None:
        """A box of any CRS as `shape`; None where no scene meets it."""

        def drawn(state: _State) -> RasterBlock | None:
            moment = self._moment(state, instant, bands)
            parts = self._parts(state, _mosaic_box(state.rules, bounds, crs), shape, moment)
            return compose_parts(parts, bounds, crs, shape, bands, resampling, state.rules)

        return self._steady(drawn)

    def sample(
        self,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        bands: Sequence[int],
        *,
        instant: str | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (bands, points) at positions of its own CRS by the uppermost scene that has data there."""
        xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)

        def sampled(state: _State) -> tuple[NDArray[Any], NDArray[np.bool_]]:
            moment = self._moment(state, instant, bands)
            values = np.zeros((len(bands), xs.size), dtype=state.rules.dtype)
            valid = np.zeros(values.shape, dtype=np.bool_)
            usable = np.isfinite(xs) & np.isfinite(ys)
            if not usable.any():
                return values, valid
            box = Bounds(
                float(xs[usable].min()), float(ys[usable].min()), float(xs[usable].max()), float(ys[usable].max())
            )  # fmt: skip
            for part in self._scene_parts(state, box, moment, limit=-1):
                open_points = usable & ~valid.all(axis=0)
                if not open_points.any():
                    break
                own_x, own_y = xs, ys
                if part.crs != state.rules.crs:
                    own_x, own_y = transformer(state.rules.crs, part.crs).transform(xs, ys)
                west, south, east, north = part.bounds
                at = np.flatnonzero(
                    open_points & (own_x >= west) & (own_x < east) & (own_y > south) & (own_y <= north)
                )
                if not at.size:
                    continue
                found, known = CogSource(part.path).sample(own_x[at], own_y[at], bands)
                new = known & ~valid[:, at]
                values[:, at] = np.where(new, found, values[:, at])
                valid[:, at] |= known
            return values, valid

        return self._steady(sampled)

    def span(self, bands: Sequence[int], *, instant: str | None = None) -> tuple[float, float]:
        """2nd to 98th percentile over the bands of all scenes; (0, 1) without data."""
        state = self._present()
        self._moment(state, instant, bands)
        by_number = {band.number: band.percentiles for band in state.description.bands}
        known = [pair for pair in (by_number.get(band) for band in bands) if pair is not None]
        if not known:
            return 0.0, 1.0
        return span_of(min(low for low, _ in known), max(high for _, high in known))

    def change(self) -> Change:
        """The number of the last adding or removing."""
        with lease_index(self._path) as index:
            return index.change()

    def dirty_since(self, change: Change) -> Sequence[Box84] | None:
        """Boxes of the scenes that came or went after `change`; None where that is not kept any more."""
        if not isinstance(change, int):
            return None
        with lease_index(self._path) as index:
            return index.dirty_since(change)

    def touched_since(self, change: Change, box84: Box84) -> bool:
        """Whether one of them meets the box."""
        boxes = self.dirty_since(change)
        if boxes is None:
            return True
        west, south, east, north = box84
        return any(w <= east and e >= west and s <= north and n >= south for w, s, e, n in boxes)

    def _present(self) -> _State:
        with lease_index(self._path) as index:
            change = index.change()
            state = self._state
            if state is None or state.change != change:
                state = self._state = _read_state(index, change)
            return state

    def _steady[Answer](self, work: Callable[[_State], Answer]) -> Answer:
        """The answer of one state; asked again where files went away because the mosaic was changed meanwhile."""
        state = self._present()
        for _ in range(3):
            try:
                return work(state)
            except RasterError:
                present = self._present()
                if present.change == state.change:
                    raise
                state = present
        return work(state)

    def _moment(self, state: _State, instant: str | None, bands: Sequence[int]) -> str | None:
        """The instant to draw; None for all together. Raises UnknownInstant, RasterError for an unknown band."""
        count = len(state.rules.bands)
        if not bands or any(not 1 <= band <= count for band in bands):
            raise RasterError(f"the mosaic has {count} bands; bands {list(bands)} were asked for")
        instants = state.description.instants
        if instant is None:
            return instants[-1] if instants and state.rules.latest == "instant" else None
        if instant not in instants:
            known = f"{len(instants)} from {instants[0]} to {instants[-1]}" if instants else "none"
            raise UnknownInstant(f"{instant} is not one of the data's instants ({known})")
        return instant

    def _parts(
        self, state: _State, box: Bounds | None, shape: tuple[int, int], instant: str | None
    ) -> Iterable[Part]:
        if box is None:
            return ()
        level = _level(state.rules, box, shape)
        held = _common(box, state.description.bounds)
        if held is None:
            return ()
        of = COMPOSITE if instant is None else instant
        top = state.levels.get(of)
        if top is not None and level >= 0:
            return self._cell_parts(state, held, of, min(level, top))
        return self._scene_parts(state, held, instant, MOST_SCENES)

    def _cell_parts(self, state: _State, box: Bounds, of: str, level: int) -> list[Part]:
        with lease_index(self._path) as index:
            cells = index.cells(of, level, *cell_range(box, state.rules.cell_size(level)))
        return [
            Part(self._folder / file, state.rules.cell_bounds(level, across, down), state.rules.crs)
            for across, down, file in cells
        ]

    def _scene_parts(self, state: _State, box: Bounds, instant: str | None, limit: int) -> list[Part]:
        with lease_index(self._path) as index:
            scenes = index.scenes(box, instant, state.rules.on_top, limit)
        return [Part(self._folder / scene.file, scene.bounds, scene.crs) for scene in scenes]


def _read_state(index: MosaicIndex, change: int) -> _State:
    rules, extent, instants = index.rules(), index.extent(), index.instants()
    if extent is None:
        raise RasterError("the mosaic has no scenes")
    levels = {of: top for of in (COMPOSITE, *instants) if (top := index.top_level(of)) is not None}
    description = RasterDescription(
        crs=named_crs(rules.crs),
        bounds=extent,
        footprint=footprint84(extent, rules.crs),
        width=max(1, round((extent.east - extent.west) / rules.resolution[0])),
        height=max(1, round((extent.north - extent.south) / rules.resolution[1])),
        resolution=rules.resolution,
        bands=tuple(_band(number, kept) for number, kept in enumerate(rules.bands, 1)),
        instants=instants,
    )
    return _State(change, rules, description, levels)


def _band(number: int, kept: dict[str, Any]) -> RasterBand:
    nodata = kept.get("nodata")
    colours = kept.get("colours")
    plain = RasterBand(
        number=number,
        name=kept["name"],
        dtype=kept["dtype"],
        nodata=math.nan if nodata == "NaN" else nodata,
        colours=None if colours is None else tuple((code, tuple(colour)) for code, colour in colours),
        interpretation=kept.get("interpretation", "undefined"),
    )
    return described_band(plain, kept)


def _mosaic_box(rules: MosaicRules, bounds: Bounds, crs: str) -> Bounds | None:
    """A box in the mosaic's CRS; None where that cannot express it."""
    if crs == rules.crs:
        return bounds
    box = transformer(crs, rules.crs).transform_bounds(*bounds, densify_pts=21, errcheck=False)
    if not all(map(math.isfinite, box)):
        # Part of it lies outside of what the CRS can express: everything may meet it.
        return Bounds(-math.inf, -math.inf, math.inf, math.inf) if any(map(math.isfinite, box)) else None
    west, south, east, north = box
    return Bounds(west, south, east, north) if west <= east else Bounds(-180.0, south, 180.0, north)


def _common(one: Bounds, other: Bounds) -> Bounds | None:
    west, south = max(one.west, other.west), max(one.south, other.south)
    east, north = min(one.east, other.east), min(one.north, other.north)
    return Bounds(west, south, east, north) if west <= east and south <= north else None


def _level(rules: MosaicRules, box: Bounds, shape: tuple[int, int]) -> int:
    """The level of overview cells of as much detail as `shape`; negative where scenes themselves are to be read."""
    if not all(map(math.isfinite, box)):
        return 64
    across = (box.east - box.west) / shape[1] / rules.resolution[0]
    down = (box.north - box.south) / shape[0] / rules.resolution[1]
    merged = min(across, down) * _OVERVIEW_SLACK / rules.overview_factor
    return math.floor(math.log2(merged)) if merged > 0 else -1


def compose_parts(
    parts: Iterable[Part],
    bounds: Bounds,
    crs: str,
    shape: tuple[int, int],
    bands: Sequence[int],
    resampling: Resampling,
    rules: MosaicRules,
) -> RasterBlock | None:
    """The parts over each other, the first uppermost; None where none has anything in the box."""
    values: NDArray[Any] | None = None
    valid = np.zeros((len(bands), *shape), dtype=np.bool_)
    for part in parts:
        place = _place(part, bounds, crs, shape)
        if place is None:
            continue
        rows, columns, inner = place
        if valid[:, rows, columns].all():
            continue
        size = (rows.stop - rows.start, columns.stop - columns.start)
        block = CogSource(part.path).warp(inner, crs, size, bands, resampling=resampling)
        if block is None:
            continue
        if values is None:
            values = np.zeros(valid.shape, dtype=rules.dtype)
        new = block.valid & ~valid[:, rows, columns]
        np.copyto(values[:, rows, columns], block.values, where=new, casting="unsafe")
        valid[:, rows, columns] |= new
        if valid.all():
            break
    return None if values is None else RasterBlock(values, valid, bounds)


def _place(
    part: Part, bounds: Bounds, crs: str, shape: tuple[int, int]
) -> tuple[slice, slice, Bounds] | None:
    """Rows and columns of the target that a part may reach, and their box; None where it does not."""
    own: tuple[float, ...] = part.bounds
    if crs != part.crs:
        own = transformer(part.crs, crs).transform_bounds(*part.bounds, densify_pts=21, errcheck=False)
        if not all(map(math.isfinite, own)) or own[0] > own[2]:
            return slice(0, shape[0]), slice(0, shape[1]), bounds
    width, height = (bounds.east - bounds.west) / shape[1], (bounds.north - bounds.south) / shape[0]
    first = max(0, math.floor((own[0] - bounds.west) / width))
    last = min(shape[1], math.ceil((own[2] - bounds.west) / width))
    top = max(0, math.floor((bounds.north - own[3]) / height))
    bottom = min(shape[0], math.ceil((bounds.north - own[1]) / height))
    if first >= last or top >= bottom:
        return None
    if (first, last, top, bottom) == (0, shape[1], 0, shape[0]):
        return slice(0, shape[0]), slice(0, shape[1]), bounds
    inner = Bounds(
        bounds.west + first * width,
        bounds.north - bottom * height,
        bounds.west + last * width,
        bounds.north - top * height,
    )
    return slice(top, bottom), slice(first, last), inner


def cells_of(levels: Iterable[int], bounds: Bounds, rules: MosaicRules) -> Iterator[tuple[int, int, int]]:
    """(level, column, row) of all cells that a box meets."""
    for level in levels:
        columns, rows = cell_range(bounds, rules.cell_size(level))
        for across in columns:
            for down in rows:
                yield level, across, down
