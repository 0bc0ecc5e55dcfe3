"""Reading CityGML 1.0, 2.0 and 3.0 in a stream: one top-level city object at a time is in memory.

XML is read without entities, DTD and network. What is broken by itself is reported and the rest is read; a file that is no well-formed CityGML
raises CityGMLError.
"""

from __future__ import annotations

import mmap
import re
from array import array
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from lxml import etree

from tiles.three_d.city_models.citygml_appearance import Appearances
from tiles.three_d.city_models.citygml_geometry import GEOMETRIES, References, gml_id, local
from tiles.three_d.city_models.citygml_objects import GMLReader, UnresolvedError
from tiles.three_d.city_models.model import CityBatch
from tiles.three_d.city_models.reference import is_north_first_form
from tiles.three_d.errors import CityGMLError
from tiles.three_d.report import ProblemLog

OBJECTS_A_BATCH = 1000
CORNERS_A_BATCH = 120_000
_SRS_NAME = re.compile(rb"""\bsrsName\s*=\s*["']([^"']+)["']""")
_DTD = re.compile(rb"<!(?:DOCTYPE|ENTITY)")
_NAMESPACE = b"opengis.net/citygml"
_MEMBER_TAGS = ("{*}cityObjectMember", "{*}featureMember")
_SHARED_TAGS = ("{*}appearanceMember", "{*}appearance")
_PROTOTYPES = ("{*}relativeGMLGeometry", "{*}relativeGeometry")
_FIRST_BYTES = 1 << 20


class CityGMLFile:
    """One file. `reference_system` is the first srsName in it, None for none."""

    def __init__(self, path: Path) -> None:
        """Raises CityGMLError."""
        self.path = path
        self.fraction = 0.0
        with path.open("rb") as file:
            head = file.read(_FIRST_BYTES)
        if _NAMESPACE not in head:
            raise CityGMLError(f"{path.name} is not CityGML: it names none of its namespaces")
        if _DTD.search(head):
            raise CityGMLError(f"{path.name} has a DTD, which is not read; remove the DOCTYPE from the file")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _SRS_NAME.search(content)
            self.reference_system = found[1].decode("utf-8", "replace") if found is not None else None
            self._has_shared = content.find(b"appearanceMember") >= 0
            self._has_prototypes = content.find(b"mplicitRepresentation") >= 0
        self.north_first = is_north_first_form(self.reference_system)

    def batches(self, log: ProblemLog) -> Iterator[CityBatch]:
        """All objects, some hundreds at a time. Problems of single objects go to `log`. Raises CityGMLError."""
        appearances = Appearances(self.path.parent)
        library: dict[str, Any] = {}
        if self._has_shared or self._has_prototypes:
            self._read_shared(appearances, library)
        waiting: set[int] = set()
        wanted: set[str] = set()
        references = References(self.path.stat().st_size)
        reader = GMLReader(appearances, library, log, references)
        yield from self._pass(reader, None, waiting, wanted)
        if wanted:
            # Objects that refer to geometries of others are read again when those are known.
            library.update(self._geometries(wanted))
            reader.unresolved = wanted - library.keys()
            yield from self._pass(reader, frozenset(waiting), set(), set())

    def _pass(
        self, reader: GMLReader, only: frozenset[int] | None, waiting: set[int], wanted: set[str]
    ) -> Iterator[CityBatch]:
        """Read all objects, or those numbered in `only`; those that cannot be resolved yet go to `waiting`, what they lack to `wanted`."""
        number = 0
        for member in self._elements(_MEMBER_TAGS):
            for element in member:
                if not isinstance(element.tag, str):
                    continue
                number += 1
                if only is not None and number not in only:
                    continue
                name = gml_id(element) or f"{local(element)}-{number}"
                if not self._has_shared:
                    reader.appearances.rings.clear()
                    reader.appearances.shades.clear()
                    reader.appearances.read(element)
                try:
                    reader.read(element, name)
                except UnresolvedError as error:
                    waiting.add(number)
                    wanted.update(error.args)
            if len(reader.sink) >= OBJECTS_A_BATCH or reader.sink.corner_count >= CORNERS_A_BATCH:
                yield _finished(reader)
        if len(reader.sink):
            yield _finished(reader)

    def _read_shared(self, appearances: Appearances, library: dict[str, Any]) -> None:
        """Appearances and prototypes stand anywhere in the file, after the objects too."""
        for element in self._elements(_SHARED_TAGS + _PROTOTYPES):
            if local(element) in ("appearanceMember", "appearance"):
                appearances.read(element)
                continue
            for geometry in element:
                name = gml_id(geometry) if isinstance(geometry.tag, str) else None
                if name is not None:
                    library[name] = deepcopy(geometry)

    def _geometries(self, wanted: set[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for element in self._elements(_MEMBER_TAGS):
            for item in element.iter():
                if isinstance(item.tag, str) and local(item) in GEOMETRIES:
                    name = gml_id(item)
                    if name in wanted:
                        found[name] = deepcopy(item)
        return found

    def _elements(self, tags: tuple[str, ...]) -> Iterator[Any]:
        """The elements of these names, each gone when the next is asked for."""
        size = max(self.path.stat().st_size, 1)
        try:
            with self.path.open("rb") as file:
                parser = etree.iterparse(
                    file,
                    events=("end",),
                    tag=tags,
                    resolve_entities=False,
                    no_network=True,
                    load_dtd=False,
                    remove_comments=True,
                    remove_pis=True,
                )
                for _, element in parser:
                    yield element
                    self.fraction = min(1.0, file.tell() / size)
                    parent = element.getparent()
                    if parent is not None and local(parent) not in ("CityModel", "FeatureCollection"):
                        continue
                    element.clear()
                    while element.getprevious() is not None and parent is not None:
                        del parent[0]
        except etree.XMLSyntaxError as error:
            if "XML_PARSE_HUGE" in str(error):
                raise CityGMLError(
                    f"{self.path.name} has elements more than 256 deep or a text of more than 10 MB, which are not read"
                ) from error
            raise CityGMLError(f"{self.path.name} is not well-formed XML: {error}") from error


def _finished(reader: GMLReader) -> CityBatch:
    from tiles.three_d.city_models.model import Collector

    places = np.frombuffer(reader.coordinates, dtype=np.float64).reshape(-1, 3)
    batch = reader.sink.finish(places.__getitem__)
    reader.sink = Collector()
    reader.coordinates = array("d")
    return batch
