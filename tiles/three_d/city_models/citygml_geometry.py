"""Polygons of GML 3.1 and 3.2 geometries, in whatever they are wrapped; rings as lists of numbers.

ISO 19136: Solid, CompositeSolid, MultiSolid (of solids the exterior only: what is inside is never seen), MultiSurface, CompositeSurface,
Surface and its kinds with patches, OrientableSurface, Polygon, Triangle, Rectangle, with references inside the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from lxml import etree

XLINK = "{http://www.w3.org/1999/xlink}href"
_LEAVES = frozenset(("Polygon", "PolygonPatch", "Triangle", "Rectangle"))
_WRAPPERS = frozenset(
    (
        "MultiSurface", "CompositeSurface", "Surface", "OrientableSurface", "PolyhedralSurface", "TriangulatedSurface",
        "Tin", "Shell", "Solid", "CompositeSolid", "MultiSolid", "MultiGeometry", "GeometricComplex",
    )
)  # fmt: skip
GEOMETRIES = _LEAVES | _WRAPPERS
SOLIDS = frozenset(("Solid", "CompositeSolid", "MultiSolid"))
_MEMBERS = frozenset(
    (
        "surfaceMember", "surfaceMembers", "baseSurface", "patches", "polygonPatches", "trianglePatches", "exterior", "solidMember",
        "solidMembers", "geometryMember", "geometryMembers", "element",
    )
)  # fmt: skip
_DEEPEST = 64
_REFERRED_BY_ONE = 100_000


class PolygonAt(NamedTuple):
    """A polygon of a geometry. `turned`: its surface runs the other way here; `names` are the ids of it and what it lies in, innermost
    first; `referred`: it is defined elsewhere."""

    element: Any
    turned: bool
    names: tuple[str, ...]
    referred: bool


class References:
    """How many elements may still be read by reference: geometries that refer to each other twice double at every step, so that a short
    file can stand for more polygons than any memory holds. A file of ours needs three times its own elements at most."""

    def __init__(self, file_bytes: int) -> None:
        self._of_file = _REFERRED_BY_ONE + file_bytes // 20
        self._of_one = _REFERRED_BY_ONE

    def begin(self) -> None:
        """The next object."""
        self._of_one = _REFERRED_BY_ONE

    def count(self) -> None:
        """One more. Raises ValueError."""
        self._of_one -= 1
        self._of_file -= 1
        if self._of_one < 0 or self._of_file < 0:
            raise ValueError("its geometries refer to each other too often")


def local(element: Any) -> str:
    """The name of an element without its namespace; "" for comments and processing instructions."""
    tag = element.tag
    return tag[tag.rfind("}") + 1 :] if isinstance(tag, str) else ""


def gml_id(element: Any) -> str | None:
    """gml:id, whichever version of GML it is."""
    for name, value in element.attrib.items():
        if name == "id" or name.endswith("}id"):
            return str(value)
    return None


def polygons_of(
    geometry: Any,
    find: Callable[[str], Any],
    names: tuple[str, ...] = (),
    *,
    references: References,
    turned: bool = False,
    referred: bool = False,
    depth: int = 0,
) -> Iterator[PolygonAt]:
    """The polygons of a geometry element; `find(id)` gives elements referred to, or raises KeyError.

    Raises ValueError where geometries are nested without end, or refer to each other too often.
    """
    if referred:
        references.count()
    if depth > _DEEPEST:
        raise ValueError("geometries refer to each other in a circle")
    kind = local(geometry)
    name = gml_id(geometry)
    if name is not None:
        names = (name, *names)
    if kind in _LEAVES:
        yield PolygonAt(geometry, turned, names, referred)
        return
    if kind == "OrientableSurface" and geometry.get("orientation") == "-":
        turned = not turned
    for member in geometry:
        if local(member) not in _MEMBERS:
            continue
        target = member.get(XLINK)
        inners = [(inner, referred) for inner in member if local(inner) in GEOMETRIES]
        if target is not None:
            inners.insert(0, (find(target.removeprefix("#")), True))
        for inner, is_referred in inners:
            yield from polygons_of(
                inner,
                find,
                names,
                references=references,
                turned=turned,
                referred=is_referred,
                depth=depth + 1,
            )


class Ring(NamedTuple):
    """`values` are x, y, z of the corners as given, `name` its id."""

    values: list[float]
    name: str | None


def rings_of(polygon: Any) -> list[Ring]:
    """The rings of a polygon, the outer first. Raises ValueError where there is none, or its numbers are none."""
    outer: list[Ring] = []
    inner: list[Ring] = []
    for boundary in polygon:
        kind = local(boundary)
        into = outer if kind in ("exterior", "outerBoundaryIs") else inner
        if into is outer or kind in ("interior", "innerBoundaryIs"):
            into += [_ring(ring) for ring in boundary if local(ring) in ("LinearRing", "Ring")]
    if len(outer) != 1:
        raise ValueError("a polygon has no outer ring")
    return outer + inner


def _ring(ring: Any) -> Ring:
    values: list[float] = []
    for item in ring.iter(etree.Element):
        kind = local(item)
        if kind in ("posList", "pos"):
            numbers = list(map(float, (item.text or "").split()))
            values += numbers if _dimension(item, len(numbers), kind) == 3 else _with_height(numbers)
        elif kind == "coordinates":
            values += _coordinates(item)
    if not values or len(values) % 3:
        raise ValueError(f"a ring has {len(values)} numbers, not three a corner")
    return Ring(values, gml_id(ring))


def _dimension(item: Any, count: int, kind: str) -> int:
    if kind == "pos":
        return 2 if count == 2 else 3
    if count % 3 == 0 and count % 2:
        return 3
    element = item
    while element is not None:
        said = element.get("srsDimension")
        if said is not None:
            return 2 if said.strip() == "2" else 3
        element = element.getparent()
    return 2 if count % 3 else 3


def _with_height(numbers: list[float]) -> list[float]:
    """Pairs of numbers with the height 0."""
    if len(numbers) % 2:
        raise ValueError("a ring has an odd number of coordinates in two dimensions")
    values: list[float] = []
    for place in range(0, len(numbers), 2):
        values += (numbers[place], numbers[place + 1], 0.0)
    return values


def _coordinates(item: Any) -> list[float]:
    """gml:coordinates: tuples apart by `ts`, numbers by `cs`."""
    between, apart = item.get("cs", ","), item.get("ts", " ")
    values: list[float] = []
    for place in (
        (item.text or "").replace("\n", " ").replace("\t", " ").split(apart if apart.strip() else None)
    ):
        numbers = list(map(float, place.strip().replace(item.get("decimal", "."), ".").split(between)))
        values += numbers if len(numbers) == 3 else _with_height(numbers)
    return values
