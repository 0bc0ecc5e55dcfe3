"""Data queries over rasters: positions, lines, and cells within areas.

Cells are those of the raster, in its own CRS or, where `crs` is given, of a grid in that. A cell belongs to an area that it meets,
its boundary included (EDR: "intersects"); positions get the cell they lie in, nothing in between is made up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from shapely.geometry.base import BaseGeometry

from providers.coverages.axes import Axis
from providers.coverages.coverage_json import parameters
from providers.coverages.errors import OutsideCoverage
from providers.coverages.geotiff import transform_of
from providers.coverages.instants import chosen_instants, epoch_seconds
from providers.coverages.reading import read_all
from providers.coverages.references import box_between, own_reference, same, transformer
from providers.coverages.request import CoverageRequest
from providers.coverages.selection import Selection, bands_of, select
from providers.edr.lines import Line, across, corridor_area, disc, lines_of
from providers.edr.query import MAXIMUM_POSITIONS, DataQuery, polygon_of
from providers.edr.samples import Grid, Path, Sample, Samples, Series, Values
from providers.errors import AnswerTooLarge, InvalidParameter
from providers.features.crs import ReferenceSystem
from tiles.rasters.source import Bounds, RasterBand, RasterSource

MAXIMUM_VALUES = 500_000


def answer_raster(source: RasterSource, query: DataQuery) -> Samples:
    """What a query finds in a raster.

    Raises InvalidParameter, AnswerTooLarge, UnknownInstant, RasterError; OutsideCoverage where nothing lies in it.
    """
    answers: dict[str, Callable[[RasterSource, DataQuery], Samples]] = {
        "position": _position,
        "trajectory": _trajectory,
        "corridor": _corridor,
        "area": _area,
        "radius": _radius,
        "cube": _cube,
    }
    answer = answers.get(query.kind)
    if answer is None:
        raise InvalidParameter("query", query.kind, ", ".join(answers))
    return answer(source, query)


def _bands(source: RasterSource, query: DataQuery) -> tuple[RasterBand, ...]:
    try:
        return bands_of(query.parameters, source.description)
    except InvalidParameter as error:
        raise InvalidParameter("parameter-name", error.value, error.allowed) from error


def _instants(source: RasterSource, query: DataQuery) -> tuple[str | None, ...]:
    known = source.description.instants
    if query.time is not None:
        return chosen_instants(known, query.time)
    return known or (None,)


def _check(count: int, what: str) -> None:
    if count > MAXIMUM_VALUES:
        raise AnswerTooLarge(
            f"The answer would hold {count} values {what}; at most {MAXIMUM_VALUES} are given at once. Ask for a smaller place, "
            "a shorter datetime interval or fewer parameter-name values"
        )


# --- positions -----------------------------------------------------------------------------------------------------------


def _sampled(
    source: RasterSource,
    query: DataQuery,
    places: tuple[NDArray[np.float64], NDArray[np.float64]],
    bands: tuple[RasterBand, ...],
    instant: str | None,
) -> dict[str, Values]:
    """Values at positions of the query's CRS, by band."""
    x, y = _own_positions(source, query, *places)
    values, valid = source.sample(x, y, [band.number for band in bands], instant=instant)
    # Each band in its own numbers: a height beside a code is no reason to make the code a fraction.
    return {
        band.name: Values(values[index].astype(band.dtype, copy=False), valid[index])
        for index, band in enumerate(bands)
    }


def _own_positions(
    source: RasterSource, query: DataQuery, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    description = source.description
    own = own_reference(description)
    if same(query.reference, own):
        found_x, found_y = x, y
    else:
        found = transformer(query.reference.horizontal, own.horizontal).transform(x, y)
        found_x, found_y = np.asarray(found[0]), np.asarray(found[1])
    if own.horizontal.is_geographic:
        # The turn of the globe in which the raster's own longitudes lie.
        found_x = description.bounds.west + np.mod(found_x - description.bounds.west, 360.0)
    return found_x, found_y


def _inside(
    source: RasterSource, query: DataQuery, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.bool_]:
    found_x, found_y = _own_positions(source, query, x, y)
    west, south, east, north = source.description.bounds
    inside: NDArray[np.bool_] = (
        (found_x >= west) & (found_x <= east) & (found_y >= south) & (found_y <= north)
    )
    return inside


def _position(source: RasterSource, query: DataQuery) -> Samples:
    bands = _bands(source, query)
    instants = _instants(source, query)
    shape = query.geometry
    points = np.concatenate(shape.parts)
    x, y = points[:, 0].copy(), points[:, 1].copy()
    _check(len(x) * len(bands) * len(instants), "at these positions")
    if not _inside(source, query, x, y).any():
        raise _outside(source, "coords")
    read = [_sampled(source, query, (x, y), bands, instant) for instant in instants]
    times = tuple(instant for instant in instants if instant is not None)
    found: list[Sample] = []
    for index in range(len(x)):
        values = {
            band.name: Values(
                np.stack([one[band.name].values[index] for one in read]),
                np.stack([one[band.name].valid[index] for one in read]),
            )
            for band in bands
        }
        found.append(Series(float(x[index]), float(y[index]), times, values))
    return Samples(query.reference, parameters(bands), found, collected=shape.kind == "MULTIPOINT")


def _outside(source: RasterSource, name: str) -> OutsideCoverage:
    west, south, east, north = (f"{edge:.7g}" for edge in source.description.footprint)
    return OutsideCoverage(
        f"Nothing of this collection lies in the place of {name}; its extent in degrees is {west}, {south}, {east}, {north}"
    )


# --- lines ---------------------------------------------------------------------------------------------------------------


def _lines(source: RasterSource, query: DataQuery) -> list[Line]:
    """The lines of the query with a position in each cell they cross. Raises AnswerTooLarge."""
    description = source.description
    own = own_reference(description)
    return lines_of(query, own, min(description.resolution), MAXIMUM_POSITIONS)


def _trajectory(source: RasterSource, query: DataQuery) -> Samples:
    return _along(source, query, _lines(source, query))


def _along(source: RasterSource, query: DataQuery, lines: list[Line]) -> Samples:
    bands = _bands(source, query)
    if not any(_inside(source, query, line.x, line.y).any() for line in lines):
        raise _outside(source, "coords")
    found: list[Sample] = []
    for line in lines:
        if line.seconds is not None:
            found.append(_timed_path(source, query, line, bands))
            continue
        instants = _instants(source, query)
        _check(len(line.x) * len(bands) * len(instants) * len(lines), "along this line")
        for instant in instants:
            values = _sampled(source, query, (line.x, line.y), bands, instant)
            found.append(Path(line.x, line.y, line.distance, values, time=instant))
    return Samples(
        query.reference, parameters(bands), found, collected=query.geometry.kind.startswith("MULTI")
    )


def _timed_path(source: RasterSource, query: DataQuery, line: Line, bands: tuple[RasterBand, ...]) -> Path:
    """A line with times of its own: each position gets the last state at or before its time, the first where it is earlier."""
    known = source.description.instants
    if not known or line.seconds is None:
        raise InvalidParameter(
            "coords", query.geometry.kind, "a line without times: the collection has no time axis"
        )
    moments = np.array([epoch_seconds(one) for one in known])
    which = np.clip(np.searchsorted(moments, line.seconds, side="right") - 1, 0, len(known) - 1)
    values: dict[str, Values] = {}
    for number in np.unique(which):
        here = which == number
        part = _sampled(source, query, (line.x[here], line.y[here]), bands, known[number])
        for name, read in part.items():
            whole = values.setdefault(
                name, Values(np.zeros(len(which), read.values.dtype), np.zeros(len(which), np.bool_))
            )
            whole.values[here], whole.valid[here] = read.values, read.valid
    times = tuple(known[number] for number in which)
    return Path(line.x, line.y, line.distance, values, times=times)


def _corridor(source: RasterSource, query: DataQuery) -> Samples:
    count = query.resolution[0]
    if count:
        lines = _lines(source, query)
        side = [beside for line in lines for beside in across(query, line, count)]
        _check(sum(len(line.x) for line in side), "across this corridor")
        return _along(source, query, side)
    return _cells(source, query, corridor_area(query))


# --- cells ---------------------------------------------------------------------------------------------------------------


def _area(source: RasterSource, query: DataQuery) -> Samples:
    return _cells(source, query, polygon_of(query.geometry))


def _radius(source: RasterSource, query: DataQuery) -> Samples:
    return _cells(source, query, disc(query))


def _cells(source: RasterSource, query: DataQuery, area: BaseGeometry) -> Samples:
    """The cells that an area of the query's CRS meets; those of the box around it that it does not meet are no data."""
    selection = _selected(source, query, Bounds(*area.bounds), "coords")
    placed = _placed(area, query.reference, selection)
    return _grid(source, selection, placed)


def _placed(area: BaseGeometry, reference: ReferenceSystem, selection: Selection) -> BaseGeometry:
    """The area in the CRS of the cells; in degrees on the turn of the globe where they lie."""
    if not same(reference, selection.reference):
        change = transformer(reference.horizontal, selection.reference.horizontal)
        denser = shapely.segmentize(area, max(*_sides(area)) / 64)
        return shapely.transform(
            denser, lambda points: np.column_stack(change.transform(points[:, 0], points[:, 1]))
        )
    if selection.reference.horizontal.is_geographic:
        middle = (selection.bounds.west + selection.bounds.east) / 2
        own = (area.bounds[0] + area.bounds[2]) / 2
        turn = 360.0 * round((middle - own) / 360.0)
        if turn:
            return shapely.transform(area, lambda points: np.add(points, (turn, 0.0)))
    return area


def _sides(area: BaseGeometry) -> tuple[float, float]:
    west, south, east, north = area.bounds
    return max(east - west, 1e-9), max(north - south, 1e-9)


def _grid(source: RasterSource, selection: Selection, area: BaseGeometry | None) -> Samples:
    blocks = read_all(source, selection)
    inside = np.ones(selection.shape, np.bool_)
    if area is not None:
        inside = geometry_mask(
            [area], selection.shape, transform_of(selection), all_touched=True, invert=True
        )
        if not inside.any():
            # Smaller than a cell and between centres: the cell it lies in.
            inside = np.ones(selection.shape, np.bool_) if inside.size == 1 else inside
    values = {
        band.name: Values(
            np.stack([block.values[index] for block in blocks]).astype(band.dtype, copy=False),
            np.stack([block.valid[index] & inside for block in blocks]),
        )
        for index, band in enumerate(selection.bands)
    }
    times = tuple(instant for instant in selection.instants if instant is not None)
    return Samples(selection.reference, parameters(selection.bands), [Grid(selection.bounds, times, values)])


def _selected(source: RasterSource, query: DataQuery, box: Bounds, name: str) -> Selection:
    """The cells of a box given in the query's CRS: of the raster's own grid, or of one in `crs` where that was named."""
    description = source.description
    own = own_reference(description)
    wide = box
    if query.reference.horizontal.is_geographic and box.west > box.east:
        wide = box._replace(east=box.east + 360.0)
    if not same(query.reference, own) and not query.given_crs:
        placed = box_between(name, wide, query.reference, own)
        numbers, reference = (placed.west, placed.south, placed.east, placed.north), own
    else:
        numbers, reference = (wide.west, wide.south, wide.east, wide.north), query.reference
    columns, rows = query.resolution
    sizes: dict[Axis, float] = {"x": columns, "y": rows}
    request = CoverageRequest(
        box=Bounds(*numbers),
        box_reference=reference,
        time=query.time,
        properties=tuple(band.name for band in _bands(source, query)),
        scale_size={axis: size for axis, size in sizes.items() if size},
        crs=query.reference.uri if query.given_crs else None,
    )
    try:
        return select(request, description, MAXIMUM_VALUES, all_instants=True)
    except OutsideCoverage as error:
        raise _outside(source, name) from error


def _cube(source: RasterSource, query: DataQuery) -> Samples:
    assert query.bbox is not None  # parse_query demands it
    selection = _selected(source, query, Bounds(*query.bbox), "bbox")
    return _grid(source, selection, None)
