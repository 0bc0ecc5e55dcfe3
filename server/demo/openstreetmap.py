"""Reading an OpenStreetMap extract into plain elements, in degrees and in the plane of the city's own grid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import fiona
import numpy as np
import pyproj
import shapely
from fiona import drvsupport
from numpy.typing import NDArray
from shapely.geometry import LineString, MultiPolygon, Point, box, shape
from shapely.geometry.base import BaseGeometry

from server.demo.errors import DemoDataUnreadable

CITY_GRID = "EPSG:3879"  # ETRS89 / GK25FIN, the grid of the city of Helsinki; x = east, y = north here
_PAIR = re.compile(r'"((?:[^"\\]|\\.)*)"=>"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_NOT_TAGS = frozenset({"osm_id", "osm_way_id", "other_tags", "z_order"})


@dataclass(frozen=True, slots=True)
class Element[G: BaseGeometry]:
    """One element: `geographic` in CRS84 degrees, `planar` the same in metres of the city grid (x = east)."""

    osm_id: str
    geographic: G
    planar: G
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Extract:
    """All elements of an extract. Areas are valid polygons; `bounds` is (west, south, east, north) in the city grid."""

    points: tuple[Element[Point], ...]
    lines: tuple[Element[LineString], ...]
    areas: tuple[Element[MultiPolygon], ...]
    bounds: tuple[float, float, float, float]


def parse_tags(text: str | None) -> dict[str, str]:
    """The tags of GDAL's `other_tags` column, which is written like PostgreSQL's hstore."""
    return {_ESCAPED.sub(r"\1", key): _ESCAPED.sub(r"\1", value) for key, value in _PAIR.findall(text or "")}


@lru_cache(maxsize=1)
def _to_city_grid() -> pyproj.Transformer:
    return pyproj.Transformer.from_crs("OGC:CRS84", CITY_GRID, always_xy=True)


def project[G: BaseGeometry](geometry: G) -> G:
    """A geometry in CRS84 degrees as metres of the city grid."""

    def forward(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = _to_city_grid().transform(coordinates[:, 0], coordinates[:, 1])
        return np.column_stack([x, y])

    projected: G = shapely.transform(geometry, forward)
    return projected


def read_extract(path: Path) -> Extract:
    """Read points, lines and areas of a PBF file. Raises DemoDataUnreadable."""
    # GDAL opens PBF, but fiona hides the driver until it is told that it may be used for reading.
    drvsupport.supported_drivers["OSM"] = "r"
    try:
        points = tuple(_elements(path, "points", Point))
        lines = tuple(_elements(path, "lines", LineString))
        areas = tuple(_elements(path, "multipolygons", MultiPolygon))
    except fiona.errors.FionaError as error:
        raise DemoDataUnreadable(
            f"{path.name} cannot be read as an OpenStreetMap extract: {error}"
        ) from error
    if not (points and lines and areas):
        raise DemoDataUnreadable(f"{path.name} holds no points, no lines or no areas")
    west, south, east, north = shapely.total_bounds([one.geographic for one in (*points, *lines, *areas)])
    return Extract(points, lines, areas, project(box(west, south, east, north)).bounds)


def _elements[G: BaseGeometry](path: Path, layer: str, kind: type[G]) -> Iterator[Element[G]]:
    with fiona.open(path, layer=layer) as source:
        for feature in source:
            geometry = _usable(feature["geometry"])
            if not isinstance(geometry, kind):
                continue
            columns: Mapping[str, Any] = feature["properties"]
            tags = {key: value for key, value in columns.items() if value and key not in _NOT_TAGS}
            tags |= parse_tags(columns.get("other_tags"))
            # A closed way has its own number space: keep the letter, as OpenStreetMap's own URLs do.
            way = columns.get("osm_way_id")
            letter = {"points": "n", "lines": "w"}.get(layer, "r")
            yield Element(
                f"w{way}" if way else f"{letter}{columns['osm_id']}", geometry, project(geometry), tags
            )


def _usable(geometry: Any) -> BaseGeometry | None:
    """The geometry, polygons made valid; None for one without extent, as the extract's clipped areas are."""
    if geometry is None:
        return None
    try:
        found = shape(geometry)
    except ValueError:  # a ring of fewer than four points: the area was cut at the border of the extract
        return None
    if found.geom_type not in ("Polygon", "MultiPolygon"):
        return None if found.is_empty else found
    parts = shapely.get_parts(shapely.make_valid(found))
    polygons = [part for part in parts if part.geom_type == "Polygon" and project(part).area >= 1.0]
    polygons += [
        piece
        for part in parts
        if part.geom_type == "MultiPolygon"
        for piece in part.geoms
        if project(piece).area >= 1.0
    ]
    return MultiPolygon(polygons) if polygons else None
