"""Buildings of features that are stored elsewhere: SQL in a PostGIS table and files that are exchanged show in their 3D tiles."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from psycopg.conninfo import conninfo_to_dict, make_conninfo

EAST, NORTH = 506_000.0, 2_495_000.0
"""In EPSG:4547 (CGCS2000, 3-degree zone 114E): Shenzhen."""
COUNT = 60
SOON = 5.0
"""Seconds after which an edit has to be seen."""


def plot(number: int, size: float = 20.0) -> Any:
    x, y = EAST + 40.0 * (number % 10), NORTH + 40.0 * (number // 10)
    return shapely.box(x, y, x + size, y + size)


@pytest.fixture(scope="module")
def gis(postgresql_server: str) -> Iterator[str]:
    server = conninfo_to_dict(postgresql_server.replace("+psycopg", ""))
    name = "chengtu_three_d_test"
    with psycopg.connect(make_conninfo(**server), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {name}".encode())
    given = make_conninfo(**{**server, "dbname": name})
    with psycopg.connect(given, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION postgis")
        connection.execute(
            "CREATE TABLE houses (gid int PRIMARY KEY, 名称 text, height float8, floors int, built date, updated timestamptz,"
            " geom geometry(Polygon, 4547))"
        )
        for number in range(1, COUNT + 1):
            connection.execute(
                "INSERT INTO houses VALUES (%s, %s, %s, %s, %s, %s, ST_GeomFromWKB(%s, 4547))",
                (
                    number,
                    None if number % 7 == 0 else f"楼 {number}",
                    5.0 + number / 4,
                    None if number % 5 == 0 else number,
                    f"{1960 + number}-05-17",
                    f"2025-01-03T04:05:{number - 1:02}.250+08:00",
                    shapely.to_wkb(plot(number)),
                ),
            )
    yield given
    with psycopg.connect(make_conninfo(**server), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def write_file(path: Path, heights: dict[str, float], shift: float = 0.0) -> None:
    """Houses of these names and heights in a file that takes the place of another one at once."""
    shapes = [
        shapely.box(13.7 + n * 0.001, 51.05 + shift, 13.7004 + n * 0.001, 51.0502 + shift)
        for n in range(len(heights))
    ]
    part = path.with_name(f"new-{path.name}")
    table = pa.table(
        {"name": list(heights), "height": list(heights.values()), "geometry": shapely.to_wkb(shapes).tolist()}
    )
    if path.suffix == ".parquet":
        geo = {
            "version": "1.0.0",
            "primary_column": "geometry",
            "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Polygon"]}},
        }
        pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), part)
    else:
        pyogrio.write_arrow(
            table, part, geometry_name="geometry", geometry_type="Polygon", crs="EPSG:4326",
            driver={".fgb": "FlatGeobuf", ".gpkg": "GPKG"}[path.suffix],
        )  # fmt: skip
    part.replace(path)


@pytest.fixture(scope="module")
def served(
    gis: str,
    home: Any,
    serving: Callable[..., AbstractContextManager[Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Any, Path, str]]:
    """The server, the folder of the files, and the database."""
    folder = tmp_path_factory.mktemp("elsewhere")
    home.variables |= {
        "SOURCES_CONNECTIONS": json.dumps({"city": gis}),
        "SOURCES_FILE_ROOTS": json.dumps([str(folder)]),
    }
    heights = {f"house {n}": 4.0 + n for n in range(30)}
    here = ("--tenant", "town", "--title", "T")
    home.chengtu("register", "postgis:city/houses", "--id", "houses", *here)
    for kind, suffix in (("parquet", "parquet"), ("ogr", "fgb")):
        write_file(folder / f"houses.{suffix}", heights)
        home.chengtu(
            "register", f"{kind}:{folder / f'houses.{suffix}'}", "--id", kind, *here, "--id-field", "name"
        )
    for name in ("houses", "parquet", "ogr"):
        home.chengtu("build-3d", f"town.{name}", "--height-field", "height")
    with serving(home.folder, **home.variables) as server:
        yield server, folder, gis


@pytest.fixture
def readers(served: Any, reader: Any) -> list[Any]:
    """One for each worker."""
    return [reader(connection.get) for connection in served[0].connect()]


def seen(
    readers: list[Any], collection: str, true: Callable[[dict[str, Any]], bool], until: Callable[..., float]
) -> None:
    """Both workers come to show it, and then both show the same."""

    def shows(one: Any) -> bool:
        try:
            return true(one.walk(collection).objects)
        except AssertionError as error:
            # A walk is many requests; where the edit comes between two, what the first one named may be gone (404). It walks anew.
            if "404" not in str(error):
                raise
            return False

    for one in readers:
        until(lambda one=one: shows(one), SOON)
    found = [one.walk(collection) for one in readers]
    assert found[0].contents == found[1].contents
    assert found[0].etags == found[1].etags
    assert not found[0].twice
    assert readers[0].faults(collection) == []


def test_a_table_is_drawn_where_and_as_it_says(readers: Any) -> None:
    walked = readers[0].walk("houses")
    items = readers[0].items("houses")
    assert walked.objects.keys() == items.keys() == {str(n) for n in range(1, COUNT + 1)}
    for name, found in walked.objects.items():
        said = items[name]["properties"]
        for field in ("height", "floors"):
            assert found.properties[field] == said[field]
        assert found.properties["u540d_u79f0"] == (said["名称"] or None)
        assert found.properties["built"] == said["built"]
        assert found.rise == pytest.approx(said["height"], abs=0.03)
        assert found.volume == pytest.approx(400.0 * said["height"], rel=0.01)
    assert readers[0].faults("houses") == []


def test_every_kind_of_sql(served: Any, readers: Any, until: Callable[..., float]) -> None:
    gis = served[2]

    def run(text: str, *arguments: Any) -> None:
        with psycopg.connect(gis, autocommit=True) as connection:
            connection.execute(text.encode(), arguments or None)

    before = readers[0].walk("houses")
    run("UPDATE houses SET height = 150 WHERE gid = 10")
    seen(readers, "houses", lambda found: found["10"].rise == pytest.approx(150.0, abs=0.05), until)
    after = readers[1].walk("houses")
    assert after.objects["10"].properties["height"] == 150.0
    assert {"11", "12"} <= after.objects.keys()

    new = shapely.to_wkb(plot(95))
    run("INSERT INTO houses VALUES (999, '新楼', 77.5, NULL, NULL, NULL, ST_GeomFromWKB(%s, 4547))", new)
    seen(readers, "houses", lambda found: "999" in found, until)
    added = readers[0].walk("houses").objects["999"]
    assert (added.properties["u540d_u79f0"], added.properties["floors"]) == ("新楼", None)
    assert added.rise == pytest.approx(77.5, abs=0.05)

    run("UPDATE houses SET geom = ST_Translate(geom, 1000, 500) WHERE gid = 11")
    west = before.objects["11"].box[0]
    seen(readers, "houses", lambda found: found["11"].box[0] > west + 0.009, until)

    # Far outside of where the tileset was planned.
    run("UPDATE houses SET geom = ST_Translate(geom, 30000, -20000) WHERE gid = 12")
    seen(readers, "houses", lambda found: "12" in found and found["12"].box[0] > west + 0.2, until)

    run("DELETE FROM houses WHERE gid IN (10, 13)")
    seen(readers, "houses", lambda found: not {"10", "13"} & found.keys() and "14" in found, until)

    run("BEGIN; UPDATE houses SET gid = gid + 10000; COMMIT")
    seen(readers, "houses", lambda found: "10014" in found and "14" not in found, until)
    assert readers[0].walk("houses").objects.keys() == readers[0].items("houses").keys()

    run("TRUNCATE houses")
    seen(readers, "houses", lambda found: not found, until)
    run("INSERT INTO houses VALUES (1, 'again', 9, 1, NULL, NULL, ST_GeomFromWKB(%s, 4547))", new)
    seen(readers, "houses", lambda found: found.keys() == {"1"}, until)


@pytest.mark.parametrize(("name", "suffix"), [("parquet", "parquet"), ("ogr", "fgb")])
def test_a_file_that_is_exchanged(
    name: str, suffix: str, served: Any, readers: Any, until: Callable[..., float]
) -> None:
    folder = served[1]
    before = [one.walk(name) for one in readers]
    assert before[0].contents == before[1].contents
    assert len(before[0].objects) == 30
    write_file(folder / f"houses.{suffix}", {f"house {n}": 40.0 + n for n in range(25)} | {"新": 3.0})
    seen(
        readers,
        name,
        lambda found: len(found) == 26 and all(one.rise > 39 or key == "新" for key, one in found.items()),
        until,
    )
    items = readers[0].items(name)
    assert readers[0].walk(name).objects.keys() == items.keys()
    write_file(
        folder / f"houses.{suffix}", {f"house {n}": 40.0 + n for n in range(25)} | {"新": 3.0}, shift=0.01
    )
    seen(readers, name, lambda found: all(one.box[1] > 51.0599 for one in found.values()), until)


def test_filters_choose_what_items_choose(served: Any, readers: Any) -> None:
    for query in ("height=42", "filter=height%20%3E%2050", "bbox=13.70,51.0,13.7105,52", "limit=5"):
        if query.startswith("limit"):
            status, _, body = readers[0].get(f"/t/town/ogc/collections/parquet/3dtiles/tileset.json?{query}")
            assert status == 400, body
            continue
        expected = readers[0].items("parquet", query)
        assert readers[1].walk("parquet", query).objects.keys() == expected.keys()
        assert readers[0].faults("parquet", query) == []
