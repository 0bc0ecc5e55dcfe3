"""Tables as they are found: types, keys, geometries, extents; what is refused; the scripts for fragments and changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import shapely

from providers.errors import StoreError
from providers.features.postgis import (
    PostgisSource,
    change_sql,
    describe,
    fragment_sql,
    list_tables,
    open_postgis,
)
from providers.features.query import BBox, ItemQuery, SortKey
from providers.features.source import Edit, EditKind
from providers.features.sources import SourceSettings

_TYPES = """
CREATE TABLE types (
  gid bigint PRIMARY KEY, small smallint NOT NULL, whole numeric(10,0), exact numeric(10,2), free numeric, single real, double double precision,
  yes boolean, day date, local timestamp, zoned timestamptz, id uuid, doc jsonb, list text[], code char(4), word varchar(7) NOT NULL,
  spell interval, raw bytea, other geography, geom geometry(Point, 4326)
)
"""


def _only(source: PostgisSource) -> dict[str, Any]:
    feature: dict[str, Any] = json.loads(source.page(ItemQuery()).bodies[0])
    return feature


def test_types_become_fields(
    run_sql: Callable[..., Any], open_table: Callable[..., PostgisSource], gis: str
) -> None:
    run_sql("DROP TABLE IF EXISTS types")
    run_sql(_TYPES)
    run_sql("COMMENT ON TABLE types IS '样本'; COMMENT ON COLUMN types.day IS 'The day'")
    run_sql(
        "INSERT INTO types VALUES (9007199254740993, 1, 12, 1.10, 0.5, 0.1, 2.5, true, '2020-02-29', '2020-01-01 10:00:00.1234',"
        " '2020-01-01 10:00+08', '3b241101-e2bb-4255-8caf-4136c566a962', '{\"a\": [1]}', '{x,NULL}', 'ab', 'w', '1 day', 'x', NULL, NULL)"
    )
    source = open_table("types", time="zoned")
    assert {field.name: (field.type, field.format) for field in source.schema.fields} == {
        **dict.fromkeys(("small", "whole"), ("integer", None)),
        **dict.fromkeys(("exact", "free", "single", "double"), ("number", None)),
        "yes": ("boolean", None),
        "day": ("string", "date"),
        **dict.fromkeys(("local", "zoned"), ("string", "date-time")),
        **dict.fromkeys(("id", "doc", "list", "code", "word", "spell"), ("string", None)),
    }
    assert source.schema.by_name["day"].title == "The day"
    assert source.schema.by_name["word"].constraints == {"required": True, "maxLength": 7}
    assert source.schema.by_name["small"].constraints["maximum"] == 32767
    feature = _only(source)
    assert feature["id"] == "9007199254740993"
    assert feature["geometry"] is None
    assert feature["properties"] == {
        "small": 1, "whole": 12, "exact": 1.1, "free": 0.5, "single": 0.1, "double": 2.5, "yes": True, "day": "2020-02-29",
        "local": "2020-01-01T10:00:00.123Z", "zoned": "2020-01-01T02:00:00Z", "id": "3b241101-e2bb-4255-8caf-4136c566a962",
        "doc": '{"a": [1]}', "list": '["x",null]', "code": "ab", "word": "w", "spell": "P1D",
    }  # fmt: skip
    found = describe(gis, "public", "types")
    assert (found.title, found.id, found.geometry, found.geometry_type, found.srid) == (
        "样本",
        "gid",
        "geom",
        "Point",
        4326,
    )
    assert found.is_editable
    assert not found.has_spatial_index
    assert source.bbox == found.bbox == ()
    run_sql("ANALYZE types")
    assert (describe(gis, "public", "types").count, describe(gis, "public", "types").count_is_exact) == (
        1,
        True,
    )
    assert ("public", "types") in list_tables(gis)
    for field in source.schema.fields:
        value = feature["properties"][field.name]
        text = str(value).lower() if isinstance(value, bool) else str(value)
        assert source.page(ItemQuery(equals={field.name: text}, hits_only=True)).number_matched == 1, (
            field.name
        )
        assert len(source.page(ItemQuery(sortby=(SortKey(field.name, True),))).bodies) == 1


def test_odd_values_are_as_good_as_missing(
    run_sql: Callable[..., Any], open_table: Callable[..., PostgisSource]
) -> None:
    run_sql("DROP TABLE IF EXISTS odd")
    run_sql(
        "CREATE TABLE odd (gid int PRIMARY KEY, d float8, n numeric, i numeric(5,0), t timestamp, day date, geom geometry(Point, 4326))"
    )
    run_sql(
        "INSERT INTO odd VALUES (1, 'NaN', 'NaN', 'NaN', 'infinity', '-infinity'), (2, '-Infinity', NULL, 3, '20000-01-01', '0044-03-15 BC'),"
        " (3, 1.5, 2.5, 4, '2020-01-01', '2020-01-01'), (4, 'Infinity', 1, 5, '2021-01-01', '2021-01-01')"
    )
    from providers.features.cql2 import parse_filter

    source = open_table("odd", time="t")
    columns = source.columns(ItemQuery()).columns.columns
    assert columns["d"] == [None, None, 1.5, None]
    assert columns["n"] == [None, None, 2.5, 1]
    assert columns["i"] == [None, 3, 4, 5]
    assert columns["t"] == [None, None, "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"]
    for text, wanted in (
        ("d > 1", ["3"]),
        ("NOT (d > 1 AND i > 0)", []),
        ("d IS NULL", ["1", "2", "4"]),
        ("n < 9", ["3", "4"]),
        ("t > TIMESTAMP('2020-06-01T00:00:00Z')", ["4"]),
        ("day < DATE('2020-06-01')", ["3"]),
        ("i IS NULL", ["1"]),
    ):
        found = source.page(ItemQuery(filter=parse_filter(text, "cql2-text", source.schema)))
        assert [json.loads(body)["id"] for body in found.bodies] == wanted, text
    for name, descending, ids in (
        ("d", False, "3124"),
        ("d", True, "3124"),
        ("t", True, "4312"),
        ("i", True, "4321"),
    ):
        cursor, found_ids = None, ""
        for _ in range(4):
            page = source.page(ItemQuery(limit=1, sortby=(SortKey(name, descending),), cursor=cursor))
            found_ids += json.loads(page.bodies[0])["id"]
            cursor = page.cursor
        assert found_ids == ids
        assert cursor is None


GEOMETRIES = [
    (
        "geometry(PointZ, 4326)",
        "POINT Z (114 22 3.123456)",
        {"type": "Point", "coordinates": [114, 22, 3.123]},
    ),
    ("geometry(PointM, 4326)", "POINT M (114 22 3)", {"type": "Point", "coordinates": [114, 22]}),
    ("geometry(PointZM, 4326)", "POINT ZM (114 22 3 4)", {"type": "Point", "coordinates": [114, 22, 3]}),
    ("geometry(Geometry, 4326)", "TRIANGLE ((0 0, 1 0, 0 1, 0 0))", None),
    ("geometry(Geometry, 4326)", "CIRCULARSTRING (0 0, 1 1, 2 0)", None),
    ("geometry(CurvePolygon, 4326)", "CURVEPOLYGON (CIRCULARSTRING (0 0, 4 0, 4 4, 0 4, 0 0))", None),
    ("geometry(Geometry, 4326)", "TIN (((0 0, 1 0, 0 1, 0 0)))", None),
    ("geometry(PolyhedralSurfaceZ, 4326)", "POLYHEDRALSURFACE Z (((0 0 0, 1 0 0, 0 1 0, 0 0 0)))", None),
    ("geometry(Point, 3857)", "POINT (12690420.4 2511525.2)", None),
    ("geometry", "SRID=4326;POINT (1 2)", {"type": "Point", "coordinates": [1, 2]}),
]


@pytest.mark.parametrize(
    ("declared", "text", "wanted"), GEOMETRIES, ids=[f"{a} {b[:12]}" for a, b, _ in GEOMETRIES]
)
def test_geometries_of_every_kind(
    run_sql: Callable[..., Any],
    open_table: Callable[..., PostgisSource],
    declared: str,
    text: str,
    wanted: Any,
) -> None:
    run_sql("DROP TABLE IF EXISTS shapes")
    run_sql(f"CREATE TABLE shapes (gid int PRIMARY KEY, geom {declared})")
    srid = declared.rpartition(" ")[2].rstrip(")") if "," in declared else "4326"
    given = text if text.startswith("SRID") else f"SRID={srid};{text}"
    run_sql("INSERT INTO shapes VALUES (1, %s)", given)
    source = open_table("shapes")
    shape = _only(source)["geometry"]
    if wanted is not None:
        assert shape == wanted
    assert shapely.from_geojson(json.dumps(shape)).is_valid
    assert len(source.read().geometries) == 1
    bbox = source.bbox
    west, south, east, north = bbox if len(bbox) == 4 else (bbox[0], bbox[1], bbox[3], bbox[4])
    assert source.page(ItemQuery(bbox=BBox(west, south, east, north), hits_only=True)).number_matched == 1


DESCRIPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"connection": "elsewhere"}, "no database connection 'elsewhere'"),
    ({"table": "nothing"}, "no table or view"),
    ({"table": "city; DROP TABLE city"}, "no table or view"),
    ({"schema": "nowhere"}, "no table or view"),
    ({"id": "nothing"}, "no column 'nothing'"),
    ({"geometry": "名称"}, "no geometry column"),
    ({"time": "height"}, "no date or timestamp"),
    ({"version": "名称"}, "integer column"),
    ({"fields": ["名称", "nothing"]}, "nothing"),
    ({"fields": "名称"}, "list of column names"),
    ({"table": ""}, "1 to 63 bytes"),
    ({"table": None}, "1 to 63 bytes"),
    ({"table": 7}, "1 to 63 bytes"),
    ({"table": "x" * 64}, "1 to 63 bytes"),
    ({"table": "a\x00"}, "1 to 63 bytes"),
    ({"password": "x"}, "no members"),
]


@pytest.mark.parametrize(("members", "message"), DESCRIPTIONS, ids=str)
def test_descriptions_that_do_not_fit(
    city: PostgisSource, gis: str, members: dict[str, Any], message: str
) -> None:
    description = {"store": "postgis", "connection": "city", "table": "city", **members}
    with pytest.raises(StoreError, match=message) as caught:
        open_postgis(description, SourceSettings(connections={"city": gis}))
    assert gis not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("a int, geom geometry(Point, 4326)", "primary key"),
        ("a int, b int, geom geometry(Point, 4326), PRIMARY KEY (a, b)", "primary key"),
        ("gid int PRIMARY KEY, geom geometry(Point)", "no SRID"),
        ("gid int PRIMARY KEY, one geometry(Point, 4326), two geometry(Point, 4326)", "one, two"),
    ],
)
def test_tables_that_cannot_be_served(
    run_sql: Callable[..., Any], open_table: Callable[..., PostgisSource], columns: str, message: str
) -> None:
    run_sql("DROP TABLE IF EXISTS unfit")
    run_sql(f"CREATE TABLE unfit ({columns})")
    with pytest.raises(StoreError, match=message):
        open_table("unfit")


def test_views_partitions_and_tables_without_geometry(
    city: PostgisSource, run_sql: Callable[..., Any], open_table: Callable[..., PostgisSource]
) -> None:
    run_sql("CREATE OR REPLACE VIEW tall AS SELECT * FROM city WHERE height > 50")
    run_sql("DROP TABLE IF EXISTS parted, plain")
    run_sql("CREATE TABLE parted (gid int PRIMARY KEY, geom geometry(Point, 4326)) PARTITION BY RANGE (gid)")
    run_sql("CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10)")
    run_sql("CREATE TABLE plain (code text PRIMARY KEY, n int); INSERT INTO plain VALUES ('b', 1), ('a', 2)")
    view = open_table("tall", id="gid")
    assert 0 < len(view.page(ItemQuery(limit=400)).bodies) < 400
    item = view.item(json.loads(view.page(ItemQuery()).bodies[0])["id"])
    assert item is not None
    assert item.version
    parted = open_table("parted")
    made = parted.edit([Edit(EditKind.CREATE, "3", shapely.Point(1, 2))])[0]
    assert parted.edit([Edit(EditKind.UPDATE, "3", shapely.Point(1, 3), version=made.version)])[0].version
    plain = open_table("plain")
    page = plain.page(ItemQuery(limit=1))
    assert json.loads(page.bodies[0]) == {
        "type": "Feature",
        "id": "a",
        "geometry": None,
        "properties": {"n": 2},
    }
    assert json.loads(plain.page(ItemQuery(cursor=page.cursor)).bodies[0])["id"] == "b"
    assert plain.page(ItemQuery(bbox=BBox(0, 0, 1, 1))).bodies == []
    assert plain.bbox == ()


def test_a_table_that_changes_is_looked_at_again(
    run_sql: Callable[..., Any], open_table: Callable[..., PostgisSource]
) -> None:
    run_sql("DROP TABLE IF EXISTS moving")
    run_sql(
        "CREATE TABLE moving (gid int PRIMARY KEY, a int, geom geometry(Point, 4326)); INSERT INTO moving VALUES (1, 2, NULL)"
    )
    source = open_table("moving")
    assert _only(source)["properties"] == {"a": 2}
    run_sql("ALTER TABLE moving RENAME a TO b")
    assert _only(source)["properties"] == {"b": 2}
    run_sql("DROP TABLE moving")
    with pytest.raises(StoreError, match="no table"):
        source.page(ItemQuery())


def test_stored_fragments_are_the_features(
    gis: str, run_sql: Callable[..., Any], city: PostgisSource, open_table: Callable[..., PostgisSource]
) -> None:
    run_sql("DROP TABLE IF EXISTS stored")
    run_sql("CREATE TABLE stored (LIKE city INCLUDING ALL); INSERT INTO stored SELECT * FROM city")
    _run_script(run_sql, fragment_sql(gis, "public", "stored"))
    source = open_table("stored", time="updated", fragment="fragment")
    assert source.facts().fragment == "fragment"
    query = ItemQuery(limit=1000)
    encoded = [json.loads(body) for body in city.page(query).bodies]
    assert [json.loads(body) for body in source.page(query).bodies] == encoded
    assert "fragment" not in source.schema.by_name
    assert "fragment" not in open_table("stored").schema.by_name
    source.edit([Edit(EditKind.UPDATE, "1", properties={"floors": 99})])
    item = source.item("1")
    assert item is not None
    assert json.loads(item.body)["properties"]["floors"] == 99
    # Written for other fields than the collection shows: not used.
    assert open_table("stored", fragment="fragment", fields=["floors"]).facts().fragment is None
    run_sql("ALTER TABLE stored DISABLE TRIGGER chengtu_fragment")
    assert open_table("stored", time="updated", fragment="fragment").facts().fragment is None


def test_the_counter_counts_edits_of_its_table_alone(
    run_sql: Callable[..., Any], open_table: Callable[..., PostgisSource]
) -> None:
    run_sql("DROP TABLE IF EXISTS counted")
    run_sql("CREATE TABLE counted (gid int PRIMARY KEY, geom geometry(Point, 4326))")
    before = open_table("counted")
    snapshot = before.change()
    assert before.change() == snapshot
    run_sql("CREATE TABLE IF NOT EXISTS bystander (a int); INSERT INTO bystander VALUES (1)")
    assert before.change() != snapshot  # sound, and shy
    for _ in range(2):
        _run_script(run_sql, change_sql("public", "counted"))
    source = open_table("counted")
    assert source.change() == "0"
    run_sql("INSERT INTO bystander VALUES (1)")
    assert source.change() == "0"
    source.edit([Edit(EditKind.CREATE, "1", shapely.Point(1, 2))])
    assert source.change() == "1"
    run_sql("UPDATE counted SET geom = NULL")
    run_sql("TRUNCATE counted")
    assert source.change() == "3"


def _run_script(run_sql: Callable[..., Any], script: str) -> None:
    """A script as psql runs it: VACUUM alone, outside of the transaction."""
    body, _, vacuum = script.partition("COMMIT;\n")
    run_sql(body + "COMMIT;")
    if vacuum.strip():
        run_sql(vacuum.strip().rstrip(";"))
