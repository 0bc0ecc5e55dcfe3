"""Tile matrix sets of one's own: TMS 2.0 documents in a folder, checked, and offered beside those of the server.

OGC 17-083r4, clauses 6 and 7. A document is one JSON file; its `crs` is a URI or code of EPSG or OGC:CRS84, its matrices are
numbered by their ids, from coarse to fine, and have no variable widths.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson

from tiles.errors import TileMatrixSetError
from tiles.grids import HALF_CIRCUMFERENCE, STANDARD_PIXEL, Grid, Matrix, register_grid

_ID = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")
_CRS = re.compile(
    r"(?:https?://www\.opengis\.net/def/crs/|urn:ogc:def:crs:|\[)?(EPSG|OGC)[/:](?:[0-9.]*[/:])?(CRS84|[0-9]{4,6})\]?"
)
_MOST_BYTES = 1 << 20
_MOST_CELLS = 1 << 40  # columns or rows
_MOST_PIXELS = 4096  # edge of a tile
_TOLERANCE = 1e-3


def load_tile_matrix_sets(folder: Path) -> tuple[str, ...]:
    """Read every `*.json` of a folder and offer what it defines; their identifiers, in the order of the file names.

    Call it once, at start. Raises TileMatrixSetError, which names the file and what is wrong with it.
    """
    loaded = []
    for path in sorted(folder.glob("*.json")):
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise TileMatrixSetError(f"it has more than {_MOST_BYTES} bytes")
            document = orjson.loads(path.read_bytes())
            found = parse_tile_matrix_set(document)
            if found.id in loaded:
                raise TileMatrixSetError(f"the id {found.id!r} stands in two files")
            register_grid(found, document)
        except (OSError, orjson.JSONDecodeError, TileMatrixSetError) as error:
            raise TileMatrixSetError(f"tile matrix set in {path.name}: {error}") from error
        loaded.append(found.id)
    return tuple(loaded)


def parse_tile_matrix_set(document: Any) -> Grid:
    """The pyramid that a TMS 2.0 document defines. Raises TileMatrixSetError."""
    if not isinstance(document, dict):
        raise TileMatrixSetError("a JSON object is wanted")
    name = document.get("id")
    if not isinstance(name, str) or _ID.fullmatch(name) is None:
        raise TileMatrixSetError(
            f"'id' is {str(name)[:80]!r}; a letter, then letters, digits, '_', '.' or '-'"
        )
    crs = _parse_crs(document.get("crs"))
    listed = document.get("tileMatrices")
    if not isinstance(listed, list) or not 1 <= len(listed) <= 40:
        raise TileMatrixSetError("'tileMatrices' is a list of 1 to 40 tile matrices")
    matrices = tuple(_parse_matrix(item, number, crs) for number, item in enumerate(listed))
    first = matrices[0].zoom
    for matrix, before in zip(matrices[1:], matrices, strict=False):
        if matrix.zoom != before.zoom + 1 or matrix.cell_size >= before.cell_size:
            raise TileMatrixSetError(
                f"tile matrix {matrix.zoom} follows {before.zoom}: ids rise by one, and cell sizes become smaller"
            )
    top = matrices[0]
    return Grid(
        id=name,
        title=str(document.get("title") or name),
        uri=str(document.get("uri") or ""),
        crs=crs.uri,
        authority_code=crs.code,
        origin=(top.left, top.top),
        tile_span=top.cell_size * top.tile_width,
        columns=top.columns,
        rows=top.rows,
        max_zoom=first + len(matrices) - 1,
        metres_per_unit=crs.metres_per_unit,
        tile_size=top.tile_width,
        north_first=crs.north_first,
        min_zoom=first,
        matrices=matrices,
        area=crs.area,
    )


class _Crs:
    """The CRS of a set: what PROJ is told, what users are told, its axis order, and how long a unit is."""

    def __init__(self, authority: str, code: str) -> None:
        import pyproj
        from pyproj.exceptions import CRSError

        self.code = f"{authority}:{code}"
        self.uri = f"http://www.opengis.net/def/crs/{authority}/{'1.3' if authority == 'OGC' else '0'}/{code}"
        try:
            crs = pyproj.CRS.from_authority(authority, code)
        except CRSError as error:
            raise TileMatrixSetError(f"'crs': PROJ does not know {self.code}") from error
        if not (crs.is_geographic or crs.is_projected) or len(crs.axis_info) != 2:
            raise TileMatrixSetError(
                f"'crs': {crs.name} is not a two-dimensional geographic or projected CRS"
            )
        first, second = crs.axis_info
        polar = first.name.startswith("Northing") and second.name.startswith("Easting")
        self.north_first = (first.direction, second.direction) == ("north", "east") or polar
        factor = float(first.unit_conversion_factor)
        self.metres_per_unit = HALF_CIRCUMFERENCE / 180.0 if crs.is_geographic else factor
        area = crs.area_of_use
        is_zone = crs.is_projected and area is not None and area.west < area.east
        self.area = (area.west, area.south, area.east, area.north) if area is not None and is_zone else None


def _parse_crs(value: Any) -> _Crs:
    text = value.get("uri") if isinstance(value, dict) else value
    match = _CRS.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise TileMatrixSetError(
            f"'crs' is {str(value)[:80]!r}; a URI like http://www.opengis.net/def/crs/EPSG/0/4547 is wanted"
        )
    return _Crs(match.group(1), match.group(2))


def _parse_matrix(item: Any, number: int, crs: _Crs) -> Matrix:
    place = f"tileMatrices[{number}]"
    if not isinstance(item, dict):
        raise TileMatrixSetError(f"{place} is no object")
    zoom = item.get("id")
    if not isinstance(zoom, str) or not (zoom.isascii() and zoom.isdecimal() and len(zoom) <= 2):
        raise TileMatrixSetError(
            f"{place}: 'id' is {str(zoom)[:40]!r}; a number from 0 to 99 as text is wanted"
        )
    if item.get("variableMatrixWidths"):
        raise TileMatrixSetError(f"{place}: variable matrix widths are not served")
    corner = item.get("cornerOfOrigin", "topLeft")
    if corner not in ("topLeft", "bottomLeft"):
        raise TileMatrixSetError(f"{place}: 'cornerOfOrigin' is topLeft or bottomLeft")
    cell = _positive(item, "cellSize", place)
    scale = _positive(item, "scaleDenominator", place)
    if abs(scale * STANDARD_PIXEL / (cell * crs.metres_per_unit) - 1) > _TOLERANCE:
        wanted = cell * crs.metres_per_unit / STANDARD_PIXEL
        raise TileMatrixSetError(
            f"{place}: a cell size of {cell} means a scale denominator of {wanted:.10g}, not {scale:.10g}"
        )
    columns, rows = (_count(item, key, place, _MOST_CELLS) for key in ("matrixWidth", "matrixHeight"))
    width, height = (_count(item, key, place, _MOST_PIXELS) for key in ("tileWidth", "tileHeight"))
    origin = item.get("pointOfOrigin")
    if not isinstance(origin, list) or len(origin) != 2 or not all(map(_is_number, origin)):
        raise TileMatrixSetError(f"{place}: 'pointOfOrigin' is two numbers, in the axis order of the CRS")
    x, y = (origin[1], origin[0]) if crs.north_first else origin
    from_bottom = corner == "bottomLeft"
    top = y + rows * height * cell if from_bottom else y
    return Matrix(int(zoom), cell, float(x), float(top), columns, rows, width, height, from_bottom)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _positive(item: dict[str, Any], key: str, place: str) -> float:
    value: Any = item.get(key)
    if not _is_number(value) or not 0 < value < 1e12:
        raise TileMatrixSetError(f"{place}: {key!r} is {str(value)[:40]!r}; a positive number is wanted")
    return float(value)


def _count(item: dict[str, Any], key: str, place: str, most: int) -> int:
    value = item.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise TileMatrixSetError(
            f"{place}: {key!r} is {str(value)[:40]!r}; a whole number from 1 to {most} is wanted"
        )
    return value
