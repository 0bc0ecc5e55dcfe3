"""Tile matrix sets of CGCS2000 and of one's own: beside PROJ and morecantile, and what is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import morecantile
import pyproj
import pytest

from tiles import grids
from tiles.errors import TileMatrixSetError, TileOutOfRange, UnknownTileMatrixSet
from tiles.grids import (
    TileId,
    all_grid_ids,
    china_grids,
    grid,
    grid_ids,
    tile_bounds,
    tile_bounds_crs84,
    tile_matrix_set_document,
    tile_range,
    tileset_limits,
)
from tiles.grids_china import zones_of
from tiles.grids_own import load_tile_matrix_sets, parse_tile_matrix_set

SHENZHEN = (113.75, 22.45, 114.63, 22.87)


def matrix(zoom: int, **more: Any) -> dict[str, Any]:
    cell = 1024.0 / 2**zoom
    return {
        "id": str(zoom),
        "scaleDenominator": cell / 0.00028,
        "cellSize": cell,
        "pointOfOrigin": [2_600_000.0, 400_000.0],  # EPSG:4547: the northing first
        "tileWidth": 256,
        "tileHeight": 256,
        "matrixWidth": 2**zoom,
        "matrixHeight": 3 * 2**zoom,
    } | more


DOCUMENT: dict[str, Any] = {
    "id": "CityGrid",
    "title": "Grid of the city",
    "crs": "http://www.opengis.net/def/crs/EPSG/0/4547",
    "tileMatrices": [matrix(zoom) for zoom in range(6)],
}


@pytest.fixture(autouse=True)
def only_built_in_sets() -> Iterator[None]:
    yield
    grids._own.clear()
    grids._own_documents.clear()
    tile_matrix_set_document.cache_clear()


@pytest.mark.parametrize(
    "name",
    [
        "WebMercatorQuad",
        "WorldCRS84Quad",
        "CGCS2000Quad",
        *("CGCS2000GK3Zone25", "CGCS2000GK3Zone45", "CGCS2000GK3CM75E", "CGCS2000GK3CM135E"),
    ],
)
def test_documents_mean_to_morecantile_what_they_mean_to_us(name: str) -> None:
    theirs = morecantile.TileMatrixSet.model_validate(tile_matrix_set_document(name))
    for zoom in (0, 1, 9, grid(name).max_zoom):
        columns, rows = grid(name).matrix_size(zoom)
        found = theirs.matrix(zoom)
        assert (found.matrixWidth, found.matrixHeight) == (columns, rows)
        for tile in (TileId(zoom, 0, 0), TileId(zoom, columns - 1, rows - 1)):
            ours = tile_bounds(name, tile)
            assert ours == pytest.approx(tuple(theirs.xy_bounds(tile.x, tile.y, zoom)), abs=1e-6)
        scale = found.cellSize * grid(name).metres_per_unit / 0.00028
        assert found.scaleDenominator == pytest.approx(scale, rel=1e-9)


def test_every_zone_has_its_projection() -> None:
    zones = {name: found for name, found in china_grids().items() if name != "CGCS2000Quad"}
    assert len(zones) == 42
    assert {found.authority_code for found in zones.values()} == {
        f"EPSG:{code}" for code in range(4513, 4555)
    }
    for name, found in zones.items():
        crs = pyproj.CRS(found.authority_code)
        parameters = {parameter.name: parameter.value for parameter in crs.coordinate_operation.params}
        # The central meridian is the middle of the set, and a border of tiles from level 1 on.
        middle = found.origin[0] + found.tile_span / 2
        assert middle == parameters["False easting"], name
        assert tile_bounds(name, TileId(1, 1, 0)).minx == middle
        assert tile_bounds(name, TileId(0, 0, 1)).miny == 0.0
        assert (crs.axis_info[0].direction == "north") == found.north_first
        area = crs.area_of_use
        assert area is not None
        assert found.area is not None
        assert found.area[0] - 0.02 <= area.west < area.east <= found.area[2] + 0.02
        assert found.cell_size(14) == 1.0


@pytest.mark.parametrize("name", ["CGCS2000GK3Zone38", "CGCS2000GK3CM114E"])
def test_a_zones_tiles_lie_where_proj_says(name: str) -> None:
    transformer = pyproj.Transformer.from_crs("OGC:CRS84", grid(name).authority_code, always_xy=True)
    for longitude, latitude in ((113.81, 22.6), (114.0, 22.7), (115.3, 40.0), (112.7, 17.0)):
        x, y = transformer.transform(longitude, latitude)
        found = tile_range(name, (longitude, latitude, longitude, latitude), 14)
        box = tile_bounds(name, TileId(14, found.min_column, found.min_row))
        assert box.minx - 1e-3 <= x <= box.maxx + 1e-3
        assert box.miny - 1e-3 <= y <= box.maxy + 1e-3
        degrees = tile_bounds_crs84(name, TileId(14, found.min_column, found.min_row))
        assert degrees.minx <= longitude <= degrees.maxx
        assert degrees.miny <= latitude <= degrees.maxy


def test_neighbouring_zones_have_the_same_rows() -> None:
    west = tile_range("CGCS2000GK3Zone37", (112.499, 22.5, 112.499, 22.5), 16)
    east = tile_range("CGCS2000GK3Zone38", (112.501, 22.5, 112.501, 22.5), 16)
    assert west.min_row == east.min_row
    assert west.min_column > grid("CGCS2000GK3Zone37").matrix_size(16)[0] // 2 > east.min_column


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (SHENZHEN, ["CGCS2000GK3Zone38", "CGCS2000GK3CM114E"]),
        ((75.0, 39.0, 75.2, 39.2), ["CGCS2000GK3Zone25", "CGCS2000GK3CM75E"]),
        ((134.9, 48.0, 135.0, 48.2), ["CGCS2000GK3Zone45", "CGCS2000GK3CM135E"]),
        ((4.3, 51.9, 4.5, 52.1), []),
        ((113.0, -10.0, 114.0, -9.0), []),
        ((73.0, 39.0, 73.2, 39.2), []),
    ],
)
def test_the_zone_of_a_place(box: tuple[float, float, float, float], expected: list[str]) -> None:
    assert zones_of(box) == expected


def test_limits_outside_of_a_zone_are_one_tile() -> None:
    (limit,) = tileset_limits("CGCS2000GK3CM114E", (4.3, 51.9, 4.5, 52.1), 8, 8)
    assert limit["minTileCol"] == limit["maxTileCol"]


def test_cgcs2000_quad_is_the_arrangement_of_crs84_with_the_latitude_first() -> None:
    for tile in (TileId(0, 1, 0), TileId(7, 100, 31)):
        assert tile_bounds("CGCS2000Quad", tile) == tile_bounds("WorldCRS84Quad", tile)
    first = tile_matrix_set_document("CGCS2000Quad")["tileMatrices"][0]
    assert first["pointOfOrigin"] == [90.0, -180.0]
    assert first["scaleDenominator"] == pytest.approx(279541132.0143589)


def test_a_set_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "city.json").write_text(json.dumps(DOCUMENT))
    (tmp_path / "notes.txt").write_text("not read")
    assert load_tile_matrix_sets(tmp_path) == ("CityGrid",)
    assert all_grid_ids()[-1] == "CityGrid"
    assert "CityGrid" not in grid_ids()
    theirs = morecantile.TileMatrixSet.model_validate(DOCUMENT | {"orderedAxes": ["N", "E"]})
    for tile in (TileId(0, 0, 2), TileId(5, 31, 95), TileId(3, 2, 1)):
        assert tile_bounds("CityGrid", tile) == pytest.approx(tuple(theirs.xy_bounds(tile.x, tile.y, tile.z)))
    assert tile_matrix_set_document("CityGrid") == DOCUMENT
    for tile in (TileId(6, 0, 0), TileId(0, 1, 0), TileId(0, 0, 3)):
        with pytest.raises(TileOutOfRange):
            tile_bounds("CityGrid", tile)


def test_levels_may_begin_anywhere_and_rows_at_the_bottom() -> None:
    matrices = [
        matrix(
            zoom, cornerOfOrigin="bottomLeft", tileWidth=512, tileHeight=128, matrixWidth=3, matrixHeight=2
        )
        for zoom in (4, 5)
    ]
    found = parse_tile_matrix_set(DOCUMENT | {"tileMatrices": matrices})
    assert (found.min_zoom, found.max_zoom) == (4, 5)
    lowest = found.bounds(TileId(4, 0, 0))
    assert (lowest.minx, lowest.miny) == (400_000.0, 2_600_000.0)
    assert (lowest.maxx - lowest.minx, lowest.maxy - lowest.miny) == (512 * 64.0, 128 * 64.0)
    assert found.bounds(TileId(4, 0, 1)).miny == lowest.maxy
    with pytest.raises(TileOutOfRange, match="4 to 5"):
        found.bounds(TileId(3, 0, 0))


BROKEN: list[tuple[str, Any]] = [
    ("JSON object", []),
    ("'id'", DOCUMENT | {"id": "../x"}),
    ("'id'", {key: value for key, value in DOCUMENT.items() if key != "id"}),
    ("'crs'", DOCUMENT | {"crs": "file:///etc/passwd"}),
    ("'crs'", DOCUMENT | {"crs": {"wkt": {}}}),
    ("PROJ does not know", DOCUMENT | {"crs": "EPSG:999999"}),
    ("not a two-dimensional", DOCUMENT | {"crs": "EPSG:4979"}),
    ("not a two-dimensional", DOCUMENT | {"crs": "EPSG:5703"}),
    ("1 to 40", DOCUMENT | {"tileMatrices": []}),
    ("1 to 40", DOCUMENT | {"tileMatrices": [matrix(0)] * 41}),
    ("no object", DOCUMENT | {"tileMatrices": [1]}),
    ("as text", DOCUMENT | {"tileMatrices": [matrix(0, id=0)]}),
    ("as text", DOCUMENT | {"tileMatrices": [matrix(0, id="EPSG:4326:0")]}),
    ("rise by one", DOCUMENT | {"tileMatrices": [matrix(0), matrix(2)]}),
    ("rise by one", DOCUMENT | {"tileMatrices": [matrix(1), matrix(0)]}),
    ("smaller", DOCUMENT | {"tileMatrices": [matrix(0), matrix(0, id="1")]}),
    ("variable", DOCUMENT | {"tileMatrices": [matrix(0, variableMatrixWidths=[{"coalesce": 2}])]}),
    ("cornerOfOrigin", DOCUMENT | {"tileMatrices": [matrix(0, cornerOfOrigin="centre")]}),
    ("cellSize", DOCUMENT | {"tileMatrices": [matrix(0, cellSize=0)]}),
    ("cellSize", DOCUMENT | {"tileMatrices": [matrix(0, cellSize=float("nan"))]}),
    ("scale denominator", DOCUMENT | {"tileMatrices": [matrix(0, scaleDenominator=1000)]}),
    ("matrixWidth", DOCUMENT | {"tileMatrices": [matrix(0, matrixWidth=0)]}),
    ("matrixWidth", DOCUMENT | {"tileMatrices": [matrix(0, matrixWidth=True)]}),
    ("tileHeight", DOCUMENT | {"tileMatrices": [matrix(0, tileHeight=4097)]}),
    ("pointOfOrigin", DOCUMENT | {"tileMatrices": [matrix(0, pointOfOrigin=[1])]}),
    ("pointOfOrigin", DOCUMENT | {"tileMatrices": [matrix(0, pointOfOrigin=["1", "2"])]}),
]


@pytest.mark.parametrize(("message", "document"), BROKEN)
def test_what_is_no_tile_matrix_set_is_refused(message: str, document: Any) -> None:
    with pytest.raises(TileMatrixSetError, match=message):
        parse_tile_matrix_set(copy.deepcopy(document))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "broken.json"),
        (json.dumps(DOCUMENT | {"id": "WebMercatorQuad"}), "comes with the server"),
        (json.dumps(DOCUMENT | {"id": "CGCS2000GK3Zone38"}), "comes with the server"),
        (" " * (1 << 20) + json.dumps(DOCUMENT), "bytes"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "broken.json").write_text(text)
    with pytest.raises(TileMatrixSetError, match=r"broken\.json") as caught:
        load_tile_matrix_sets(tmp_path)
    assert message in str(caught.value)


def test_one_id_in_two_files(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps(DOCUMENT))
    with pytest.raises(TileMatrixSetError, match="two files"):
        load_tile_matrix_sets(tmp_path)


def test_an_unknown_set_names_those_there_are() -> None:
    with pytest.raises(UnknownTileMatrixSet, match="CGCS2000Quad"):
        grid("MoonQuad")
