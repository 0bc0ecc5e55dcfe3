"""3D Tiles of points over HTTP: every point in a tile that holds it, whatever form is asked for."""

from __future__ import annotations

import json
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest

from pointclouds import ept
from pointclouds.cloud import cloud
from pointclouds.las.layout import dimension
from pointclouds.las.times import utc_of
from pointclouds.tilesets import tileset
from server.identity.decision import Decision
from tiles.three_d.check import CallFiles, inspect_tileset

BASE = "/ogc/collections/demo.{}/3dtiles"


@pytest.fixture(scope="module")
def get(points: Any) -> Any:
    def fetch(url: str) -> bytes:
        reply = points.get(url)
        assert reply.status == 200, (url, reply.status, reply.body[:300])
        return reply.body

    return fetch


def classes_of(cloud: Any) -> Counter[int]:
    found: Counter[int] = Counter()
    for tile in cloud.tiles:
        file = cloud.file(tile)
        for entry in file.entries:
            found.update(file.read_node(entry)["Classification"].tolist())
    return found


def inside(local: Any, box: list[float], slack: float) -> bool:
    centre, half = np.array(box[:3]), np.array(box)[[3, 7, 11]]
    return bool((np.abs(local - centre) <= half + slack).all())


@pytest.mark.parametrize("name", ["scan", "mosaic"])
def test_implicit_tiles_hold_every_point_once(
    name: str, get: Any, walker: Any, read_glb: Any, point_city: Any
) -> None:
    found = walker(get).walk(f"{BASE.format(name)}/tileset.json")
    classes: Counter[int] = Counter()
    for tile in found.tiles:
        glb = read_glb(tile.data)
        classes.update(glb.column("_CLASSIFICATION").tolist())
        step = np.max(glb.document["nodes"][0].get("scale", 0.0))
        assert inside(glb.local(), tile.box, step)
    cloud = point_city.clouds[name]
    assert classes == classes_of(cloud)
    assert sum(classes.values()) == cloud.count
    assert len(found.tiles) == sum(
        int((cloud.file(tile).entries["point_count"] > 0).sum()) for tile in cloud.tiles
    )


@pytest.mark.parametrize("name", ["scan", "mosaic"])
@pytest.mark.parametrize("marks", ["triangles", "points"])
def test_explicit_tiles_hold_every_point_once(
    name: str, marks: str, get: Any, walker: Any, read_glb: Any, point_city: Any
) -> None:
    suffix = "" if marks == "triangles" else "?marks=points"
    found = walker(get).walk(f"{BASE.format(name)}/explicit/tileset.json{suffix}")
    count = 0
    for tile in found.tiles:
        glb = read_glb(tile.data)
        primitive = glb.document["meshes"][0]["primitives"][0]
        assert "extensionsRequired" not in glb.document
        assert glb.column("POSITION").dtype == np.float32
        if marks == "points":
            assert primitive["mode"] == 0
            assert inside(glb.local(), tile.box, 0.001)
            count += glb.count
        else:
            assert primitive["mode"] == 4
            # the middle of a triangle is the point
            assert inside(glb.local().reshape(-1, 3, 3).mean(axis=1), tile.box, 0.001)
            assert glb.count % 3 == 0
            count += glb.count // 3
    assert count == point_city.clouds[name].count


@pytest.mark.parametrize("name", ["scan", "mosaic"])
def test_tiles_of_version_1_0_hold_every_point_once(
    name: str, get: Any, walker: Any, point_city: Any
) -> None:
    found = walker(get).walk(f"{BASE.format(name)}/1.0/tileset.json")
    classes: Counter[int] = Counter()
    for tile in found.tiles:
        sizes = struct.unpack_from("<6I", tile.data, 4)
        assert tile.data[:4] == b"pnts"
        assert sizes[:2] == (1, len(tile.data))
        table = json.loads(tile.data[28 : 28 + sizes[2]])
        start = 28 + sizes[2]
        assert start % 8 == 0
        count = table["POINTS_LENGTH"]
        positions = np.frombuffer(tile.data, "<f4", 3 * count, start).reshape(-1, 3) + table["RTC_CENTER"]
        assert inside(positions, tile.box, 0.001)
        batch = json.loads(tile.data[start + sizes[3] : start + sizes[3] + sizes[4]])
        values = start + sizes[3] + sizes[4]
        codes = np.frombuffer(tile.data, np.uint8, count, values + batch["Classification"]["byteOffset"])
        classes.update(codes.tolist())
    assert classes == classes_of(point_city.clouds[name])


def test_points_are_where_proj_puts_them(get: Any, read_glb: Any, point_city: Any) -> None:
    """A tile in earth-centred coordinates beside the same points taken there by PROJ one by one."""
    cloud = point_city.clouds["scan"]
    document = json.loads(get(f"{BASE.format('scan')}/tileset.json"))
    transform = np.array(document["root"]["transform"]).reshape(4, 4)
    shift = document["asset"]["extras"]["heightOffset"]
    glb = read_glb(get(f"{BASE.format('scan')}/content/0/0/0/0.glb"))
    local = np.column_stack((glb.local(), np.ones(glb.count)))
    file = cloud.file(cloud.tiles[0])
    native = file.coordinates(file.read_node(file.entries[0]))
    to_degrees = pyproj.Transformer.from_crs("EPSG:28992", "EPSG:4979", always_xy=True, allow_ballpark=False)
    to_earth = pyproj.Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    longitude, latitude = to_degrees.transform(native[:, 0], native[:, 1])
    earth = np.stack(to_earth.transform(longitude, latitude, native[:, 2] + shift), axis=1)
    step = np.max(glb.document["nodes"][0].get("scale", 0.0))
    # the undulation of the geoid differs by millimetres over a hundred metres
    assert np.abs((local @ transform)[:, :3] - earth).max() < step + 0.02


def test_what_points_carry(get: Any, read_glb: Any, point_city: Any) -> None:
    cloud = point_city.clouds["scan"]
    file = cloud.file(cloud.tiles[0])
    records = file.read_node(file.entries[0])
    glb = read_glb(get(f"{BASE.format('scan')}/content/0/0/0/0.glb"))
    metadata = glb.document["extensions"]["EXT_structural_metadata"]
    properties = metadata["schema"]["classes"]["point"]["properties"]
    (attribute,) = metadata["propertyAttributes"]
    assert (
        list(properties)
        == list(attribute["properties"])
        == [
            "Classification",
            "Intensity",
            "ReturnNumber",
            "NumberOfReturns",
            "GpsTime",
            "PointSourceId",
        ]
    )
    kinds = {"UINT8": "u1", "UINT16": "u2", "FLOAT32": "f4"}
    for name, one in properties.items():
        values = glb.column(attribute["properties"][name]["attribute"])
        assert values.dtype == np.dtype(kinds[one["componentType"]])
        expected = dimension(records, name)
        stored = values.astype(np.float64) + one.get("offset", 0.0)
        assert np.abs(stored - expected).max() <= (0.001 if name == "GpsTime" else 0)
        assert set(one["extras"]["titles"]) == {"en", "zh"}
    assert properties["GpsTime"]["offset"] == 3.0e8
    assert attribute["properties"]["GpsTime"] == {"attribute": "_GPSTIME"}


def test_dimensions_by_name(get: Any, read_glb: Any, points: Any) -> None:
    url = f"{BASE.format('scan')}/content/0/0/0/0.glb"
    glb = read_glb(get(f"{url}?properties=Height%20Above,Red,ScanAngle"))
    properties = glb.document["extensions"]["EXT_structural_metadata"]["propertyAttributes"][0]["properties"]
    assert properties == {
        "Height_Above": {"attribute": "_HEIGHT_ABOVE"},
        "Red": {"attribute": "_RED"},
        "ScanAngle": {"attribute": "_SCANANGLE"},
    }
    assert glb.column("_HEIGHT_ABOVE").dtype == np.float32
    assert "extensions" not in read_glb(get(f"{url}?properties=")).document
    reply = points.get(f"{url}?properties=Classification,Mood")
    assert reply.status == 400
    assert reply.json["parameter"] == "properties"


@pytest.mark.parametrize("mode", ["class", "height", "rgb", "intensity", "return", "time"])
def test_colours(mode: str, get: Any, read_glb: Any) -> None:
    base = BASE.format("scan")
    document = json.loads(get(f"{base}/tileset.json?colour={mode}"))
    octree = document["root"]["children"][0]
    assert octree["content"]["uri"].endswith(f".glb?colour={mode}")
    assert octree["implicitTiling"]["subtrees"]["uri"].endswith(f".subtree?colour={mode}")
    assert document["metadata"]["properties"]["colourMode"] == mode
    glb = read_glb(get(f"{base}/content/0/0/0/0.glb?colour={mode}"))
    colours = glb.column("COLOR_0")
    assert len(np.unique(colours[:, :3], axis=0)) >= 2
    assert (colours[:, 3] == np.iinfo(colours.dtype).max).all()


CONDITIONS = {
    "filter=Classification%3D6": lambda r, t: r["Classification"] == 6,
    "filter=Classification%3D6%20AND%20Intensity%20%3E%2030000": lambda r, t: (
        (r["Classification"] == 6) & (r["Intensity"] > 30_000)
    ),
    "filter=Classification%3D99": lambda r, t: np.zeros(len(r), bool),
    "ReturnNumber=1": lambda r, t: (r["Returns"] & 15) == 1,
    "bbox=84920,447500,84950,447530&bbox-crs=http%3A%2F%2Fwww.opengis.net%2Fdef%2Fcrs%2FEPSG%2F0%2F28992": lambda r, t: (
        (t[:, 0] >= 84920) & (t[:, 0] <= 84950) & (t[:, 1] >= 447500) & (t[:, 1] <= 447530)
    ),
}


@pytest.mark.parametrize(
    ("name", "form", "condition"),
    [
        *(("scan", "", condition) for condition in CONDITIONS),
        *(("mosaic", "", condition) for condition in list(CONDITIONS)[1:3]),
        ("mosaic", "", list(CONDITIONS)[4]),
        ("mosaic", "explicit/", list(CONDITIONS)[4]),
    ],
)
def test_filtered_tiles_hold_the_points_that_match(
    name: str, condition: str, form: str, get: Any, walker: Any, read_glb: Any, point_city: Any
) -> None:
    cloud = point_city.clouds[name]
    expected = 0
    for tile in cloud.tiles:
        file = cloud.file(tile)
        for entry in file.entries:
            records = file.read_node(entry)
            expected += int(CONDITIONS[condition](records, file.coordinates(records)).sum())
    found = walker(get).walk(f"{BASE.format(name)}/{form}tileset.json?{condition}")
    whole = sum(int((cloud.file(tile).entries["point_count"] > 0).sum()) for tile in cloud.tiles)
    count = sum(read_glb(tile.data).count for tile in found.tiles)
    assert count // (3 if form else 1) == expected
    assert expected or not found.tiles
    assert len(found.tiles) < whole or "bbox" not in condition


def test_instants(get: Any, walker: Any, read_glb: Any, point_city: Any) -> None:
    """GPS times are dates here: a half hour is asked for."""
    half = utc_of(np.array([3.0e8 + 1800.0]))[0]
    found = walker(get).walk(f"{BASE.format('scan')}/tileset.json?datetime=../{half}Z")
    count = sum(read_glb(tile.data).count for tile in found.tiles)
    cloud = point_city.clouds["scan"]
    file = cloud.file(cloud.tiles[0])
    times = np.concatenate([file.read_node(entry)["GpsTime"] for entry in file.entries])
    assert abs(count - int((times <= 3.0e8 + 1800.0).sum())) <= 1


def test_a_mosaic_shows_its_overview_until_its_tiles_come(
    get: Any, walker: Any, read_glb: Any, point_city: Any
) -> None:
    cloud = point_city.clouds["mosaic"]
    found = walker(get).walk(f"{BASE.format('mosaic')}/tileset.json")
    document = json.loads(get(f"{BASE.format('mosaic')}/tileset.json"))
    assert document["root"]["refine"] == "REPLACE"
    top = read_glb(found.overviews[0].data)
    assert 0 < top.count <= cloud.overview.count
    for tile in found.overviews:
        glb = read_glb(tile.data)
        step = np.max(glb.document["nodes"][0].get("scale", 0.0))
        assert inside(glb.local(), tile.box, step + 0.001)

    def check(tile: dict[str, Any], above: dict[str, Any] | None) -> None:
        # what REPLACEs must have something to show, or be replaced by what does
        assert "content" in tile
        if above is not None:
            assert tile["geometricError"] <= above["geometricError"]
        for child in tile.get("children", ()):
            check(child, tile)

    check(document["root"], None)


def test_both_lanes_answer_alike(points: Any, slow_points: Any) -> None:
    for name in ("content/0/0/0/0.glb", "subtrees/0/0/0/0.subtree"):
        url = f"{BASE.format('scan')}/{name}"
        for headers in ({"ACCEPT_ENCODING": "gzip"}, {}):
            fast, slow = points.get(url, **headers), slow_points.get(url, **headers)
            assert fast.status == slow.status == 200
            assert fast.body == slow.body
            assert fast.headers == slow.headers
        etag = points.get(url, ACCEPT_ENCODING="gzip").headers["ETag"]
        for client in (points, slow_points):
            assert client.get(url, ACCEPT_ENCODING="gzip", IF_NONE_MATCH=etag).status == 304


def test_looks_have_validators_of_their_own(points: Any) -> None:
    url = f"{BASE.format('scan')}/content/0/0/0/0.glb"
    suffixes = ("", "?colour=height", "?properties=Intensity", "?filter=Classification%3D2")
    tags = {points.get(f"{url}{suffix}").headers["ETag"] for suffix in suffixes}
    assert len(tags) == len(suffixes)


def test_the_bare_address(points: Any) -> None:
    document = points.json(BASE.format("scan"))
    assert document["root"]["children"][0]["content"]["uri"] == "3dtiles/content/{level}/{x}/{y}/{z}.glb"


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("colour=mood", "colour"),
        ("colour=class&colour=rgb", "colour"),
        ("colour=", "colour"),
        ("marks=points", "marks"),
        ("limit=3", "limit"),
        ("bbox=1,2,3", "bbox"),
        ("filter=Nothing%3D1", "filter"),
        ("filter=(((", "filter"),
        ("filter-lang=cql", "filter-lang"),
        ("datetime=yesterday", "datetime"),
        ("nonsense=1", "nonsense"),
    ],
)
@pytest.mark.parametrize("file", ["tileset.json", "content/0/0/0/0.glb", "subtrees/0/0/0/0.subtree"])
def test_bad_parameters(query: str, parameter: str, file: str, points: Any) -> None:
    reply = points.get(f"{BASE.format('scan')}/{file}?{query}")
    assert reply.status == 400, reply.body[:300]
    assert reply.json["parameter"] == parameter
    assert reply.json["allowed"]


@pytest.mark.parametrize("collection", ["scan", "mosaic"])
def test_names_that_are_none(collection: str, points: Any) -> None:
    """Whatever is asked for, it is there or it is not: never a defect."""
    random = np.random.default_rng(5)
    parts = ["content", "subtrees", "tiles", "t0_0", "overview", "groups", "g", "g0", "explicit", "1.0"]
    parts += ["0", "1", "5", "99", "9999999", "-1", "x", "..", "%2e%2e", "%00", "０", "tileset.json", "0.glb"]
    parts += ["0.subtree", "0.pnts", "4-0-0-0.json", "points.json", "", "a" * 300]
    statuses = set()
    for _ in range(400):
        chosen = random.choice(parts, random.integers(1, 7))
        reply = points.get(f"{BASE.format(collection)}/{'/'.join(chosen)}")
        statuses.add(reply.status)
        assert reply.status in (200, 308, 404), ("/".join(chosen), reply.status)
    assert 404 in statuses
    assert points.get(f"{BASE.format(collection)}/points.json").status == 404


def test_rights(points: Any, point_city: Any) -> None:
    url = f"{BASE.format('secret')}/content/0/0/0/0.glb"
    assert points.get(url, ACCEPT_ENCODING="gzip").status == 404
    reply = points.get(url, ACCEPT_ENCODING="gzip", AUTHORIZATION=f"Bearer {point_city.token}")
    assert reply.status == 200
    assert "private" in reply.headers["Cache-Control"]
    assert points.get(url, ACCEPT_ENCODING="gzip").status == 404


def test_hidden_dimensions_and_an_area(
    monkeypatch: pytest.MonkeyPatch, points: Any, read_glb: Any, point_city: Any
) -> None:
    west, south, _, east, north, _ = json.loads(
        next(point_city.home.rglob("scan/*/3dtiles/points.json")).read_text()
    )["bbox84"]
    middle = (west + east) / 2
    area = f"POLYGON(({west} {south}, {middle} {south}, {middle} {north}, {west} {north}, {west} {south}))"
    limited = Decision(True, frozenset({"Classification", "Intensity"}), area, "limited")
    monkeypatch.setattr("server.http.services.decide", lambda *_args: limited)
    base = BASE.format("scan")
    document = points.json(f"{base}/tileset.json")
    assert document["metadata"]["properties"]["colourMode"] == "height"
    glb = read_glb(points.get(f"{base}/content/0/0/0/0.glb").body)
    assert "_INTENSITY" not in glb.attributes
    assert "_CLASSIFICATION" not in glb.attributes
    assert glb.count > 0
    # the frame's x is the CRS's: the western half of the points
    assert glb.local()[:, 0].max() < 2.0
    for query in ("colour=class", "properties=Intensity", "filter=Classification%3D2", "Intensity=3"):
        assert points.get(f"{base}/tileset.json?{query}").status == 400
    for path in ("ept/ept.json", "ept/ept-data/0-0-0-0.laz"):
        assert points.get(f"/ogc/collections/demo.scan/{path}").status == 403


def test_a_cloud_that_is_gone_or_damaged(points: Any, point_city: Any) -> None:
    path = point_city.clouds["broken"].path
    whole = path.read_bytes()
    names = ("3dtiles/tileset.json", "3dtiles/content/0/0/0/0.glb", "3dtiles/explicit/tileset.json")
    names += ("ept/ept.json", "ept/ept-data/0-0-0-0.laz", "ept/ept-hierarchy/0-0-0-0.json")
    for damaged in (None, whole[:200], whole[: len(whole) // 2], whole[:-1], b"x" * 1000):
        path.unlink(missing_ok=True)
        if damaged is not None:
            path.write_bytes(damaged)
        forget(path)
        for name in names:
            reply = points.get(f"/ogc/collections/demo.broken/{name}", ACCEPT_ENCODING="gzip")
            assert reply.status == 503, (name, reply.status, reply.body[:300])
            assert reply.headers["Content-Type"].startswith("application/problem+json")
            assert str(point_city.home) not in reply.body.decode()


def forget(path: Path) -> None:
    """What this process holds of a file, as another process would begin."""
    for kept in (cloud._FILES, cloud._NODES, cloud._CLOUDS):
        kept._values.clear()
    tileset._TILESETS._values.clear()
    tileset._OCTREES._values.clear()
    ept._VIEWS._views.clear()


@pytest.mark.parametrize(
    "path",
    [
        *(
            f"collections/demo.{name}/3dtiles/{form}tileset.json{query}"
            for name in ("scan", "mosaic")
            for form, query in (("", ""), ("explicit/", ""), ("1.0/", ""))
        ),
        "collections/demo.scan/3dtiles/explicit/tileset.json?marks=points",
        "collections/demo.scan/3dtiles/tileset.json?colour=rgb&filter=Classification%3D6",
        "3dtiles/tileset.json?collections=demo.scan,demo.mosaic",
    ],
)
def test_the_checker_finds_nothing(path: str, points: Any) -> None:
    def fetch(address: str) -> bytes | None:
        reply = points.get(f"/{address}")
        assert reply.status in (200, 404), (address, reply.status)
        return reply.body if reply.status == 200 else None

    report = inspect_tileset(CallFiles(fetch), f"ogc/{path}")
    assert [str(one) for one in report.findings] == []
    assert report.counts["contents"] > 1
