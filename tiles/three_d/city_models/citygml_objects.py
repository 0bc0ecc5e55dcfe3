"""City objects of CityGML 1.0 to 3.0: what a feature element holds, with its parts, boundary surfaces and openings."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tiles.three_d.city_models.citygml_appearance import Appearances
from tiles.three_d.city_models.citygml_geometry import (
    GEOMETRIES,
    SOLIDS,
    XLINK,
    PolygonAt,
    References,
    gml_id,
    local,
    polygons_of,
    rings_of,
)
from tiles.three_d.city_models.classes import class_of, object_class
from tiles.three_d.city_models.model import NO_COLOUR, NO_IMAGE, Collector, Level, Look, ObjectHead
from tiles.three_d.report import ProblemLog

_LOD = re.compile(
    r"lod(\d)(Solid|MultiSurface|CompositeSurface|Surface|Geometry|FootPrint|RoofEdge|ImplicitRepresentation)$"
)
# Not looked into: what is inside a building, belongs to others, or is no geometry of the object.
_NOT_ENTERED = frozenset(
    (
        "interiorRoom", "buildingRoom", "interiorBuildingInstallation", "interiorFurniture", "roomInstallation", "buildingFurniture",
        "hollowSpace", "interiorHollowSpace", "interiorBridgeRoom", "bridgeRoom", "appearance", "appearanceMember", "address",
        "externalReference", "generalizesTo", "groupMember", "parent", "buildingUnit", "buildingSubdivision", "storey",
        "boundedBy#Envelope", "relatedTo", "dynamizer", "pointCloud", "metaDataProperty", "validFrom", "validTo",
    )
)  # fmt: skip
_INTERIOR = frozenset(("InteriorWallSurface", "CeilingSurface", "FloorSurface"))
_GENERIC = re.compile(r"(string|int|double|date|uri|measure)Attribute$", re.IGNORECASE)
_NUMBERS = frozenset(
    (
        "measuredHeight",
        "storeysAboveGround",
        "storeysBelowGround",
        "averageHeight",
        "trunkDiameter",
        "crownDiameter",
    )
)
_YEARS = frozenset(("yearOfConstruction", "yearOfDemolition"))
_BROKEN = (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError)


class UnresolvedError(Exception):
    """An object refers to ids that are not in it; `args` are the ids."""


class _Found(NamedTuple):
    """A geometry property: the member it belongs to, its level, the class of its surfaces, the property element, and whether it hangs at
    a boundary surface or opening."""

    member: int
    lod: float
    kind: int
    element: Any
    thematic: bool


@dataclass(slots=True)
class _Family:
    """What walking an object found."""

    geometries: list[_Found] = field(default_factory=list)
    is_part: list[bool] = field(default_factory=lambda: [False])
    nodes: dict[str, Any] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)


class GMLReader:
    """Reads feature elements into a `Collector`; corners go to `coordinates`, three numbers each.

    `library` has geometries by id that other objects may refer to.
    """

    def __init__(
        self, appearances: Appearances, library: dict[str, Any], log: ProblemLog, references: References
    ) -> None:
        self._references = references
        self.appearances = appearances
        self.library = library
        self.log = log
        self.sink = Collector()
        self.coordinates: array[float] = array("d")
        self.unresolved: set[str] = set()
        self._name = ""
        self._family = _Family()

    def read(self, element: Any, name: str) -> None:
        """Take an object. Raises UnresolvedError where it refers to geometries that are neither in it nor in the library."""
        kind = local(element)
        family = self._family = _Family()
        self._name = name
        self._references.begin()
        self._index(element)
        self._walk(element, family, 0, object_class(kind), thematic=False, depth=0)
        self._check_references(element)
        owner = self.sink.add_head(ObjectHead(name, _type_of(kind), attributes_of(element)))
        drawn = self._best(owner, family)
        if drawn is None:
            self.sink.drop_head()
            self.log.add(name, "no surface that can be drawn", "skipped")
            return
        self._others(owner, family, drawn)

    def _index(self, element: Any) -> None:
        for item in element.iter():
            if isinstance(item.tag, str) and local(item) in GEOMETRIES:
                name = gml_id(item)
                if name is not None:
                    self._family.nodes[name] = item

    def _find(self, name: str) -> Any:
        found = self._family.nodes.get(name)
        return self.library[name] if found is None else found

    def _check_references(self, element: Any) -> None:
        missing = set()
        for found in self._family.geometries:
            for item in found.element.iter():
                target = item.get(XLINK) if isinstance(item.tag, str) else None
                if target is not None and target.startswith("#"):
                    name = target[1:]
                    if name not in self._family.nodes and name not in self.library:
                        missing.add(name)
        if missing - self.unresolved:
            raise UnresolvedError(*sorted(missing - self.unresolved))
        if missing:
            self.log.add(
                self._name, f"{len(missing)} references to geometries that are not in the file", "repaired"
            )

    def _walk(
        self, element: Any, family: _Family, member: int, kind: int, *, thematic: bool, depth: int
    ) -> None:
        """Find all geometry properties of a feature element and of those in it."""
        if depth > 16:
            return
        for item in element:
            name = local(item)
            found = _LOD.match(name)
            if found is not None:
                family.geometries.append(_Found(member, float(found[1]), kind, item, thematic))
            elif name in ("tin", "relief"):
                family.geometries.append(_Found(member, 1.0, kind, item, thematic))
            elif name and name not in _NOT_ENTERED and len(item):
                for inner in item:
                    self._enter(inner, name, family, member, kind, depth=depth)

    def _enter(self, inner: Any, role: str, family: _Family, member: int, kind: int, *, depth: int) -> None:
        name = local(inner)
        # Features are written with a capital; Envelope, Point and geometries of other kinds are none.
        if not name[:1].isupper() or name in GEOMETRIES or name in ("Envelope", "Point") or name in _INTERIOR:
            return
        if role in ("boundedBy", "boundary", "opening", "fillingSurface"):
            self._walk(inner, family, member, class_of(name, kind), thematic=True, depth=depth + 1)
            return
        is_part = name.endswith("Part")
        family.is_part.append(is_part)
        self._walk(
            inner, family, len(family.is_part) - 1, class_of(name, kind), thematic=False, depth=depth + 1
        )

    def _levels(self, family: _Family, member: int) -> list[float]:
        return sorted({item.lod for item in family.geometries if item.member == member}, reverse=True)

    def _best(self, owner: int, family: _Family) -> float | None:
        """Take each member's finest level that can be drawn; the finest taken, None where there is nothing."""
        first = self.sink.surface_count
        levels = [self._levels(family, member) for member in range(len(family.is_part))]
        finest_part = max(
            (lods[0] for lods, part in zip(levels, family.is_part, strict=True) if part and lods),
            default=-1.0,
        )
        taken: list[float] = []
        for member, lods in enumerate(levels):
            # A whole's own shape is the coarser stand-in of its parts, not something beside them.
            if member == 0 and lods and lods[0] < finest_part:
                continue
            for lod in lods:
                if self._take(family, member, lod):
                    taken.append(lod)
                    break
        if not taken:
            taken = [lod for lod in levels[0] if self._take(family, 0, lod)][:1]
        if not taken:
            return None
        self.sink.add_level(Level(owner, max(taken), best=True), first)
        return max(taken)

    def _others(self, owner: int, family: _Family, drawn: float) -> None:
        for lod in sorted({item.lod for item in family.geometries if item.lod < drawn}):
            first = self.sink.surface_count
            if not self._take(family, 0, lod):
                for member in range(1, len(family.is_part)):
                    self._take(family, member, lod)
            if self.sink.surface_count > first:
                self.sink.add_level(Level(owner, lod, best=False), first)

    def _take(self, family: _Family, member: int, lod: float) -> bool:
        """Take a member's surfaces of a level; whether there were any.

        A solid whose faces are references takes their classes from the boundary surfaces; one with faces of its own beside boundary surfaces
        would show every wall twice, so the boundary surfaces stand for it.
        """
        before = self.sink.surface_count
        items = [item for item in family.geometries if item.member == member and item.lod == lod]
        shells: list[tuple[bool, list[tuple[PolygonAt, int]]]] = []
        for item in items:
            if local(item.element).endswith("ImplicitRepresentation"):
                self._implicit(item)
                continue
            for closed, polygons in self._shells(item):
                shells.append((closed, [(polygon, item.kind) for polygon in polygons]))
                if item.thematic:
                    for polygon in polygons:
                        self._family.kinds.setdefault(_key(polygon), item.kind)
        themed = any(item.thematic for item in items)
        seen: set[str] = set()
        shells.sort(key=lambda shell: not shell[0])
        for closed, found in shells:
            if closed and themed and not any(polygon.referred for polygon, _ in found):
                continue
            chosen = [(polygon, kind) for polygon, kind in found if _key(polygon) not in seen]
            seen |= {_key(polygon) for polygon, _ in chosen}
            self._add(chosen, closed=closed)
        return self.sink.surface_count > before

    def _shells(self, item: _Found) -> Iterator[tuple[bool, list[PolygonAt]]]:
        geometries = [inner for inner in item.element if local(inner) in GEOMETRIES]
        target = item.element.get(XLINK)
        try:
            if target is not None:
                geometries.append(self._find(target.removeprefix("#")))
            for geometry in geometries:
                for solid in _solids(geometry):
                    closed = local(solid) in SOLIDS
                    yield closed, list(polygons_of(solid, self._known, references=self._references))
        except _BROKEN as error:
            self.log.add(
                self._name, f"a geometry cannot be read ({type(error).__name__}: {error})", "repaired"
            )

    def _known(self, name: str) -> Any:
        try:
            return self._find(name)
        except KeyError:
            return _NOTHING

    def _implicit(self, item: _Found) -> None:
        """A prototype moved to its place: matrix (row-major 4 x 4) times its corners, plus the reference point."""
        try:
            implicit = next(iter(item.element))
            matrix = np.array((_child_text(implicit, "transformationMatrix") or "").split(), dtype=np.float64)
            matrix = matrix.reshape(4, 4)
            place = implicit.find("{*}referencePoint//{*}pos")
            reference = np.array((place.text or "").split(), dtype=np.float64)
            geometry = _prototype(implicit, self._find)
            if geometry is None:
                self.log.add(self._name, "its model is a file of its own, which is not read", "repaired")
                return
            polygons = [
                (polygon, item.kind)
                for polygon in polygons_of(geometry, self._known, references=self._references)
            ]
        except (*_BROKEN, StopIteration) as error:
            self.log.add(
                self._name,
                f"an implicit geometry cannot be read ({type(error).__name__}: {error})",
                "repaired",
            )
            return
        begin = len(self.coordinates)
        self._add(polygons, closed=local(geometry) in SOLIDS)
        corners = np.array(self.coordinates[begin:]).reshape(-1, 3)
        moved = corners @ matrix[:3, :3].T + matrix[:3, 3] + reference
        self.coordinates[begin:] = array("d", moved.ravel())

    def _add(self, polygons: list[tuple[PolygonAt, int]], *, closed: bool) -> None:
        """Add a shell of polygons; broken ones are told and left out."""
        ring_sizes, ring_counts = array("q"), array("q")
        classes: list[int] = []
        images: list[int] = []
        colours: list[int] = []
        drawn: list[float] = []
        first = len(self.coordinates) // 3
        lost = 0
        for polygon, kind in polygons:
            try:
                rings = rings_of(polygon.element)
            except _BROKEN:
                lost += 1
                continue
            image, places = self._textured(rings, polygon.turned)
            for ring in rings:
                values = _reversed(ring.values, 3) if polygon.turned else ring.values
                self.coordinates.extend(values)
                ring_sizes.append(len(values) // 3)
            ring_counts.append(len(rings))
            classes.append(self._family.kinds.get(_key(polygon), kind))
            images.append(image)
            colours.append(self._colour(polygon.names))
            drawn += places
        if lost:
            self.log.add(self._name, f"{lost} polygons left out that have no rings of numbers", "repaired")
        if not ring_counts:
            return
        count = len(self.coordinates) // 3 - first
        look = None
        if self.appearances:
            look = Look(images, colours, drawn if any(image != NO_IMAGE for image in images) else None)
        corners = array("q", range(first, first + count))
        self.sink.add_rings(corners, ring_sizes, ring_counts, array("B", classes), closed and not lost, look)

    def _colour(self, names: tuple[str, ...]) -> int:
        for name in names if self.appearances.shades else ():
            shade = self.appearances.shades.get(name)
            if shade is not None:
                return self.sink.shade(shade)
        return NO_COLOUR

    def _textured(self, rings: list[Any], turned: bool) -> tuple[int, list[float]]:
        none = [0.0] * sum(2 * (len(ring.values) // 3) for ring in rings)
        known = self.appearances.rings
        if not known:
            return NO_IMAGE, none
        outer = known.get(rings[0].name or "")
        if outer is None:
            return NO_IMAGE, none
        places: list[float] = []
        for ring in rings:
            texture = known.get(ring.name or "")
            if texture is None or len(texture.coordinates) // 2 != len(ring.values) // 3:
                return NO_IMAGE, none
            values = _reversed(texture.coordinates, 2) if turned else texture.coordinates
            for place in range(0, len(values), 2):
                places += (values[place], 1.0 - values[place + 1])
        return self.sink.texture(outer.image), places


def _reversed(values: list[float], width: int) -> list[float]:
    result: list[float] = []
    for place in range(len(values) - width, -1, -width):
        result += values[place : place + width]
    return result


class _Nothing:
    """Stands for a geometry that is not there: it has no polygons."""

    tag = "Nothing"

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    attrib: dict[str, str] = {}  # noqa: RUF012 - never written to

    def get(self, _name: str) -> None:
        return None


_NOTHING = _Nothing()


def _key(polygon: PolygonAt) -> str:
    name = gml_id(polygon.element)
    return name if name is not None else f"#{id(polygon.element)}"


def _solids(geometry: Any) -> Iterator[Any]:
    """The single solids of a geometry, else the geometry itself."""
    if local(geometry) in ("CompositeSolid", "MultiSolid"):
        found = [solid for solid in geometry.iter() if local(solid) == "Solid"]
        yield from found
    else:
        yield geometry


def _prototype(implicit: Any, find: Any) -> Any:
    """The geometry that an implicit geometry places, None where it is in another file."""
    for name in ("relativeGMLGeometry", "relativeGeometry"):
        prop = implicit.find(f"{{*}}{name}")
        if prop is not None:
            target = prop.get(XLINK)
            if target is not None:
                return find(target.removeprefix("#"))
            return next(inner for inner in prop if local(inner) in GEOMETRIES)
    return None


def _child_text(element: Any, name: str) -> str | None:
    found = element.find(f"{{*}}{name}")
    return None if found is None else found.text


def _type_of(kind: str) -> str:
    """The type as CityJSON names it."""
    return {"ReliefFeature": "TINRelief", "GenericOccupiedSpace": "GenericCityObject"}.get(kind, kind)


def attributes_of(element: Any) -> dict[str, Any]:
    """The simple attributes of a feature element, and its generic ones. Those of extensions (ADE) with parts of their own are left out."""
    found: dict[str, Any] = {}
    for item in element:
        name = local(item)
        if not name:
            continue
        generic = _GENERIC.match(name)
        if generic is not None or name == "genericAttribute":
            _take_generic(item if generic is not None else next(iter(item), item), found)
        elif len(item) == 0 and item.text and item.text.strip():
            _put(found, name, _typed(name, item.text.strip()))
        elif name == "height" and (value := item.find(".//{*}value")) is not None and value.text:
            _put(found, "measuredHeight", _typed("measuredHeight", value.text.strip()))
    return found


def _take_generic(item: Any, found: dict[str, Any]) -> None:
    kind = _GENERIC.match(local(item))
    value = _child_text(item, "value")
    name = item.get("name") or _child_text(item, "name")
    if kind is None or not name or value is None:
        return
    words = kind[1].lower()
    try:
        typed: Any = (
            int(value)
            if words == "int"
            else float(value)
            if words in ("double", "measure")
            else value.strip()
        )
    except ValueError:
        typed = value.strip()
    _put(found, name.strip(), typed)


def _put(found: dict[str, Any], name: str, value: Any) -> None:
    """Of an attribute that is there several times, all values in one text."""
    found[name] = value if name not in found else f"{found[name]}; {value}"


def _typed(name: str, text: str) -> Any:
    if name in _NUMBERS:
        try:
            number = float(text)
        except ValueError:
            return text
        return int(number) if name.startswith("storeys") and number.is_integer() else number
    if name in _YEARS and text[:4].isdigit():
        return int(text[:4])
    return text
