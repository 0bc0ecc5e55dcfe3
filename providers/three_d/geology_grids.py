"""From rasters of layer tops, or from boreholes, to the grid of a geological model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import shapely
from pyproj import CRS

from providers.three_d.boreholes import BoreholeRules, read_intervals, tops_of
from providers.three_d.object_features import FeatureRows, ObjectFeatures
from tiles.three_d.errors import NothingToBuildError, ThreeDError
from tiles.three_d.placement import as_crs
from tiles.three_d.report import ProblemLog, Survivors
from tiles.three_d.underground.axes import Numbers, Placing
from tiles.three_d.underground.geology import LayerGrid, layered
from tiles.three_d.underground.interpolation import Interpolation, interpolate
from tiles.three_d.vertical import VerticalReference

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

LARGEST_SIDE = 512
"""Nodes along the longer side of a grid; a finer raster is read as means of so many pixels."""
MOST_LAYERS = 200
_BOREHOLE_NODES = 96
# The grid reaches this share of the boreholes' extent beyond the outermost of them.
_MARGIN = 0.05
_LOWEST, _HIGHEST = -12_000.0, 10_000.0


class Gridded(NamedTuple):
    """A grid, what was done to its heights, and what its publisher should know."""

    grid: LayerGrid
    said: str
    warnings: tuple[str, ...]


class _Nodes(NamedTuple):
    """Places (r, c) of a grid in a CRS."""

    x: Numbers
    y: Numbers
    crs: CRS

    def flat(self) -> Numbers:
        return np.column_stack((self.x.ravel(), self.y.ravel()))


# --- rasters -----------------------------------------------------------------------------------------------------------


def grid_of_rasters(files: Sequence[Path], vertical: VerticalReference, names: Sequence[str] = ()) -> Gridded:
    """The grid of surfaces in rasters, from above: all bands of all `files` are the tops of the layers, the last is the bottom
    of the last layer.

    `names` are those of the layers, one less than surfaces; without them the bands' own, or the files'. Everything lies on the
    grid of the first file. Raises ThreeDError where there are too few, too many or no readable ones.
    """
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with ExitStack() as stack:
            opened = [stack.enter_context(rasterio.open(path)) for path in files]
            found = [(dataset, band) for dataset in opened for band in range(1, dataset.count + 1)]
            _check_surfaces(opened, len(found), names)
            nodes = _nodes_of(opened[0])
            surfaces = np.stack([_surface(dataset, band, nodes, opened[0]) for dataset, band in found])
            called = tuple(names) or tuple(_band_name(dataset, band) for dataset, band in found[:-1])
    except RasterioError as error:
        raise ThreeDError(f"a raster of layers cannot be read: {error}") from error
    return _finished(surfaces, nodes, Placing(nodes.crs, vertical), called)


def _check_surfaces(opened: Sequence[DatasetReader], count: int, names: Sequence[str]) -> None:
    if count < 2:
        raise ThreeDError(
            "one surface was given; layers need two or more, as bands or as files: the top of each from above, and the "
            "bottom of the last one"
        )
    if count > MOST_LAYERS:
        raise ThreeDError(f"{count} surfaces were given; allowed are {MOST_LAYERS}")
    if names and len(names) != count - 1:
        raise ThreeDError(
            f"{len(names)} names of layers were given for {count} surfaces, between which are {count - 1} layers"
        )
    for dataset in opened:
        if dataset.crs is None:
            raise ThreeDError(
                f"{Path(dataset.name).name} has no CRS; assign one before layers are made of it"
            )


def _band_name(dataset: DatasetReader, band: int) -> str:
    described = dataset.descriptions[band - 1]
    if described:
        return str(described)
    stem = Path(dataset.name).stem
    return stem if dataset.count == 1 else f"{stem} {band}"


def _nodes_of(dataset: DatasetReader) -> _Nodes:
    """Centres of the pixels, or of the blocks of pixels, of which the grid's nodes are the means."""
    rows, columns = _shape_of(dataset)
    column = (np.arange(columns) + 0.5) * dataset.width / columns
    row = (np.arange(rows) + 0.5) * dataset.height / rows
    grid_column, grid_row = np.meshgrid(column, row)
    x, y = dataset.transform @ (grid_column, grid_row)
    return _Nodes(np.asarray(x), np.asarray(y), as_crs(dataset.crs.to_wkt()))


def _shape_of(dataset: DatasetReader) -> tuple[int, int]:
    step = max(1.0, max(dataset.width, dataset.height) / LARGEST_SIDE)
    rows, columns = (max(2, round(side / step)) for side in (dataset.height, dataset.width))
    if dataset.width < 2 or dataset.height < 2:
        raise ThreeDError(f"{Path(dataset.name).name} has less than 2 x 2 pixels; a layer needs a surface")
    return rows, columns


def _surface(dataset: DatasetReader, band: int, nodes: _Nodes, first: DatasetReader) -> Numbers:
    """Heights (r, c) of a band at the nodes, NaN where it has none."""
    same = (dataset.crs, dataset.transform, dataset.shape) == (first.crs, first.transform, first.shape)
    if same:
        from rasterio.enums import Resampling

        read = dataset.read(
            band, out_shape=nodes.x.shape, masked=True, out_dtype="float64", resampling=Resampling.average
        )
        heights = np.ma.filled(read, np.nan) * dataset.scales[band - 1] + dataset.offsets[band - 1]
    elif dataset.count == 1:
        from tiles.terrain import sample_heights

        heights = sample_heights(Path(dataset.name), nodes.flat(), nodes.crs).reshape(nodes.x.shape)
    else:
        raise ThreeDError(
            f"{Path(dataset.name).name} has {dataset.count} bands on another grid than {Path(first.name).name}; "
            "files of several bands must lie on one grid"
        )
    with np.errstate(invalid="ignore"):
        return np.where((heights < _LOWEST) | (heights > _HIGHEST), np.nan, heights)


def _finished(surfaces: Numbers, nodes: _Nodes, placing: Placing, names: Sequence[str]) -> Gridded:
    """Surfaces (l + 1, r, c) in the vertical reference of the data as a grid on the globe."""
    below, crossed = layered(surfaces)
    warnings = []
    if crossed:
        warnings.append(
            f"Surfaces of layers cross at {crossed} places of the grid; the lower one was lowered to the upper one there."
        )
    placed = np.empty_like(below)
    place, said = np.empty((below[0].size, 3)), ""
    for number, surface in enumerate(below):
        flat = surface.ravel()
        xyz = np.column_stack((nodes.flat(), np.nan_to_num(flat)))
        place, said = placing.on_globe(xyz)
        placed[number] = np.where(np.isnan(flat), np.nan, place[:, 2]).reshape(surface.shape)
    shape = nodes.x.shape
    grid = LayerGrid(
        place[:, 0].reshape(shape), place[:, 1].reshape(shape), placed, tuple(names), tuple(names)
    )
    return Gridded(grid, said, tuple(warnings))


# --- boreholes ---------------------------------------------------------------------------------------------------------


class _Holes(NamedTuple):
    """n boreholes: places (n, 2), heights of their tops (n,), thicknesses (n, l) of the layers `names`, from above."""

    places: Numbers
    tops: Numbers
    thickness: Numbers
    names: tuple[str, ...]


def grid_of_boreholes(
    features: ObjectFeatures,
    rules: BoreholeRules,
    placing: Placing,
    how: Interpolation,
    order: Sequence[str] = (),
) -> Gridded:
    """The grid of layers between boreholes.

    The thickness of each layer (a name in the lithology field) is interpolated, 0 where a borehole does not have it; layers are
    stacked from the interpolated top downwards in the order of `order`, else by their mean depth. So surfaces never cross. A
    layer that a borehole has several times is one layer, as thick as all of them.

    Raises NothingToBuildError where fewer than three boreholes can be used.
    """
    log = ProblemLog()
    holes = _holes(features, rules, placing, log, order)
    nodes = _nodes_around(holes.places, placing.crs)
    squeeze = np.array([1.0, 1.0])
    if placing.crs.is_geographic:
        squeeze[0] = np.cos(np.radians(np.clip(holes.places[:, 1].mean(), -89.0, 89.0)))
    values = np.column_stack((holes.tops, holes.thickness))
    between = interpolate(holes.places * squeeze, values, nodes.flat() * squeeze, how)
    top = between[:, 0]
    if placing.ground is not None:
        # The ground is known better than between boreholes; what was interpolated fills its gaps.
        surface = placing.ground_at(nodes.flat())
        top = np.where(np.isnan(surface) | np.isnan(top), top, surface)
    below = top[:, None] - np.cumsum(np.maximum(between[:, 1:], 0.0), axis=1)
    surfaces = np.column_stack((top, below)).T.reshape(-1, *nodes.x.shape)
    made = _finished(surfaces, nodes, placing, holes.names)
    method = "inverse distances" if how is Interpolation.IDW else "a linear surface over their triangulation"
    warnings = [
        f"Layers were interpolated between {len(holes.places)} boreholes by {method}.",
        *made.warnings,
    ]
    if log.counts["skipped"]:
        first = log.listed[0]
        warnings.append(
            f"{log.counts['skipped']} features are not in the layers (the first, {first.id!r}: {first.problem})."
        )
    return Gridded(made.grid, made.said, tuple(warnings))


def _holes(
    features: ObjectFeatures, rules: BoreholeRules, placing: Placing, log: ProblemLog, order: Sequence[str]
) -> _Holes:
    places: dict[object, tuple[float, float]] = {}
    tops: dict[object, float] = {}
    found: dict[object, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    depths: dict[str, list[float]] = defaultdict(list)
    for rows in features.chunks():
        survivors = Survivors.all_of(rows.ids, log)
        survivors.drop(shapely.is_missing(rows.geometries) | shapely.is_empty(rows.geometries), "no geometry")
        survivors.drop(shapely.get_type_id(rows.geometries) != 0, "not a point")
        intervals = read_intervals(rows, rules, survivors)
        height = _tops(rows, rules, placing, survivors)
        for hole, start, end, name in zip(
            intervals.hole.tolist(),
            intervals.start.tolist(),
            intervals.end.tolist(),
            intervals.lithology,
            strict=True,
        ):
            if not survivors.alive[hole] or not name:
                continue
            point = rows.geometries[hole]
            key: object = (point.x, point.y)
            places[key] = (point.x, point.y)
            tops.setdefault(key, float(height[hole]))
            found[key][name] += end - start
            depths[name].append((start + end) / 2.0)
    if len(found) < 3:
        raise NothingToBuildError(
            f"layers between boreholes need three of them with intervals; {len(found)} can be used"
        )
    names = _in_order(depths, order)
    keys = list(found)
    return _Holes(
        np.array([places[key] for key in keys]),
        np.array([tops[key] for key in keys]),
        np.array([[found[key].get(name, 0.0) for name in names] for key in keys]),
        names,
    )


def _tops(rows: FeatureRows, rules: BoreholeRules, placing: Placing, survivors: Survivors) -> Numbers:
    """Heights (n,) of the tops: their field, the points' own z, the ground."""
    height = tops_of(rows, rules)
    points = np.flatnonzero(survivors.alive)
    xyz = np.full((len(rows), 3), np.nan)
    xyz[points] = shapely.get_coordinates(rows.geometries[points], include_z=True)
    height = np.where(np.isnan(height), xyz[:, 2], height)
    height = np.where(np.isnan(height), placing.ground_at(xyz), height)
    survivors.drop(~np.isfinite(xyz[:, :2]).all(axis=1), "a coordinate is not a number")
    survivors.drop(np.isnan(height), "no top elevation is given, and the point has no z")
    return height


def _in_order(depths: dict[str, list[float]], order: Sequence[str]) -> tuple[str, ...]:
    """The layers from above: as `order` says, the others by their mean depth. Raises ThreeDError."""
    unknown = [name for name in order if name not in depths]
    if unknown:
        raise ThreeDError(
            f"no borehole has a layer {unknown[0]!r}; the layers found are {', '.join(sorted(depths))}"
        )
    rest = sorted(
        (name for name in depths if name not in order), key=lambda name: float(np.mean(depths[name]))
    )
    names = (*order, *rest)
    if len(names) > MOST_LAYERS:
        raise ThreeDError(
            f"the boreholes have {len(names)} layers, allowed are {MOST_LAYERS}: name a field of main layers"
        )
    return names


def _nodes_around(places: Numbers, crs: CRS) -> _Nodes:
    low, high = places.min(axis=0), places.max(axis=0)
    margin = max(float((high - low).max()) * _MARGIN, 1e-9)
    low, high = low - margin, high + margin
    step = float((high - low).max()) / (_BOREHOLE_NODES - 1)
    columns, rows = (max(2, int(np.ceil(side / step)) + 1) for side in (high - low))
    x, y = np.meshgrid(np.linspace(low[0], high[0], columns), np.linspace(high[1], low[1], rows))
    return _Nodes(x, y, crs)
