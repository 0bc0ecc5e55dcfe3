"""Points of a COPC file inside a box, down to a resolution or up to a budget, without reading the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pyproj

from pointclouds.copc.reader import CopcFile, selection_of
from pointclouds.crs import horizontal_part, require_usable
from pointclouds.errors import QueryError
from pointclouds.las.layout import DIMENSION_FIELDS, Column, Records, dimension, dimension_names

_EDGE_SAMPLES: Final = 21


@dataclass(frozen=True)
class PointSubset:
    """Points of a query. x, y, z: float64, CRS units; `columns`: further dimensions by LAS name, as stored.

    `levels` is how many levels of the octree were read; `complete` is False where the budget left points out.
    """

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    z: npt.NDArray[np.float64]
    columns: dict[str, Column]
    crs: pyproj.CRS | None
    levels: int
    complete: bool

    @property
    def count(self) -> int:
        """Number of points."""
        return len(self.x)


def read_points(
    copc: Path,
    bbox: Sequence[float] | None = None,
    *,
    bbox_crs: Literal["native", "CRS84"] = "native",
    resolution: float | None = None,
    max_points: int | None = None,
    dimensions: Sequence[str] | None = None,
) -> PointSubset:
    """Read points, coarsest nodes first.

    Args:
        bbox: minx, miny, maxx, maxy or minx, miny, minz, maxx, maxy, maxz, borders included; None: everything.
            z is in the file's own units whatever `bbox_crs` says.
        bbox_crs: axes of `bbox`: the file's CRS, or CRS84 longitude and latitude. Points inside the CRS84 box are
            selected, not those of the native box around it.
        resolution: distance between points that is fine enough (native horizontal units): no level finer than
            the first that reaches it is read. None: all levels.
        max_points: at most this many points. When a level does not fit, what is left is spread evenly over it.
        dimensions: LAS names besides X, Y, Z; None: all of the file.

    Raises:
        QueryError: an impossible box, resolution, budget or an unknown dimension.
        MissingCrsError: a CRS84 box on a file without CRS.
        UnreadablePointCloudError, InvalidCopcError: a bad file.
    """
    _check(resolution, max_points, bbox_crs)
    with CopcFile(copc) as source:
        wanted = _wanted(source, dimensions)
        low, high = _native_box(source, bbox, bbox_crs)
        keep = _Keep(source, bbox, bbox_crs)
        entries = source.entries[source.entries["point_count"] > 0]
        lows, highs = source.node_boxes(entries)
        entries = entries[((lows <= high) & (highs >= low)).all(axis=1)]
        entries = entries[entries["level"] <= _finest_level(source, resolution)]
        selection = selection_of(DIMENSION_FIELDS.get(name, name) for name in wanted)
        parts, levels, complete = _read_levels(source, entries, keep, selection, max_points)
        records = np.concatenate(parts) if parts else np.empty(0, source.dtype)
        position = source.coordinates(records)
        columns = {name: dimension(records, name) for name in wanted}
        return PointSubset(
            position[:, 0], position[:, 1], position[:, 2], columns, source.crs, levels, complete
        )


def _check(resolution: float | None, max_points: int | None, bbox_crs: str) -> None:
    if resolution is not None and not (np.isfinite(resolution) and resolution > 0):
        raise QueryError(
            f"a resolution of {resolution} makes no sense; give a distance above zero in CRS units"
        )
    if max_points is not None and max_points < 1:
        raise QueryError(f"a budget of {max_points} points makes no sense; give one or more")
    if bbox_crs not in ("native", "CRS84"):
        raise QueryError(f"a bounding box in {bbox_crs!r} is not understood; use native or CRS84")


def _wanted(source: CopcFile, dimensions: Sequence[str] | None) -> list[str]:
    known = [name for name in dimension_names(source.dtype) if name not in ("X", "Y", "Z")]
    if dimensions is None:
        return known
    unknown = [name for name in dimensions if name not in known and name not in ("X", "Y", "Z")]
    if unknown:
        raise QueryError(
            f"no dimension {', '.join(unknown)}; the point cloud has {', '.join(['X', 'Y', 'Z', *known])}"
        )
    return [name for name in dimensions if name not in ("X", "Y", "Z")]


def _corners(bbox: Sequence[float]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Three-dimensional corners of a box of four or six numbers; without z it has no floor and no ceiling."""
    if len(bbox) not in (4, 6) or any(np.isnan(value) for value in bbox):
        raise QueryError(f"a bounding box has four or six numbers, {list(bbox)} has not")
    values = np.array(bbox, np.float64)
    if len(bbox) == 4:
        low, high = np.array([*values[:2], -np.inf]), np.array([*values[2:], np.inf])
    else:
        low, high = values[:3], values[3:]
    if (low > high).any():
        raise QueryError(f"the lower corner of {list(bbox)} lies above its upper corner")
    return low, high


def _native_box(
    source: CopcFile, bbox: Sequence[float] | None, bbox_crs: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The query's box, or a box around it, in the file's CRS."""
    if bbox is None:
        return np.full(3, -np.inf), np.full(3, np.inf)
    low, high = _corners(bbox)
    if bbox_crs == "native":
        return low, high
    crs = horizontal_part(require_usable(source.crs, source.path.name))
    to_native = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    minx, miny, maxx, maxy = to_native.transform_bounds(
        low[0], low[1], high[0], high[1], densify_pts=_EDGE_SAMPLES
    )
    if not np.isfinite([minx, miny, maxx, maxy]).all():
        raise QueryError(f"the bounding box {list(bbox)} lies outside the area of {crs.name}")
    return np.array((minx, miny, low[2])), np.array((maxx, maxy, high[2]))


class _Keep:
    """The points of a node that lie inside the query's box, in the box's own axes."""

    def __init__(self, source: CopcFile, bbox: Sequence[float] | None, bbox_crs: str) -> None:
        self._source = source
        self._box = None if bbox is None else _corners(bbox)
        self._to_box: pyproj.Transformer | None = None
        if bbox_crs == "CRS84" and bbox is not None:
            crs = horizontal_part(require_usable(source.crs, source.path.name))
            self._to_box = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)

    def __call__(self, records: Records) -> Records:
        if self._box is None:
            return records
        position = self._source.coordinates(records)
        if self._to_box is not None:
            position[:, 0], position[:, 1] = self._to_box.transform(position[:, 0], position[:, 1])
        inside = ((position >= self._box[0]) & (position <= self._box[1])).all(axis=1)
        return records[inside]


def _finest_level(source: CopcFile, resolution: float | None) -> int:
    if resolution is None:
        return int(source.entries["level"].max())
    return max(0, int(np.ceil(np.log2(source.info.spacing / resolution) - 1e-9)))


def _read_levels(
    source: CopcFile, entries: npt.NDArray[np.void], keep: _Keep, selection: int, max_points: int | None
) -> tuple[list[Records], int, bool]:
    """Points level by level until the budget is spent: parts, levels read, and whether nothing was left out."""
    parts: list[Records] = []
    left = max_points
    levels = 0
    for level in np.unique(entries["level"]):
        if left == 0:
            return parts, levels, False
        found = [keep(source.read_node(entry, selection)) for entry in entries[entries["level"] == level]]
        records = np.concatenate(found)
        levels = int(level) + 1
        if left is not None and len(records) > left:
            parts.append(records[np.linspace(0, len(records) - 1, left).astype(np.int64)])
            return parts, levels, False
        parts.append(records)
        left = None if left is None else left - len(records)
    return parts, levels, True
