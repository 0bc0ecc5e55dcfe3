"""Processes on point clouds over HTTP, and collections derived from one, by the real PDAL."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from pointclouds.build.build import build_copc
from pointclouds.build.summary import summarize_nodes
from pointclouds.cloud.cloud import open_cloud, open_file, open_nodes
from pointclouds.sources import LasSource
from providers.processes.point_tools import PdalTools, register_pdal
from server.http.app import create_app
from server.identity.decision import Decision
from server.publish import PublishRequest, publish
from server.publish.errors import OptionError
from server.publish.point_cloud_options import PointCloudOptions
from server.publish.point_derive import Derivation, derive_collection
from server.publish.point_pipeline import PipelineNotRun
from server.registry.catalogue import Access, Representation, RepresentationKind
from server.registry.drafts import CollectionDraft
from server.registry.registry import Registry, open_registry
from server.registry.staging import staging_folder
from server.settings import Settings, load_settings

COUNT = 9_000
WEST, SOUTH, SIZE = 84_900.0, 447_500.0, 60.0
NATIVE = pyproj.CRS("EPSG:28992")
LAZ = "application/vnd.laszip"


def _write_scan(path: Path) -> Path:
    random = np.random.default_rng(5)
    x, y = random.uniform(0, SIZE, COUNT), random.uniform(0, SIZE, COUNT)
    roof = (abs(x - 30) < 10) & (abs(y - 30) < 10)
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales, header.offsets = [0.001] * 3, [WEST, SOUTH, 0]
    header.add_crs(NATIVE)
    header.add_extra_dim(laspy.ExtraBytesParams("gain", "u2"))
    las = laspy.LasData(header)
    las.x, las.y, las.z = x + WEST, y + SOUTH, 1 + 0.02 * x + np.where(roof, 7.0, 0.0)
    las.gps_time = np.arange(COUNT, dtype=np.float64)
    las.return_number = las.number_of_returns = np.ones(COUNT, np.uint8)
    las.intensity = np.arange(COUNT) % 1000
    las.gain = np.arange(COUNT) % 500
    las.classification = np.full(COUNT, 1, np.uint8)
    las.write(path)
    return path


@dataclass
class PipelineCity:
    """A server with a point cloud, an orthophoto over its western half, and a triangle of a district."""

    settings: Settings
    registry: Registry
    client: Any
    points: laspy.LasData
    pixels: np.ndarray
    triangle: Any

    def run(self, process: str, inputs: dict[str, Any], **request: Any) -> Any:
        body = json.dumps({"inputs": {"collection": "scan", **inputs}, **request}).encode()
        url = f"/t/demo/ogc/processes/{process}/execution"
        return self.client.request("POST", url, body, content_type="application/json")

    def las(self, process: str, **inputs: Any) -> laspy.LasData:
        reply = self.run(process, inputs)
        assert reply.status == 200, reply.body[:600]
        assert reply.headers["Content-Type"] == LAZ
        return laspy.read(io.BytesIO(reply.body))


def _publish_cloud(registry: Registry, home: Path, source: Path) -> None:
    with staging_folder(home) as folder:
        staged = folder / "generation"
        staged.mkdir()
        file = staged / "pointcloud.copc.laz"
        build_copc([LasSource(source)], file, processes=1, leaf_points=1000, grid_cells=32)
        summary = summarize_nodes(open_file(file), open_nodes(file))
        draft = CollectionDraft(
            tenant="demo", id="scan", titles={"en": "Scan", "zh": "扫描"}, bbox=tuple(summary.bbox84),
            storage_crs=summary.crs_identifier, access=Access.PUBLIC, licence="CC0-1.0",
        )  # fmt: skip
        kind = RepresentationKind.POINT_CLOUD
        registry.publish(draft, [Representation(kind, file.name, 0, 0, summary.properties())], staged, False)


@pytest.fixture(scope="module")
def pipeline_city(
    tmp_path_factory: pytest.TempPathFactory, wsgi_client: Any, pdal_command: str
) -> Iterator[PipelineCity]:
    folder = tmp_path_factory.mktemp("pipelines")
    settings = load_settings((), {}, {"data.home": folder / "home", "points.pdal": pdal_command})
    source = _write_scan(folder / "scan.laz")
    pixels = np.random.default_rng(4).integers(1, 255, (3, 60, 30)).astype(np.uint8)
    place = {"crs": "EPSG:28992", "transform": from_origin(WEST, SOUTH + SIZE, 1, 1)}
    shape = {"width": 30, "height": 60, "count": 3, "dtype": "uint8", "photometric": "rgb"}
    with rasterio.open(folder / "photo.tif", "w", driver="GTiff", **shape, **place) as out:
        out.write(pixels)
    triangle = shapely.Polygon([(WEST + 5, SOUTH + 5), (WEST + 50, SOUTH + 9), (WEST + 20, SOUTH + 52)])
    feature = {
        "type": "Feature",
        "id": 1,
        "properties": {"name": "a"},
        "geometry": shapely.geometry.mapping(triangle),
    }
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::28992"}}
    districts = {"type": "FeatureCollection", "crs": crs, "features": [feature]}
    (folder / "districts.geojson").write_text(json.dumps(districts))
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", "示例")
        _publish_cloud(registry, settings.home, source)
        for name, file in (("photo", "photo.tif"), ("districts", "districts.geojson")):
            publish(
                PublishRequest(files=(folder / file,), tenant="demo", id=name, titles={"en": name}),
                registry,
                settings,
            )
        client = wsgi_client(create_app(settings))
        yield PipelineCity(settings, registry, client, laspy.read(source), pixels, triangle)


def _numbers(las: laspy.LasData) -> np.ndarray:
    return np.asarray(las.gps_time).astype(int)


def _box84(minx: float, miny: float, maxx: float, maxy: float) -> list[float]:
    transformer = pyproj.Transformer.from_crs(NATIVE, "OGC:CRS84", always_xy=True)
    return list(transformer.transform_bounds(WEST + minx, SOUTH + miny, WEST + maxx, SOUTH + maxy))


def test_the_processes_are_listed_and_say_that_pdal_is_there(pipeline_city: PipelineCity) -> None:
    listed = pipeline_city.client.json("/t/demo/ogc/processes?limit=100")["processes"]
    ours = {one["id"]: one for one in listed if one["id"].startswith("point-cloud-")}
    assert {
        "point-cloud-pipeline", "point-cloud-ground", "point-cloud-outliers", "point-cloud-height-above-ground",
        "point-cloud-raster", "point-cloud-thin", "point-cloud-colorize", "point-cloud-clip",
    } <= set(ours)  # fmt: skip
    described = pipeline_city.client.json("/t/demo/ogc/processes/point-cloud-ground")
    assert "Available: PDAL" in described["description"]
    assert described["inputs"]["method"]["schema"]["enum"] == ["smrf", "csf", "pmf"]


def test_steps_one_after_another(pipeline_city: PipelineCity) -> None:
    steps = ["outliers:method=radius,radius=10,neighbours=2", {"step": "ground", "method": "smrf"}, "height"]
    found = pipeline_city.las("point-cloud-pipeline", steps=steps)
    numbers = _numbers(found)
    x, y = np.asarray(found.x) - WEST, np.asarray(found.y) - SOUTH
    roof = (abs(x - 30) < 10) & (abs(y - 30) < 10)
    assert _share_right(found) > 0.95
    assert abs(np.median(np.asarray(found.HeightAboveGround)[roof]) - 7) < 0.2
    assert (np.asarray(found.gain) == numbers % 500).all()
    assert len(found) > 0.99 * COUNT


def test_a_users_pipeline(pipeline_city: PipelineCity) -> None:
    pipeline = {
        "pipeline": [{"type": "filters.range", "limits": "Z[5:]"}, {"type": "filters.sort", "dimension": "Z"}]
    }
    found = pipeline_city.las("point-cloud-pipeline", pipeline=pipeline)
    assert set(_numbers(found)) == set(np.flatnonzero(np.asarray(pipeline_city.points.z) >= 5))
    assert (np.diff(np.asarray(found.Z)) >= 0).all()


def test_the_colours_are_those_of_the_orthophoto(pipeline_city: PipelineCity) -> None:
    found = pipeline_city.las("point-cloud-colorize", imagery="photo")
    x, y = np.asarray(found.x) - WEST, SOUTH + SIZE - np.asarray(found.y)
    west = x < 30
    for band, name in enumerate(("red", "green", "blue")):
        expected = pipeline_city.pixels[band, np.floor(y[west]).astype(int), np.floor(x[west]).astype(int)]
        assert (np.asarray(found[name])[west] == expected.astype(int) * 256).all()
        assert (np.asarray(found[name])[~west] == 0).all()


def test_a_clip_by_a_feature(pipeline_city: PipelineCity) -> None:
    points = pipeline_city.points
    inside = shapely.contains_xy(pipeline_city.triangle, np.asarray(points.x), np.asarray(points.y))
    found = pipeline_city.las("point-cloud-clip", features="districts", feature=_feature_id(pipeline_city))
    assert set(_numbers(found)) == set(np.flatnonzero(inside))
    assert inside.sum() > 1_000


def _feature_id(city: PipelineCity) -> str:
    items = city.client.json("/t/demo/ogc/collections/districts/items")
    return str(items["features"][0]["id"])


def test_a_box_limits_the_points(pipeline_city: PipelineCity) -> None:
    found = pipeline_city.las("point-cloud-thin", radius=0.01, bbox=_box84(10, 10, 20, 30))
    x, y = np.asarray(found.x) - WEST, np.asarray(found.y) - SOUTH
    # A box of degrees is no box here: a metre more at its corners.
    assert ((x > 8) & (x < 22) & (y > 8) & (y < 32)).all()
    all_x, all_y = np.asarray(pipeline_city.points.x) - WEST, np.asarray(pipeline_city.points.y) - SOUTH
    surely = (all_x > 11) & (all_x < 19) & (all_y > 11) & (all_y < 29)
    assert set(np.flatnonzero(surely)) <= set(_numbers(found))


def test_a_raster_of_the_ground(pipeline_city: PipelineCity) -> None:
    reply = pipeline_city.run("point-cloud-raster", {"kind": "dtm", "cell": 2, "steps": ["ground"]})
    assert (reply.status, reply.headers["Content-Type"]) == (200, "image/tiff; application=geotiff")
    with MemoryFile(reply.body) as memory, memory.open() as raster:
        heights = raster.read(1, masked=True)
        assert raster.crs.to_epsg() == 28992
        assert raster.res == (2, 2)
    x = (np.arange(heights.shape[1]) + 0.5) * 2
    assert np.abs(heights - (1 + 0.02 * x)).max() < 0.3
    canopy = pipeline_city.run("point-cloud-raster", {"kind": "chm", "cell": 2, "steps": ["ground"]})
    with MemoryFile(canopy.body) as memory, memory.open() as raster:
        assert 6.5 < raster.read(1, masked=True).max() < 7.5


def test_a_document_holds_the_file_in_base64(pipeline_city: PipelineCity) -> None:
    reply = pipeline_city.run("point-cloud-thin", {"radius": 5}, response="document")
    assert reply.status == 200, reply.body
    value = reply.json["points"]
    assert (value["mediaType"], value["encoding"]) == (LAZ, "base64")
    assert len(laspy.read(io.BytesIO(base64.b64decode(value["value"])))) < 1_000


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("point-cloud-ground", {"collection": "nix"}, "collection"),
    ("point-cloud-ground", {"collection": "photo"}, "point cloud"),
    ("point-cloud-ground", {"method": "magic"}, "one of smrf"),
    ("point-cloud-ground", {"cell": "/etc/passwd"}, "a number"),
    ("point-cloud-ground", {"filename": "x"}, "only the inputs"),
    ("point-cloud-ground", {"bbox": [1, 2, 3]}, "4 numbers"),
    ("point-cloud-ground", {"bbox": [1, 2, "x", 4]}, "4 numbers"),
    ("point-cloud-ground", {"bbox": [170, 2, 175, 4]}, "points that may be seen"),
    ("point-cloud-ground", {"bbox": [5, 52, 4, 53]}, "4 numbers"),
    ("point-cloud-colorize", {}, "imagery"),
    ("point-cloud-colorize", {"imagery": "districts"}, "coverage"),
    ("point-cloud-colorize", {"imagery": "nix"}, "no collection"),
    ("point-cloud-colorize", {"imagery": "../photo"}, "id of a collection"),
    ("point-cloud-clip", {}, "feature"),
    ("point-cloud-clip", {"features": "districts", "feature": "no such"}, "no feature"),
    ("point-cloud-raster", {"kind": "x"}, "dtm"),
    ("point-cloud-raster", {"cell": 0}, "0.01"),
    ("point-cloud-raster", {"kind": "dtm", "cell": 0.01, "steps": "ground"}, "list"),
    ("point-cloud-raster", {"steps": ["ground", "reproject:crs=EPSG:32631"]}, "CRS of the point cloud"),
    (
        "point-cloud-pipeline",
        {"steps": ["reproject:crs=EPSG:32631", "colourise:collection=photo"]},
        "change the order",
    ),
    ("point-cloud-pipeline", {}, "one of"),
    ("point-cloud-pipeline", {"steps": ["ground"], "pipeline": []}, "one of"),
    ("point-cloud-pipeline", {"steps": []}, "list of 1"),
    ("point-cloud-pipeline", {"steps": [7]}, "a step is"),
    (
        "point-cloud-pipeline",
        {"pipeline": [{"type": "readers.las", "filename": "/etc/passwd"}]},
        "filters only",
    ),
    ("point-cloud-pipeline", {"pipeline": [{"type": "filters.colorization", "raster": "/x"}]}, "colourise"),
    (
        "point-cloud-pipeline",
        {"pipeline": [{"type": "filters.range", "limits": "Nothing[0:1]"}]},
        "Invalid dimension",
    ),
    (
        "point-cloud-pipeline",
        {"pipeline": [{"type": "filters.range", "limits": "Z[1000:]"}]},
        "othing is left",
    ),
    (
        "point-cloud-pipeline",
        {"pipeline": [{"type": "filters.reprojection", "out_srs": "EPSG:4326"}]},
        "not projected",
    ),
]


@pytest.mark.parametrize(("process", "inputs", "words"), BAD)
def test_bad_inputs_are_400(
    pipeline_city: PipelineCity, process: str, inputs: dict[str, Any], words: str
) -> None:
    reply = pipeline_city.run(process, inputs)
    assert reply.status == 400, reply.body[:500]
    assert words in reply.body.decode(), reply.body[:500]
    assert str(pipeline_city.settings.home) not in reply.body.decode()


def test_rights_limit_points_and_dimensions(
    pipeline_city: PipelineCity, monkeypatch: pytest.MonkeyPatch
) -> None:
    west, south, east, north = _box84(-5, -5, 30, 70)
    area = shapely.box(west, south, east, north).wkt
    decision = Decision(True, frozenset(("Intensity", "gain")), area, "limited")
    monkeypatch.setattr("server.http.services.decide", lambda *_: decision)
    found = pipeline_city.las("point-cloud-thin", radius=0.001)
    assert 0.4 * COUNT < len(found) < 0.56 * COUNT
    assert np.asarray(found.x).max() < WEST + 32
    assert not np.asarray(found.intensity).any()
    assert "gain" not in found.point_format.dimension_names
    asked = {"pipeline": [{"type": "filters.range", "limits": "gain[0:10]"}]}
    assert pipeline_city.run("point-cloud-pipeline", asked).status == 400
    assert b"in part only" in pipeline_city.run("point-cloud-colorize", {"imagery": "photo"}).body


def test_without_pdal_processes_say_so_and_all_else_works(
    pipeline_city: PipelineCity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    register_pdal("request", PdalTools("/nowhere/pdal"))
    try:
        reply = pipeline_city.run("point-cloud-ground", {})
        assert reply.status == 503
        assert "install PDAL" in reply.json["detail"]
        described = pipeline_city.client.json("/t/demo/ogc/processes/point-cloud-ground")
        assert "only the method csf is available now" in described["description"]
        thinning = pipeline_city.client.json("/t/demo/ogc/processes/point-cloud-thin")
        assert "Not available now" in thinning["description"]
        assert _share_right(pipeline_city.las("point-cloud-ground", method="csf", smooth=False)) > 0.95
        steps = ["ground:method=csf", "height"]
        assert pipeline_city.run("point-cloud-pipeline", {"steps": steps}).status == 503
        refused = pipeline_city.run("point-cloud-ground", {"method": "csf", "ignore": "Nothing[1:1]"})
        assert (refused.status, b"ignore names Nothing" in refused.body) == (400, True)
        assert pipeline_city.client.get("/t/demo/ogc/collections/scan").status == 200
    finally:
        register_pdal("request", PdalTools(pipeline_city.settings.points.pdal))


def _share_right(found: laspy.LasData) -> float:
    """How much of the scan has the right class: ground beside the roof."""
    x, y = np.asarray(found.x) - WEST, np.asarray(found.y) - SOUTH
    roof = (abs(x - 30) < 10) & (abs(y - 30) < 10)
    return float(((np.asarray(found.classification) == 2) == ~roof).mean())


def _derive(city: PipelineCity, name: str, *steps: str, **options: Any) -> Any:
    settings = options.pop("settings", city.settings)
    wanted = Derivation(tenant="demo", source="scan", id=name, steps=steps, **options)
    return derive_collection(wanted, city.registry, settings)


def _without_pdal(settings: Settings) -> Settings:
    return replace(settings, points=replace(settings.points, pdal="/nowhere/pdal"))


def test_ground_by_csf_is_derived_without_pdal(pipeline_city: PipelineCity) -> None:
    settings = _without_pdal(pipeline_city.settings)
    result = _derive(pipeline_city, "cloth", "ground:method=csf", settings=settings)
    assert result.count == COUNT
    derived = result.collection.representations[RepresentationKind.POINT_CLOUD].properties["derived"]
    assert derived["software"].startswith("cloth-simulation-filter 1.")
    assert derived["steps"] == [{"step": "ground", "method": "csf"}]
    found = laspy.read(result.collection.path_of(RepresentationKind.POINT_CLOUD))
    assert _share_right(found) > 0.95
    assert set(_numbers(found)) == set(range(COUNT))
    assert "ChengtuOwn" not in found.point_format.dimension_names
    with pytest.raises(PipelineNotRun, match="csf alone works without"):
        _derive(pipeline_city, "never", "ground:method=csf", "height", settings=settings)
    with pytest.raises(PipelineNotRun, match="csf alone works without"):
        _derive(pipeline_city, "never", "ground:method=csf", raster="dtm", settings=settings)


def test_csf_before_a_publish_without_pdal(pipeline_city: PipelineCity, tmp_path: Path) -> None:
    request = PublishRequest(
        files=(_write_scan(tmp_path / "again.laz"),),
        tenant="demo",
        id="clothed",
        titles={"en": "Clothed"},
        points=PointCloudOptions(pipeline=("ground:method=csf,threshold=0.3",)),
    )
    result = publish(request, pipeline_city.registry, _without_pdal(pipeline_city.settings))
    assert result.count == COUNT
    properties = result.collection.representations[RepresentationKind.POINT_CLOUD].properties
    assert properties["derived"]["software"].startswith("cloth-simulation-filter 1.")
    ground = int(properties["classes"]["2"])
    x, y = (np.asarray(axis) for axis in (pipeline_city.points.x, pipeline_city.points.y))
    roof = (abs(x - WEST - 30) < 10) & (abs(y - SOUTH - 30) < 10)
    assert abs(ground - (~roof).sum()) < 0.05 * COUNT


def test_a_derived_point_cloud_says_of_what_it_is_made(
    pipeline_city: PipelineCity, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several blocks, with the points around each: none lost, none twice.
    monkeypatch.setattr("server.publish.point_derive.points_for", lambda memory: 4_000)
    result = _derive(pipeline_city, "coloured", "ground", "colourise:collection=photo")
    assert result.count == COUNT
    kinds = result.collection.representations
    derived = kinds[RepresentationKind.POINT_CLOUD].properties["derived"]
    assert derived["from"] == "demo.scan"
    assert derived["software"].startswith("PDAL ")
    assert derived["steps"] == [{"step": "ground"}, {"step": "colourise", "collection": "photo"}]
    assert result.collection.storage_crs.endswith("/28992")
    assert result.collection.licence == "CC0-1.0"
    cloud = open_cloud(result.collection.path_of(RepresentationKind.POINT_CLOUD))
    assert cloud.point_format == 7
    assert {one.name for one in cloud.dimensions} >= {"Red", "gain"}
    assert "ChengtuOwn" not in cloud.dtype.names
    assert not list((pipeline_city.settings.home / "staging").glob("*"))


def test_a_derived_raster_is_a_coverage(pipeline_city: PipelineCity) -> None:
    result = _derive(pipeline_city, "surface", raster="dsm", cell=2.0)
    assert RepresentationKind.COVERAGE in result.collection.representations
    derived = result.collection.representations[RepresentationKind.COVERAGE].properties["derived"]
    assert derived["raster"] == {"kind": "dsm", "cell": 2.0}
    reply = pipeline_city.client.get("/t/demo/ogc/collections/surface/coverage?f=gtiff")
    assert reply.status == 200, reply.body[:300]
    with MemoryFile(reply.body) as memory, memory.open() as raster:
        assert abs(raster.read(1, masked=True).max() - (1 + 0.02 * 40 + 7)) < 0.1


@pytest.mark.parametrize(
    ("steps", "options", "error", "words"),
    [
        ((), {}, OptionError, "Say what to make"),
        (("nix",), {}, OptionError, "no step"),
        (("ground",), {"raster": "x"}, OptionError, "no raster"),
        (("colourise:collection=nix",), {}, PipelineNotRun, "no collection demo.nix"),
        (("clip:collection=photo,feature=1",), {}, PipelineNotRun, "no features"),
        ((), {"raster": "dtm"}, PipelineNotRun, "ground"),
        (("missing.json",), {}, OptionError, "cannot be read"),
    ],
)
def test_derivations_that_cannot_be(
    pipeline_city: PipelineCity,
    steps: tuple[str, ...],
    options: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        _derive(pipeline_city, "never", *steps, **options)
    assert pipeline_city.registry.collection("demo", "never") is None


def test_a_pipeline_before_a_publish(pipeline_city: PipelineCity, tmp_path: Path) -> None:
    (tmp_path / "low.json").write_text(json.dumps([{"type": "filters.range", "limits": "Z[:5]"}]))
    request = PublishRequest(
        files=(_write_scan(tmp_path / "again.laz"),),
        tenant="demo",
        id="low",
        titles={"en": "Low"},
        points=PointCloudOptions(pipeline=(str(tmp_path / "low.json"), "ground")),
    )
    result = publish(request, pipeline_city.registry, pipeline_city.settings)
    assert result.count == (np.asarray(pipeline_city.points.z) <= 5).sum()
    properties = result.collection.representations[RepresentationKind.POINT_CLOUD].properties
    assert set(properties["classes"]) <= {"1", "2"}
    assert properties["derived"]["steps"][0] == {"type": "filters.range", "limits": "Z[:5]"}
