"""Vector tiles from a feature store: what is in them, where, and what is left out; the pygeoapi plugin beside it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from pygeoapi.plugin import load_plugin
from pygeoapi.provider.tile import ProviderTileNotFoundError, ProviderTilesetIdNotFoundError

from providers.features.context import current_hidden
from providers.features.schema import FieldDefinition
from providers.features.store import FeatureStore, FeatureStoreWriter, open_store
from providers.tiles.vector import vector_tile
from tiles.errors import TileOutOfRange, UnknownTileMatrixSet

MERCATOR = "WebMercatorQuad"
CRS84_QUAD = "WorldCRS84Quad"


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def message(data: bytes) -> list[tuple[int, Any]]:
    """The fields of a protocol buffer message: (number, integer or bytes)."""
    at, result = 0, []
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            size, at = (8, at) if key & 7 == 1 else varint(data, at)
            value, at = data[at : at + size], at + size
        result.append((key >> 3, value))
    return result


def layer_of(tile: bytes) -> dict[str, Any]:
    """Name, extent, keys, and per feature its id and first point in tile units."""
    ((number, body),) = message(tile)
    assert number == 3
    fields = message(body)
    features = [dict(message(value)) for number, value in fields if number == 2]
    return {
        "name": next(value.decode() for number, value in fields if number == 1),
        "keys": [value.decode() for number, value in fields if number == 3],
        "ids": [feature.get(1) for feature in features],
        "first": [first_point(feature[4]) for feature in features],
        "extent": dict(fields)[5],
    }


def first_point(geometry: bytes) -> tuple[int, int]:
    command, at = varint(geometry, 0)
    assert command & 7 == 1
    x, at = varint(geometry, at)
    y, at = varint(geometry, at)
    return (x >> 1) ^ -(x & 1), (y >> 1) ^ -(y & 1)


def tile_of(longitude: float, latitude: float, zoom: int) -> tuple[int, int]:
    """(row, column) in WebMercatorQuad."""
    count = 1 << zoom
    y = (1 - math.asinh(math.tan(math.radians(latitude))) / math.pi) / 2
    return int(y * count), int((longitude + 180) / 360 * count)


def build(
    path: Path, shapes: Any, ids: list[str] | None = None, crs: str = "OGC:CRS84", **columns: list[Any]
) -> FeatureStore:
    fields = [
        FieldDefinition(name, "string" if isinstance(values[0], str) else "integer")
        for name, values in columns.items()
    ]
    with FeatureStoreWriter(path, fields=fields, storage_crs=crs) as writer:
        writer.add(shapes, columns, ids)
        writer.finish()
    return open_store(path)


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """A grid of 40 x 40 points around 114 E, 22.5 N, 0.001 degrees apart."""
    x, y = np.meshgrid(np.arange(40) * 1e-3 + 114.0, np.arange(40) * 1e-3 + 22.5)
    path = tmp_path_factory.mktemp("tiles") / "points.gpkg"
    return build(path, shapely.points(x.ravel(), y.ravel()), name=[f"点{i}" for i in range(1600)])


@pytest.mark.parametrize("zoom", [14, 15, 16, 18])
def test_tiles_hold_exactly_their_points(points: FeatureStore, zoom: int) -> None:
    row, column = tile_of(114.0205, 22.5205, zoom)
    layer = layer_of(vector_tile(points, MERCATOR, zoom, row, column, "places"))
    count = 1 << zoom
    margin = 64 / 4096
    coordinates = shapely.get_coordinates(points.read(fields=[]).geometries)
    fx = (coordinates[:, 0] + 180) / 360 * count - column
    fy = (1 - np.arcsinh(np.tan(np.radians(coordinates[:, 1]))) / np.pi) / 2 * count - row
    inside = (fx > -margin) & (fx < 1 + margin) & (fy > -margin) & (fy < 1 + margin)
    assert len(layer["ids"]) == int(inside.sum()) > 0
    expected = {(round(x * 4096), round(y * 4096)) for x, y in zip(fx[inside], fy[inside], strict=True)}
    assert all(min(max(abs(x - a), abs(y - b)) for a, b in expected) <= 1 for x, y in layer["first"])
    assert (layer["name"], layer["keys"], layer["extent"]) == ("places", ["name"], 4096)
    assert set(layer["ids"]) <= set(range(1, 1601))


def test_the_other_grid_has_rows_from_the_north_pole(points: FeatureStore) -> None:
    zoom = 13
    span = 180 / (1 << zoom)
    row, column = int((90 - 22.5205) / span), int((114.0205 + 180) / span)
    layer = layer_of(vector_tile(points, CRS84_QUAD, zoom, row, column, "p"))
    coordinates = shapely.get_coordinates(points.read(fields=[]).geometries)
    fx, fy = (coordinates[:, 0] + 180) / span - column, (90 - coordinates[:, 1]) / span - row
    margin = 64 / 4096
    inside = (fx > -margin) & (fx < 1 + margin) & (fy > -margin) & (fy < 1 + margin)
    assert len(layer["ids"]) == int(inside.sum()) > 0


def test_a_projected_store_gives_the_same_tile(points: FeatureStore, tmp_path: Path) -> None:
    import pyproj

    columns = points.read()
    transformer = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:4547", always_xy=True)
    shapes = shapely.transform(columns.geometries, transformer.transform, interleaved=False)
    other = build(tmp_path / "projected.gpkg", shapes, columns.ids, "EPSG:4547", **columns.columns)
    row, column = tile_of(114.0205, 22.5205, 15)
    ours = layer_of(vector_tile(other, MERCATOR, 15, row, column, "p"))
    theirs = layer_of(vector_tile(points, MERCATOR, 15, row, column, "p"))
    assert sorted(ours["ids"]) == sorted(theirs["ids"])
    by_id = dict(zip(theirs["ids"], theirs["first"], strict=True))
    for feature_id, (x, y) in zip(ours["ids"], ours["first"], strict=True):
        assert max(abs(by_id[feature_id][0] - x), abs(by_id[feature_id][1] - y)) <= 1


@pytest.mark.parametrize(("zoom", "row", "column"), [(10, 0, 0), (0, 0, 0), (18, 1, 1)])
def test_tiles_with_nothing_to_see_are_empty(tmp_path: Path, zoom: int, row: int, column: int) -> None:
    store = build(tmp_path / "far.gpkg", shapely.points([[100.0, -40.0]]))
    tile = vector_tile(store, MERCATOR, zoom, row, column, "p")
    assert (tile == b"") == (zoom != 0)


def test_an_empty_store_has_empty_tiles(tmp_path: Path) -> None:
    store = build(tmp_path / "none.gpkg", [None], name=["nowhere"])
    assert vector_tile(store, MERCATOR, 0, 0, 0, "p") == b""


def test_ids_that_are_no_integers_become_an_attribute(tmp_path: Path) -> None:
    shapes = shapely.points([[10.0, 10.0]])
    row, column = tile_of(10, 10, 12)
    layer = layer_of(
        vector_tile(build(tmp_path / "a.gpkg", shapes, ["w/7"], name=["x"]), MERCATOR, 12, row, column, "p")
    )
    assert (layer["ids"], layer["keys"]) == ([None], ["id", "name"])
    layer = layer_of(
        vector_tile(build(tmp_path / "b.gpkg", shapes, ["w/7"], id=["x"]), MERCATOR, 12, row, column, "p")
    )
    assert sorted(layer["keys"]) == ["_id", "id"]


def test_hidden_fields_are_not_in_tiles(points: FeatureStore) -> None:
    row, column = tile_of(114.0205, 22.5205, 15)
    tile = vector_tile(points, MERCATOR, 15, row, column, "p", frozenset({"name"}))
    assert layer_of(tile)["keys"] == []
    assert "点".encode() not in tile


def test_low_zooms_are_thinned_and_keep_what_is_large(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    x, y = random.uniform(114.0, 114.1, 30_000), random.uniform(22.5, 22.6, 30_000)
    shapes = np.append(shapely.box(x, y, x + 1e-4, y + 1e-4), [shapely.box(114.0, 22.5, 114.1, 22.6)])
    store = build(tmp_path / "many.gpkg", shapes)
    sizes = {}
    for zoom in (8, 10, 12, 17):
        row, column = tile_of(114.05, 22.55, zoom)
        layer = layer_of(vector_tile(store, MERCATOR, zoom, row, column, "b"))
        assert 30_001 in layer["ids"]
        sizes[zoom] = len(layer["ids"])
    assert sizes[8] <= sizes[10] <= sizes[12] <= 33**2 + 1
    full = store.facts.full_zoom
    total = set()
    for row in range(tile_of(114, 22.601, full)[0], tile_of(114, 22.499, full)[0] + 1):
        for column in range(tile_of(113.999, 22, full)[1], tile_of(114.101, 22, full)[1] + 1):
            total.update(layer_of(vector_tile(store, MERCATOR, full, row, column, "b"))["ids"])
    assert total == set(range(1, 30_002))


def test_tiles_outside_the_grid_and_unknown_grids(points: FeatureStore) -> None:
    for zoom, row, column in ((0, 1, 0), (3, 0, 8), (3, -1, 0), (99, 0, 0)):
        with pytest.raises(TileOutOfRange):
            vector_tile(points, MERCATOR, zoom, row, column, "p")
    with pytest.raises(UnknownTileMatrixSet):
        vector_tile(points, "MoonQuad", 0, 0, 0, "p")


@pytest.fixture
def provider(points: FeatureStore) -> Any:
    return load_plugin(
        "provider",
        {
            "type": "tile",
            "name": "providers.tiles.provider.ChengtuMVTProvider",
            "data": str(points.path),
            "options": {"zoom": {"min": 0, "max": 18}, "layer": "places"},
            "format": {"name": "pbf", "mimetype": "application/vnd.mapbox-vector-tile"},
        },
    )


def test_plugin_gives_the_same_tile(points: FeatureStore, provider: Any) -> None:
    row, column = tile_of(114.0205, 22.5205, 15)
    tile = provider.get_tiles(
        provider.get_layer(), MERCATOR, z="15", y=str(row), x=str(column), format_="pbf"
    )
    assert tile == vector_tile(points, MERCATOR, 15, row, column, "places")
    assert provider.get_tiles("places", MERCATOR, z=15, y=0, x=0) is None
    token = current_hidden.set(frozenset({"name"}))
    try:
        assert layer_of(provider.get_tiles("places", MERCATOR, z=15, y=row, x=column))["keys"] == []
        assert provider.get_fields() == {}
    finally:
        current_hidden.reset(token)
    assert provider.get_fields() == {"name": {"type": "string"}}


def test_plugin_errors_have_the_status_pygeoapi_gives_them(provider: Any) -> None:
    with pytest.raises(ProviderTilesetIdNotFoundError, match="MoonQuad"):
        provider.get_tiles("p", "MoonQuad", z=0, y=0, x=0)
    for place in ((0, 1, 0), ("a", 0, 0)):
        with pytest.raises(ProviderTileNotFoundError):
            provider.get_tiles("p", MERCATOR, z=place[0], y=place[1], x=place[2])


def test_plugin_describes_itself(provider: Any) -> None:
    schemes = [scheme.tileMatrixSet for scheme in provider.get_tiling_schemes()]
    assert sorted(schemes) == [MERCATOR, CRS84_QUAD]
    names = {
        "dataset": "d",
        "server_url": "http://x/ogc",
        "layer": "places",
        "title": "t",
        "description": "",
        "keywords": [],
    }
    metadata = provider.get_metadata(tileset=CRS84_QUAD, metadata_format="json", **names)
    assert metadata["tileMatrixSetURI"].endswith(CRS84_QUAD)
    assert (
        metadata["links"][1]["href"]
        == "http://x/ogc/collections/d/tiles/WorldCRS84Quad/{tileMatrix}/{tileRow}/{tileCol}?f=mvt"
    )
    tilejson = provider.get_metadata(tileset=MERCATOR, metadata_format="tilejson", **names)
    assert tilejson["tiles"] == ["http://x/ogc/collections/d/tiles/WebMercatorQuad/{z}/{y}/{x}?f=mvt"]
    assert tilejson["vector_layers"][0]["fields"] == {"name": "string"}
    assert tilejson["bounds"] == pytest.approx([114, 22.5, 114.039, 22.539])
    assert provider.get_metadata(tileset=MERCATOR, metadata_format="html", **names)["tileset"] == MERCATOR
    links = provider.get_tiles_service(
        servicepath="http://x/tiles/{tileMatrixSetId}/{tileMatrix}/{tileRow}/{tileCol}?f=pbf"
    )
    assert {link["rel"] for link in links["links"]} == {"self", "item", "describedby"}
    with pytest.raises(ProviderTilesetIdNotFoundError):
        provider.get_metadata(tileset="MoonQuad", metadata_format="json", **names)
