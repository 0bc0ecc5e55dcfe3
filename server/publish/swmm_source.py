"""Drainage networks of SWMM 5 input files (.inp): nodes and links with their heights and sections, in metres.

Sections as the SWMM 5 manual (appendix D, input file format) has them. Positions are in [COORDINATES] and [VERTICES]; the file
does not say their CRS.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyproj
import shapely

from server.publish.errors import DamagedFile
from server.publish.inputs import Input
from server.publish.request import ReadingOptions
from server.publish.text_encoding import text_file_encoding
from server.publish.vectors import Batch
from server.registry.catalogue import Field

_FEET = 0.3048
_METRIC_FLOWS = frozenset(("CMS", "LPS", "MLD"))
_NODE_SECTIONS = ("JUNCTIONS", "OUTFALLS", "STORAGE", "DIVIDERS")
_LINK_SECTIONS = ("CONDUITS", "PUMPS", "ORIFICES", "WEIRS", "OUTLETS")
_ROUND = frozenset(("CIRCULAR", "FILLED_CIRCULAR", "FORCE_MAIN"))
_ARCHED = frozenset(
    ("HORSESHOE", "ARCH", "GOTHIC", "CATENARY", "SEMIELLIPTICAL", "BASKETHANDLE", "SEMICIRCULAR")
)
_LARGEST_LINES = 5_000_000

FIELDS: tuple[Field, ...] = (
    Field(name="element", type="string", title="Element"),
    Field(name="name", type="string", title="Name"),
    Field(name="kind", type="string", title="Kind"),
    Field(name="from_node", type="string"),
    Field(name="to_node", type="string"),
    Field(name="shape", type="string", title="Section"),
    Field(name="diameter_m", type="number", title="Diameter (m)"),
    Field(name="section_width_m", type="number", title="Width of the section (m)"),
    Field(name="section_height_m", type="number", title="Height of the section (m)"),
    Field(name="start_invert", type="number", title="Invert at the start (m)"),
    Field(name="end_invert", type="number", title="Invert at the end (m)"),
    Field(name="length", type="number", title="Length (m)"),
    Field(name="roughness", type="number", title="Manning's n"),
    Field(name="bottom_level", type="number", title="Invert (m)"),
    Field(name="cover_level", type="number", title="Ground (m)"),
    Field(name="max_depth", type="number", title="Depth (m)"),
    Field(name="tag", type="string"),
)


@dataclass(slots=True)
class _Node:
    element: str
    invert: float
    depth: float
    highest: float = math.nan


@dataclass(slots=True)
class _Model:
    """What of a model becomes features; lengths are in the units of the file."""

    sections: Mapping[str, list[list[str]]]
    nodes: dict[str, _Node] = field(default_factory=dict)
    places: dict[str, tuple[float, float]] = field(default_factory=dict)
    bends: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    shapes: dict[str, list[str]] = field(default_factory=dict)
    tags: dict[tuple[str, str], str] = field(default_factory=dict)

    def option(self, name: str, default: str) -> str:
        """A value of [OPTIONS]."""
        for row in self.sections.get("OPTIONS", []):
            if row[0].upper() == name and len(row) > 1:
                return row[1].upper()
        return default


class SwmmSource:
    """One model as one layer: nodes are points, links are lines from node to node. Raises DamagedFile."""

    def __init__(self, item: Input, options: ReadingOptions) -> None:
        self.name = item.name
        self.warnings: list[str] = []
        self.crs: pyproj.CRS | None = None
        self.fields = FIELDS
        encoding = text_file_encoding(item.path, options.encoding)
        self._model = _Model(_read_sections(item, encoding.codec))
        self._unit = 1.0 if self._model.option("FLOW_UNITS", "CFS") in _METRIC_FLOWS else _FEET
        self._offsets_are_levels = self._model.option("LINK_OFFSETS", "DEPTH") == "ELEVATION"
        self._read_places()
        self._read_nodes()
        self._rows = [*self._links(), *self._wells()]
        if not self._rows:
            raise DamagedFile(f"{self.name} has no node or link with coordinates.")
        self.expected: int | None = len(self._rows)

    def batches(self) -> Iterator[Batch]:
        """All features in one batch."""
        geometries = np.empty(len(self._rows), dtype=object)
        geometries[:] = [geometry for geometry, _ in self._rows]
        columns = {item.name: [values.get(item.name) for _, values in self._rows] for item in FIELDS}
        ids = [f"{values['element']}-{values['name']}" for _, values in self._rows]
        yield Batch(geometries, columns, ids)

    def _read_places(self) -> None:
        model = self._model
        for row in model.sections.get("COORDINATES", []):
            place = _place(row)
            if place is not None:
                model.places[row[0]] = place
        for row in model.sections.get("VERTICES", []):
            place = _place(row)
            if place is not None:
                model.bends.setdefault(row[0], []).append(place)
        for row in model.sections.get("XSECTIONS", []):
            model.shapes[row[0]] = row[1:]
        for row in model.sections.get("TAGS", []):
            if len(row) > 2:
                model.tags[row[0].upper(), row[1]] = row[2]

    def _read_nodes(self) -> None:
        for section in _NODE_SECTIONS:
            element = section.rstrip("S").lower() if section != "STORAGE" else "storage"
            for row in self._model.sections.get(section, []):
                # Outfalls have no depth; dividers have theirs behind the diverted link and its type.
                depth = _number(row, 2) if section in ("JUNCTIONS", "STORAGE") else math.nan
                self._model.nodes[row[0]] = _Node(element, _number(row, 1), depth)

    def _links(self) -> Iterator[tuple[shapely.Geometry, dict[str, Any]]]:
        lost: list[str] = []
        for section in _LINK_SECTIONS:
            for row in self._model.sections.get(section, []):
                made = self._link(section, row) if len(row) > 2 else None
                if made is None:
                    lost.append(row[0])
                else:
                    yield made
        if lost:
            self.warnings.append(
                f"{len(lost)} links of {self.name} were left out, for their nodes have no coordinates (the first: {lost[0]})."
            )

    def _link(self, section: str, row: list[str]) -> tuple[shapely.Geometry, dict[str, Any]] | None:
        name, start, end = row[:3]
        model = self._model
        ends = [model.places.get(start), model.places.get(end)]
        if ends[0] is None or ends[1] is None or start not in model.nodes or end not in model.nodes:
            return None
        shape = model.shapes.get(name, [])
        high, wide = _number(shape, 1), _number(shape, 2)
        kind = shape[0].upper() if shape else ""
        inverts = self._inverts(section, row)
        values: dict[str, Any] = {
            "element": section.rstrip("S").lower(),
            "name": name,
            "kind": "storm",
            "from_node": start,
            "to_node": end,
            "start_invert": inverts[0],
            "end_invert": inverts[1],
            "tag": model.tags.get(("LINK", name)),
            **self._section(kind, high, wide),
        }
        if section == "CONDUITS":
            values |= {"length": self._metres(_number(row, 3)), "roughness": _finite(_number(row, 4))}
        for node, invert in ((start, inverts[0]), (end, inverts[1])):
            if invert is not None and high > 0.0:
                found = model.nodes[node]
                found.highest = float(np.fmax(found.highest, invert / self._unit + high))
        return shapely.LineString([ends[0], *model.bends.get(name, []), ends[1]]), values

    def _inverts(self, section: str, row: list[str]) -> tuple[float | None, float | None]:
        """Heights (m) of the link's bottom at its ends: of the nodes, raised by the offsets of conduits."""
        result = []
        for node, column in ((row[1], 5), (row[2], 6)):
            invert = self._model.nodes[node].invert
            offset = _number(row, column) if section == "CONDUITS" else 0.0
            offset = 0.0 if math.isnan(offset) else offset
            if (
                self._offsets_are_levels
                and section == "CONDUITS"
                and len(row) > column
                and row[column] != "*"
            ):
                invert, offset = offset, 0.0
            result.append(self._metres(invert + offset))
        return result[0], result[1]

    def _section(self, kind: str, high: float, wide: float) -> dict[str, Any]:
        if not high > 0.0:
            return {}
        if kind in _ROUND:
            return {"shape": "circle", "diameter_m": self._metres(high)}
        shape = "horseshoe" if kind in _ARCHED else "box"
        across = wide if wide > 0.0 else high
        return {
            "shape": shape,
            "section_width_m": self._metres(across),
            "section_height_m": self._metres(high),
        }

    def _wells(self) -> Iterator[tuple[shapely.Geometry, dict[str, Any]]]:
        for name, node in self._model.nodes.items():
            place = self._model.places.get(name)
            if place is None:
                continue
            depth = node.depth
            if not depth > 0.0:
                # SWMM then takes the top of the highest link that ends there.
                depth = node.highest - node.invert
            known = math.isfinite(depth) and depth > 0.0
            yield (
                shapely.Point(place),
                {
                    "element": node.element,
                    "name": name,
                    "kind": "storm",
                    "bottom_level": self._metres(node.invert),
                    "cover_level": self._metres(node.invert + depth) if known else None,
                    "max_depth": self._metres(depth) if known else None,
                    "tag": self._model.tags.get(("NODE", name)),
                },
            )

    def _metres(self, value: float) -> float | None:
        return round(value * self._unit, 4) if math.isfinite(value) else None


def _read_sections(item: Input, codec: str) -> dict[str, list[list[str]]]:
    """The words of every line, by section; comments and blank lines are left out. Raises DamagedFile."""
    sections: dict[str, list[list[str]]] = {}
    current: list[list[str]] | None = None
    try:
        with item.path.open(encoding=codec) as file:
            for number, line in enumerate(file):
                if number > _LARGEST_LINES:
                    raise DamagedFile(f"{item.name} has more than {_LARGEST_LINES} lines.")
                text = line.partition(";")[0].strip()
                if text.startswith("["):
                    current = sections.setdefault(text.strip("[]").upper(), [])
                elif text and current is not None:
                    current.append(text.split())
    except UnicodeDecodeError as error:
        raise DamagedFile(
            f"{item.name} is not in {codec}: {error.reason}. Name it with --encoding."
        ) from error
    return sections


def _place(row: list[str]) -> tuple[float, float] | None:
    x, y = _number(row, 1), _number(row, 2)
    return (x, y) if math.isfinite(x) and math.isfinite(y) else None


def _number(row: list[str], column: int) -> float:
    """The number in a column, NaN where there is none."""
    try:
        return float(row[column])
    except (IndexError, ValueError):
        return math.nan


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
