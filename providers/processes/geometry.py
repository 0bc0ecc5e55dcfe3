"""Metric geometry for processes: projections made for one area, and features brought into them.

Areas are measured in a Lambert azimuthal equal-area projection and distances in an azimuthal equidistant one, both centred on
the area of interest on WGS 84. Neither depends on a zone, so results are right across zone borders, at the poles and at the
antimeridian; within 100 km of the centre the scale is true to 0.01 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from providers.errors import AnswerTooLarge, InvalidParameter
from providers.features.crs import reference_system
from providers.features.query import CRS84, BBox
from providers.features.source import FeatureColumns, FeatureSource

_DEGREES_A_STEP = 0.05  # straight edges in degrees bend when projected: 5 km and less are straight enough


@dataclass(frozen=True, slots=True)
class LocalPlane:
    """A plane in metres around a point. `name` says which, for the answer."""

    crs: pyproj.CRS
    name: str

    def from_crs84(self, geometry: BaseGeometry) -> BaseGeometry:
        """A geometry of CRS84 in this plane, its long edges broken up first."""
        dense = shapely.segmentize(geometry, _DEGREES_A_STEP)
        moved: BaseGeometry = _moved(
            np.array([dense], dtype=object), reference_system(CRS84).horizontal, self.crs
        )[0]
        if not (np.isfinite(shapely.get_coordinates(moved)).all() and moved.is_valid):
            raise InvalidParameter(
                "polygon", geometry.wkt[:80], "a polygon that can be shown in one plane: not the whole Earth"
            )
        return moved

    def to_crs84(self, geometries: NDArray[np.object_]) -> NDArray[np.object_]:
        """Geometries of this plane in CRS84."""
        return _moved(geometries, self.crs, reference_system(CRS84).horizontal)

    def from_storage(self, geometries: NDArray[np.object_], storage: pyproj.CRS) -> NDArray[np.object_]:
        """Geometries of a store in this plane; heights are dropped, invalid polygons made valid."""
        moved = _moved(geometries, storage, self.crs)
        broken = ~shapely.is_valid(moved)
        if broken.any():
            moved[broken] = shapely.make_valid(moved[broken])
        return moved


def local_plane(area: BaseGeometry, kind: Literal["laea", "aeqd"]) -> LocalPlane:
    """The plane around an area given in CRS84: "laea" keeps areas, "aeqd" distances from the centre."""
    centre = area.centroid
    crs = pyproj.CRS.from_proj4(
        f"+proj={kind} +lat_0={centre.y:.6f} +lon_0={centre.x:.6f} +datum=WGS84 +units=m +no_defs"
    )
    title = {"laea": "Lambert azimuthal equal-area", "aeqd": "azimuthal equidistant"}[kind]
    return LocalPlane(crs, f"{title} on WGS 84 around {centre.x:.4f}, {centre.y:.4f}")


@lru_cache(maxsize=64)
def _to_wgs84(source: pyproj.CRS) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(source, reference_system(CRS84).horizontal, always_xy=True)


def _moved(geometries: NDArray[np.object_], source: pyproj.CRS, target: pyproj.CRS) -> NDArray[np.object_]:
    wgs84 = reference_system(CRS84).horizontal
    # By way of WGS 84: finding an operation from a national system takes up to a second, and to it is found once.
    steps = [_to_wgs84(source)] if source != wgs84 else []
    if target != wgs84:
        steps.append(pyproj.Transformer.from_crs(wgs84, target, always_xy=True))

    def apply(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = coordinates[:, 0], coordinates[:, 1]
        for step in steps:
            x, y = step.transform(x, y)
        return np.column_stack([x, y])

    flat: NDArray[np.object_] = shapely.transform(shapely.force_2d(geometries), apply)
    return flat


def read_features(store: FeatureSource, bbox: BBox, fields: tuple[str, ...], maximum: int) -> FeatureColumns:
    """Features whose envelope meets `bbox`. Raises AnswerTooLarge beyond `maximum`."""
    found = store.read(bbox, fields, maximum + 1)
    if len(found) > maximum:
        raise AnswerTooLarge(
            f"More than {maximum} features lie in the box of the area; ask for a smaller area, or several one after the other"
        )
    return found


def box_of(geometry: BaseGeometry) -> BBox:
    """The envelope of a geometry in CRS84."""
    west, south, east, north = geometry.bounds
    return BBox(west, south, east, north)
