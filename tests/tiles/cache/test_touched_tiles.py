"""Which tiles a box touches, on every grid, against looking at each tile."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from pyproj import Transformer

from tiles import grids
from tiles.cache import Places, TileCache, TileName, Tileset, Unchanging, open_tile_cache
from tiles.cache.areas import Reach, TouchedTiles, form_with_reach, in_ranges, reach_of
from tiles.grids import TileId, all_grid_ids, grid
from tiles.grids_own import parse_tile_matrix_set

OWN = {
    "id": "OwnPolar",
    "crs": "http://www.opengis.net/def/crs/EPSG/0/3413",
    "tileMatrices": [
        {
            "id": str(zoom),
            "scaleDenominator": 16384 / 2**zoom / 0.00028,
            "cellSize": 16384 / 2**zoom,
            "pointOfOrigin": [-4194304, 4194304],
            "tileWidth": 256,
            "tileHeight": 256,
            "matrixWidth": 2 * 2**zoom,
            "matrixHeight": 2 * 2**zoom,
        }
        for zoom in range(5)
    ],
}
OWN_BOTTOM = {
    "id": "OwnFromBottom",
    "crs": "http://www.opengis.net/def/crs/EPSG/0/2193",
    "tileMatrices": [
        {
            "id": str(zoom),
            "scaleDenominator": cell / 0.00028,
            "cellSize": cell,
            "cornerOfOrigin": "bottomLeft",
            "pointOfOrigin": [5400000, 1700000],
            "tileWidth": 512,
            "tileHeight": 512,
            "matrixWidth": math.ceil(200000 / cell / 512),
            "matrixHeight": math.ceil(200000 / cell / 512),
        }
        for zoom, cell in enumerate((400.0, 100.0, 40.0))
    ],
}


@cache
def _transformer(authority_code: str) -> Transformer:
    return Transformer.from_crs("EPSG:4326", authority_code, always_xy=True)


def sampled_grids(chance: random.Random) -> list[str]:
    """All, and six of the zones, which differ by their meridian alone."""
    ids = all_grid_ids()
    assert {"OwnPolar", "OwnFromBottom", "CGCS2000Quad", "CGCS2000GK3CM117E"} <= set(ids)
    zones = [one for one in ids if "GK3" in one]
    return [one for one in ids if one not in zones] + chance.sample(zones, 6)


@pytest.fixture(autouse=True)
def own_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grids, "_own", {})
    monkeypatch.setattr(grids, "_own_documents", {})
    for document in (OWN, OWN_BOTTOM):
        grids.register_grid(parse_tile_matrix_set(document), document)


def pieces(box: tuple[float, float, float, float]) -> list[tuple[float, float, float, float]]:
    west, south, east, north = box
    return [box] if west <= east else [(west, south, 180.0, north), (-180.0, south, east, north)]


def looked_at(
    grid_id: str, zoom: int, box84: tuple[float, float, float, float], margin: float
) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Tiles that a dense lattice of the box's points touches (with the margin), and those near enough that they may be."""
    pyramid = grid(grid_id)
    transformer = _transformer(pyramid.authority_code)
    reach = margin * pyramid.cell_size(zoom)
    surely: set[tuple[int, int]] = set()
    columns, rows = pyramid.matrix_size(zoom)
    boxes = {(x, y): pyramid.bounds(TileId(zoom, x, y)) for x in range(columns) for y in range(rows)}
    for west, south, east, north in pieces(box84):
        lattice = np.meshgrid(np.linspace(west, east, 25), np.linspace(south, north, 25))
        px, py = (np.asarray(axis).ravel() for axis in transformer.transform(*lattice))
        for key, one in boxes.items():
            inside = (one.minx - reach < px) & (px < one.maxx + reach)
            if np.any(inside & (one.miny - reach < py) & (py < one.maxy + reach)):
                surely.add(key)
    return surely, set(boxes)


def boxes_for(grid_id: str, chance: random.Random) -> list[tuple[float, float, float, float]]:
    area = grid(grid_id).area or (-180.0, -85.0, 180.0, 85.0)
    if grid_id == "OwnFromBottom":
        area = (174.0, -42.0, 177.0, -39.5)
    if grid_id == "OwnPolar":
        area = (-180.0, 60.0, 180.0, 90.0)
    made = []
    for _ in range(3):
        west, south = chance.uniform(area[0], area[2]), chance.uniform(area[1], area[3])
        width = chance.choice([0.0, 0.01, 0.3]) * (area[2] - area[0]) / 3
        made.append((west, south, min(west + width, 180.0), min(south + width / 2, 90.0)))
    return made


@pytest.mark.parametrize("margin", [0.0, 5.0, 64.0])
@pytest.mark.parametrize("zoom", [0, 1, 2])
def test_every_grid_against_looking_at_each_tile(zoom: int, margin: float) -> None:
    chance = random.Random(f"{zoom} {margin}")
    for grid_id in sampled_grids(random.Random(7)):
        for box in boxes_for(grid_id, chance):
            touched = TouchedTiles(grid_id, [box], Reach(margin)).ranges(zoom)
            surely, tiles = looked_at(grid_id, zoom, box, margin)
            found = {(x, y) for x, y in tiles if in_ranges(touched, x, y)}
            missed = surely - found
            assert not missed, (grid_id, zoom, box, margin, missed)
            if grid(grid_id).authority_code in ("EPSG:3857", "OGC:CRS84", "EPSG:4490"):
                # A rectangle stays one, so that what is found is exactly what is touched; a lattice misses none of its edges.
                assert found == surely or box[0] == box[2], (grid_id, zoom, box, margin)


def test_every_grid_finds_a_point_in_the_tile_around_it() -> None:
    for grid_id in sampled_grids(random.Random(7)):
        pyramid = grid(grid_id)
        zoom = min(pyramid.max_zoom, 12)
        columns, rows = pyramid.matrix_size(zoom)
        tile = TileId(zoom, columns // 2, int(rows * 0.6))
        box = pyramid.bounds(tile)
        lon, lat = _transformer(pyramid.authority_code).transform(
            (box.minx + box.maxx) / 2, (box.miny + box.maxy) / 2, direction="INVERSE"
        )
        point = [(lon, lat, lon, lat)]
        (found,) = TouchedTiles(grid_id, point, Reach()).ranges(zoom)
        assert (found.min_column, found.max_column) == (tile.x, tile.x), grid_id
        assert (found.min_row, found.max_row) == (tile.y, tile.y), grid_id
        (wide,) = TouchedTiles(grid_id, point, Reach(300.0)).ranges(zoom)
        assert wide.max_column - wide.min_column == 2 or columns < 3, grid_id


@pytest.mark.parametrize(
    ("grid_id", "box", "zoom", "expected"),
    [
        ("WorldCRS84Quad", (179.0, -10.0, -179.0, 10.0), 3, {(0, 3), (0, 4), (15, 3), (15, 4)}),
        ("WebMercatorQuad", (179.0, 0.0, -179.0, 1.0), 2, {(0, 1), (3, 1)}),
        ("WebMercatorQuad", (10.0, 86.0, 11.0, 88.0), 3, set()),  # beyond the square world
        ("CGCS2000GK3CM117E", (-70.0, -30.0, -60.0, -20.0), 3, set()),  # the other side of the Earth
        ("CGCS2000GK3CM117E", (117.0, -5.0, 118.0, -1.0), 3, set()),  # south of the equator
        ("WebMercatorQuad", (-180.0, -90.0, 180.0, 90.0), 1, {(0, 0), (0, 1), (1, 0), (1, 1)}),
        ("WebMercatorQuad", (math.nan, 0.0, 1.0, 1.0), 0, {(0, 0)}),
        ("WorldCRS84Quad", (-180.0, 0.0, -90.0, 90.0), 1, {(0, 0)}),  # an edge that only meets its neighbours
        ("WebMercatorQuad", (0.0, 0.0, 1.0, 1.0), 25, set()),  # no such level
    ],
)
def test_boxes_at_the_edge(
    grid_id: str, box: tuple[float, float, float, float], zoom: int, expected: set[tuple[int, int]]
) -> None:
    ranges = TouchedTiles(grid_id, [box], Reach()).ranges(zoom)
    found = {
        (x, y)
        for one in ranges
        for x in range(one.min_column, one.max_column + 1)
        for y in range(one.min_row, one.max_row + 1)
    }
    assert found == expected


def test_a_box_beyond_the_square_world_is_drawn_into_it_with_its_margin() -> None:
    assert TouchedTiles("WebMercatorQuad", [(10.0, 85.06, 11.0, 85.07)], Reach(64.0)).ranges(3)


def test_exactly_the_touched_tiles_of_all_forms_grids_and_levels_go(
    tmp_path: Any, body_of: Callable[..., bytes]
) -> None:
    kept_tiles: TileCache = open_tile_cache("files", tmp_path, memory_bytes=1 << 20)
    forms = [("mvt", "mvt"), ("map-a", "png"), ("map-a@20250101.r9", "webp"), ("map-b.r130x2", "jpeg")]
    kept = []
    for form, extension in forms:
        for grid_id in ("WebMercatorQuad", "WorldCRS84Quad", "CGCS2000GK3CM117E", "OwnPolar"):
            tileset = Tileset("demo", "boxes", 3, form, grid_id, extension)
            for zoom in range(4):
                columns, rows = grid(grid_id).matrix_size(zoom)
                kept += [TileName(tileset, zoom, x, y) for x in range(columns) for y in range(rows)][::3]
    kept_tiles.keep({tile: body_of(tile.tileset.extension) for tile in kept})
    other = TileName(Tileset("demo", "boxes", 4, "mvt", "WebMercatorQuad", "mvt"), 0, 0, 0)
    kept_tiles.keep({other: body_of("mvt")})
    boxes = [(116.0, 39.0, 117.0, 40.0), (170.0, -20.0, -175.0, -10.0)]
    expected = set()
    for tile in kept:
        reach = reach_of(tile.tileset)
        if in_ranges(TouchedTiles(tile.tileset.grid, boxes, reach).ranges(tile.z), tile.x, tile.y):
            expected.add(tile)
    assert 20 < len(expected) < len(kept)
    assert kept_tiles.invalidate("demo", "boxes", 3, boxes) == len(expected)
    assert {tile for tile in kept if kept_tiles.get(tile) is None} == expected
    assert kept_tiles.get(other) is not None
    assert kept_tiles.invalidate("demo", "boxes", 3, boxes) == 0
    assert kept_tiles.invalidate("demo", "boxes", 3, []) == 0
    kept_tiles.close()


def test_tiles_of_a_grid_that_is_not_offered_any_more_go_all(
    tmp_path: Any, body_of: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_tiles = open_tile_cache("files", tmp_path, memory_bytes=0)
    tile = TileName(Tileset("demo", "boxes", 1, "mvt", "OwnPolar", "mvt"), 1, 0, 0)
    kept_tiles.make(tile, (0, 0, 1, 1), Unchanging(), lambda: body_of("mvt"), places=Places(1, 1))
    monkeypatch.setattr(grids, "_own", {})
    assert kept_tiles.invalidate("demo", "boxes", 1, [(0, 0, 1, 1)]) == 1
    assert kept_tiles.get(tile) is None
    kept_tiles.close()


def test_the_form_tells_how_far_a_look_reaches() -> None:
    def reach(form: str, extension: str = "png") -> Reach:
        return reach_of(Tileset("demo", "boxes", 1, form, "WebMercatorQuad", extension))

    assert reach(form_with_reach("map-a-1a2b3c4d@2025.5Z", 12)) == Reach(12.0)
    assert reach(form_with_reach("map-a.r7-1a2b3c4d", 202, 2)) == Reach(202.0, 0.0, 2)
    assert reach(form_with_reach("map-a-1a2b3c4d", 12) + "@stale") == Reach(12.0)
    for untold in ("map-a", "map-a.r7-1a2b3c4d", "map-a.rx2"):
        assert reach(untold).pixels >= 252
    assert reach("mvt", "mvt").share == 64 / 4096


def test_the_buffer_of_a_vector_tile_grows_with_its_pixels() -> None:
    """64 of 4,096 units are 8 pixels of a tile of 512."""
    tileset = Tileset("demo", "boxes", 1, "mvt", "OwnFromBottom", "mvt")
    edge = grid("OwnFromBottom").bounds(TileId(2, 4, 4))
    to_degrees = _transformer("EPSG:2193")
    x, y = to_degrees.transform(edge.maxx + 7.5 * 40, (edge.miny + edge.maxy) / 2, direction="INVERSE")
    ranges = TouchedTiles("OwnFromBottom", [(x, y, x, y)], reach_of(tileset)).ranges(2)
    assert in_ranges(ranges, 4, 4)


@pytest.mark.parametrize("zoom", [0, 1, 2, 5])
def test_tiles_that_are_drawn_together_go_together(zoom: int) -> None:
    for longitude, latitude in ((113.9, 22.6), (-179.99, 84.9), (179.99, -84.9), (0.0, 0.0)):
        box = (longitude, latitude, longitude, latitude)
        alone = TouchedTiles("WebMercatorQuad", [box], Reach(130.0)).ranges(zoom)
        blocks = TouchedTiles("WebMercatorQuad", [box], Reach(130.0, 0.0, 2)).ranges(zoom)
        edge = 2**zoom
        touched = {
            (x - x % 2 + across, y - y % 2 + down)
            for x in range(edge)
            for y in range(edge)
            if in_ranges(alone, x, y)
            for across in (0, 1)
            for down in (0, 1)
            if x - x % 2 + across < edge and y - y % 2 + down < edge
        }
        assert {(x, y) for x in range(edge) for y in range(edge) if in_ranges(blocks, x, y)} == touched
