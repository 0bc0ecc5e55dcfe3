"""Reading CityJSON 1.0, 1.1, 2.0 and CityJSONSeq.

An object that is broken by itself is reported and the rest is read; a file that is no CityJSON raises CityJSONError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from pyproj import CRS

from tiles.three_d.cityjson_model import CityFeature, CityModel, Surfaces, class_of, object_class
from tiles.three_d.errors import CityJSONError
from tiles.three_d.placement import Positions, as_crs
from tiles.three_d.report import ProblemLog

VERSIONS = ("1.0", "1.1", "2.0")
_EPSG = re.compile(r"EPSG(?:/[^/]*/|:[^:]*:|:)(\d+)$", re.IGNORECASE)
_TYPE = re.compile(rb'"type"\s*:\s*"CityJSON"')
_FIRST_BYTES = 1 << 20
_DEPTH_OF = {"MultiSurface": 0, "CompositeSurface": 0, "Solid": 1, "MultiSolid": 2, "CompositeSolid": 2}
_BROKEN = (TypeError, ValueError, KeyError, IndexError, AttributeError)


def is_cityjson(path: Path) -> bool:
    """True where the file says it is CityJSON or CityJSONSeq; looks at its two ends only."""
    with path.open("rb") as file:
        start = file.read(_FIRST_BYTES)
        if not start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            return False
        file.seek(max(0, path.stat().st_size - _FIRST_BYTES))
        return bool(_TYPE.search(start) or _TYPE.search(file.read(_FIRST_BYTES)))


def crs_of(reference_system: str | None) -> CRS | None:
    """The CRS of `metadata.referenceSystem` (URL or URN), None where there is none. Raises PlacementError."""
    if reference_system is None:
        return None
    found = _EPSG.search(reference_system.strip())
    return as_crs(f"EPSG:{found.group(1)}" if found else reference_system)


def read_cityjson(path: Path, log: ProblemLog) -> CityModel:
    """Read a file. Broken objects go to `log`. Raises CityJSONError where the file as a whole is not CityJSON."""
    documents = _documents(path, log)
    head = next(documents)
    system = _reference_system(head)
    features: list[CityFeature] = []
    vertices: list[Positions] = []
    offset = 0
    for document in (head, *documents):
        reader = _DocumentReader(document, head, offset, log)
        features.extend(reader.features())
        vertices.append(reader.vertices())
        offset += len(vertices[-1])
    return CityModel(tuple(features), np.concatenate(vertices), system)


def _documents(path: Path, log: ProblemLog) -> Iterator[dict[str, Any]]:
    """The CityJSON object, then the features of a CityJSONSeq."""
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    first, _, rest = content.partition(b"\n")
    head = _loads_or_none(first) if rest.strip() else None
    if head is None:
        rest = b""
        try:
            head = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise CityJSONError(f"{path.name} is not valid JSON: {error}") from error
    if not isinstance(head, dict) or head.get("type") != "CityJSON":
        found = head.get("type") if isinstance(head, dict) else type(head).__name__
        raise CityJSONError(f'{path.name} is not CityJSON: its "type" is {found!r}, needed is "CityJSON"')
    if str(head.get("version")) not in VERSIONS:
        raise CityJSONError(
            f"{path.name} is CityJSON version {head.get('version')!r}; this server reads {', '.join(VERSIONS)}: "
            "upgrade the file with a CityJSON tool"
        )
    yield head
    for number, line in enumerate(rest.split(b"\n"), start=2):
        if not line.strip():
            continue
        feature = _loads_or_none(line)
        if isinstance(feature, dict) and feature.get("type") == "CityJSONFeature":
            yield feature
        else:
            log.add(f"line {number}", "not a CityJSONFeature", "skipped")


def _loads_or_none(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _reference_system(head: dict[str, Any]) -> str | None:
    metadata = head.get("metadata")
    system = metadata.get("referenceSystem") if isinstance(metadata, dict) else None
    return system if isinstance(system, str) and system else None


class _DocumentReader:
    """The objects and vertices of one CityJSON object or CityJSONFeature; indices are shifted by `offset`."""

    def __init__(self, document: dict[str, Any], head: dict[str, Any], offset: int, log: ProblemLog) -> None:
        self._log = log
        self._offset = offset
        objects = document.get("CityObjects", {})
        if not isinstance(objects, dict):
            raise CityJSONError(f'"CityObjects" is a {type(objects).__name__}, needed is an object')
        self._objects = {name: value for name, value in objects.items() if isinstance(value, dict)}
        self._own = _vertex_array(document.get("vertices", []), "vertices")
        transform = head.get("transform")
        self._scale, self._translate = (
            _transform(transform) if transform is not None else (np.ones(3), np.zeros(3))
        )
        templates = head.get("geometry-templates") or {}
        self._templates: list[Any] = templates.get("templates", [])
        self._template_vertices = _vertex_array(templates.get("vertices-templates", []), "vertices-templates")
        self._placed: list[Positions] = []
        self._placed_count = 0

    def vertices(self) -> Positions:
        """The document's vertices in CRS units, then those of placed templates; call after `features`."""
        return np.concatenate((self._own * self._scale + self._translate, *self._placed))

    def features(self) -> Iterator[CityFeature]:
        """One feature per object without parents."""
        for name, value in self._objects.items():
            parents = value.get("parents")
            if not isinstance(parents, list) or not any(parent in self._objects for parent in parents):
                feature = self._feature(name, value)
                if feature is not None:
                    yield feature

    def _feature(self, name: str, value: dict[str, Any]) -> CityFeature | None:
        members = self._family(name)
        found = [(member, *self._best(name, member)) for member in members]
        best_part = max(
            (lod for member, lod, _ in found[1:] if "Part" in str(member.get("type"))), default=-1.0
        )
        surfaces = Surfaces()
        for number, (_, lod, part) in enumerate(found):
            # A parent's own shape is the coarser stand-in of its parts, not something beside them.
            if number > 0 or lod >= best_part:
                surfaces.extend(part)
        if len(surfaces) == 0:
            self._log.add(name, "no surface that can be drawn", "skipped")
            return None
        attributes = value.get("attributes")
        drawn = max(lod for _, lod, part in found if len(part))
        return CityFeature(
            name,
            str(value.get("type", "")),
            f"{drawn:g}",
            attributes if isinstance(attributes, dict) else {},
            surfaces,
        )

    def _family(self, name: str) -> list[dict[str, Any]]:
        """The object and all its descendants; a child listed twice or in a circle counts once."""
        seen = {name: None}
        for member in seen_in_order(seen, self._objects):
            children = self._objects[member].get("children")
            for child in children if isinstance(children, list) else ():
                if isinstance(child, str) and child in self._objects:
                    seen.setdefault(child)
        return [self._objects[member] for member in seen]

    def _best(self, name: str, member: dict[str, Any]) -> tuple[float, Surfaces]:
        """Level of detail and surfaces of a member's most detailed geometry that can be drawn; (-1, none) without one."""
        best_lod, best = -1.0, Surfaces()
        geometries = member.get("geometry")
        for geometry in geometries if isinstance(geometries, list) else ():
            try:
                lod = _lod(geometry, self._templates)
                if lod > best_lod:
                    surfaces = self._surfaces(name, geometry, object_class(str(member.get("type"))))
                    if len(surfaces):
                        best_lod, best = lod, surfaces
            except _BROKEN as error:
                self._log.add(name, f"geometry cannot be read ({type(error).__name__}: {error})", "repaired")
        return best_lod, best

    def _surfaces(self, name: str, geometry: dict[str, Any], fallback: int) -> Surfaces:
        if geometry["type"] == "GeometryInstance":
            return self._instance(name, geometry, fallback)
        return self._collect(name, geometry, fallback, len(self._own), self._offset)

    def _collect(
        self, name: str, geometry: dict[str, Any], fallback: int, count: int, shift: int
    ) -> Surfaces:
        """Surfaces whose indices lie below `count`, moved by `shift`; broken surfaces are reported, the rest is kept."""
        surfaces = Surfaces()
        depth = _DEPTH_OF.get(geometry["type"])
        if depth is None:
            return surfaces
        semantics = geometry.get("semantics") or {}
        kinds = [class_of(entry.get("type"), fallback) for entry in semantics.get("surfaces", [])]
        lost = 0
        for rings, value in _leaves(geometry["boundaries"], semantics.get("values"), depth):
            try:
                number = kinds[value] if isinstance(value, int) and 0 <= value < len(kinds) else fallback
                if not all(type(corner) is int and 0 <= corner < count for ring in rings for corner in ring):
                    raise IndexError("a vertex index is out of range")
                surfaces.add([[corner + shift for corner in ring] for ring in rings], number)
            except _BROKEN:
                lost += 1
        if lost:
            self._log.add(name, f"{lost} broken surfaces left out (corners missing or too few)", "repaired")
        return surfaces

    def _instance(self, name: str, geometry: dict[str, Any], fallback: int) -> Surfaces:
        """A template moved to its place: matrix (row-major 4 x 4) times template vertex, plus the reference point."""
        template = self._templates[geometry["template"]]
        matrix = np.array(geometry["transformationMatrix"], dtype=np.float64).reshape(4, 4)
        place = self._own[geometry["boundaries"][0]] * self._scale + self._translate
        shift = self._offset + len(self._own) + self._placed_count
        surfaces = self._collect(name, template, fallback, len(self._template_vertices), shift)
        moved = self._template_vertices @ matrix[:3, :3].T + matrix[:3, 3] + place
        self._placed.append(moved)
        self._placed_count += len(moved)
        return surfaces


def seen_in_order(seen: dict[str, None], objects: dict[str, Any]) -> Iterator[str]:
    """Names of `seen` in order while the caller adds to it; never more than there are `objects`."""
    for number in range(len(objects)):
        if number >= len(seen):
            return
        yield list(seen)[number]


def _lod(geometry: dict[str, Any], templates: list[Any]) -> float:
    source = templates[geometry["template"]] if geometry["type"] == "GeometryInstance" else geometry
    return float(source.get("lod", 0))


def _leaves(boundaries: Any, values: Any, depth: int) -> Iterator[tuple[Any, Any]]:
    """(rings, semantic value) of every surface; of a solid only its outer shell, for the inner ones are never seen."""
    if depth == 2:
        for number, solid in enumerate(boundaries):
            yield from _leaves(solid, values[number] if isinstance(values, list) else None, 1)
    elif depth == 1:
        if boundaries:
            yield from _leaves(boundaries[0], values[0] if isinstance(values, list) and values else None, 0)
    else:
        for number, rings in enumerate(boundaries):
            listed = isinstance(values, list) and number < len(values)
            yield rings, values[number] if listed else None


def _vertex_array(vertices: Any, name: str) -> Positions:
    try:
        array = np.array(vertices, dtype=np.float64) if vertices else np.empty((0, 3))
    except (TypeError, ValueError) as error:
        raise CityJSONError(f'"{name}" is not a list of three numbers each: {error}') from error
    if array.ndim != 2 or array.shape[1] != 3:
        raise CityJSONError(f'"{name}" has shape {array.shape}; needed are three numbers each')
    return array


def _transform(transform: Any) -> tuple[Positions, Positions]:
    try:
        scale = np.array(transform["scale"], dtype=np.float64)
        translate = np.array(transform["translate"], dtype=np.float64)
    except _BROKEN as error:
        raise CityJSONError(f'"transform" needs "scale" and "translate" of three numbers: {error}') from error
    if scale.shape != (3,) or translate.shape != (3,):
        raise CityJSONError('"transform" needs "scale" and "translate" of three numbers')
    return scale, translate
