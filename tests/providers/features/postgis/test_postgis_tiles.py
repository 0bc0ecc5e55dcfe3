"""Vector tiles made by PostGIS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import morecantile
import pytest

from providers.errors import UnsupportedQuery
from providers.features.crs import reference_system
from providers.features.postgis import PostgisSource
from providers.features.query import BBox
from providers.features.source import TileWindow

WEB_MERCATOR = reference_system("EPSG:3857")


def _window(
    x: int, y: int, z: int, name: str = "WebMercatorQuad", crs: str = "EPSG:3857", **options: Any
) -> TileWindow:
    bounds = morecantile.tms.get(name).xy_bounds(x, y, z)
    return TileWindow(
        reference_system(crs), (bounds.left, bounds.bottom, bounds.right, bounds.top), z, **options
    )


def _tile_at(lon: float, lat: float, z: int, name: str = "WebMercatorQuad") -> tuple[int, int, int]:
    tile = morecantile.tms.get(name).tile(lon, lat, z)
    return tile.x, tile.y, tile.z


type Features = Callable[[bytes], list[dict[str, Any]]]


@pytest.fixture
def features_of(decode_tile: Callable[[bytes], dict[str, list[dict[str, Any]]]]) -> Features:
    """The features of a tile with one layer."""

    def features(data: bytes) -> list[dict[str, Any]]:
        layers = decode_tile(data)
        assert list(layers) == ["城 layer"]
        return layers["城 layer"]

    return features


@pytest.mark.parametrize("table", ["city", "projected"])
def test_a_tile_holds_what_its_box_shows(
    features_of: Features, table: str, request: pytest.FixtureRequest
) -> None:
    source: PostgisSource = request.getfixturevalue(table)
    x, y, z = _tile_at(113.95, 22.75, 14)
    found = features_of(source.vector_tile(_window(x, y, z), "城 layer", frozenset({"tags"})))
    bounds = morecantile.tms.get("WebMercatorQuad").bounds(x, y, z)
    inside = set(map(int, source.read(BBox(*bounds)).ids))
    assert found
    assert {feature["id"] for feature in found} >= {
        int(feature_id) for feature_id, shape in zip(
            source.read(BBox(*bounds)).ids, source.read(BBox(*bounds)).geometries, strict=True) if shape.geom_type == "Point"
    }  # fmt: skip
    assert len({feature["id"] for feature in found} - inside) <= 5  # of the buffer
    properties = [feature["properties"] for feature in found]
    assert not any("tags" in each or "gid" in each for each in properties)
    assert any(each.get("updated", "").startswith("2025-") for each in properties)
    assert any(isinstance(each.get("floors"), int) for each in properties)


def test_the_same_features_in_every_reference_system(features_of: Features, city: PostgisSource) -> None:
    counts = set()
    for name, crs in (("WorldCRS84Quad", "OGC:CRS84"), ("CGCS2000Quad", "EPSG:4490")):
        x, y, z = (
            _tile_at(113.95, 22.75, 12, name)
            if name == "WorldCRS84Quad"
            else _tile_at(113.95, 22.75, 12, "WorldCRS84Quad")
        )
        bounds = morecantile.tms.get("WorldCRS84Quad").xy_bounds(x, y, z)
        window = TileWindow(reference_system(crs), (bounds.left, bounds.bottom, bounds.right, bounds.top), 14)
        counts.add(frozenset(feature["id"] for feature in features_of(city.vector_tile(window, "城 layer"))))
    assert len(counts) == 1
    assert all(counts)


def test_the_whole_world_and_nowhere(features_of: Features, city: PostgisSource) -> None:
    whole = city.vector_tile(_window(0, 0, 0), "城 layer", frozenset(), None)
    assert features_of(whole)
    assert city.vector_tile(_window(0, 0, 14), "城 layer") == b""


def test_low_zooms_leave_out_what_they_cannot_show(features_of: Features, city: PostgisSource) -> None:
    low = city.vector_tile(_window(*_tile_at(113.95, 22.75, 7)), "城 layer")
    shown = {feature["id"] for feature in features_of(low)}
    large = {
        int(feature_id)
        for feature_id, shape in zip(city.read().ids, city.read().geometries, strict=True)
        if shape is not None and shape.bounds[2] - shape.bounds[0] > 0.02 and shape.bounds[0] < 115
    }
    assert large <= shown
    assert len(shown) < 300


def test_chosen_fields_and_hostile_names(
    features_of: Features,
    decode_tile: Any,
    city: PostgisSource,
    run_sql: Callable[..., Any],
    open_table: Callable[..., PostgisSource],
) -> None:
    x, y, z = _tile_at(113.95, 22.75, 14)
    found = features_of(city.vector_tile(_window(x, y, z, fields=("floors",)), "城 layer"))
    assert {name for feature in found for name in feature["properties"]} == {"floors"}
    run_sql("DROP TABLE IF EXISTS named")
    run_sql(
        'CREATE TABLE named (k text PRIMARY KEY, id int, geom int, "x""; -- %s" int, shape geometry(Point, 4326))'
    )
    run_sql("INSERT INTO named VALUES ('a', 1, 2, 3, ST_SetSRID(ST_MakePoint(113.95, 22.75), 4326))")
    source = open_table("named", geometry="shape")
    layer = "'; DROP TABLE named; -- %s"
    (feature,) = decode_tile(source.vector_tile(_window(x, y, z), layer))[layer]
    assert feature["properties"] == {"id": 1, "geom": 2, 'x"; -- %s': 3}


def test_poles_do_not_break_tiles(
    features_of: Features, run_sql: Callable[..., Any], open_table: Callable[..., PostgisSource]
) -> None:
    run_sql("DROP TABLE IF EXISTS poles")
    run_sql("CREATE TABLE poles (gid int PRIMARY KEY, geom geometry(Polygon, 4326))")
    run_sql(
        "INSERT INTO poles VALUES (1, ST_MakeEnvelope(-180, -90, 180, -60, 4326)), (2, ST_MakeEnvelope(0, 0, 50, 50, 4326))"
    )
    found = features_of(open_table("poles").vector_tile(_window(0, 0, 0), "城 layer"))
    assert {feature["id"] for feature in found} == {1, 2}


def test_tiles_that_postgis_cannot_make(city: PostgisSource) -> None:
    window = _window(0, 0, 0)
    with pytest.raises(UnsupportedQuery, match="asof"):
        city.vector_tile(window, "x", asof="2025-01-01T00:00:00Z")
    gcj = reference_system("urn:chengtu:def:crs::GCJ02")
    with pytest.raises(UnsupportedQuery):
        city.vector_tile(TileWindow(gcj, (113.0, 22.0, 114.0, 23.0), 8), "x")
