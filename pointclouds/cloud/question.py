"""What can be asked of a cloud: a place, a condition, a resolution, a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import shapely

from pointclouds.cloud.cloud import Box3, Cloud
from pointclouds.cloud.nodes import NodeTable
from pointclouds.errors import QueryError
from pointclouds.las.layout import Column

Mask = npt.NDArray[np.bool_]
_AREAS: Final = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


class PointFilter(Protocol):
    """A condition on points that also knows what the statistics of a node say about it."""

    @property
    def fields(self) -> frozenset[str]:
        """Names of the dimensions that `mask` looks at."""
        ...

    def may_match(self, table: NodeTable) -> Mask:
        """(n,): False only where no point of the node can match."""
        ...

    def all_match(self, table: NodeTable) -> Mask:
        """(n,): True only where every point of the node matches."""
        ...

    def mask(self, values: Mapping[str, Column]) -> Mask:
        """(m,): which points match; `values` holds natural values of `fields`, (m,) each."""
        ...


@dataclass(frozen=True)
class PointQuery:
    """What is asked of a cloud; conditions are joined by AND.

    box: native, borders included, infinite where open. area: polygons in native x and y, borders included. resolution: distance of
    points in CRS units; levels of the octree finer than it are left out. max_points: at most so many, spread evenly over the
    coarsest level that does not fit as a whole. dimensions: what is wanted besides positions; None for all. tiles: names; None for all.
    """

    box: Box3 | None = None
    area: shapely.Geometry | None = None
    filter: PointFilter | None = None
    resolution: float | None = None
    max_points: int | None = None
    dimensions: tuple[str, ...] | None = None
    tiles: frozenset[str] | None = None

    def check(self, cloud: Cloud) -> None:
        """Raises QueryError: an impossible box, area, resolution or budget, or a dimension the cloud has not."""
        if self.box is not None:
            _check_box(self.box)
        if self.area is not None and shapely.get_type_id(self.area) not in _AREAS:
            raise QueryError(f"an area is a polygon or several, not {shapely.to_wkt(self.area)[:40]}")
        if self.resolution is not None and not (np.isfinite(self.resolution) and self.resolution > 0):
            raise QueryError(
                f"a resolution of {self.resolution} makes no sense; give a distance above zero in CRS units"
            )
        if self.max_points is not None and self.max_points < 1:
            raise QueryError(f"a budget of {self.max_points} points makes no sense; give one or more")
        known = {one.name for one in cloud.dimensions}
        unknown = [name for name in self.dimensions or () if name not in known]
        if unknown:
            raise QueryError(
                f"no dimension {', '.join(unknown)}; the point cloud has {', '.join(sorted(known))}"
            )

    @property
    def is_everything(self) -> bool:
        """Whether every point of the cloud is asked for."""
        conditions = (self.box, self.area, self.filter, self.resolution, self.max_points, self.tiles)
        return all(one is None for one in conditions)


def _check_box(box: Sequence[float]) -> None:
    if len(box) != 6 or any(np.isnan(value) for value in box):
        raise QueryError(f"a native box has six numbers, {list(box)} has not")
    if any(box[axis] > box[axis + 3] for axis in range(3)):
        raise QueryError(f"the lower corner of {list(box)} lies above its upper corner")
