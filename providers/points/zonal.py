"""Heights of what stands in polygons: the points in each footprint, summed up. Nothing is done point by point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from pointclouds.cloud.cloud import Cloud
from pointclouds.cloud.query import PointFilter, PointQuery, plan, read_plan
from pointclouds.las.dimensions import coordinates
from pointclouds.rasters.points import NOISE
from pointclouds.rasters.raster import PointRaster
from providers.points.coverage import raster_errors
from providers.points.errors import TooManyPoints

Float = npt.NDArray[np.float64]

PERCENTILES: Final = (50, 70, 95)
_AROUND: Final = 16
_SIDE: Final = 1_000


@dataclass(frozen=True)
class ZonalHeights:
    """One row a polygon, units of z; NaN where unknown. `ground` is the terrain along the polygon's border; `percentiles` (n, 3) are
    the 50th, 70th and 95th of the points' heights."""

    points: npt.NDArray[np.int64]
    lowest: Float
    highest: Float
    mean: Float
    percentiles: Float
    ground: Float


def heights_of(
    cloud: Cloud,
    areas: npt.NDArray[np.object_],
    chosen: PointFilter | None,
    classes: frozenset[int] | None,
    most_read: int,
) -> ZonalHeights:
    """Statistics of the points in each of n native polygons. Noise and withheld points are left out.

    Args:
        chosen: a further condition on points, None for none.
        classes: codes of the points that count (6: buildings), None for all but noise.

    Raises:
        TooManyPoints: more than `most_read` would be decoded. QueryError, UnreadablePointCloudError, InvalidCopcError.
    """
    owner, heights = _owned(cloud, areas, chosen, classes, most_read)
    order = np.lexsort((heights, owner))
    owner, heights = owner[order], heights[order]
    count = np.bincount(owner, minlength=len(areas))
    start = np.cumsum(count) - count
    known = count > 0
    last = np.where(known, start + count - 1, 0)
    first = np.where(known, start, 0)
    total = np.bincount(owner, heights, len(areas))
    empty = np.append(heights, np.nan)  # a value for polygons without points when there is no point at all

    def at(place: npt.NDArray[np.int64]) -> Float:
        return np.where(known, empty[place], np.nan)

    percentiles = np.stack(
        [
            at(first + np.rint(share / 100 * np.maximum(count - 1, 0)).astype(np.int64))
            for share in PERCENTILES
        ],
        axis=1,
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, total / count, np.nan)
    return ZonalHeights(count, at(first), at(last), mean, percentiles, np.full(len(areas), np.nan))


def _owned(
    cloud: Cloud,
    areas: npt.NDArray[np.object_],
    chosen: PointFilter | None,
    classes: frozenset[int] | None,
    most_read: int,
) -> tuple[npt.NDArray[np.int64], Float]:
    """The polygon each point lies in (several where they overlap), and its height."""
    whole = shapely.union_all(shapely.buffer(areas, 0))
    if whole.is_empty:
        return np.empty(0, np.int64), np.empty(0)
    names = {"Classification", "Withheld", *(chosen.fields if chosen is not None else ())}
    query = PointQuery(area=whole, filter=chosen, dimensions=tuple(sorted(names)))
    planned = plan(cloud, query)
    if planned.points > most_read:
        raise TooManyPoints(planned.points, most_read)
    tree = shapely.STRtree(areas)
    owners: list[npt.NDArray[np.int64]] = []
    heights: list[Float] = []
    for batch in read_plan(planned):
        records = batch.records
        codes = records["Classification"]
        counts = ~np.isin(codes, NOISE) if classes is None else np.isin(codes, list(classes))
        counts &= (records["Flags"] & 4) == 0
        place = coordinates(records[counts], cloud.scale, cloud.offset)
        which, polygon = tree.query(shapely.points(place[:, :2]), predicate="intersects")
        owners.append(polygon.astype(np.int64))
        heights.append(place[which, 2])
    if not owners:
        return np.empty(0, np.int64), np.empty(0)
    return np.concatenate(owners), np.concatenate(heights)


def ground_around(raster: PointRaster, areas: npt.NDArray[np.object_]) -> Float:
    """The mean terrain (n,) at sixteen places along the border of each polygon; NaN where it is unknown. Raises RasterError."""
    if "dtm" not in raster.bands:
        return np.full(len(areas), np.nan)
    rings = shapely.get_exterior_ring(np.array([_largest(one) for one in areas], dtype=object))
    share = np.linspace(0.0, 1.0, _AROUND, endpoint=False)
    places = shapely.line_interpolate_point(rings[:, None], share[None, :], normalized=True)
    x, y = shapely.get_coordinates(places).T
    # Coarse enough that all places lie in as many squares as are looked at together.
    fine = max(2 * raster.resolution, float(np.ptp(x)) / _SIDE, float(np.ptp(y)) / _SIDE)
    with raster_errors():
        found = raster.sample(raster.level(fine * 1.5), x, y, ["dtm"])["dtm"].astype(np.float64)
    table = found.reshape(len(areas), _AROUND)
    known = np.isfinite(table)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known.any(axis=1), np.nansum(table, axis=1) / known.sum(axis=1), np.nan)


def _largest(area: Any) -> Any:
    parts = shapely.get_parts(area)
    return parts[int(np.argmax(shapely.area(parts)))]
