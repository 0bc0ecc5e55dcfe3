"""Coverages and data queries through the whole server: answers, validators, documents, and 200 requests that are wrong."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import rasterio
import rasterio.warp
from rasterio.transform import from_origin

from providers.sensors.store import Location, Parameter, write_series
from server.http.app import create_app
from server.registry.catalogue import Access, Interval, Representation, RepresentationKind
from server.registry.drafts import CollectionDraft
from server.registry.registry import Registry, open_registry
from server.registry.staging import staging_folder
from server.settings import load_settings

EPSG_4547 = "http://www.opengis.net/def/crs/EPSG/0/4547"
WEST, NORTH, SIZE = 500_000.0, 2_500_600.0, 10.0
ROWS, COLUMNS = 60, 80
"""Near 114.0 E 22.6 N: EPSG:4547 (north first) has its meridian at 114 E."""
BASE = "/t/demo/ogc/collections"
DEM, STATIONS = f"{BASE}/dem", f"{BASE}/stations"


def _draft(name: str, bbox: tuple[float, ...], crs: str, **more: Any) -> CollectionDraft:
    return CollectionDraft(
        tenant=more.pop("tenant", "demo"),
        id=name,
        titles={"en": name},
        bbox=bbox,
        storage_crs=crs,
        access=more.pop("access", Access.PUBLIC),
        attribution="© the makers of this test",
        licence="CC0-1.0",
        **more,
    )


def _publish_dem(registry: Registry, home: Path, name: str, access: Access) -> None:
    with staging_folder(home) as folder:
        staged = folder / "generation"
        staged.mkdir()
        heights = np.add.outer(np.arange(ROWS) * 100.0, np.arange(COLUMNS)).astype(np.float32)
        heights[0, 0] = -9999
        with rasterio.open(
            staged / "coverage.tif",
            "w",
            driver="GTiff",
            width=COLUMNS,
            height=ROWS,
            count=1,
            dtype="float32",
            crs="EPSG:4547",
            transform=from_origin(WEST, NORTH, SIZE, SIZE),
            nodata=-9999,
        ) as out:
            out.write(heights, 1)
            out.set_band_description(1, "height")
            out.set_band_unit(1, "m")
            box = rasterio.warp.transform_bounds(out.crs, "OGC:CRS84", *out.bounds)
        properties = {"bands": [{"name": "height", "title": "Height", "unit": "m", "dtype": "float32"}]}
        kept = Representation(RepresentationKind.COVERAGE, "coverage.tif", 0, 0, properties)
        registry.publish(_draft(name, box, EPSG_4547, access=access), [kept], staged, False)


def _publish_series(
    registry: Registry,
    home: Path,
    name: tuple[str, str],
    places: list[Location],
    parameters: list[Parameter],
    rows: list[tuple[str, str, int, float | None]],
) -> None:
    with staging_folder(home) as folder:
        staged = folder / "generation"
        staged.mkdir()
        summary = write_series(staged / "series.sqlite", places, parameters, rows)
        kept = Representation(RepresentationKind.SERIES, "series.sqlite", 0, 0, summary.properties())
        x, y = [place.longitude for place in places], [place.latitude for place in places]
        draft = _draft(
            name[1],
            (min(x), min(y), max(x), max(y)),
            "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
            tenant=name[0],
            interval=Interval(summary.start, summary.end),
        )
        registry.publish(draft, [kept], staged, False)


def _publish_stations(registry: Registry, home: Path) -> None:
    places = [Location(name, f"站 {name}", 114.0 + i / 100, 22.6) for i, name in enumerate("abc")]
    parameters = [Parameter("rain", "Rain", "mm", "rain"), Parameter("wind", "Wind", "m/s", "wind")]
    rows: list[tuple[str, str, int, float | None]] = [
        (place.id, one.name, hour * 3600, float(hour + 100 * number))
        for number, place in enumerate(places)
        for one in parameters
        for hour in range(24)
    ]
    _publish_series(registry, home, ("demo", "stations"), places, parameters, rows)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, wsgi_client: Any) -> Iterator[Any]:
    home = tmp_path_factory.mktemp("rasters")
    settings = load_settings((), {"CHENGTU_DATA_HOME": str(home)})
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", "示例")
        _publish_dem(registry, home, "dem", Access.PUBLIC)
        _publish_dem(registry, home, "secret", Access.PRIVATE)
        _publish_stations(registry, home)
        yield wsgi_client(create_app(settings))


@pytest.fixture(scope="module")
def middle(server: Any) -> tuple[float, float]:
    """The middle of cell (row 30, column 40) in degrees."""
    return _degrees(40, 30)


def _degrees(column: float, row: float) -> tuple[float, float]:
    x, y = rasterio.warp.transform(
        "EPSG:4547", "OGC:CRS84", [WEST + (column + 0.5) * SIZE], [NORTH - (row + 0.5) * SIZE]
    )
    return float(x[0]), float(y[0])


# --- answers -------------------------------------------------------------------------------------------------------------


def test_a_part_in_every_form(server: Any) -> None:
    part = f"subset=E({WEST + 100}:{WEST + 200}),N({NORTH - 100}:{NORTH - 50})"
    reply = server.get(f"{DEM}/coverage?{part}")
    assert reply.headers["Content-Type"] == "image/tiff; application=geotiff"
    assert reply.headers["Content-Crs"] == f"<{EPSG_4547}>"
    # EPSG:4547 names northing first.
    assert reply.headers[
        "Content-Bbox"
    ] == f"{NORTH - 100:g},{WEST + 100:g},{NORTH - 50:g},{WEST + 200:g}".replace(
        "2.5005e+06", "2500500"
    ).replace("2.50055e+06", "2500550")
    with rasterio.MemoryFile(reply.body) as memory, memory.open() as raster:
        assert raster.read(1)[0].tolist() == [500.0 + column for column in range(10, 20)]
    document = server.json(f"{DEM}/coverage?{part}&f=covjson")
    assert document["domain"]["referencing"][0]["coordinates"] == ["y", "x"]
    assert document["ranges"]["height"]["values"][:2] == [510.0, 511.0]
    netcdf = server.get(f"{DEM}/coverage?{part}&f=netcdf")
    assert (netcdf.status, netcdf.body[1:4]) == (200, b"HDF")
    by_accept = server.get(f"{DEM}/coverage?{part}", Accept="application/x-netcdf")
    assert by_accept.headers["Content-Type"] == "application/x-netcdf"
    assert server.get(f"{DEM}/coverage?{part}&f=png").status == 400


def test_answers_are_validated(server: Any) -> None:
    for url in (f"{DEM}/coverage?scale-factor=4", f"{DEM}/position?coords=POINT(114.003%2022.602)"):
        first = server.get(url)
        etag = first.headers["ETag"]
        again = server.get(url, If_None_Match=etag)
        assert (again.status, again.body) == (304, b"")
        assert server.get(f"{url}&f=covjson").headers["ETag"] != etag
        head = server.request("HEAD", url)
        assert (head.status, head.body) == (200, b"")


def test_large_answers_are_sent_by_pieces(server: Any, monkeypatch: Any) -> None:
    url = f"{DEM}/coverage?scale-factor=0.5"
    whole = server.get(url)
    monkeypatch.setattr("server.http.ogc.made_files._WHOLE", 1000)
    pieces = server.get(url)
    assert (pieces.status, pieces.body) == (200, whole.body)
    assert pieces.headers["Content-Length"] == str(len(whole.body))
    for name in ("Content-Type", "Content-Crs", "Content-Bbox", "ETag", "Access-Control-Allow-Origin"):
        assert pieces.headers[name] == whole.headers[name]
    head = server.request("HEAD", url)
    assert (head.body, head.headers["Content-Length"]) == (b"", str(len(whole.body)))
    folder = server.application._services.settings.home / "cache" / "downloads"
    assert list(folder.iterdir()) == []


def test_subset_may_be_repeated_and_lat_alone_is_enough(server: Any, middle: Any) -> None:
    split = server.json(
        f"{DEM}/coverage?f=covjson&subset=E({WEST}:{WEST + 30})&subset=N({NORTH - 20}:{NORTH})"
    )
    assert split["ranges"]["height"]["shape"] == [2, 3]
    south = middle[1]
    band = server.json(f"{DEM}/coverage?f=covjson&subset=Lat({south}:{south + 0.0001})")
    assert band["ranges"]["height"]["shape"][1] >= COLUMNS - 1


def test_tilesets_and_tiles(server: Any, middle: Any) -> None:
    from tiles.grids import tile_range

    listed = server.json(f"{DEM}/coverage/tiles")["tilesets"]
    assert {"WebMercatorQuad"} <= {one["links"][0]["title"] for one in listed}
    one = server.json(f"{DEM}/coverage/tiles/WebMercatorQuad")
    assert one["dataType"] == "coverage"
    found = tile_range("WebMercatorQuad", (*middle, *middle), 16)
    reply = server.get(f"{DEM}/coverage/tiles/WebMercatorQuad/16/{found.min_row}/{found.min_column}")
    with rasterio.MemoryFile(reply.body) as memory, memory.open() as raster:
        assert (raster.width, raster.height, raster.crs.to_epsg()) == (256, 256, 3857)
        assert np.nanmax(np.where(raster.read(1) == -9999, np.nan, raster.read(1))) > 2000


def test_what_is_private_stays_so(server: Any) -> None:
    for path in (
        "coverage",
        "coverage/tiles",
        "position?coords=POINT(114%2022.6)",
        "cube?bbox=0,0,1,1",
        "schema",
    ):
        assert server.get(f"{BASE}/secret/{path}").status == 404, path


def test_documents_name_what_there_is(server: Any) -> None:
    document = server.json(DEM)
    rels = {link["rel"].rpartition("/")[2] for link in document["links"]}
    assert {"coverage", "schema", "tilesets-coverage"} <= rels
    assert set(document["data_queries"]) == {"position", "radius", "area", "cube", "trajectory", "corridor"}
    assert document["parameter_names"]["height"]["unit"]["symbol"]["value"] == "m"
    grid = document["extent"]["spatial"]["grid"]
    assert [axis["cellsCount"] for axis in grid] == [ROWS, COLUMNS]
    assert set(server.json(f"{DEM}/schema")["properties"]) == {"height"}
    assert "locations" in server.json(STATIONS)["data_queries"]
    classes = server.json("/t/demo/ogc/conformance")["conformsTo"]
    assert any(uri.endswith("ogcapi-edr-1/1.1/conf/queries") for uri in classes)
    assert any("ogcapi-coverages-1" in uri and uri.endswith("/scaling") for uri in classes)


def test_position_gives_the_cell_it_lies_in(server: Any, middle: Any) -> None:
    point = f"coords=POINT({middle[0]} {middle[1]})"
    document = server.json(f"{DEM}/position?{point}")
    assert document["domain"]["domainType"] == "Point"
    assert document["ranges"]["height"]["values"] == [3040.0]
    own = server.json(
        f"{DEM}/position?coords=POINT({NORTH - 305} {WEST + 405})&crs={EPSG_4547}&f=CoverageJSON"
    )
    assert own["ranges"]["height"]["values"] == [3040.0]
    assert own["domain"]["axes"]["x"]["values"] == [WEST + 405]
    rows = list(csv.DictReader(io.StringIO(server.get(f"{DEM}/position?{point}&f=csv").body.decode())))
    assert float(rows[0]["height"]) == 3040
    feature = server.json(f"{DEM}/position?{point}&f=geojson")["features"][0]
    assert feature["properties"]["height"] == 3040.0


def test_a_line_over_a_terrain_is_its_profile(server: Any) -> None:
    start, end = _degrees(10, 30), _degrees(60, 30)
    line = f"LINESTRING({start[0]} {start[1]},{end[0]} {end[1]})"
    document = server.json(f"{DEM}/trajectory?coords={line}")
    assert document["domain"]["domainType"] == "MultiPoint"
    heights = document["ranges"]["height"]["values"]
    distances = document["ranges"]["distance"]["values"]
    assert heights[0] == 3010.0
    assert heights[-1] == 3060.0
    assert len(heights) == len(distances) == len(document["domain"]["axes"]["composite"]["values"])
    assert heights == sorted(heights)
    assert distances[0] == 0
    assert distances[-1] == pytest.approx(500, rel=1e-3)
    # No cell on the way is passed over.
    assert {int(height) % 100 for height in heights} == set(range(10, 61))


def test_areas_hold_the_cells_they_meet(server: Any) -> None:
    corners = [_degrees(10, 10), _degrees(20, 10), _degrees(20, 20), _degrees(10, 20), _degrees(10, 10)]
    ring = ",".join(f"{x} {y}" for x, y in corners)
    area = server.json(f"{DEM}/area?coords=POLYGON(({ring}))")
    values = np.array(area["ranges"]["height"]["values"], dtype=float).reshape(
        area["ranges"]["height"]["shape"]
    )
    assert area["domain"]["domainType"] == "Grid"
    assert values[values.shape[0] // 2, values.shape[1] // 2] == pytest.approx(1515, abs=101)
    around = server.json(
        f"{DEM}/radius?coords=POINT({corners[0][0]} {corners[0][1]})&within=25&within-units=m"
    )
    disc = np.array(around["ranges"]["height"]["values"], dtype=float)
    # pi * 25 m * 25 m are 20 cells, and those its edge meets.
    assert 20 <= np.isfinite(disc).sum() <= 37
    path = f"LINESTRING({corners[0][0]} {corners[0][1]},{corners[1][0]} {corners[1][1]})"
    beside = server.json(f"{DEM}/corridor?coords={path}&corridor-width=40&width-units=m")
    assert 55 <= np.isfinite(np.array(beside["ranges"]["height"]["values"], dtype=float)).sum() <= 90
    three = server.json(f"{DEM}/corridor?coords={path}&corridor-width=40&resolution-x=3")
    assert len(three["coverages"]) == 3
    west, north = corners[0]
    east, south = corners[2]
    cube = server.json(f"{DEM}/cube?bbox={west},{south},{east},{north}&resolution-x=5&resolution-y=4")
    assert cube["ranges"]["height"]["shape"] == [4, 5]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("position?coords=POINT(114.011 22.6)", ["b"]),
        ("position?coords=MULTIPOINT(114.0 22.6,114.02 22.6)", ["a", "c"]),
        ("radius?coords=POINT(114.0 22.6)&within=1.2&within-units=km", ["a", "b"]),
        ("area?coords=POLYGON((114.005 22.5,114.03 22.5,114.03 22.7,114.005 22.7,114.005 22.5))", ["b", "c"]),
        ("cube?bbox=113.9,22.5,114.015,22.7", ["a", "b"]),
        ("trajectory?coords=LINESTRING(114.021 22.61,113.99 22.6)", ["c", "a"]),
        ("corridor?coords=LINESTRING(114.005 22.6,114.03 22.6)&corridor-width=100", ["b", "c"]),
        ("locations/b?", ["b"]),
    ],
)
def test_queries_of_series_find_their_places(server: Any, query: str, ids: list[str]) -> None:
    joint = "&" if "?" in query else "?"
    url = f"{STATIONS}/{query}{joint}datetime=1970-01-01T02:00:00Z/1970-01-01T03:00:00Z&parameter-name=rain"
    document = server.json(url)
    coverages = document.get("coverages", [document])
    assert [one["id"] for one in coverages] == ids
    for one in coverages:
        first = 2.0 + 100 * "abc".index(one["id"])
        assert one["ranges"]["rain"]["values"] == [first, first + 1]
        assert one["domain"]["axes"]["t"]["values"] == ["1970-01-01T02:00:00Z", "1970-01-01T03:00:00Z"]
    rows = list(csv.DictReader(io.StringIO(server.get(f"{url}&f=CSV").body.decode())))
    assert [row["location"] for row in rows] == [name for name in ids for _ in range(2)]
    features = server.json(f"{url}&f=GeoJSON")["features"]
    assert [one["id"] for one in features] == ids


# --- coverage JSON by its rules ------------------------------------------------------------------------------------------

_DOMAINS = {
    "Point": ({"x", "y"}, {"z", "t"}),
    "PointSeries": ({"x", "y", "t"}, {"z"}),
    "Grid": ({"x", "y"}, {"z", "t"}),
    "Trajectory": ({"composite"}, {"z"}),
    "MultiPoint": ({"composite"}, {"t"}),
}
_COMPOSITES = {"Trajectory": ["t", "x", "y"], "MultiPoint": ["x", "y"]}


def _length(axis: Any) -> int:
    return int(axis["num"]) if "num" in axis else len(axis["values"])


def _check_coverage(coverage: Any, parameters: Any, referencing: Any) -> None:
    """The structure of 21-069r2: axes of the domain type, referencing of all coordinates, ranges that fit the axes."""
    domain = coverage["domain"]
    needed, optional = _DOMAINS[domain["domainType"]]
    axes = domain["axes"]
    assert needed <= set(axes) <= needed | optional
    coordinates = set(axes) - {"composite"}
    if "composite" in axes:
        composite = axes["composite"]
        assert (composite["dataType"], composite["coordinates"]) == (
            "tuple",
            _COMPOSITES[domain["domainType"]],
        )
        assert all(len(one) == len(composite["coordinates"]) for one in composite["values"])
        coordinates |= set(composite["coordinates"])
    referenced = [name for one in domain.get("referencing", referencing) for name in one["coordinates"]]
    assert sorted(referenced) == sorted(coordinates)
    assert set(coverage["ranges"]) <= set(coverage.get("parameters", parameters))
    for found in coverage["ranges"].values():
        assert found["type"] == "NdArray"
        assert found["shape"] == [_length(axes[name]) for name in found["axisNames"]]
        assert len(found["values"]) == int(np.prod(found["shape"], dtype=int))
        left = set(axes) - set(found["axisNames"])
        assert all(_length(axes[name]) == 1 for name in left)


@pytest.mark.parametrize(
    "path",
    [
        f"{DEM}/coverage?f=covjson&scale-factor=8",
        f"{DEM}/coverage?f=covjson&subset=N({NORTH - 55})",
        f"{DEM}/position?coords=POINT(114.003 22.602)",
        f"{DEM}/position?coords=MULTIPOINT((114.003 22.602),(114.004 22.602))",
        f"{DEM}/trajectory?coords=LINESTRING(114.003 22.602,114.004 22.603)",
        f"{DEM}/trajectory?coords=MULTILINESTRING((114.003 22.602,114.004 22.603),(114.001 22.602,114.002 22.602))",
        f"{DEM}/corridor?coords=LINESTRING(114.003 22.602,114.004 22.603)&corridor-width=30&resolution-x=2",
        f"{DEM}/radius?coords=POINT(114.003 22.602)&within=50&crs=EPSG:4326".replace(
            "114.003 22.602", "22.602 114.003"
        ),
        f"{DEM}/cube?bbox=114.001,22.601,114.003,22.603",
        f"{STATIONS}/locations/a",
        f"{STATIONS}/radius?coords=POINT(114 22.6)&within=2&within-units=km",
    ],
)
def test_coverage_json_keeps_its_rules(server: Any, path: str) -> None:
    document = server.json(quote(path, safe="/?&=:,()"))
    if document["type"] == "CoverageCollection":
        for one in document["coverages"]:
            _check_coverage(one, document["parameters"], document["referencing"])
    else:
        assert document["type"] == "Coverage"
        _check_coverage(document, {}, [])


# --- what is wrong -------------------------------------------------------------------------------------------------------

_BAD_NUMBERS = ("", "x", "nan", "inf", "-inf", "1e999", "1_0", "٣", "0x10", "1,5")
_BAD_COVERAGES = [
    *(f"bbox={one},22.6,114.01,22.7" for one in _BAD_NUMBERS if one != "1,5"),
    "bbox=",
    "bbox=1",
    "bbox=1,2,3",
    "bbox=1,2,3,4,5",
    "bbox=1,2,3,4,5,6,7",
    "bbox=114,23,115,22",
    "bbox=114,91,115,92",
    "bbox=0,0,1,1",
    "bbox=114,22.6,114.1,22.7&bbox=1,2,3,4",
    "bbox=114,22.6,114.1,22.7&subset=E(1:2)",
    "bbox=114,22.6,114.1,22.7&bbox-crs=",
    "bbox=114,22.6,114.1,22.7&bbox-crs=EPSG:0",
    "bbox=114,22.6,114.1,22.7&bbox-crs=EPSG:99999999999",
    "bbox=114,22.6,114.1,22.7&bbox-crs=urn:chengtu:def:crs::GCJ02",
    "bbox=114,22.6,114.1,22.7&bbox-crs=http://example.org/crs",
    "bbox=1e308,1e308,1e308,1e308&bbox-crs=EPSG:3857",
    *(f"subset=E({one}:600000)" for one in _BAD_NUMBERS if one),
    *(f"subset=E({one})" for one in _BAD_NUMBERS),
    *("subset=", "subset=E", "subset=E(", "subset=E)", "subset=E(1:2", "subset=E(1:2),", "subset=,E(1:2)"),
    *("subset=E(1:2)N(1:2)", "subset=E(1:2:3)", "subset=E(2:1)", "subset=Q(1:2)", "subset=E(1:2),E(1:2)"),
    *(
        "subset=E(1:2),x(1:2)",
        "subset=E(1:2),Lat(1:2)",
        "subset=Lat(23:22)",
        "subset=((((",
        "subset=E((1:2))",
    ),
    *(
        'subset=time("2024-01-01")',
        "subset=time(*)",
        'subset=time("a":"b":"c")',
        'subset=time("',
        "subset=time(1)",
    ),
    *("subset=E(0:1)", "subset=Lat(1:2),Lon(3:4)", "subset=Lat(22.6)", "subset=E(1)&subset=E(2)"),
    "subset=E(500000:500100)&subset-crs=EPSG:0",
    "subset=Lat(22:23)&subset-crs=EPSG:3857",
    "subset=" + ",".join(f"E({one}:9)" for one in range(40)),
    *(
        "datetime=2024-01-01",
        "datetime=",
        "datetime=x",
        "datetime=2024-13-01",
        "datetime=../..",
        "datetime=a/b/c",
    ),
    'datetime=2024-01-01&subset=time("2024-01-01")',
    *(
        "properties=",
        "properties=depth",
        "properties=height,height",
        "properties=1,height",
        "properties=,1",
        "properties=0",
    ),
    *(f"scale-factor={one}" for one in (*_BAD_NUMBERS, "0", "-1", "1e9", "0.001")),
    *(
        "scale-axes=",
        "scale-axes=2",
        "scale-axes=Q(2)",
        "scale-axes=E(0)",
        "scale-axes=E(2),E(2)",
        "scale-axes=time(2)",
    ),
    *(
        "scale-axes=E(x)",
        "scale-size=",
        "scale-size=100,100",
        "scale-size=E(0)",
        "scale-size=E(-1)",
        "scale-size=E(1.5)",
    ),
    *("scale-size=E(99999)", "scale-size=E(9999999999999999999)", "scale-size=time(2)", "scale-size=Q(2)"),
    *("scale-factor=2&scale-size=E(5)", "scale-axes=E(2)&scale-factor=2", "scale-factor=2&scale-factor=2"),
    "scale-size=E(16384),N(16384)",
    *(
        "crs=",
        "crs=x",
        "crs=EPSG:1",
        "crs=EPSG:5773",
        "crs=urn:chengtu:def:crs::BD09",
        "crs=EPSG:4547&crs=EPSG:4547",
    ),
    f"crs=EPSG:3857&subset=E({WEST + 5})",
    *(
        "f=zarr",
        "f=",
        "nothing=1",
        "limit=10",
        "f=gtiff&f=png",
        "f=png",
        "%ff=1",
        "properties=%ff",
        "bbox=%00,1,2,3",
    ),
]
_POINT = "coords=POINT(114.003 22.602)"
_LINE = "coords=LINESTRING(114.003 22.602,114.004 22.603)"
_BAD_COORDS = (
    *(
        "",
        "POINT",
        "POINT(",
        "POINT()",
        "POINT(1)",
        "POINT(1 2",
        "POINT(1 2))",
        "POINT(1 2) x",
        "POINT 1 2",
        "(1 2)",
    ),
    *("POINT(a b)", "POINT(nan nan)", "POINT(1e999 2)", "POINT(114.003 95)", "POINT(500 22)", "POINT EMPTY"),
    *(
        "POINT(1 2 3 4 5)",
        "POINT(1,2)",
        "POINT(1 2, 3 4)",
        "POINT((1 2))",
        "CIRCULARSTRING(0 0,1 1,2 0)",
        "TRIANGLE((0 0))",
    ),
    *(
        "GEOMETRYCOLLECTION(POINT(1 2))",
        "POINTZZ(1 2)",
        "SRID=4326;POINT(1 2)",
        "POINT M(1 2)",
        "😀",
        "POINT(1 2)\x00",
    ),
    *("LINESTRING(114 22.6)", "LINESTRING(114 22.6,114 22.6)", "LINESTRING()", "LINESTRING(114 22.6,)"),
    *(
        "LINESTRINGM(114 22.6,114.1 22.6)",
        "MULTILINESTRING(114 22.6,114 22.7)",
        "POLYGON((114 22.6,114.1 22.6,114 22.6))",
    ),
    *("POLYGON(114 22.6,114.1 22.6,114 22.7,114 22.6)", "POLYGON((114 22.6,114.1 22.6,114 22.7,114.2 22.6))"),
    *("POLYGON((114 22.6,114.1 22.7,114.1 22.6,114 22.7,114 22.6))", "POLYGON(())", "MULTIPOLYGON(((1 1)))"),
)
_BAD_QUERIES = [
    *(f"{kind}?coords={quote(text)}" for kind in ("position", "area", "trajectory") for text in _BAD_COORDS),
    *("position", "area", "radius?within=1", "trajectory", "corridor?corridor-width=1", "cube"),
    *(f"position?{_POINT}&{rest}" for rest in ("z=1", "z=", "datetime=x", "datetime=2024-01-01", "nothing=1", "limit=1")),
    *(f"position?{_POINT}&{rest}" for rest in ("crs=x", "crs=EPSG:0", "crs=urn:chengtu:def:crs::GCJ02", "f=xml", "f=")),
    *(f"position?{_POINT}&{rest}" for rest in ("parameter-name=", "parameter-name=x", "parameter-name=,", _POINT)),
    *(f"radius?{_POINT}&within={one}" for one in (*_BAD_NUMBERS, "-1", "1e9")),
    *(f"radius?{_POINT}&within=1&within-units={one}" for one in ("", "parsec", "m%00")),
    *(f"radius?{_POINT}", f"radius?{_LINE}&within=1", "radius?coords=MULTIPOINT(1 2,3 4)&within=1"),
    *(f"corridor?{_LINE}&corridor-width={one}" for one in (*_BAD_NUMBERS, "-1", "9999999")),
    *(f"corridor?{_LINE}&corridor-width=1&{one}" for one in ("width-units=x", "corridor-height=x", "resolution-x=x")),
    *(f"corridor?{_LINE}&corridor-width=1&{one}" for one in ("resolution-x=-1", "resolution-x=99999", "height-units=q")),
    *(f"corridor?{_POINT}&corridor-width=1", f"corridor?{_LINE}"),
    *(f"cube?bbox={one},22.6,114.01,22.7" for one in _BAD_NUMBERS if one != "1,5"),
    *("cube?bbox=", "cube?bbox=1,2,3", "cube?bbox=114,23,114.1,22", "cube?bbox=114,22,114.1,95", "cube?bbox=0,0,1,1"),
    *("cube?bbox=114,22,115,23&resolution-x=x", "cube?bbox=114,22,115,23&z=1", "cube?bbox=114.001,22.601,114.003,22.603&resolution-x=99999&resolution-y=99999"),
    *("trajectory?coords=LINESTRING(-170 -80,170 80)", "trajectory?coords=LINESTRINGM(114.003 22.602 1,114.004 22.603 2)"),
    "trajectory?coords=LINESTRING(" + ",".join(f"{114 + i / 1e4} 22.6" for i in range(300)) + ",x)",
    "position?coords=" + "(" * 500,
    "position?coords=POINT(10 10)",
]  # fmt: skip


@pytest.mark.parametrize("query", _BAD_COVERAGES)
def test_bad_coverage_requests_are_told_what_is_wrong(server: Any, query: str) -> None:
    reply = server.get(f"{DEM}/coverage?{quote(query, safe='=&:,()%/')}")
    assert reply.status in (400, 404, 406), (query, reply.status, reply.body[:200])
    problem = json.loads(reply.body)
    assert problem["status"] == reply.status
    assert len(problem["detail"]) > 10


@pytest.mark.parametrize("query", _BAD_QUERIES)
def test_bad_data_queries_are_told_what_is_wrong(server: Any, query: str) -> None:
    for base in (DEM, STATIONS):
        reply = server.get(f"{base}/{quote(query, safe='?=&:,()%/')}")
        if base == STATIONS:
            # Series answer every place on Earth and lines of any length, and know times.
            assert reply.status < 500, (query, reply.body[:200])
            continue
        assert reply.status in (400, 404, 406), (query, reply.status, reply.body[:200])
        assert len(json.loads(reply.body)["detail"]) > 10


def test_there_are_enough_of_them() -> None:
    assert len(set(_BAD_COVERAGES)) + len(set(_BAD_QUERIES)) >= 200


@pytest.mark.parametrize(
    "path",
    [
        "coverage/tiles/Nothing",
        "coverage/tiles/WebMercatorQuad/x/0/0",
        "coverage/tiles/WebMercatorQuad/3/-1/0",
        "coverage/tiles/WebMercatorQuad/3/8/0",
        "coverage/tiles/WebMercatorQuad/99/0/0",
        "coverage/tiles/Nothing/0/0/0",
        "coverage/tiles/WebMercatorQuad/0/0/0?subset=E(1:2)",
        "coverage/tiles/WebMercatorQuad/0/0/0?bbox=1,2,3,4",
        "coverage/tiles/WebMercatorQuad/0/0/0?datetime=2024-01-01",
        "coverage/tiles/WebMercatorQuad/0/0/0?properties=x",
        "coverage/tiles/WebMercatorQuad/0/0/99999999999999999999",
        "locations",
        "locations/a",
        "items",
    ],
)
def test_bad_tiles_and_places(server: Any, path: str) -> None:
    reply = server.get(f"{DEM}/{path}")
    assert reply.status in (400, 404), reply.body[:200]


def test_costly_answers_find_a_place_or_are_sent_away(server: Any, monkeypatch: Any) -> None:
    """Other costly requests hold all places: a large answer is refused for now, a small one is not."""
    services = server.application._services
    url = f"{DEM}/coverage?scale-factor=0.1"
    assert server.get(url).status == 200
    monkeypatch.setattr(services.heavy, "_seconds", 0.01)
    held = []
    while services.heavy._places.acquire(blocking=False):
        held.append(1)
    try:
        refused = server.get(f"{url}&f=netcdf")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert server.get(f"{DEM}/coverage?scale-factor=4").status == 200
        assert server.get(f"{DEM}/position?{quote(_POINT, safe='=')}").status == 200
        assert server.get(f"{STATIONS}/cube?bbox=-180,-90,180,90").status == 503
        assert server.get(f"{STATIONS}/position?coords=POINT(25%2060)").status == 200
    finally:
        for _ in held:
            services.heavy._places.release()


# --- the examples of docs/how-to/read-coverages.md -----------------------------------------------------------------------

_PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "read-coverages.md"
_VARIABLES = dict(re.findall(r"^(\w+)=http://127\.0\.0\.1:8000(\S+)$", _PAGE.read_text(), re.MULTILINE))
_EXAMPLES = re.findall(r'^curl -g "\$(\w+)([^"]*)"', _PAGE.read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, wsgi_client: Any) -> Iterator[Any]:
    """The demo's collections that the page names, small: the same names, places, bands and CRS."""
    home = tmp_path_factory.mktemp("examples")
    settings = load_settings((), {"CHENGTU_DATA_HOME": str(home)})
    with open_registry(settings) as registry:
        for tenant in ("helsinki", "auckland"):
            registry.add_tenant(tenant, tenant.title(), "示例")
        _publish_like_demo(registry, home, "terrain", 1, "float32")
        _publish_like_demo(registry, home, "ortho", 3, "uint8")
        place = Location("quay", "Quay Street", 174.7665, -36.8465)
        rows = [("quay", "pedestrians", 1_709_251_200 + hour * 3600, 5.0 + hour) for hour in range(24)]
        parameter = Parameter("pedestrians", "Pedestrians", "1", "pedestrians")
        _publish_series(registry, home, ("auckland", "pedestrian-counts"), [place], [parameter], rows)
        yield wsgi_client(create_app(settings))


def _publish_like_demo(registry: Registry, home: Path, name: str, bands: int, dtype: str) -> None:
    with staging_folder(home) as folder:
        staged = folder / "generation"
        staged.mkdir()
        values = np.random.default_rng(3).integers(1, 200, (bands, 167, 102)).astype(dtype)
        with rasterio.open(
            staged / "coverage.tif",
            "w",
            driver="GTiff",
            width=102,
            height=167,
            count=bands,
            dtype=dtype,
            crs="EPSG:3879",
            transform=from_origin(25_496_400, 6_674_030, 10, 10),
            photometric="RGB" if bands == 3 else "MINISBLACK",
        ) as out:
            out.write(values)
            box = rasterio.warp.transform_bounds(out.crs, "OGC:CRS84", *out.bounds)
        kept = Representation(RepresentationKind.COVERAGE, "coverage.tif", 0, 0, {})
        crs = "http://www.opengis.net/def/crs/EPSG/0/3879"
        registry.publish(_draft(name, box, crs, tenant="helsinki"), [kept], staged, False)


def test_the_page_has_examples() -> None:
    assert len(_EXAMPLES) > 10


@pytest.mark.parametrize(("variable", "rest"), _EXAMPLES)
def test_an_example_of_the_page_runs(demo: Any, variable: str, rest: str) -> None:
    reply = demo.get(_VARIABLES[variable] + quote(rest, safe="/?&=:,()*"))
    assert reply.status == 200, reply.body[:300]
    assert len(reply.body) > 100


def test_the_profile_has_the_columns_that_the_page_shows(demo: Any) -> None:
    variable, rest = next(one for one in _EXAMPLES if "/trajectory" in one[1])
    lines = demo.get(_VARIABLES[variable] + quote(rest, safe="/?&=:,()*")).body.decode().splitlines()
    assert re.fullmatch(r"longitude,latitude,time,[^,]+,distance", lines[0])
    distances = [float(line.rpartition(",")[2]) for line in lines[1:]]
    assert distances[0] == 0
    assert distances == sorted(distances)
    assert distances[-1] > 500
