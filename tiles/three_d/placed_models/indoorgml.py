"""Reading IndoorGML 1.0 and 1.1 (OGC 14-005): each cell space with a geometry is an object.

A cell with a solid is drawn as its faces; one with a polygon only as a room of `STOREY_METRES`. XML is read without entities, DTD and network. A
file in coordinates of a building's own needs a placement.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from lxml import etree

from tiles.three_d.city_models.citygml_geometry import (
    GEOMETRIES,
    SOLIDS,
    XLINK,
    References,
    gml_id,
    local,
    polygons_of,
    rings_of,
)
from tiles.three_d.city_models.classes import object_class
from tiles.three_d.city_models.model import CityBatch, Collector, Level, ObjectHead
from tiles.three_d.city_models.reference import is_north_first_form
from tiles.three_d.errors import CityGMLError, PlacementError
from tiles.three_d.placed_models.placement import ModelPlacement
from tiles.three_d.report import ProblemLog

NAMESPACE = b"opengis.net/indoorgml"
STOREY_METRES = 3.0
MOST_BYTES = 512 << 20
_OBJECTS_A_BATCH = 500
_SPACES = frozenset(
    (
        "CellSpace",
        "GeneralSpace",
        "TransitionSpace",
        "ConnectionSpace",
        "AnchorSpace",
        "NavigableSpace",
        "NonNavigableSpace",
    )
)
_SRS_NAME = re.compile(rb"""\bsrsName\s*=\s*["']([^"']+)["']""")
_ROOM = object_class("GenericCityObject")


class IndoorGMLFile:
    """One file (a `CityModelFile`). `placement` stands for a CRS, for files in coordinates of their own."""

    def __init__(self, path: Path, placement: ModelPlacement | None = None) -> None:
        """Raises CityGMLError where it is no IndoorGML, PlacementError where nothing says where it is."""
        self.path = path
        self.fraction = 0.0
        if path.stat().st_size > MOST_BYTES:
            raise CityGMLError(f"{path.name} is larger than {MOST_BYTES:,} bytes")
        content = path.read_bytes()
        if NAMESPACE not in content:
            raise CityGMLError(f"{path.name} is not IndoorGML: it names none of its namespaces")
        if re.search(rb"<!(?:DOCTYPE|ENTITY)", content):
            raise CityGMLError(f"{path.name} has a DTD, which is not read; remove the DOCTYPE from the file")
        found = _SRS_NAME.search(content)
        said = found[1].decode("utf-8", "replace") if found is not None else None
        self._placement = placement
        if placement is not None:
            self.reference_system: str | None = placement.crs().to_wkt()
            self.north_first = False
        else:
            if said is None:
                raise PlacementError(
                    f"{path.name} says no CRS (srsName); name it, or give the place of its origin (longitude, latitude and height)"
                )
            self.reference_system = said
            self.north_first = is_north_first_form(said)

    def batches(self, log: ProblemLog) -> Iterator[CityBatch]:
        """All cell spaces with a geometry. Raises CityGMLError where the file is not well-formed."""
        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
        )
        try:
            root = etree.parse(str(self.path), parser).getroot()
        except etree.XMLSyntaxError as error:
            raise CityGMLError(f"{self.path.name} is not well-formed XML: {error}") from error
        geometries = {
            name: item
            for item in root.iter(etree.Element)
            if local(item) in GEOMETRIES and (name := gml_id(item)) is not None
        }
        references = References(self.path.stat().st_size)
        spaces = [item for item in root.iter(etree.Element) if local(item) in _SPACES]
        for first in range(0, len(spaces), _OBJECTS_A_BATCH):
            reader = _Cells(geometries, log, references)
            for number, space in enumerate(spaces[first : first + _OBJECTS_A_BATCH], first):
                reader.read(space, number)
            self.fraction = min(1.0, (first + _OBJECTS_A_BATCH) / len(spaces))
            if len(reader.sink):
                yield reader.finish(self._placement)


class _Cells:
    """Cell spaces on their way into a batch."""

    def __init__(self, geometries: dict[str, Any], log: ProblemLog, references: References) -> None:
        self._references = references
        self._geometries = geometries
        self._log = log
        self._values = array("d")
        self.sink = Collector()

    def read(self, space: Any, number: int) -> None:
        """Take one cell space; one that is broken is reported."""
        name = gml_id(space) or f"cell-{number}"
        geometry = _geometry(space, self._geometries)
        if geometry is None:
            self._log.add(name, "it has no geometry", "skipped")
            return
        before = len(self._values)
        self._references.begin()
        try:
            surfaces = [
                [ring.values for ring in rings_of(polygon.element)]
                for polygon in polygons_of(
                    geometry, self._geometries.__getitem__, references=self._references
                )
            ]
        except (KeyError, ValueError) as error:
            self._log.add(name, f"its geometry cannot be read: {error}", "skipped")
            return
        closed = local(geometry) in SOLIDS
        if not closed:
            surfaces = [wall for floor in surfaces for wall in _room(floor)]
        if not surfaces:
            self._log.add(name, "its geometry has no faces", "skipped")
            return
        rings = [[self._corners(ring) for ring in surface] for surface in surfaces]
        self.sink.add_head(ObjectHead(name, local(space), _attributes(space)))
        at = self.sink.surface_count
        try:
            self.sink.add_shell(rings, [_ROOM] * len(rings), closed=True, below=len(self._values) // 3)
        except (TypeError, ValueError, IndexError) as error:
            self.sink.drop_head()
            del self._values[before:]
            self._log.add(name, f"its geometry cannot be read: {error}", "skipped")
            return
        self.sink.add_level(Level(len(self.sink) - 1, 2.0, True), at)

    def _corners(self, ring: list[float]) -> list[int]:
        first = len(self._values) // 3
        self._values.extend(ring)
        return list(range(first, len(self._values) // 3))

    def finish(self, placement: ModelPlacement | None) -> CityBatch:
        """The batch, in the CRS or the plane of the placement. Raises PlacementError."""
        places = np.frombuffer(self._values, dtype=np.float64).reshape(-1, 3)
        if placement is not None:
            places = placement.placed(places)
        return self.sink.finish(places.__getitem__)


def _geometry(space: Any, geometries: dict[str, Any]) -> Any:
    """The solid of a cell, else its surface; None where it has neither."""
    flat = None
    for item in space.iter(etree.Element):
        kind = local(item)
        if kind not in ("Geometry3D", "Geometry2D"):
            continue
        target = item.get(XLINK)
        inner = [one for one in item if local(one) in GEOMETRIES]
        if target is not None and target.removeprefix("#") in geometries:
            inner.append(geometries[target.removeprefix("#")])
        if inner and kind == "Geometry3D":
            return inner[0]
        flat = inner[0] if inner and flat is None else flat
    return flat


def _room(floor: list[list[float]]) -> list[list[list[float]]]:
    """Floor, ceiling and walls over a polygon, all facing out; the floor faces down."""
    rings = [np.array(ring, dtype=np.float64).reshape(-1, 3) for ring in floor]
    rings = [ring[:-1] if len(ring) > 1 and (ring[0] == ring[-1]).all() else ring for ring in rings]
    turned = []
    for number, ring in enumerate(rings):
        x, y = ring[:, 0], ring[:, 1]
        area = float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
        turned.append(ring if (area > 0) == (number == 0) else ring[::-1])
    lift = np.array([0.0, 0.0, STOREY_METRES])
    faces = [
        [ring[::-1].ravel().tolist() for ring in turned],
        [(ring + lift).ravel().tolist() for ring in turned],
    ]
    for ring in turned:
        for here, there in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            faces.append([np.array([here, there, there + lift, here + lift]).ravel().tolist()])
    return faces


def _attributes(space: Any) -> dict[str, Any]:
    """Name, description, class, function, usage, storey and what else stands as text in the cell itself."""
    found: dict[str, Any] = {}
    for child in space:
        kind = local(child)
        text = (child.text or "").strip()
        if kind and text and len(child) == 0 and len(found) < 60:
            found.setdefault(kind, text[:1000])
    return found
