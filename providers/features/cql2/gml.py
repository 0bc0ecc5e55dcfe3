"""GML geometries of filters as shapely: GML 2, 3.1 and 3.2 by local name, straight edges only.

`srsDimension` and `srsName` are inherited from the elements around, as GML 3.2.1 clause 9.10 has it. Coordinates stay as written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import shapely
from lxml import etree
from numpy.typing import NDArray

from providers.features.cql2.limits import MAXIMUM_VERTICES, Refusal
from providers.features.cql2.raw import BoxLiteral, GeometryLiteral

type Element = Any  # lxml's elements are not declared as a type

GML_NAMESPACES: Final = ("http://www.opengis.net/gml", "http://www.opengis.net/gml/3.2")
_OLD_URL: Final = "http://www.opengis.net/gml/srs/epsg.xml#"


def is_gml(element: Element) -> bool:
    """Whether an element belongs to GML."""
    return etree.QName(element).namespace in GML_NAMESPACES


def local_name(element: Element) -> str:
    """The name of an element without its namespace."""
    return str(etree.QName(element).localname)


def read_geometry(element: Element, crs: str | None = None) -> GeometryLiteral | BoxLiteral:
    """A GML geometry or envelope. `crs` is the one to take where no srsName is given, None for that of the filter.

    Raises Refusal.
    """
    crs, in_gis_order = _reference(element.get("srsName")) if element.get("srsName") else (crs, False)
    name = local_name(element)
    if name in ("Envelope", "Box"):
        return BoxLiteral(_corners(element), crs, in_gis_order)
    try:
        return GeometryLiteral(_shape(element, _dimension(element)), crs, in_gis_order)
    except (shapely.errors.ShapelyError, ValueError) as error:
        raise Refusal(f"a gml:{name}", f"a valid GML geometry ({error})") from None


def _reference(name: str) -> tuple[str, bool]:
    """A CRS and whether coordinates are longitude first: the two old forms of names are, by custom (WFS 1.1, 9.2)."""
    if name.startswith(_OLD_URL):
        return f"EPSG:{name.removeprefix(_OLD_URL)}", True
    return name, name.upper().startswith("EPSG:")


def _children(element: Element, *names: str) -> list[Element]:
    return [child for child in element.iterchildren(tag=etree.Element) if local_name(child) in names]


def _dimension(element: Element) -> int:
    value = element.get("srsDimension") or "2"
    if value not in ("2", "3"):
        raise Refusal(f"srsDimension={value[:20]!r}", "2 or 3")
    return int(value)


def _corners(element: Element) -> tuple[float, ...]:
    corners = _children(element, "lowerCorner", "upperCorner", "pos", "coord", "coordinates")
    numbers = [
        number for corner in corners for number in _coordinates(corner, _dimension(element)).ravel().tolist()
    ]
    if len(numbers) not in (4, 6):
        raise Refusal(
            f"a gml:{local_name(element)} of {len(numbers)} numbers", "a lowerCorner and an upperCorner"
        )
    return tuple(numbers)


def _numbers(text: str) -> NDArray[np.float64]:
    parts = text.split()
    if len(parts) > 3 * MAXIMUM_VERTICES:
        raise Refusal(f"{len(parts)} coordinates", f"at most {3 * MAXIMUM_VERTICES}")
    try:
        return np.array(parts, dtype=np.float64)
    except ValueError:
        raise Refusal(f"the coordinates {text[:40]!r}", "numbers") from None


def _coordinates(element: Element, dimension: int) -> NDArray[np.float64]:
    """The coordinates in one pos, posList, coordinates or coord: an array of (points, 2 or 3)."""
    name, text = local_name(element), element.text or ""
    if name == "coord":
        return np.stack([_numbers(child.text or "") for child in _children(element, "X", "Y", "Z")], axis=1)
    if name == "coordinates":
        if (element.get("decimal") or ".") != ".":
            raise Refusal("gml:coordinates with another decimal sign", "a point as decimal sign")
        tuples = text.strip().split(element.get("ts") or None)
        separator = element.get("cs") or ","
        return _rows([_numbers(item.replace(separator, " ")) for item in tuples])
    numbers = _numbers(text)
    if name in ("pos", "lowerCorner", "upperCorner"):
        return numbers.reshape(1, -1)
    dimension = int(element.get("srsDimension") or dimension)
    if dimension not in (2, 3) or len(numbers) % dimension:
        raise Refusal(f"a gml:posList of {len(numbers)} numbers", f"a multiple of its dimension {dimension}")
    return numbers.reshape(-1, dimension)


def _rows(rows: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise Refusal("points of different dimensions", "2 or 3 numbers a point")
    return np.stack(rows)


def _points(element: Element, dimension: int) -> NDArray[np.float64]:
    parts = [
        _coordinates(child, dimension)
        for child in _children(element, "pos", "posList", "coordinates", "coord")
    ]
    rows = _rows([row for part in parts for row in part])
    if rows.shape[1] not in (2, 3):
        raise Refusal(f"a point of {rows.shape[1]} numbers", "2 or 3 numbers a point")
    return rows


def _point(element: Element, dimension: int) -> shapely.Geometry:
    return shapely.Point(_points(element, dimension)[0])


def _line(element: Element, dimension: int) -> shapely.Geometry:
    return shapely.LineString(_points(element, dimension))


def _curve(element: Element, dimension: int) -> shapely.Geometry:
    segments = [
        segment
        for holder in _children(element, "segments")
        for segment in holder.iterchildren(tag=etree.Element)
    ]
    if not segments or any(local_name(segment) != "LineStringSegment" for segment in segments):
        raise Refusal("a gml:Curve of other segments", "LineStringSegment")
    rows = [_points(segment, dimension) for segment in segments]
    return shapely.LineString(np.concatenate([rows[0], *(part[1:] for part in rows[1:])]))


def _ring(holder: Element, dimension: int) -> NDArray[np.float64]:
    rings = _children(holder, "LinearRing")
    if len(rings) != 1:
        raise Refusal(f"a gml:{local_name(holder)} without a LinearRing", "one LinearRing")
    rows = _points(rings[0], dimension)
    if len(rows) < 4 or (rows[0] != rows[-1]).any():
        raise Refusal(
            "a gml:LinearRing that is not closed", "at least 4 points, the last one equal to the first"
        )
    return rows


def _polygon(element: Element, dimension: int) -> shapely.Geometry:
    shells = _children(element, "exterior", "outerBoundaryIs")
    if len(shells) != 1:
        raise Refusal(f"a gml:{local_name(element)} with {len(shells)} exteriors", "one exterior")
    holes = [_ring(hole, dimension) for hole in _children(element, "interior", "innerBoundaryIs")]
    return shapely.Polygon(_ring(shells[0], dimension), holes)


def _surface(element: Element, dimension: int) -> shapely.Geometry:
    patches = [
        _polygon(patch, dimension)
        for holder in _children(element, "patches")
        for patch in _children(holder, "PolygonPatch")
    ]
    if not patches:
        raise Refusal("a gml:Surface without patches", "PolygonPatch")
    united: shapely.Geometry = shapely.union_all(patches)
    return united


def _members(*kinds: str) -> Callable[[Element, int], shapely.Geometry]:
    def read(element: Element, dimension: int) -> shapely.Geometry:
        holders = [
            child
            for child in element.iterchildren(tag=etree.Element)
            if local_name(child).endswith(("Member", "Members"))
        ]
        parts = [part for holder in holders for part in holder.iterchildren(tag=etree.Element)]
        if not parts or any(kinds and local_name(part) not in kinds for part in parts):
            raise Refusal(
                f"a gml:{local_name(element)} of other members", f"members {', '.join(kinds) or 'of GML'}"
            )
        return shapely.GeometryCollection([_shape(part, dimension) for part in parts])

    return read


_READERS: Final[dict[str, Callable[[Element, int], shapely.Geometry]]] = {
    "Point": _point,
    "LineString": _line,
    "Curve": _curve,
    "Polygon": _polygon,
    "Surface": _surface,
    "MultiPoint": _members("Point"),
    "MultiLineString": _members("LineString"),
    "MultiCurve": _members("LineString", "Curve"),
    "MultiPolygon": _members("Polygon"),
    "MultiSurface": _members("Polygon", "Surface"),
    "MultiGeometry": _members(),
}


def _shape(element: Element, dimension: int) -> shapely.Geometry:
    reader = _READERS.get(local_name(element))
    if reader is None:
        raise Refusal(f"the geometry gml:{local_name(element)}", ", ".join([*_READERS, "Envelope"]))
    return reader(element, _dimension(element) if element.get("srsDimension") else dimension)
