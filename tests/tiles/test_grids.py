"""Tile grids against the published definitions in morecantile, and at their edges."""

from __future__ import annotations

import math

import morecantile
import pytest

from tiles.errors import TileOutOfRange, UnknownTileMatrixSet
from tiles.grids import (
    TileId,
    grid,
    grid_ids,
    tile_bounds,
    tile_bounds_crs84,
    tile_matrix_set_document,
    tile_range,
    tileset_limits,
)


@pytest.mark.parametrize("tms_id", grid_ids())
def test_arithmetic_agrees_with_the_published_definition(tms_id: str) -> None:
    published = morecantile.tms.get(tms_id)
    ours = grid(tms_id)
    assert ours.max_zoom == published.maxzoom
    assert ours.uri == str(published.uri)
    for matrix in published.tileMatrices:
        zoom = int(matrix.id)
        assert ours.matrix_size(zoom) == (matrix.matrixWidth, matrix.matrixHeight)
        assert math.isclose(ours.cell_size(zoom), matrix.cellSize, rel_tol=1e-9)
        assert math.isclose(ours.scale_denominator(zoom), matrix.scaleDenominator, rel_tol=1e-6)
    for tile in (TileId(0, 0, 0), TileId(5, 17, 9), TileId(14, 9326, 4742)):
        expected = published.xy_bounds(morecantile.Tile(x=tile.x, y=tile.y, z=tile.z))
        assert tile_bounds(tms_id, tile) == pytest.approx(tuple(expected), rel=1e-9, abs=1e-6)
        expected = published.bounds(morecantile.Tile(x=tile.x, y=tile.y, z=tile.z))
        assert tile_bounds_crs84(tms_id, tile) == pytest.approx(tuple(expected), abs=1e-6)


@pytest.mark.parametrize("tms_id", grid_ids())
@pytest.mark.parametrize("zoom", [0, 1, 2, 7, 14, 20])
def test_the_box_of_a_tile_needs_that_tile_alone(tms_id: str, zoom: int) -> None:
    columns, rows = grid(tms_id).matrix_size(zoom)
    for x, y in ((0, 0), (columns - 1, rows - 1), (columns // 3, rows // 3)):
        bounds = tile_bounds_crs84(tms_id, TileId(zoom, x, y))
        assert tile_range(tms_id, bounds, zoom) == (zoom, x, y, x, y)


@pytest.mark.parametrize(
    ("tile", "inside"),
    [
        (TileId(24, 2**24 - 1, 2**24 - 1), True),
        (TileId(25, 0, 0), False),
        (TileId(-1, 0, 0), False),
        (TileId(3, 7, 7), True),
        (TileId(3, 8, 0), False),
        (TileId(3, 0, 8), False),
        (TileId(3, -1, 0), False),
        (TileId(3, 0, -1), False),
    ],
)
def test_tiles_at_the_limit_and_one_past_it(tile: TileId, inside: bool) -> None:
    if inside:
        tile_bounds("WebMercatorQuad", tile)
        return
    with pytest.raises(TileOutOfRange, match=r"0 to"):
        tile_bounds("WebMercatorQuad", tile)


def test_an_unknown_tile_matrix_set_names_those_offered() -> None:
    with pytest.raises(UnknownTileMatrixSet, match="WorldCRS84Quad"):
        tile_bounds("GoogleMaps", TileId(0, 0, 0))
    with pytest.raises(UnknownTileMatrixSet):
        tile_matrix_set_document("nothing")


def test_limits_of_a_city() -> None:
    limits = tileset_limits("WebMercatorQuad", (24.9, 60.1, 25.0, 60.2), 10, 12)
    assert [limit["tileMatrix"] for limit in limits] == ["10", "11", "12"]
    assert limits[-1] == {
        "tileMatrix": "12",
        "minTileRow": 1184,
        "maxTileRow": 1187,
        "minTileCol": 2331,
        "maxTileCol": 2332,
    }
    with_height = tileset_limits("WebMercatorQuad", (24.9, 60.1, -5.0, 25.0, 60.2, 90.0), 10, 12)
    assert with_height == limits


def test_a_box_over_the_antimeridian_takes_all_columns() -> None:
    assert tile_range("WorldCRS84Quad", (170.0, -10.0, -170.0, 10.0), 3) == (3, 0, 3, 15, 4)


def test_the_poles_are_held_in_the_square_world() -> None:
    assert tile_range("WebMercatorQuad", (-180.0, -90.0, 180.0, 90.0), 2) == (2, 0, 0, 3, 3)


def test_a_point_is_one_tile() -> None:
    assert tile_range("WorldCRS84Quad", (0.0, 0.0, 0.0, 0.0), 1)[1:] == (2, 1, 2, 1)


@pytest.mark.parametrize("tms_id", grid_ids())
def test_the_document_is_the_standard_one(tms_id: str) -> None:
    document = tile_matrix_set_document(tms_id)
    assert document["id"] == tms_id
    assert document["crs"] == grid(tms_id).crs
    assert document["uri"] == grid(tms_id).uri
    assert {"id", "scaleDenominator", "cellSize", "pointOfOrigin", "matrixWidth"} <= set(
        document["tileMatrices"][0]
    )
