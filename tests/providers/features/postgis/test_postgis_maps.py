"""Maps of PostGIS tables: the picture of the embedded store with the same content, what may be seen only, and crowds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import shapely

from providers.features.crs import reference_system
from providers.features.source import TileWindow
from providers.maps import feature_map
from providers.maps.errors import RemoteMapUnavailable
from providers.maps.feature_map import FeatureMapSource
from tiles.errors import MapSourceError
from tiles.grids import TileId, grid, tile_range
from tiles.maps import parse_style

BOX = (12_668_000.0, 2_587_000.0, 12_702_000.0, 2_610_000.0)
STYLE = parse_style(
    {
        "rules": [
            {"where": {"listed": True}, "symbols": [{"polygon": {"fill": "#aa0000"}}]},
            {"where": {"floors": 5}, "symbols": [{"line": {"stroke": "#00aa00", "width": 5}}]},
            {
                "otherwise": True,
                "symbols": [{"polygon": {"fill": "#0000aa"}}, {"line": {"stroke": "#333333", "width": 2}}],
            },
        ]
    }
)
ALONE = [
    parse_style({"rules": [{"where": where, "symbols": symbols}]})
    for where, symbols in (
        ({"listed": True}, [{"line": {"stroke": "#aa0000", "width": 3}}]),
        ({"floors": 5}, [{"line": {"stroke": "#00aa00", "width": 5}}]),
        ({"listed": False}, [{"point": {"fill": "#0000aa", "size": 8}}]),
    )
]


@pytest.mark.parametrize("table", ["city", "projected"])
@pytest.mark.parametrize(
    ("crs", "box"),
    [
        ("EPSG:3857", BOX),
        ("CRS:84", (113.8, 22.65, 114.1, 22.85)),
        ("EPSG:4547", (479_000.0, 2_506_000.0, 510_000.0, 2_528_000.0)),
    ],
)
def test_a_table_is_drawn_like_the_embedded_store(
    request: pytest.FixtureRequest,
    embedded: Any,
    table: str,
    crs: str,
    box: tuple[float, float, float, float],
) -> None:
    table_source = request.getfixturevalue(table)
    west, south, east, north = box
    # A quarter of it, so large that no feature is too small to be drawn: from where on is a matter of each source.
    part = (west, south, west + (east - west) / 4, south + (north - south) / 4)
    for style in ALONE:  # where features overlap, their order makes a difference: the store's is by size
        ours = FeatureMapSource(table_source, style=style).render(part, crs, 900, 600)
        theirs = FeatureMapSource(embedded, style=style).render(part, crs, 900, 600)
        assert 0.0001 < (ours[..., 3] > 0).mean() < 0.9
        far = np.abs(ours.astype(int) - theirs).max(axis=2) > (8 if table == "city" else 90)
        assert far.mean() < 0.002


def test_across_the_antimeridian(city: Any) -> None:
    box = (19_800_000.0, 1_000_000.0, 20_100_000.0, 1_300_000.0)
    drawn = FeatureMapSource(city, style=STYLE).render(box, "EPSG:3857", 128, 128)
    assert drawn[..., 3].any()


def test_hidden_fields_areas_and_times(city: Any) -> None:
    def colours(**given: Any) -> set[tuple[int, ...]]:
        instant = given.pop("instant", None)
        drawn = FeatureMapSource(city, style=STYLE, **given).render(
            BOX, "EPSG:3857", 300, 200, instant=instant
        )
        return {tuple(one) for one in np.unique(drawn.reshape(-1, 4), axis=0).tolist()}

    red = (0xAA, 0, 0, 255)
    assert red in colours()
    assert red not in colours(hidden=frozenset({"listed"}))
    assert colours(area=shapely.box(0, 0, 1, 1)) == {(0, 0, 0, 0)}
    assert red in colours(area=shapely.box(113.8, 22.65, 114.1, 22.85))
    assert colours(instant="1999-01-01T00:00:00Z") == {(0, 0, 0, 0)}
    assert len(colours(instant="2025-01-01T00:00:00Z/2025-03-31T00:00:00Z")) > 1


def test_a_crowd_is_the_same_for_neighbours(
    run_sql: Callable[..., Any], open_table: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows in a random order, more than are drawn: what crosses the border of two pictures is in both or in none."""
    run_sql(
        "DROP TABLE IF EXISTS crowd; SELECT setseed(0.25); CREATE TABLE crowd AS SELECT n AS gid, ST_SetSRID(ST_MakeEnvelope(x, y, x + 0.01,"
        " y + 0.0002), 4326)::geometry(Polygon, 4326) AS geom FROM (SELECT n, 113.8 + random() * 0.29 AS x,"
        " 22.65 + random() * 0.19 AS y FROM generate_series(1, 3000) n ORDER BY random()) s;"
        "ALTER TABLE crowd ADD PRIMARY KEY (gid); CREATE INDEX ON crowd USING gist (geom)"
    )
    monkeypatch.setattr(feature_map, "MAXIMUM_FEATURES", 300)
    table = open_table("crowd")
    plain = parse_style({"rules": [{"symbols": [{"polygon": {"fill": "#112233"}}]}]})
    source = FeatureMapSource(table, style=plain)
    middle = (BOX[0] + BOX[2]) / 2
    left = source.render((BOX[0], BOX[1], middle, BOX[3]), "EPSG:3857", 256, 256)
    right = source.render((middle, BOX[1], BOX[2], BOX[3]), "EPSG:3857", 256, 256)
    last, first = left[:, -1, 3] > 100, right[:, 0, 3] > 100
    assert last.sum() >= 3
    # The densities of both halves are nearly one: all but the last few in the order are in both.
    assert (last != first).sum() <= 0.2 * (last | first).sum() + 2
    again = FeatureMapSource(table, style=plain).render(
        (BOX[0], BOX[1], middle, BOX[3]), "EPSG:3857", 256, 256
    )
    assert (again == left).all()
    run_sql("CLUSTER crowd USING crowd_geom_idx")  # the same rows in another order
    again = FeatureMapSource(table, style=plain).render(
        (BOX[0], BOX[1], middle, BOX[3]), "EPSG:3857", 256, 256
    )
    assert (again == left).all()


def test_vector_tiles_do_not_depend_on_the_order_of_rows(
    run_sql: Callable[..., Any], open_table: Callable[..., Any]
) -> None:
    run_sql(
        "DROP TABLE IF EXISTS same_size; CREATE TABLE same_size AS SELECT n AS gid, ST_SetSRID(ST_MakeEnvelope("
        "113.9 + n * 0.0001, 22.7, 113.9005 + n * 0.0001, 22.7005), 4326)::geometry(Polygon, 4326) AS geom"
        " FROM generate_series(1, 200) n ORDER BY random(); ALTER TABLE same_size ADD PRIMARY KEY (gid);"
        "CREATE INDEX ON same_size USING gist (geom)"
    )
    for zoom in (12, 15):
        place = tile_range("WebMercatorQuad", (113.905, 22.7002, 113.905, 22.7002), zoom)
        bounds = grid("WebMercatorQuad").bounds(TileId(zoom, place.min_column, place.min_row))
        window = TileWindow(reference_system("EPSG:3857"), bounds, zoom)
        before = open_table("same_size").vector_tile(window, "x")
        assert before
        run_sql("CLUSTER same_size USING same_size_pkey")
        run_sql("UPDATE same_size SET gid = gid WHERE gid % 2 = 0")
        assert open_table("same_size").vector_tile(window, "x") == before


def test_a_table_that_goes_and_a_database_that_is_not_there(
    run_sql: Callable[..., Any], open_table: Callable[..., Any]
) -> None:
    run_sql(
        "DROP TABLE IF EXISTS leaving; CREATE TABLE leaving (gid int PRIMARY KEY, geom geometry(Point, 4326))"
    )
    run_sql("INSERT INTO leaving VALUES (1, ST_SetSRID(ST_Point(114, 22.7), 4326))")
    source = FeatureMapSource(open_table("leaving"), style=STYLE)
    source.render(BOX, "EPSG:3857", 64, 64)
    run_sql("DROP TABLE leaving")
    with pytest.raises(MapSourceError) as caught:
        source.render(BOX, "EPSG:3857", 64, 64)
    assert "host" not in str(caught.value)
    away = "postgresql://reader:sesame@127.0.0.1:1/gis?connect_timeout=2"
    with pytest.raises(RemoteMapUnavailable) as down:
        FeatureMapSource(lambda: open_table("city", away), style=STYLE).render(BOX, "EPSG:3857", 64, 64)
    assert "sesame" not in str(down.value)
