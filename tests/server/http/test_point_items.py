"""Points over HTTP: every format against a plain selection over the whole file, pages, ids, statistics, rights, bad requests."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import laspy
import numpy as np
import pyarrow as pa
import pyproj
import pytest

from pointclouds.build.build import build_copc
from pointclouds.build.summary import summarize_nodes
from pointclouds.cloud.cloud import open_file, open_nodes
from pointclouds.las.times import gps_of
from pointclouds.sources import LasSource
from server.http.app import create_app
from server.identity.decision import Decision
from server.registry.catalogue import Access, Representation, RepresentationKind
from server.registry.drafts import CollectionDraft
from server.registry.registry import open_registry
from server.registry.staging import staging_folder
from server.settings import load_settings

BASE = "/t/demo/ogc/collections/scan"
NATIVE = "http://www.opengis.net/def/crs/EPSG/0/28992"
COUNT = 12_000
WEST, SOUTH, SIZE = 84900.0, 447500.0, 200.0


def write_scan(path: Path) -> Path:
    """A slope with a roof in its middle; GPS times on 2025-05-01 from noon on, an extra dimension."""
    import datetime

    header = laspy.LasHeader(point_format=7, version="1.4")
    header.scales, header.offsets = [0.001] * 3, [WEST, SOUTH, 0.0]
    header.global_encoding.gps_time_type = laspy.header.GpsTimeType.STANDARD
    header.add_extra_dim(laspy.ExtraBytesParams("Amplitude", "uint16"))
    header.add_crs(pyproj.CRS("EPSG:28992"))
    las = laspy.LasData(header)
    random = np.random.default_rng(11)
    las.x, las.y = WEST + random.uniform(0, SIZE, COUNT), SOUTH + random.uniform(0, SIZE, COUNT)
    roof = (abs(np.asarray(las.x) - WEST - 100) < 40) & (abs(np.asarray(las.y) - SOUTH - 100) < 40)
    las.z = 2 + 0.02 * (np.asarray(las.x) - WEST) + np.where(roof, 9, 0)
    las.classification = np.where(roof, 6, np.where(random.random(COUNT) < 0.2, 5, 2))
    las.intensity = random.integers(0, 1000, COUNT)
    las.number_of_returns = random.integers(1, 4, COUNT)
    las.return_number = np.minimum(random.integers(1, 4, COUNT), las.number_of_returns)
    las.scan_angle = random.integers(-3000, 3000, COUNT)
    las.point_source_id = random.integers(1, 4, COUNT)
    las.red, las.green, las.blue = (random.integers(0, 65535, COUNT) for _ in range(3))
    las["Amplitude"] = random.integers(0, 500, COUNT)
    start = gps_of(datetime.datetime(2025, 5, 1, 12, tzinfo=datetime.UTC))
    las.gps_time = start + np.sort(random.uniform(0, 600, COUNT))
    las.write(path)
    return path


@dataclass
class PointCity:
    """A server with one public point cloud, and all its points as laspy reads them."""

    home: Path
    client: Any
    points: laspy.LasData

    @property
    def x(self) -> Any:
        return np.asarray(self.points.x)

    @property
    def y(self) -> Any:
        return np.asarray(self.points.y)

    @property
    def z(self) -> Any:
        return np.asarray(self.points.z)


@pytest.fixture(scope="module")
def points_city(tmp_path_factory: pytest.TempPathFactory, wsgi_client: Any) -> Iterator[PointCity]:
    home = tmp_path_factory.mktemp("points")
    source = write_scan(home / "scan.laz")
    settings = load_settings((), {"CHENGTU_DATA_HOME": str(home), "CHENGTU_POINTS_GEOJSON_POINTS": "500"})
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", "示例")
        for name, access in (("scan", Access.PUBLIC), ("secret", Access.PRIVATE)):
            _publish(registry, home, source, name, access)
        yield PointCity(home, wsgi_client(create_app(settings)), laspy.read(source))


def _publish(registry: Any, home: Path, source: Path, name: str, access: Access) -> None:
    with staging_folder(home) as folder:
        staged = folder / "generation"
        staged.mkdir()
        file = staged / "pointcloud.copc.laz"
        build_copc([LasSource(source)], file, processes=1, leaf_points=1000, grid_cells=32)
        summary = summarize_nodes(open_file(file), open_nodes(file))
        draft = CollectionDraft(
            tenant="demo",
            id=name,
            titles={"en": "A scan"},
            bbox=tuple(summary.bbox84),
            storage_crs=summary.crs_identifier,
            access=access,
            attribution="© the makers of this test",
            licence="CC0-1.0",
        )
        kind = RepresentationKind.POINT_CLOUD
        registry.publish(draft, [Representation(kind, file.name, 0, 0, summary.properties())], staged, False)


def url(**parameters: Any) -> str:
    """The address of points with these parameters; `_` stands for `-`."""
    return f"{BASE}/points?" + "&".join(
        f"{name.replace('_', '-')}={quote(str(value))}" for name, value in parameters.items()
    )


SELECTIONS: list[tuple[dict[str, Any], Any]] = [
    (
        {"bbox": "84950.5,447520,85020,447600.25", "bbox_crs": NATIVE},
        lambda c: (c.x >= 84950.5) & (c.x <= 85020) & (c.y >= 447520) & (c.y <= 447600.25),
    ),
    (
        {"bbox": "84950,447520,2.5,85020,447600,12.6", "bbox_crs": NATIVE},
        lambda c: (c.x >= 84950) & (c.x <= 85020) & (c.y >= 447520) & (c.y <= 447600) & (c.z >= 2.5) & (c.z <= 12.6),
    ),
    ({"filter": "Classification = 6 AND Intensity > 500"}, lambda c: (c.points.classification == 6) & (c.points.intensity > 500)),
    ({"filter": "NOT (Classification IN (2, 6)) OR Amplitude < 20"}, lambda c: (c.points.classification == 5) | (c.points["Amplitude"] < 20)),
    ({"filter": "Z BETWEEN 3.5 AND 12 AND ReturnNumber = NumberOfReturns"}, lambda c: (c.z >= 3.5) & (c.z <= 12) & (c.points.return_number == c.points.number_of_returns)),
    ({"filter": "ABS(ScanAngle) > 12"}, lambda c: np.abs(np.asarray(c.points.scan_angle) * 0.006) > 12),
    ({"filter": "Red * 2 > Green + Blue"}, lambda c: np.asarray(c.points.red, float) * 2 > np.asarray(c.points.green, float) + np.asarray(c.points.blue, float)),
    ({"Classification": 5}, lambda c: c.points.classification == 5),
    ({"datetime": "2025-05-01T12:01:00Z/2025-05-01T12:03:00Z"}, lambda c: (_seconds(c) >= 60) & (_seconds(c) < 180.001)),
    ({"filter": "GpsTime >= TIMESTAMP('2025-05-01T12:09:00Z')"}, lambda c: _seconds(c) >= 540),
    ({"filter": "datetime < TIMESTAMP('2025-05-01T12:00:30Z')"}, lambda c: _seconds(c) < 30),
    (
        {"filter": "S_INTERSECTS(geometry, POLYGON((84910 447510, 85090 447530, 84990 447690, 84910 447510)))", "filter_crs": NATIVE},
        lambda c: _inside(c, [(84910, 447510), (85090, 447530), (84990, 447690)]),
    ),
    ({"filter": '{"op":"=","args":[{"property":"PointSourceId"},2]}', "filter_lang": "cql2-json"}, lambda c: c.points.point_source_id == 2),
    ({"filter": "Classification = 6 AND Classification = 2"}, lambda c: np.zeros(COUNT, bool)),
    ({}, lambda c: np.ones(COUNT, bool)),
]  # fmt: skip


def _seconds(city: PointCity) -> Any:
    import datetime

    noon = gps_of(datetime.datetime(2025, 5, 1, 12, tzinfo=datetime.UTC))
    return np.asarray(city.points.gps_time) - noon


def _inside(city: PointCity, corners: list[tuple[float, float]]) -> Any:
    import shapely

    return shapely.intersects_xy(shapely.Polygon(corners), city.x, city.y)


def _rows(*columns: Any) -> Any:
    """Columns as sorted rows of thousandths, for comparing sets of points."""
    rows = np.stack([np.rint(np.asarray(column, np.float64) * 1000) for column in columns], axis=1)
    return rows[np.lexsort(rows.T)]


def _expected(city: PointCity, mask: Any) -> Any:
    las = city.points
    columns = (city.x, city.y, city.z, las.classification, las.intensity, las["Amplitude"], las.red)
    return _rows(*(np.asarray(column)[mask] for column in columns))


def _of_las(body: bytes) -> Any:
    las = laspy.read(io.BytesIO(body))
    return _rows(las.x, las.y, las.z, las.classification, las.intensity, las["Amplitude"], las.red)


def _of_csv(body: bytes) -> Any:
    rows = list(csv.DictReader(io.StringIO(body.decode(), newline="")))
    names = ("X", "Y", "Z", "Classification", "Intensity", "Amplitude", "Red")
    return _rows(*([float(row[name]) for row in rows] for name in names))


def _of_ply(body: bytes) -> Any:
    header, _, data = body.partition(b"end_header\n")
    kinds = {"double": "<f8", "uchar": "u1", "ushort": "<u2", "short": "<i2"}
    lines = [line.split() for line in header.decode().splitlines()]
    count = next(int(line[2]) for line in lines if line[0] == "element")
    dtype = np.dtype([(line[2], kinds[line[1]]) for line in lines if line[0] == "property"])
    points = np.frombuffer(data, dtype)
    assert len(points) == count
    return _rows(
        *(points[name] for name in ("x", "y", "z", "classification", "intensity", "amplitude", "red"))
    )


def _of_arrow(body: bytes) -> Any:
    table = pa.ipc.open_stream(body).read_all()
    place = table["geometry"].combine_chunks()
    columns = [table[name].to_numpy() for name in ("Classification", "Intensity", "Amplitude", "Red")]
    return _rows(*(place.field(axis).to_numpy() for axis in "xyz"), *columns)


READERS = {
    "laz": _of_las,
    "las": _of_las,
    "csv": _of_csv,
    "ply": _of_ply,
    "arrow": _of_arrow,
    "copc": _of_las,
}


@pytest.mark.parametrize("form", READERS)
@pytest.mark.parametrize(("parameters", "select"), SELECTIONS, ids=range(len(SELECTIONS)))
def test_formats_give_the_points_asked_for(
    points_city: PointCity, form: str, parameters: dict[str, Any], select: Any
) -> None:
    if form == "copc" and len(parameters) != 2:
        return  # one build of each kind of question is enough
    wanted = _expected(points_city, select(points_city))
    reply = points_city.client.get(url(**parameters, f=form))
    assert reply.status == 200, reply.body
    found = READERS[form](reply.body)
    assert found.shape == wanted.shape
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize(("parameters", "select"), SELECTIONS, ids=range(len(SELECTIONS)))
def test_statistics_are_those_of_the_points(
    points_city: PointCity, parameters: dict[str, Any], select: Any
) -> None:
    mask, las = select(points_city), points_city.points
    found = points_city.client.json(url(**parameters).replace("/points?", "/points/statistics?"))
    assert found["count"] == mask.sum()
    codes, numbers = np.unique(np.asarray(las.classification)[mask], return_counts=True)
    assert {one["code"]: one["count"] for one in found["classes"]} == dict(
        zip(codes.tolist(), numbers.tolist(), strict=True)
    )
    assert found["exact"]
    if not mask.any():
        assert found["dimensions"] == {}
        return
    intensity = np.asarray(las.intensity)[mask].astype(float)
    spans = found["dimensions"]["Intensity"]
    assert (spans["minimum"], spans["maximum"]) == (intensity.min(), intensity.max())
    assert spans["mean"] == pytest.approx(intensity.mean())
    assert spans["deviation"] == pytest.approx(intensity.std())
    heights = found["dimensions"]["Z"]
    assert heights["minimum"] == pytest.approx(points_city.z[mask].min(), abs=1e-9)


def test_statistics_of_all_read_nothing(points_city: PointCity) -> None:
    found = points_city.client.json(f"{BASE}/points/statistics?lang=en")
    assert (found["pointsRead"], found["count"]) == (0, COUNT)
    assert {one["code"]: one["name"] for one in found["classes"]}[6] == "Building"
    assert found["gpsTime"]["interval"][0].startswith("2025-05-01T12:00:0")
    assert found["density"]["pointsPerSquareMetre"] == pytest.approx(COUNT / SIZE**2, rel=0.01)
    box = points_city.client.json(
        f"{BASE}/points/statistics?bbox=84905,447505,84980,447580&bbox-crs={NATIVE}"
    )
    assert 0 < box["pointsRead"] < COUNT


# --- pages ---------------------------------------------------------------------------------------------------------------


def _walk(city: PointCity, address: str) -> list[Any]:
    features: list[Any] = []
    while True:
        page = city.client.json(address)
        assert page["numberReturned"] == len(page["features"])
        features += page["features"]
        following = [link["href"] for link in page["links"] if link["rel"] == "next"]
        if not following:
            return features
        address = following[0].removeprefix("http://city.example:8000")


@pytest.mark.parametrize(
    "parameters",
    [
        {"filter": "Classification = 6 AND Intensity > 500", "limit": 100},
        {"filter": "Classification = 6 AND Intensity > 500", "limit": 100, "max_points": 333},
        {"bbox": "84950,447520,85020,447600", "bbox_crs": NATIVE, "limit": 499},
    ],
)
def test_pages_hold_every_point_once(points_city: PointCity, parameters: dict[str, Any]) -> None:
    features = _walk(points_city, url(**parameters, crs=NATIVE))
    ids = [feature["id"] for feature in features]
    assert len(set(ids)) == len(ids)
    again = _walk(points_city, url(**parameters, crs=NATIVE) + "&properties=Classification")
    assert [feature["id"] for feature in again] == ids
    mask = SELECTIONS[2][1](points_city) if "filter" in parameters else (
        (points_city.x >= 84950) & (points_city.x <= 85020) & (points_city.y >= 447520) & (points_city.y <= 447600)
    )  # fmt: skip
    assert len(ids) == min(mask.sum(), parameters.get("max_points", COUNT))
    found = np.array([feature["geometry"]["coordinates"] for feature in features])
    rows = {tuple(row) for row in _rows(*found.T)}
    assert rows <= {
        tuple(row) for row in _rows(points_city.x[mask], points_city.y[mask], points_city.z[mask])
    }


def test_a_page(points_city: PointCity) -> None:
    reply = points_city.client.get(url(limit=3))
    page = json.loads(reply.body)
    assert reply.headers["Content-Type"] == "application/geo+json"
    assert (page["numberMatched"], page["numberReturned"]) == (COUNT, 3)
    feature = page["features"][0]
    assert set(feature["properties"]) >= {
        "Classification",
        "Intensity",
        "GpsTime",
        "Amplitude",
        "Red",
        "datetime",
    }
    assert feature["properties"]["datetime"].startswith("2025-05-01T12:0")
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:28992", always_xy=True).transform(
        *feature["geometry"]["coordinates"][:2]
    )
    assert np.hypot(points_city.x - x, points_city.y - y).min() < 0.001
    one = points_city.client.json(f"{BASE}/points/{feature['id']}")
    assert one["geometry"] == feature["geometry"]
    assert one["properties"] == feature["properties"]
    assert points_city.client.json(f"{BASE}/items/{feature['id']}")["id"] == feature["id"]
    assert points_city.client.json(f"{BASE}/items?limit=3")["features"] == page["features"]


def test_limits(points_city: PointCity) -> None:
    get = points_city.client.json
    assert get(url(limit=500))["numberReturned"] == 500
    assert get(url(limit=501))["numberReturned"] == 500
    assert get(url())["numberReturned"] == 10
    assert get(url(max_points=7, limit=100))["numberReturned"] == 7
    for most in (1, 999, COUNT, COUNT + 1):
        las = laspy.read(io.BytesIO(points_city.client.get(url(max_points=most, f="laz")).body))
        assert len(las) == min(most, COUNT)
    assert len(laspy.read(io.BytesIO(points_city.client.get(url(limit=5, f="laz")).body))) == 5


def test_a_resolution_takes_coarse_levels_only(points_city: PointCity) -> None:
    counts = [
        len(laspy.read(io.BytesIO(points_city.client.get(url(resolution=metres, f="laz")).body)))
        for metres in (1000, 7, 5, 0.001)
    ]
    assert counts == sorted(counts)
    assert 0 < counts[0] == counts[1] < counts[2] == counts[3] == COUNT


def test_a_box_in_degrees_and_other_systems(points_city: PointCity) -> None:
    to_degrees = pyproj.Transformer.from_crs("EPSG:28992", "OGC:CRS84", always_xy=True)
    longitude, latitude = to_degrees.transform(points_city.x, points_city.y)
    west, east = np.quantile(longitude, (0.3, 0.7))
    south, north = np.quantile(latitude, (0.2, 0.6))
    inside = (longitude >= west) & (longitude <= east) & (latitude >= south) & (latitude <= north)
    box = f"{west},{south},{east},{north}"
    assert (
        points_city.client.json(url(bbox=box).replace("points?", "points/statistics?"))["count"]
        == inside.sum()
    )
    swapped = f"{south},{west},{north},{east}"
    system = "http://www.opengis.net/def/crs/EPSG/0/4326"
    address = url(bbox=swapped, bbox_crs=system).replace("points?", "points/statistics?")
    assert points_city.client.json(address)["count"] == inside.sum()
    whole = url(bbox="-180,-90,180,90").replace("points?", "points/statistics?")
    assert points_city.client.json(whole)["count"] == COUNT
    assert points_city.client.json(url(bbox="10,10,11,11"))["features"] == []
    across = url(bbox="170,50,5,60").replace("points?", "points/statistics?")
    assert points_city.client.json(across)["count"] == (longitude <= 5).sum()


def test_coordinates_in_other_systems(points_city: PointCity) -> None:
    mercator = "http://www.opengis.net/def/crs/EPSG/0/3857"
    page = points_city.client.get(url(crs=mercator, limit=5))
    assert page.headers["Content-Crs"] == f"<{mercator}>"
    transform = pyproj.Transformer.from_crs(
        "EPSG:28992", mercator.replace("http://www.opengis.net/def/crs/EPSG/0/", "EPSG:"), always_xy=True
    )
    x, y = transform.transform(points_city.x, points_city.y)
    for feature in json.loads(page.body)["features"]:
        first, second, _ = feature["geometry"]["coordinates"]
        assert np.hypot(x - first, y - second).min() < 0.001
    table = pa.ipc.open_stream(points_city.client.get(url(crs=mercator, f="arrow", limit=5)).body).read_all()
    assert np.hypot(x - table["geometry"].combine_chunks().field("x")[0].as_py(), 0).min() < 0.001
    assert points_city.client.get(url(crs=mercator, f="laz")).status == 400
    assert points_city.client.get(url(crs=NATIVE, f="laz", limit=5)).status == 200


def test_multipoint(points_city: PointCity) -> None:
    document = points_city.client.json(url(filter="Classification = 6", crs=NATIVE, f="multipoint"))
    assert document["geometry"]["type"] == "MultiPoint"
    mask = points_city.points.classification == 6
    found = np.array(document["geometry"]["coordinates"])
    assert np.array_equal(
        _rows(*found.T), _rows(points_city.x[mask], points_city.y[mask], points_city.z[mask])
    )


def test_fewer_dimensions(points_city: PointCity) -> None:
    feature = points_city.client.json(url(properties="Classification,Amplitude", limit=1))["features"][0]
    assert set(feature["properties"]) == {"Classification", "Amplitude"}
    las = laspy.read(io.BytesIO(points_city.client.get(url(properties="Classification", f="laz")).body))
    assert las.point_format.id == 6
    assert list(las.point_format.extra_dimension_names) == []
    assert not np.asarray(las.intensity).any()
    assert set(np.asarray(las.classification)) == {2, 5, 6}
    header = points_city.client.get(url(properties="", f="csv", limit=1)).body.splitlines()[0]
    assert header == b"X,Y,Z"


def test_whole_nodes_are_copied(points_city: PointCity) -> None:
    """The chunks of the answer to everything are the file's own, byte for byte."""
    body = points_city.client.get(url(f="laz")).body
    (file,) = points_city.home.glob("**/scan/**/pointcloud.copc.laz")
    copc = open_file(file)
    for entry in copc.entries[copc.entries["point_count"] > 0]:
        assert copc.read_chunk(entry) in body


# --- formats, caching, rights --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("application/vnd.laszip", "application/vnd.laszip"),
        ("application/vnd.las", "application/vnd.las"),
        ("application/x-ply", "application/x-ply"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream"),
        ("application/vnd.laszip+copc", "application/vnd.laszip+copc"),
        ("application/geo+json", "application/geo+json"),
        ("*/*", "application/geo+json"),
    ],
)
def test_formats_by_accept(points_city: PointCity, accept: str, media_type: str) -> None:
    reply = points_city.client.get(url(max_points=10), Accept=accept)
    assert (reply.status, reply.headers["Content-Type"]) == (200, media_type)
    assert "Accept" in reply.headers["Vary"]


@pytest.mark.parametrize("form", ["geojson", "laz", "csv"])
def test_validators(points_city: PointCity, form: str) -> None:
    first = points_city.client.get(url(limit=20, f=form))
    again = points_city.client.get(url(limit=20, f=form), **{"If_None_Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    other = points_city.client.get(url(limit=21, f=form), **{"If_None_Match": first.headers["ETag"]})
    assert other.status == 200
    head = points_city.client.request("HEAD", url(limit=20, f=form))
    assert (head.status, head.body, head.headers["ETag"]) == (200, b"", first.headers["ETag"])
    if form != "geojson":
        assert 'filename="scan.' in first.headers["Content-Disposition"]
    packed = points_city.client.get(url(limit=20, f="csv"), Accept_Encoding="gzip")
    assert packed.headers.get("Content-Encoding") == "gzip"


def test_large_answers_are_sent_while_they_are_made(
    points_city: PointCity, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = points_city.client.get(url(f="laz")).body
    monkeypatch.setattr("server.http.ogc.points._AT_ONCE", 100)
    for form in ("laz", "csv", "ply", "arrow"):
        reply = points_city.client.get(url(f=form))
        assert reply.status == 200
        assert "Content-Length" not in reply.headers
        assert len(READERS[form](reply.body)) == COUNT
        head = points_city.client.request("HEAD", url(f=form))
        assert (head.status, head.body) == (200, b"")
    assert points_city.client.get(url(f="laz")).body == whole


@pytest.mark.parametrize("rows", [1, 7])
def test_text_is_made_of_few_points_at_a_time(
    points_city: PointCity, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    asked = [url(f=form, filter="Classification = 6") for form in ("csv", "multipoint")]
    whole = [points_city.client.get(address).body for address in asked]
    monkeypatch.setattr("pointclouds.writing.columns._ROWS", rows)
    assert [points_city.client.get(address).body for address in asked] == whole


def test_a_private_cloud_is_not_there(points_city: PointCity) -> None:
    for path in ("points", "items", "points/statistics", "points/pointcloud.0-0-0-0.0"):
        assert points_city.client.get(f"/t/demo/ogc/collections/secret/{path}").status == 404


@pytest.fixture
def limited(points_city: PointCity, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The rights of one who sees no intensity, no amplitude, and only the west."""
    west, south, east, north = 4.0, 51.0, 4.3668, 53.0
    area = f"POLYGON(({west} {south}, {east} {south}, {east} {north}, {west} {north}, {west} {south}))"
    decision = Decision(True, frozenset(("Intensity", "Amplitude")), area, "limited")
    monkeypatch.setattr("server.http.services.decide", lambda *_: decision)
    to_degrees = pyproj.Transformer.from_crs("EPSG:28992", "OGC:CRS84", always_xy=True)
    return to_degrees.transform(points_city.x, points_city.y)[0] <= east


def test_hidden_dimensions_and_places(points_city: PointCity, limited: Any) -> None:
    assert 100 < limited.sum() < COUNT - 100
    get = points_city.client.get
    las = laspy.read(io.BytesIO(get(url(f="laz")).body))
    assert len(las) == limited.sum()
    assert not np.asarray(las.intensity).any()
    assert "Amplitude" not in list(las.point_format.extra_dimension_names)
    found = points_city.client.json(f"{BASE}/points/statistics")
    assert found["count"] == limited.sum()
    assert not {"Intensity", "Amplitude"} & set(found["dimensions"])
    feature = points_city.client.json(url(limit=1))["features"][0]
    assert not {"Intensity", "Amplitude"} & set(feature["properties"])
    for parameters in ({"filter": "Intensity > 5"}, {"Intensity": 5}, {"properties": "Amplitude"}):
        reply = get(url(**parameters))
        assert reply.status == 400
        allowed = json.loads(reply.body)["allowed"]
        assert "Intensity" not in allowed.replace(parameters.get("properties", ""), "")
    assert get(url(limit=1)).headers["Cache-Control"].startswith("private")


def test_a_point_outside_the_area_is_not_there(
    points_city: PointCity, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = _walk(
        points_city, url(bbox=f"{WEST + 190},{SOUTH},{WEST + 200},{SOUTH + 200}", bbox_crs=NATIVE, limit=500)
    )
    assert points_city.client.get(f"{BASE}/points/{features[0]['id']}").status == 200
    area = "POLYGON((4 51, 4.3660 51, 4.3660 53, 4 53, 4 51))"
    monkeypatch.setattr("server.http.services.decide", lambda *_: Decision(True, frozenset(), area, "west"))
    assert points_city.client.get(f"{BASE}/points/{features[0]['id']}").status == 404


# --- bad requests --------------------------------------------------------------------------------------------------------

BAD = [
    ({"bbox": "1,2,3"}, "bbox"), ({"bbox": "a,b,c,d"}, "bbox"), ({"bbox": "5,3,4,2"}, "bbox"), ({"bbox": "1,2,9,3,4,5"}, "bbox"),
    ({"bbox": "nan,1,2,3"}, "bbox"), ({"bbox": "1,2,1e999,3"}, "bbox"), ({"bbox": "-190,2,3,3"}, "bbox"),
    ({"bbox_crs": NATIVE}, "bbox-crs"), ({"bbox": "1,2,3,4", "bbox_crs": "EPSG:x"}, "bbox-crs"),
    ({"bbox": "9,9,1,1", "bbox_crs": NATIVE}, "bbox"), ({"crs": "nope"}, "crs"), ({"limit": "0"}, "limit"), ({"limit": "-1"}, "limit"),
    ({"limit": "x"}, "limit"), ({"max_points": "0"}, "max-points"), ({"max_points": "1.5"}, "max-points"), ({"resolution": "0"}, "resolution"),
    ({"resolution": "-1"}, "resolution"), ({"resolution": "1e999"}, "resolution"), ({"resolution": "inf"}, "resolution"),
    ({"datetime": "yesterday"}, "datetime"), ({"datetime": "2025-05-02/2025-05-01"}, "datetime"), ({"filter": "Height > 5"}, "filter"),
    ({"filter": "Classification ="}, "filter"), ({"filter": "Classification = 'x'"}, "filter"), ({"filter_lang": "cql2-text"}, "filter-lang"),
    ({"filter": "TRUE", "filter_lang": "sql"}, "filter-lang"), ({"filter": "TRUE", "filter_crs": "x"}, "filter-crs"),
    ({"filter": "S_INTERSECTS(geometry, POINT(500 500))"}, "filter"), ({"properties": "Height"}, "properties"), ({"Height": "3"}, "Height"),
    ({"Classification": "x"}, "Classification"), ({"cursor": "x"}, "cursor"), ({"offset": "3"}, "offset"), ({"sortby": "Z"}, "sortby"),
]  # fmt: skip


@pytest.mark.parametrize(("parameters", "name"), BAD, ids=range(len(BAD)))
@pytest.mark.parametrize("form", ["geojson", "laz"])
def test_bad_requests_are_explained(
    points_city: PointCity, parameters: dict[str, Any], name: str, form: str
) -> None:
    reply = points_city.client.get(url(**parameters, f=form))
    assert reply.status == 400, reply.body
    assert json.loads(reply.body)["parameter"] == name


def test_an_unknown_dimension_names_those_there_are(points_city: PointCity) -> None:
    detail = json.loads(points_city.client.get(url(filter="Height > 5")).body)["detail"]
    assert "Height" in detail
    assert all(name in detail for name in ("Classification", "Amplitude", "Z", "geometry"))


@pytest.mark.parametrize("point", ["x", "pointcloud.0-0-0-0", "pointcloud.0-0-0-0.999999", "pointcloud.9-9-9-9.0", "other.0-0-0-0.0", "pointcloud.0-0-0-0.-1", "..", "pointcloud.99-99999999999-0-0.0"])  # fmt: skip
def test_no_such_point(points_city: PointCity, point: str) -> None:
    assert points_city.client.get(f"{BASE}/points/{point}").status == 404


def test_cursors_belong_to_their_question(points_city: PointCity) -> None:
    page = points_city.client.json(url(limit=5, Classification=2))
    (following,) = (link["href"] for link in page["links"] if link["rel"] == "next")
    path = following.removeprefix("http://city.example:8000")
    assert points_city.client.get(path).status == 200
    assert points_city.client.get(path.replace("Classification=2", "Classification=6")).status == 400


def test_too_many_points(points_city: PointCity, wsgi_client: Any) -> None:
    settings = load_settings(
        (), {"CHENGTU_DATA_HOME": str(points_city.home), "CHENGTU_POINTS_REQUEST_POINTS": "5000"}
    )
    small = wsgi_client(create_app(settings))
    reply = small.get(url(f="laz"))
    assert reply.status == 413
    assert "12,000" in json.loads(reply.body)["detail"]
    assert "max-points" in json.loads(reply.body)["detail"]
    assert small.get(url(f="laz", max_points=500)).status == 200
    assert small.get(url(limit=10)).status == 200
    assert small.get(f"{BASE}/points/statistics").status == 200


# --- documents -----------------------------------------------------------------------------------------------------------


def test_the_collection_says_that_its_items_are_points(points_city: PointCity) -> None:
    document = points_city.client.json(BASE)
    assert (document["itemType"], document["itemCount"]) == ("feature", COUNT)
    links = {(link["rel"], link["type"]): link["href"] for link in document["links"]}
    assert links["items", "application/geo+json"].endswith(f"{BASE}/items")
    assert links["items", "application/vnd.laszip"].endswith(f"{BASE}/points?f=laz")
    for href in links.values():
        path = href.removeprefix("http://city.example:8000")
        if "/points" in path or path.endswith(("items", "queryables", "sortables", "schema")):
            assert points_city.client.get(path).status == 200, path


def test_dimensions_are_queryables(points_city: PointCity) -> None:
    found = points_city.client.json(f"{BASE}/queryables")["properties"]
    assert found["geometry"]["format"] == "geometry-point"
    assert (found["Classification"]["type"], found["Z"]["type"], found["Amplitude"]["type"]) == (
        "integer",
        "number",
        "integer",
    )
    assert found["datetime"]["format"] == "date-time"
    assert points_city.client.json(f"{BASE}/sortables")["properties"] == {}
    schema = points_city.client.json(f"{BASE}/schema")["properties"]
    assert all(described["readOnly"] for described in schema.values())
    page = points_city.client.json(url(limit=1))["features"][0]
    assert set(page["properties"]) <= set(schema)


def test_hidden_dimensions_are_no_queryables(points_city: PointCity, limited: Any) -> None:
    for kind in ("queryables", "schema"):
        assert not {"Intensity", "Amplitude"} & set(points_city.client.json(f"{BASE}/{kind}")["properties"])


# --- fuzzing -------------------------------------------------------------------------------------------------------------

_TOKENS = [
    "Classification", "Z", "Intensity", "GpsTime", "datetime", "Amplitude", "geometry", "Nothing", "=", "<>", "<", ">=", "+", "-", "*", "/", "%", "^", "(",
    ")", ",", "AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "IS NULL", "TRUE", "FALSE", "1", "-7.5", "1e308", "1e309", "99999999999999999999", "'a'",
    "TIMESTAMP('2025-05-01T12:00:00Z')", "DATE('2025-05-01')", "S_INTERSECTS", "S_WITHIN", "T_AFTER", "POINT(4.36 52.01)", "BBOX(4,52,5,53)",
    "POLYGON((4 52,5 52,5 53,4 52))", "POLYGON((4 52,5 53,5 52,4 53,4 52))", "LINESTRING(4 52,5 53)", "ABS", "POW", "CASEI", "INTERVAL('..','2025-05-01')",
    "\0", "\ud7ff", "城",
]  # fmt: skip
_PIECES = [
    "4.36", "52.01", "-1", "0", "1e999", "nan", "inf", "", " ", ",", "..", "/", "2025-05-01", "2025-05-01T12:00:00Z", "9999-12-31", "0001-01-01T00:00:00Z", "x",
    "EPSG:4326", "EPSG:99999", "http://www.opengis.net/def/crs/OGC/1.3/CRS84", NATIVE, "http://www.opengis.net/def/crs/EPSG/0/4978", "cql2-json", "{}", "[]",
    '{"op":"and","args":[]}', '{"op":"=","args":[{"property":"Z"},null]}', "Classification", "Classification,Z", "%", "\0", "城", "1" * 400, "WyJhIl0",
]  # fmt: skip
_NAMES = [
    "bbox", "bbox-crs", "crs", "datetime", "filter", "filter-lang", "filter-crs", "resolution", "max-points", "properties", "limit", "cursor", "Classification",
    "Amplitude", "f", "lang", "", "nothing",
]  # fmt: skip


def _malformed(random: np.random.Generator) -> str:
    """A query string: real names, and values put together from pieces that mean something somewhere."""

    def some(values: list[str], most: int) -> list[str]:
        return [values[place] for place in random.integers(0, len(values), random.integers(1, most + 1))]

    pairs = []
    for name in some(_NAMES, 4):
        if name == "f" and random.random() < 0.7:
            value = some(["geojson", "multipoint", "csv", "ply", "arrow", "laz", "las"], 1)[0]
        elif name == "filter" and random.random() < 0.8:
            value = " ".join(some(_TOKENS, 9))
        elif name == "bbox" and random.random() < 0.7:
            value = ",".join(some([*_PIECES[:7], "84950", "447550"], 6))
        else:
            value = "".join(some(_PIECES, 3))
        pairs.append(f"{quote(name)}={quote(value, safe='' if random.random() < 0.9 else '%&=')}")
    return "&".join(pairs)


def _fuzz(city: PointCity, seed: int, number: int) -> dict[int, int]:
    random = np.random.default_rng(seed)
    found: dict[int, int] = {}
    for _ in range(number):
        path = ("points", "points/statistics", "items", "points/pointcloud.0-0-0-0.1")[random.integers(0, 4)]
        query = _malformed(random)
        status = city.client.get(f"{BASE}/{path}?{query}").status
        assert status in (200, 400, 404, 406, 413), (status, path, query)
        found[status] = found.get(status, 0) + 1
    return found


def test_malformed_queries(points_city: PointCity) -> None:
    found = _fuzz(points_city, 1, 400)
    assert found[400] > 200
    assert found[200] > 3


@pytest.mark.acceptance
def test_ten_thousand_malformed_queries(points_city: PointCity) -> None:
    assert _fuzz(points_city, 2, 10_000)[400] > 5000


# --- other methods -------------------------------------------------------------------------------------------------------


def test_points_are_not_edited_as_features(points_city: PointCity) -> None:
    for method, path in (
        ("POST", "items"),
        ("PUT", "items/pointcloud.0-0-0-0.0"),
        ("DELETE", "items/pointcloud.0-0-0-0.0"),
    ):
        reply = points_city.client.request(
            method, f"{BASE}/{path}", b"{}", content_type="application/geo+json"
        )
        assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    for path in ("items", "items/pointcloud.0-0-0-0.0"):
        reply = points_city.client.request("OPTIONS", f"{BASE}/{path}")
        assert (reply.status, reply.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
    assert points_city.client.request("OPTIONS", "/t/demo/ogc/collections/secret/items").status == 404
