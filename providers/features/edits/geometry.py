"""GeoJSON geometries (RFC 7946 clause 3.1) as clients send them, into shapely in the storage CRS; every fault by its pointer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from providers.features.crossings import is_tangled
from providers.features.crs import ReferenceSystem, reference_system, transform_between
from providers.features.edits.faults import Faults, shown
from providers.features.query import CRS84

type Position = tuple[float, ...]

_MAXIMUM_NESTING = 8  # of collections of geometries
_MOST_PAIRS = 10_000_000  # of segments that lie so that they may cross: to check them takes half a second
_AROUND = 5.0  # degrees around the area of use of a CRS within which coordinates are taken for meant
_UNSUPPORTED = frozenset(
    {
        "Polyhedron",
        "MultiPolyhedron",
        "Prism",
        "MultiPrism",
        "CircularString",
        "CompoundCurve",
        "CurvePolygon",
    }
    | {"MultiCurve", "MultiSurface"}
)


class GeometryReader:
    """Reads the geometry of one payload. `source` is the CRS of its coordinates, in the authority's axis order."""

    def __init__(self, source: ReferenceSystem, allowed: str, faults: Faults) -> None:
        """`allowed`: the geometry type of the collection, "Geometry" for any."""
        self._source = source
        self._allowed = allowed
        self._faults = faults
        self._vertices = 0
        self._dimension: int | None = None

    def read(self, value: Any, at: str, storage: ReferenceSystem) -> BaseGeometry | None:
        """The geometry in the storage CRS, x = east; None for null, and where faults were noted."""
        if value is None:
            return None
        before = len(self._faults.found)
        shape = self._geometry(value, at, 0)
        if shape is None or len(self._faults.found) > before:
            return None
        if self._allowed not in ("Geometry", shape.geom_type):
            self._faults.add(
                f"{at}/type", f"{shape.geom_type} does not fit: the collection holds {self._allowed}"
            )
            return None
        if is_tangled(shape, _MOST_PAIRS):
            self._faults.add(
                f"{at}/coordinates", "too many of its segments lie beside or across each other to be checked"
            )
            return None
        reason = shapely.is_valid_reason(shape)
        if reason != "Valid Geometry":
            self._faults.add(f"{at}/coordinates", f"not a valid {shape.geom_type}: {reason}")
            return None
        return self._placed(shape, at, storage)

    # --- structure -------------------------------------------------------------------------------------------------

    def _geometry(self, value: Any, at: str, depth: int) -> BaseGeometry | None:
        if not isinstance(value, Mapping):
            self._faults.add(at, f"{shown(value)} is not a GeoJSON geometry object")
            return None
        kind = value.get("type")
        if kind == "GeometryCollection":
            return self._collection(value, at, depth)
        build = _BUILDERS.get(kind) if isinstance(kind, str) else None
        if build is None:
            note = "; curves and solids are not kept here" if str(kind) in _UNSUPPORTED else ""
            self._faults.add(
                f"{at}/type", f"{shown(kind)} is none of {', '.join(_BUILDERS)}, GeometryCollection{note}"
            )
            return None
        self._refuse_members(value, {"type", "coordinates", "bbox", "coordRefSys"}, at)
        if "coordinates" not in value:
            self._faults.add(at, "the member coordinates is missing")
            return None
        before = len(self._faults.found)
        shape = build(self, value["coordinates"], f"{at}/coordinates")
        return shape if len(self._faults.found) == before else None

    def _collection(self, value: Mapping[str, Any], at: str, depth: int) -> BaseGeometry | None:
        self._refuse_members(value, {"type", "geometries", "bbox", "coordRefSys"}, at)
        parts = self._list(value.get("geometries"), f"{at}/geometries", "geometries", 1)
        if depth >= _MAXIMUM_NESTING:
            self._faults.add(at, f"collections are nested deeper than {_MAXIMUM_NESTING}")
            return None
        shapes = [self._geometry(part, f"{at}/geometries/{i}", depth + 1) for i, part in enumerate(parts)]
        return None if None in shapes or not shapes else shapely.GeometryCollection(shapes)

    def _refuse_members(self, value: Mapping[str, Any], known: set[str], at: str) -> None:
        for name in value:
            if name not in known:
                hint = "; give the CRS in the header Content-Crs" if name == "crs" else ""
                self._faults.add(f"{at}/{name}", f"a geometry has no such member{hint}")

    def _list(self, value: Any, at: str, what: str, minimum: int) -> list[Any]:
        """The value where it is an array of enough members, else []."""
        if not isinstance(value, list):
            self._faults.add(at, f"{shown(value)} is not an array of {what}")
            return []
        if len(value) < minimum:
            self._faults.add(at, f"{len(value)} {what}; at least {minimum} are needed")
            return []
        return value

    def _position(self, value: Any, at: str) -> Position | None:
        if not isinstance(value, list) or not 2 <= len(value) <= 3:
            self._faults.add(at, f"{shown(value)} is not a position: an array of two or three numbers")
            return None
        for number in value:
            if type(number) not in (int, float):
                self._faults.add(at, f"{shown(number)} is not a number")
                return None
            if not math.isfinite(number):
                self._faults.add(at, f"{number} is not a finite number")
                return None
        self._dimension = self._dimension or len(value)
        if len(value) != self._dimension:
            self._faults.add(at, "some positions have a height and others have none")
            return None
        return tuple(value)

    def _positions(self, value: Any, at: str, minimum: int) -> list[Position]:
        given = self._list(value, at, "positions", minimum)
        self._vertices += len(given)
        if self._vertices > self._faults.limits.vertices:
            self._faults.add(at, f"more than {self._faults.limits.vertices} positions in one geometry")
            return []
        found = []
        for number, item in enumerate(given):
            position = self._position(item, f"{at}/{number}")
            if position is not None:
                found.append(position)
            elif self._faults.full:
                return []
        return found if len(found) == len(given) else []

    def _ring(self, value: Any, at: str) -> list[Position]:
        ring = self._positions(value, at, 4)
        if ring and ring[0] != ring[-1]:
            self._faults.add(at, f"the ring is not closed: it begins at {ring[0]} and ends at {ring[-1]}")
            return []
        return ring

    def _rings(self, value: Any, at: str) -> list[list[Position]]:
        return [
            self._ring(ring, f"{at}/{i}") for i, ring in enumerate(self._list(value, at, "linear rings", 1))
        ]

    # --- types -----------------------------------------------------------------------------------------------------

    def _point(self, value: Any, at: str) -> BaseGeometry | None:
        self._vertices += 1
        position = self._position(value, at)
        return None if position is None else shapely.Point(position)

    def _line(self, value: Any, at: str) -> BaseGeometry | None:
        positions = self._positions(value, at, 2)
        return shapely.LineString(positions) if positions else None

    def _polygon(self, value: Any, at: str) -> BaseGeometry | None:
        rings = self._rings(value, at)
        # A flawed ring is empty, and one fault names it.
        return shapely.Polygon(rings[0], rings[1:]) if rings and all(rings) else None

    def _points(self, value: Any, at: str) -> BaseGeometry | None:
        positions = self._positions(value, at, 1)
        return shapely.MultiPoint(positions) if positions else None

    def _lines(self, value: Any, at: str) -> BaseGeometry | None:
        return self._parts(value, at, "line strings", self._line, shapely.MultiLineString)

    def _polygons(self, value: Any, at: str) -> BaseGeometry | None:
        return self._parts(value, at, "polygons", self._polygon, shapely.MultiPolygon)

    def _parts(
        self,
        value: Any,
        at: str,
        what: str,
        read: Callable[[Any, str], BaseGeometry | None],
        join: Callable[[list[Any]], BaseGeometry],
    ) -> BaseGeometry | None:
        parts = [read(part, f"{at}/{i}") for i, part in enumerate(self._list(value, at, what, 1))]
        whole = [part for part in parts if part is not None]
        return join(whole) if whole and len(whole) == len(parts) else None

    # --- place -----------------------------------------------------------------------------------------------------

    def _placed(self, shape: BaseGeometry, at: str, storage: ReferenceSystem) -> BaseGeometry | None:
        coordinates = shapely.get_coordinates(shape, include_z=shape.has_z)
        x, y = coordinates[:, 0].copy(), coordinates[:, 1].copy()
        if self._source.swap:
            x, y = y, x
        outside = self._outside(x, y)
        if outside is not None:
            self._faults.add(f"{at}/coordinates", self._misplaced(coordinates[outside, :2].tolist()))
            return None
        transform = transform_between(self._source, storage)
        if transform is not None:
            x, y = transform(x, y)
        coordinates[:, 0], coordinates[:, 1] = x, y
        if not np.isfinite(coordinates).all():
            self._faults.add(
                f"{at}/coordinates",
                f"the CRS of the collection, {storage.crs.name}, cannot hold these coordinates",
            )
            return None
        moved: BaseGeometry = shapely.set_coordinates(shape, coordinates)
        return moved

    def _outside(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> int | None:
        """The number of the first position that the CRS cannot mean; None where all are well."""
        if self._source.horizontal.is_geographic:
            bad = (np.abs(x) > 180.0) | (np.abs(y) > 90.0)
        else:
            to_crs84 = transform_between(self._source, reference_system(CRS84))
            longitude, latitude = (x, y) if to_crs84 is None else to_crs84(x, y)
            bad = ~(np.isfinite(longitude) & np.isfinite(latitude))
            area = self._source.horizontal.area_of_use
            if area is not None:
                bad |= (latitude < area.south - _AROUND) | (latitude > area.north + _AROUND)
                width = (area.east - area.west) % 360.0 or 360.0
                east_of_west = np.mod(longitude - area.west + _AROUND, 360.0)
                bad |= east_of_west > width + 2 * _AROUND
        return int(np.flatnonzero(bad)[0]) if bad.any() else None

    def _misplaced(self, position: list[float]) -> str:
        order = "north before east" if self._source.swap else "east before north"
        name = self._source.crs.name
        return f"{position} does not lie in the area of {name} (axis order: {order}); is it the CRS that was meant?"


_BUILDERS: Mapping[str, Callable[[GeometryReader, Any, str], BaseGeometry | None]] = {
    "Point": GeometryReader._point,
    "LineString": GeometryReader._line,
    "Polygon": GeometryReader._polygon,
    "MultiPoint": GeometryReader._points,
    "MultiLineString": GeometryReader._lines,
    "MultiPolygon": GeometryReader._polygons,
}
