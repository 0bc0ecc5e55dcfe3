"""Geometries in GML 3.1.1 and 3.2, both ways.

Axis order: a CRS named by URN or URI has its authority's order, one named `EPSG:4326` or `...epsg.xml#4326` has x = east first
(OGC 07-092r3 and the practice of WFS servers). `AxisRule` decides, or is overruled for a server that does it differently.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from lxml import etree
from numpy.typing import NDArray

from providers.errors import UnknownReferenceSystem
from providers.features.crs import ReferenceSystem, reference_system
from providers.features.remote.documents import local_name
from providers.features.remote.values import Misfit

GML_32 = "http://www.opengis.net/gml/3.2"
GML_31 = "http://www.opengis.net/gml"
_SHORT = re.compile(r"(?:EPSG:|https?://www\.opengis\.net/gml/srs/epsg\.xml#)(\d{1,6})", re.IGNORECASE)
_URN = re.compile(r"urn:(?:x-)?ogc:def:crs:(EPSG|OGC)(?::[0-9.]*)?:(\w{1,10})", re.IGNORECASE)
_MOST_COORDINATES = 5_000_000


@lru_cache(maxsize=256)
def named_system(name: str) -> tuple[ReferenceSystem, bool] | None:
    """The CRS behind a srsName, and whether its coordinates come in the authority's order; None for one nobody knows."""
    short, urn = _SHORT.fullmatch(name), _URN.fullmatch(name)
    try:
        if short is not None:
            return reference_system(f"EPSG:{short.group(1)}"), False
        if urn is not None:
            return reference_system(f"{urn.group(1).upper()}:{urn.group(2)}"), True
        return reference_system(name), True
    except UnknownReferenceSystem:
        return None


@dataclass(frozen=True, slots=True)
class AxisRule:
    """How the coordinates of a service are to be understood.

    `storage`: the CRS asked for. `swap`: whether northing comes first, where the description or a look at the data has decided;
    None follows each geometry's srsName, and the authority's order of `storage` where there is none.
    """

    storage: ReferenceSystem
    swap: bool | None = None

    def swaps(self, srs_name: str | None) -> bool:
        """Whether coordinates under a srsName are northing first. Raises Misfit for another CRS than the one asked for."""
        found = named_system(srs_name) if srs_name else (self.storage, True)
        if found is None:
            raise Misfit(f"coordinates in {str(srs_name)[:80]!r}, a CRS that is not known")
        system, by_authority = found
        if not (system.uri == self.storage.uri or (system.is_wgs84 and self.storage.is_wgs84)):
            raise Misfit(f"coordinates in {str(srs_name)[:80]!r} where {self.storage.uri} was asked for")
        return self.swap if self.swap is not None else by_authority and system.swap


def read_geometry(element: etree._Element, rule: AxisRule) -> shapely.Geometry | None:
    """A geometry with x = east; None for an empty one. Raises Misfit for what is not read (arcs, splines) or is broken."""
    srs_name = next(
        (node.get("srsName") for node in (element, *element.iterancestors()) if node.get("srsName")), None
    )
    own = srs_name or next((node.get("srsName") for node in element.iter() if node.get("srsName")), None)
    try:
        geometry = _shape(element)
    except (ValueError, TypeError, shapely.errors.GEOSException):
        raise Misfit(f"a broken geometry {local_name(element)}") from None
    if geometry is None or shapely.is_empty(geometry):
        return None
    return _swapped(geometry) if rule.swaps(own) else geometry


def _swapped(geometry: shapely.Geometry) -> shapely.Geometry:
    three = bool(shapely.has_z(geometry))
    coordinates = shapely.get_coordinates(geometry, include_z=three)
    coordinates[:, [0, 1]] = coordinates[:, [1, 0]]
    swapped: shapely.Geometry = shapely.set_coordinates(geometry, coordinates)
    return swapped


def _shape(element: etree._Element) -> Any:
    name = local_name(element)
    reader = _READERS.get(name)
    if reader is None:
        raise Misfit(f"a geometry of the type {name[:40]!r}, which is not read")
    return reader(element)


def _coordinates(element: etree._Element) -> NDArray[np.float64]:
    """The positions directly in an element: posList, pos, coordinates, or pointProperty."""
    lists = [child for child in element if local_name(child) in ("posList", "pos")]
    if lists:
        return np.concatenate([_positions(child) for child in lists])
    for child in element:
        if local_name(child) == "coordinates":
            return _old_coordinates(child)
    points = [_coordinates(point) for point in _members(element, ("pointProperty", "pointRep"))]
    return np.concatenate(points) if points else np.empty((0, 2))


def _positions(element: etree._Element) -> NDArray[np.float64]:
    numbers = np.array((element.text or "").split(), dtype=np.float64)
    dimension = _dimension(element, len(numbers))
    if numbers.size % dimension or numbers.size > _MOST_COORDINATES or not np.isfinite(numbers).all():
        raise ValueError("positions")
    return numbers.reshape(-1, dimension)


def _dimension(element: etree._Element, numbers: int) -> int:
    for node in (element, *element.iterancestors()):
        given = node.get("srsDimension") or node.get("dimension")
        if given in ("2", "3"):
            return int(given)
    return 3 if local_name(element) == "pos" and numbers == 3 else 2


def _old_coordinates(element: etree._Element) -> NDArray[np.float64]:
    """GML 2: tuples separated by `ts`, numbers in them by `cs`."""
    comma, space = element.get("cs", ","), element.get("ts", " ")
    rows = [
        [float(number) for number in part.split(comma)]
        for part in (element.text or "").split(space if space.strip() else None)
    ]
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1)


def _members(element: etree._Element, names: tuple[str, ...]) -> Iterator[etree._Element]:
    """The geometries inside member elements of the given names."""
    for child in element:
        if local_name(child) in names:
            yield from (item for item in child if isinstance(item.tag, str))


def _point(element: etree._Element) -> Any:
    positions = _coordinates(element)
    return shapely.Point(positions[0]) if len(positions) else None


def _line(element: etree._Element) -> Any:
    positions = _coordinates(element)
    return shapely.LineString(positions) if len(positions) else None


def _curve(element: etree._Element) -> Any:
    parts: list[NDArray[np.float64]] = []
    for segment in _members(element, ("segments",)):
        if local_name(segment) != "LineStringSegment":
            raise Misfit(f"a curve of {local_name(segment)[:40]}, which is not read")
        parts.append(_coordinates(segment))
    return _chain(parts)


def _composite_curve(element: etree._Element) -> Any:
    lines = [_shape(child) for child in _members(element, ("curveMember",))]
    return _chain(
        [
            shapely.get_coordinates(line, include_z=bool(shapely.has_z(line)))
            for line in lines
            if line is not None
        ]
    )


def _chain(parts: list[NDArray[np.float64]]) -> Any:
    """Segments one after the other; a point that ends one and begins the next stands once."""
    kept = [
        part if i == 0 or not np.array_equal(part[0], parts[i - 1][-1]) else part[1:]
        for i, part in enumerate(parts)
    ]
    return shapely.LineString(np.concatenate(kept)) if kept else None


def _ring(element: etree._Element) -> Any:
    name = local_name(element)
    if name == "LinearRing":
        return shapely.LinearRing(_coordinates(element))
    if name == "Ring":
        return shapely.LinearRing(_composite_curve(element))
    raise Misfit(f"a ring of the type {name[:40]!r}, which is not read")


def _polygon(element: etree._Element) -> Any:
    shells = [_ring(ring) for ring in _members(element, ("exterior", "outerBoundaryIs"))]
    holes = [_ring(ring) for ring in _members(element, ("interior", "innerBoundaryIs"))]
    return shapely.Polygon(shells[0], holes) if shells else None


def _surface(element: etree._Element) -> Any:
    patches = [_polygon(patch) for patch in _members(element, ("patches", "polygonPatches"))]
    return _collected([patch for patch in patches if patch is not None], shapely.MultiPolygon, keep_one=True)


def _many(make: Any, names: tuple[str, ...]) -> Callable[[etree._Element], Any]:
    def read(element: etree._Element) -> Any:
        parts = [_shape(child) for child in _members(element, names)]
        return _collected([part for part in parts if part is not None], make, keep_one=False)

    return read


def _collected(parts: list[Any], make: Any, *, keep_one: bool) -> Any:
    flat = [single for part in parts for single in getattr(part, "geoms", [part])]
    if not flat:
        return None
    return flat[0] if keep_one and len(flat) == 1 else make(flat)


_READERS: Mapping[str, Callable[[etree._Element], Any]] = {
    "Point": _point,
    "LineString": _line,
    "Curve": _curve,
    "CompositeCurve": _composite_curve,
    "LinearRing": _ring,
    "Polygon": _polygon,
    "Surface": _surface,
    "PolyhedralSurface": _surface,
    "MultiPoint": _many(shapely.MultiPoint, ("pointMember", "pointMembers")),
    "MultiLineString": _many(shapely.MultiLineString, ("lineStringMember",)),
    "MultiCurve": _many(shapely.MultiLineString, ("curveMember", "curveMembers")),
    "MultiPolygon": _many(shapely.MultiPolygon, ("polygonMember",)),
    "MultiSurface": _many(shapely.MultiPolygon, ("surfaceMember", "surfaceMembers")),
    "CompositeSurface": _many(shapely.MultiPolygon, ("surfaceMember", "surfaceMembers")),
    "MultiGeometry": _many(shapely.GeometryCollection, ("geometryMember", "geometryMembers")),
}


def is_geometry(element: etree._Element) -> bool:
    """Whether an element is a GML geometry."""
    return local_name(element) in _READERS and etree.QName(element).namespace in (GML_31, GML_32)


class GeometryWriter:
    """Writes shapely geometries (storage CRS, x = east) as GML of one version.

    `srs_name` is written as it is; `swap`: northing goes first.
    """

    def __init__(self, namespace: str, srs_name: str, *, swap: bool) -> None:
        self._namespace = namespace
        self._srs_name = srs_name
        self._swap = swap
        self._ids = 0

    def write(self, parent: etree._Element, geometry: Any) -> None:
        """Append a two-dimensional geometry. Raises ValueError for a type that filters do not hold."""
        self._write(parent, geometry, top=True)

    def envelope(self, parent: etree._Element, bounds: tuple[float, float, float, float]) -> None:
        """Append a box (minx, miny, maxx, maxy)."""
        box = etree.SubElement(parent, self._name("Envelope"), srsName=self._srs_name)
        for name, corner in (("lowerCorner", bounds[:2]), ("upperCorner", bounds[2:])):
            etree.SubElement(box, self._name(name)).text = self._text(np.array([corner]))

    def _name(self, local: str) -> str:
        return f"{{{self._namespace}}}{local}"

    def _text(self, coordinates: NDArray[np.float64]) -> str:
        ordered = coordinates[:, ::-1] if self._swap else coordinates
        return " ".join(f"{number:.12g}" for number in ordered.ravel())

    def _element(self, parent: etree._Element, local: str, *, top: bool = False) -> etree._Element:
        element = etree.SubElement(parent, self._name(local))
        if top:
            element.set("srsName", self._srs_name)
        if self._namespace == GML_32:
            self._ids += 1
            element.set(self._name("id"), f"g{self._ids}")
        return element

    def _write(self, parent: etree._Element, geometry: Any, *, top: bool = False) -> None:
        kind = geometry.geom_type
        if kind == "Point":
            element = self._element(parent, "Point", top=top)
            etree.SubElement(element, self._name("pos")).text = self._text(shapely.get_coordinates(geometry))
        elif kind in ("LineString", "LinearRing"):
            element = self._element(parent, "LineString", top=top)
            self._positions(element, geometry)
        elif kind == "Polygon":
            element = self._element(parent, "Polygon", top=top)
            for name, rings in (("exterior", [geometry.exterior]), ("interior", geometry.interiors)):
                for ring in rings:
                    boundary = etree.SubElement(element, self._name(name))
                    self._positions(etree.SubElement(boundary, self._name("LinearRing")), ring)
        elif kind in _WRITTEN_MANY:
            many, member = _WRITTEN_MANY[kind]
            element = self._element(parent, many, top=top)
            for part in geometry.geoms:
                self._write(etree.SubElement(element, self._name(member)), part)
        else:
            raise ValueError(f"a {kind}")

    def _positions(self, element: etree._Element, line: Any) -> None:
        etree.SubElement(element, self._name("posList")).text = self._text(shapely.get_coordinates(line))


_WRITTEN_MANY = {
    "MultiPoint": ("MultiPoint", "pointMember"),
    "MultiLineString": ("MultiCurve", "curveMember"),
    "MultiPolygon": ("MultiSurface", "surfaceMember"),
    "GeometryCollection": ("MultiGeometry", "geometryMember"),
}
