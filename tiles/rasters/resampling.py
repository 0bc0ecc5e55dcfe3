"""From the pixels of a raster to those of a map: where each lies, and what value it gets.

Coordinates are made on a coarse lattice by PROJ and interpolated between, refined until an eighth of a pixel is kept;
nearest and bilinear values are gathered by numpy, which takes less than half of the time of GDAL's warper
(docs/decisions/0012-raster-reading.md). The kernels that are seldom asked (cubic, average) are GDAL's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.enums import Resampling as GdalResampling
from rasterio.transform import from_bounds
from rasterio.warp import reproject

from tiles.rasters.packed_bytes import Neighbours, bilinear_lines, bilinear_points, pack_bands
from tiles.rasters.source import Bounds, Resampling

type Positions = NDArray[np.floating[Any]]

_TOLERANCE = 0.125
_FIRST_LATTICE = 9
_LAST_LATTICE = 129
_STRAIGHT = 0.01
"""Pixels by which a line of the target may bend in the source and still count as straight."""
_STRIP_PIXELS = 16_384
"""Pixels that are gathered at once: what they need then stays in the processor's cache."""
_BLOCK_COLUMNS = 256
"""Columns of bytes gathered at once: the part of the source they lie in is packed for them, and is small however it is turned."""
_KERNELS = {"cubic": GdalResampling.cubic, "average": GdalResampling.average}


class Coordinates(NamedTuple):
    """Where target pixels lie in the CRS (or the pixels) of a source.

    `x` and `y` are at the corners of a lattice of equal cells over the target, row 0 at its upper edge; between them they
    vary evenly. Where they do not (`exact`), there is one for each pixel's centre.
    """

    x: Positions
    y: Positions
    exact: bool = False


class Sampled(NamedTuple):
    """Values (bands, rows, columns) and which are valid (the same shape)."""

    values: NDArray[Any]
    valid: NDArray[np.bool_]


def aligned_coordinates(bounds: Bounds) -> Coordinates:
    """Those of a box of the source's own CRS."""
    x, y = np.meshgrid(np.array([bounds.west, bounds.east]), np.array([bounds.north, bounds.south]))
    return Coordinates(x, y)


def warped_coordinates(
    bounds: Bounds,
    shape: tuple[int, int],
    project: Transformer,
    pixel: tuple[float, float],
    turn_below: float | None = None,
) -> Coordinates:
    """Those of a box of another CRS; not finite where the source's cannot express them.

    `pixel` is the size (x, y) of what is to be told apart, in units of the source: an eighth of it is kept. Longitudes
    below `turn_below` are counted a turn further east.
    """
    edge = _FIRST_LATTICE
    while edge <= _LAST_LATTICE:
        across = np.linspace(bounds.west, bounds.east, 2 * edge - 1)
        down = np.linspace(bounds.north, bounds.south, 2 * edge - 1)
        x, y = _projected(across, down, project, turn_below)
        if _is_even(x, pixel[0]) and _is_even(y, pixel[1]):
            return Coordinates(x[::2, ::2], y[::2, ::2])
        if not (np.isfinite(x).any() and np.isfinite(y).any()):
            break
        edge = 2 * edge - 1
    rows, columns = shape
    centres_x: Positions = bounds.west + (np.arange(columns) + 0.5) * ((bounds.east - bounds.west) / columns)
    centres_y: Positions = bounds.north - (np.arange(rows) + 0.5) * ((bounds.north - bounds.south) / rows)
    return Coordinates(*_projected(centres_x, centres_y, project, turn_below), exact=True)


def _projected(
    across: Positions, down: Positions, project: Transformer, turn_below: float | None
) -> tuple[Positions, Positions]:
    columns, rows = np.meshgrid(across, down)
    east, north = project.transform(columns.ravel(), rows.ravel())
    x, y = np.asarray(east).reshape(columns.shape), np.asarray(north).reshape(columns.shape)
    if turn_below is not None:
        x = np.where(x < turn_below, x + 360.0, x)
    return x, y


def _is_even(fine: Positions, pixel: float) -> bool:
    """Whether every second point of the lattice lies where its neighbours say, to a part of a pixel."""
    if not np.isfinite(fine).all():
        return False
    limit = _TOLERANCE * pixel
    across = np.abs((fine[:, :-2:2] + fine[:, 2::2]) * 0.5 - fine[:, 1:-1:2]).max()
    down = np.abs((fine[:-2:2] + fine[2::2]) * 0.5 - fine[1:-1:2]).max()
    return bool(across <= limit and down <= limit)


class _Layers(NamedTuple):
    """Values (bands, pixels), and validity (bands or 1, pixels), None where all are valid."""

    values: NDArray[Any]
    mask: NDArray[np.bool_] | None


def _crossing_lines(pixels: Coordinates, shape: tuple[int, int]) -> tuple[Positions, Positions] | None:
    """Columns and rows where all target columns lie in one column of the source each, and rows alike; else None.

    So it is between the CRS of a web map and longitude and latitude.
    """
    if pixels.exact:
        return None
    bend = max(np.ptp(pixels.x, axis=0).max(), np.ptp(pixels.y, axis=1).max())
    if not bend <= _STRAIGHT:
        return None
    one, rows, columns = slice(0, 1), slice(0, shape[0]), slice(0, shape[1])
    x = _strip(pixels.x[:2], (1, shape[1]), (one, columns), exact=False)[0]
    y = _strip(pixels.y[:, :2], (shape[0], 1), (rows, one), exact=False)[:, 0]
    return x, y


def _gather_lines(
    values: NDArray[np.uint8],
    crossing: tuple[Positions, Positions],
    found: NDArray[np.uint8],
    kept: NDArray[np.bool_],
) -> None:
    """Bilinear bytes where columns and rows cross; what lies outside is not valid."""
    x, y = crossing
    _, height, width = values.shape
    kept[:] = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))
    step = max(16, _STRIP_PIXELS // len(x))
    columns = _neighbours(x, width)
    for first in range(0, len(y), step):
        rows, needed = _within(_neighbours(y[first : first + step], height))
        bilinear_lines(pack_bands(values[:, needed]), columns, rows, found[:, first : first + step])


def _within(neighbours: Neighbours) -> tuple[Neighbours, slice]:
    """The part of an axis that is needed, and the neighbours counted from its beginning."""
    first = int(neighbours.before.min())
    last = int(neighbours.before.max()) + neighbours.step
    return neighbours._replace(before=neighbours.before - first), slice(first, last + 1)


def _strip(values: Positions, shape: tuple[int, int], part: tuple[slice, slice], *, exact: bool) -> Positions:
    """The coordinates of some rows and columns."""
    if exact:
        return values[part]
    rows, columns = shape
    down = (np.arange(part[0].start, part[0].stop) + 0.5) * ((values.shape[0] - 1) / rows)
    across = (np.arange(part[1].start, part[1].stop) + 0.5) * ((values.shape[1] - 1) / columns)
    top, left = down.astype(np.intp), across.astype(np.intp)
    below, right = (down - top)[:, None], across - left
    lines = values[top] * (1 - below) + values[top + 1] * below
    found: Positions = lines[:, left]
    step = lines[:, left + 1]
    step -= found
    step *= right
    found += step
    return found


def gather(
    values: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    pixels: Coordinates,
    shape: tuple[int, int],
    resampling: Resampling,
) -> Sampled:
    """Values at fractional pixel positions (0.5 is the centre of the first); what lies outside is not valid.

    `values` (bands, height, width); `valid` the same shape, (1, height, width) for all bands alike, or None where all are.
    `pixels` are columns and rows of it. `resampling` is nearest or bilinear.
    """
    bands, height, width = values.shape
    found = np.empty((bands, *shape), dtype=values.dtype)
    kept = np.empty((bands, *shape), dtype=np.bool_)
    bytes_between = values.dtype == np.uint8 and resampling != "nearest"
    if bytes_between and valid is None:
        crossing = _crossing_lines(pixels, shape)
        if crossing is not None:
            _gather_lines(values, crossing, found, kept)
            return Sampled(found, kept)
    layers = _Layers(values.reshape(bands, -1), None if valid is None else valid.reshape(len(valid), -1))
    collect = _nearest if resampling == "nearest" else _bilinear
    for part in _parts(shape, _BLOCK_COLUMNS if bytes_between else shape[1]):
        x = _strip(pixels.x, shape, part, exact=pixels.exact)
        y = _strip(pixels.y, shape, part, exact=pixels.exact)
        with np.errstate(invalid="ignore"):
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        if not inside.all():
            if not inside.any():
                found[:, *part], kept[:, *part] = 0, False
                continue
            # What lies outside is read where some pixel of this part lies: no other place of the source is needed for it.
            somewhere = np.unravel_index(inside.argmax(), inside.shape)
            x, y = np.where(inside, x, x[somewhere]), np.where(inside, y, y[somewhere])
        collect(layers, x, y, (height, width), found[:, *part], kept[:, *part])
        kept[:, *part] &= inside
    return Sampled(found, kept)


def _parts(shape: tuple[int, int], columns: int) -> Iterator[tuple[slice, slice]]:
    """Parts (rows, columns) of the target, of so many columns at most."""
    columns = min(columns, shape[1])
    rows = max(1, _STRIP_PIXELS // columns)
    for top in range(0, shape[0], rows):
        for left in range(0, shape[1], columns):
            yield slice(top, min(top + rows, shape[0])), slice(left, min(left + columns, shape[1]))


def _nearest(
    layers: _Layers,
    x: Positions,
    y: Positions,
    size: tuple[int, int],
    found: NDArray[Any],
    kept: NDArray[np.bool_],
) -> None:
    flat, mask = layers
    at = y.astype(np.intp) * size[1] + x.astype(np.intp)
    for band, layer in enumerate(flat):
        found[band] = layer.take(at)
    if mask is None:
        kept[:] = True
    else:
        for band in range(len(flat)):
            kept[band] = mask[min(band, len(mask) - 1)].take(at)


def _bilinear(
    layers: _Layers,
    x: Positions,
    y: Positions,
    size: tuple[int, int],
    found: NDArray[Any],
    kept: NDArray[np.bool_],
) -> None:
    """Between the four nearest centres; those without data have no weight, and at least half of it must be left."""
    flat, mask = layers
    across, down = _neighbours(x, size[1]), _neighbours(y, size[0])
    left, right_step, fraction_x = across
    top, down_step, fraction_y = down
    kept[:] = True
    if mask is None and flat.dtype == np.uint8:
        _bilinear_bytes(flat, across, down, size, found)
        return
    at = top * size[1] + left
    places = (at, at + right_step, at + down_step * size[1], at + down_step * size[1] + right_step)
    if mask is not None and all(layer.take(place).all() for layer in mask for place in places):
        mask = None
        if flat.dtype == np.uint8:
            _bilinear_bytes(flat, across, down, size, found)
            return
    exact = np.float64 if _is_wide(flat.dtype) else np.float32
    fx: Positions = fraction_x.astype(exact)
    fy: Positions = fraction_y.astype(exact)
    weights = ((1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy)
    for band, layer in enumerate(flat):
        total = np.zeros(x.shape, dtype=exact)
        if mask is None:
            for place, weight in zip(places, weights, strict=True):
                total += layer.take(place) * weight
        else:
            present_of = mask[min(band, len(mask) - 1)]
            whole = np.zeros(x.shape, dtype=exact)
            for place, weight in zip(places, weights, strict=True):
                present = present_of.take(place)
                total += np.where(present, layer.take(place), 0) * weight
                whole += weight * present
            kept[band] = whole >= 0.5
            total = np.where(kept[band], total / np.maximum(whole, 0.5), 0)
        found[band] = total if flat.dtype.kind == "f" else np.rint(total)


def _bilinear_bytes(
    flat: NDArray[np.uint8], across: Neighbours, down: Neighbours, size: tuple[int, int], found: NDArray[Any]
) -> None:
    columns, wide = _within(across)
    rows, tall = _within(down)
    bilinear_points(pack_bands(flat.reshape(-1, *size)[:, tall, wide]), columns, rows, found)


def _is_wide(dtype: np.dtype[Any]) -> bool:
    """Whether 24 bits do not hold the numbers."""
    return dtype.itemsize > 4 or (dtype.kind in "iu" and dtype.itemsize == 4)


def _neighbours(position: Positions, count: int) -> Neighbours:
    """The centre before, the step to the one after, and how far between them; at the edges the outermost alone."""
    shifted = position - 0.5
    np.clip(shifted, 0, count - 1, out=shifted)
    before = shifted.astype(np.intp)
    if count > 1:
        np.minimum(before, count - 2, out=before)
    shifted -= before
    return Neighbours(before, 1 if count > 1 else 0, shifted)


def gather_by_gdal(
    values: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    source: tuple[Bounds, str],
    target: tuple[Bounds, str],
    shape: tuple[int, int],
    resampling: Resampling,
) -> Sampled:
    """Cubic or average values by GDAL's warper. `source` and `target` are boxes and their CRSs as WKT."""
    numbers = values.astype(np.float64 if _is_wide(values.dtype) else np.float32)
    if valid is not None:
        numbers[~np.broadcast_to(valid, numbers.shape)] = np.nan
    found = np.full((len(values), *shape), np.nan, dtype=numbers.dtype)
    reproject(
        numbers,
        found,
        src_transform=from_bounds(*source[0], values.shape[2], values.shape[1]),
        src_crs=source[1],
        dst_transform=from_bounds(*target[0], shape[1], shape[0]),
        dst_crs=target[1],
        src_nodata=math.nan,
        dst_nodata=math.nan,
        resampling=_KERNELS[resampling],
    )
    kept = ~np.isnan(found)
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        found = np.clip(np.rint(np.where(kept, found, 0)), limits.min, limits.max)
    return Sampled(found.astype(values.dtype, copy=False), kept)
