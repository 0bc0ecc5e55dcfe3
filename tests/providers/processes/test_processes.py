"""Processes: right numbers in metres, inputs checked, and no answer of another execution under threads."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
from pygeoapi.process.base import JobNotFoundError
from pygeoapi.process.manager.base import BaseManager
from rasterio.transform import from_origin
from shapely import from_wkt
from shapely.geometry import LineString, Point, Polygon, box, mapping, shape

from providers.errors import AnswerTooLarge, InvalidParameter
from providers.features.schema import FieldDefinition
from providers.features.store import FeatureStoreWriter, close_stores
from providers.processes import area_statistics as statistics_module
from providers.processes import buffer_clip as buffer_module
from providers.processes.area_statistics import AreaStatisticsProcessor, area_statistics
from providers.processes.buffer_clip import BufferClipProcessor, buffer_clip
from providers.processes.inputs import MAXIMUM_VERTICES, read_polygon
from providers.processes.manager import ChengtuProcessManager, process_resources
from providers.processes.sources import (
    ProcessSource,
    UnknownResolver,
    find_source,
    register_resolver,
    unregister_resolver,
)

UTM = "EPSG:32635"
EAST, NORTH = 385_000.0, 6_672_000.0
KEY = "test-processes"


def _to_degrees(geometry: Any) -> Any:
    transformer = pyproj.Transformer.from_crs(UTM, "OGC:CRS84", always_xy=True)
    return Polygon([transformer.transform(x, y) for x, y in geometry.exterior.coords])


def _write(path: Path, geometries: list[Any], columns: dict[str, list[Any]]) -> None:
    fields = [
        FieldDefinition(name, {str: "string", float: "number", int: "integer"}[type(values[0])])
        for name, values in columns.items()
    ]
    with FeatureStoreWriter(path, fields=fields, storage_crs=UTM) as writer:
        writer.add(np.array(geometries, dtype=object), columns)
        writer.finish()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ProcessSource]]:
    folder = tmp_path_factory.mktemp("stores")
    squares = [box(EAST + 100 * i, NORTH, EAST + 100 * i + 50, NORTH + 50) for i in range(4)]
    _write(
        folder / "squares.gpkg",
        squares,
        {"name": list("abcd"), "height": [10.0, 20.0, None, 40.0], "n": [1, 2, 3, 4]},
    )
    lines = [LineString([(EAST, NORTH + 10 * i), (EAST + 1000, NORTH + 10 * i)]) for i in range(3)]
    _write(folder / "lines.gpkg", lines, {"name": ["x", "y", "z"]})
    _write(folder / "points.gpkg", [Point(EAST + 10, NORTH + 10)], {"name": ["p"]})
    with rasterio.open(
        folder / "dem.tif",
        "w",
        driver="GTiff",
        width=40,
        height=40,
        count=1,
        dtype="float32",
        crs=UTM,
        transform=from_origin(EAST, NORTH + 400, 10, 10),
        nodata=-1,
    ) as out:
        values = np.tile(np.arange(40, dtype="float32"), (40, 1))
        values[39, 0] = -1
        out.write(values, 1)
        out.set_band_description(1, "height")
    found = {
        name: ProcessSource(name, name.title(), features=folder / f"{name}.gpkg")
        for name in ("squares", "lines", "points")
    }
    found["dem"] = ProcessSource("dem", "Heights", coverage=folder / "dem.tif")
    found["nothing"] = ProcessSource("nothing", "Nothing")
    found["secretive"] = ProcessSource(
        "secretive", "", features=folder / "squares.gpkg", hidden=frozenset({"height"})
    )
    register_resolver(KEY, found.get)
    yield found
    unregister_resolver(KEY)
    close_stores()


def test_features_are_counted_whole_and_measured_as_far_as_inside(sources: dict[str, ProcessSource]) -> None:
    # From the middle of the first square to the middle of the third.
    area = _to_degrees(box(EAST + 25, NORTH - 10, EAST + 225, NORTH + 60))
    answer = area_statistics(sources["squares"], area, ("height", "n"))
    # UTM's scale at 2 degrees from its meridian is 0.99976: true areas are larger than the grid's by twice that.
    scale = pyproj.Proj(UTM).get_factors(24.94, 60.17).areal_scale
    assert answer["count"] == 3
    assert answer["area"] == pytest.approx((1250 + 2500 + 1250) / scale, rel=1e-4)
    assert answer["area_of_polygon"] == pytest.approx(200 * 70 / scale, rel=1e-4)
    assert answer["fields"]["height"] == {
        "count": 2,
        "missing": 1,
        "minimum": 10.0,
        "maximum": 20.0,
        "mean": 15.0,
        "standard_deviation": 5.0,
        "sum": 30.0,
    }
    assert answer["fields"]["n"]["sum"] == 6.0


def test_lines_have_length_and_no_area(sources: dict[str, ProcessSource]) -> None:
    area = _to_degrees(box(EAST + 100, NORTH - 5, EAST + 300, NORTH + 15))
    answer = area_statistics(sources["lines"], area)
    scale = pyproj.Proj(UTM).get_factors(24.94, 60.17).meridional_scale
    assert (answer["count"], answer["area"]) == (2, 0.0)
    assert answer["length"] == pytest.approx(400 / scale, rel=1e-4)


def test_an_empty_area_gives_zeros(sources: dict[str, ProcessSource]) -> None:
    answer = area_statistics(sources["squares"], box(10, 10, 10.1, 10.1), ("height",))
    assert (answer["count"], answer["area"]) == (0, 0.0)
    assert answer["fields"]["height"]["mean"] is None


def test_zonal_statistics(sources: dict[str, ProcessSource]) -> None:
    area = _to_degrees(box(EAST + 1, NORTH + 1, EAST + 49, NORTH + 49))  # 5 x 5 pixels, one of them no data
    answer = area_statistics(sources["dem"], area)
    assert answer["count"] == 25
    found = answer["fields"]["height"]
    assert (found["count"], found["minimum"], found["maximum"]) == (24, 0.0, 4.0)
    assert found["sum"] == 50.0
    outside = area_statistics(sources["dem"], box(10, 10, 10.1, 10.1))
    assert (outside["count"], outside["fields"]["height"]["count"]) == (0, 0)


def test_buffers_are_metres(sources: dict[str, ProcessSource]) -> None:
    clip = _to_degrees(box(EAST - 500, NORTH - 500, EAST + 500, NORTH + 500))
    answer = buffer_clip(sources["points"], 100, clip)
    (feature,) = answer["features"]
    assert (feature["id"], feature["properties"]) == ("1", {"name": "p"})
    area, _ = pyproj.Geod(ellps="WGS84").geometry_area_perimeter(shape(feature["geometry"]))
    # A 32-sided polygon in a circle has 0.9936 of its area; positive: counter-clockwise as RFC 7946 wants.
    assert area == pytest.approx(np.pi * 100**2 * 0.99359, rel=1e-3)


def test_buffers_are_cut_and_joined(sources: dict[str, ProcessSource]) -> None:
    clip = _to_degrees(box(EAST + 100, NORTH - 100, EAST + 300, NORTH + 100))
    apart = buffer_clip(sources["lines"], 8, clip)
    joined = buffer_clip(sources["lines"], 8, clip, dissolve=True)
    assert len(apart["features"]) == 3
    (one,) = joined["features"]
    whole = shape(one["geometry"])
    assert whole.within(clip.buffer(1e-6))
    area, _ = pyproj.Geod(ellps="WGS84").geometry_area_perimeter(whole)
    assert area == pytest.approx(200 * 36, rel=2e-3)


def test_buffers_reach_in_from_outside_the_clip(sources: dict[str, ProcessSource]) -> None:
    clip = _to_degrees(box(EAST + 90, NORTH, EAST + 200, NORTH + 20))
    assert buffer_clip(sources["points"], 70, clip)["features"] == []
    assert len(buffer_clip(sources["points"], 90, clip)["features"]) == 1


def test_buffers_cross_the_antimeridian(tmp_path: Path) -> None:
    path = tmp_path / "fiji.gpkg"
    with FeatureStoreWriter(
        path, fields=[FieldDefinition("name", "string")], storage_crs="OGC:CRS84"
    ) as writer:
        writer.add(np.array([Point(179.99, -17.0)], dtype=object), {"name": ["east end"]})
        writer.finish()
    clip = box(179.9, -17.1, 179.999, -16.9)
    (feature,) = buffer_clip(ProcessSource("fiji", "", features=path), 500, clip)["features"]
    area, _ = pyproj.Geod(ellps="WGS84").geometry_area_perimeter(shape(feature["geometry"]))
    assert area == pytest.approx(np.pi * 500**2 * 0.99359, rel=1e-2)
    close_stores()


def test_hidden_fields_are_neither_used_nor_shown(sources: dict[str, ProcessSource]) -> None:
    area = _to_degrees(box(EAST, NORTH, EAST + 400, NORTH + 50))
    with pytest.raises(InvalidParameter, match="height"):
        area_statistics(sources["secretive"], area, ("height",))
    features = buffer_clip(sources["secretive"], 0, area)["features"]
    assert {tuple(one["properties"]) for one in features} == {("name", "n")}


def test_feature_budget_at_the_limit_and_one_below(
    sources: dict[str, ProcessSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    area = _to_degrees(box(EAST, NORTH, EAST + 400, NORTH + 50))
    for module, run in (
        (statistics_module, lambda: area_statistics(sources["squares"], area)["count"]),
        (buffer_module, lambda: len(buffer_clip(sources["squares"], 1, area)["features"])),
    ):
        monkeypatch.setattr(module, "MAXIMUM_FEATURES", 4)
        assert run() == 4
        monkeypatch.setattr(module, "MAXIMUM_FEATURES", 3)
        with pytest.raises(AnswerTooLarge):
            run()


SQUARE = mapping(box(24.9, 60.1, 24.91, 60.11))


@pytest.mark.parametrize(
    ("inputs", "name"),
    [
        ({}, "area"),
        ({"area": SQUARE}, "collection"),
        ({"area": SQUARE, "collection": ""}, "collection"),
        ({"area": SQUARE, "collection": 7}, "collection"),
        ({"area": SQUARE, "collection": "unknown"}, "collection"),
        ({"area": SQUARE, "collection": "nothing"}, "collection"),
        ({"area": SQUARE, "collection": "squares", "speed": 3}, "speed"),
        ({"area": SQUARE, "collection": "squares", "fields": ["name"]}, "fields"),
        ({"area": SQUARE, "collection": "squares", "fields": ["height", "height"]}, "fields"),
        ({"area": SQUARE, "collection": "squares", "fields": {"height": 1}}, "fields"),
        ({"area": SQUARE, "collection": "dem", "fields": ["2"]}, "fields"),
        ({"area": "everywhere", "collection": "squares"}, "area"),
        ({"area": {"type": "Point", "coordinates": [1, 2]}, "collection": "squares"}, "area"),
        ({"area": {"type": "Polygon", "coordinates": []}, "collection": "squares"}, "area"),
        ({"area": {"type": "Polygon", "coordinates": [[1, 2]]}, "collection": "squares"}, "area"),
        (
            {
                "area": {"type": "Polygon", "coordinates": [[["a", 2], [1, 2], [2, 2], [1, 1]]]},
                "collection": "squares",
            },
            "area",
        ),
        ({"area": {"type": "Polygon", "coordinates": None}, "collection": "squares"}, "area"),
        ({"area": mapping(box(0, 0, 200, 10)), "collection": "squares"}, "area"),
        ({"area": mapping(from_wkt("POLYGON((0 0, 1 1, 1 0, 0 1, 0 0))")), "collection": "squares"}, "area"),
        ({"area": {"href": "http://example.org/area.json"}, "collection": "squares"}, "area"),
    ],
)
def test_bad_inputs_are_named(sources: dict[str, ProcessSource], inputs: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        AreaStatisticsProcessor({"name": "x", "resolver": KEY}).execute(json.loads(json.dumps(inputs)))
    assert caught.value.name == name


@pytest.mark.parametrize("distance", [-1, 50_001, "ten", None, True, float("nan"), float("inf")])
def test_bad_distances_are_refused(sources: dict[str, ProcessSource], distance: object) -> None:
    inputs = {"collection": "squares", "clip": SQUARE, "distance": distance}
    with pytest.raises(InvalidParameter, match="distance"):
        BufferClipProcessor({"name": "x", "resolver": KEY}).execute(inputs)


def test_a_coverage_has_no_buffers(sources: dict[str, ProcessSource]) -> None:
    with pytest.raises(InvalidParameter, match="features"):
        buffer_clip(sources["dem"], 1, box(24.9, 60.1, 24.91, 60.11))


def _ring(count: int) -> dict[str, Any]:
    angles = np.linspace(0, 2 * np.pi, count)
    points = np.column_stack([np.cos(angles), np.sin(angles)])
    points[-1] = points[0]
    return {"type": "Polygon", "coordinates": [points.tolist()]}


def test_vertices_at_the_limit_and_one_above() -> None:
    assert read_polygon("area", _ring(MAXIMUM_VERTICES)).is_valid
    with pytest.raises(AnswerTooLarge):
        read_polygon("area", _ring(MAXIMUM_VERTICES + 1))


def test_inputs_may_be_qualified(sources: dict[str, ProcessSource]) -> None:
    feature = {"type": "Feature", "properties": {}, "geometry": SQUARE}
    inputs = {"collection": {"value": "squares"}, "area": {"value": feature}, "fields": "height"}
    media_type, answer = AreaStatisticsProcessor({"name": "x", "resolver": KEY}).execute(inputs)
    assert (media_type, answer["collection"]) == ("application/json", "squares")


def test_resolvers_are_found_by_key() -> None:
    with pytest.raises(UnknownResolver):
        find_source("nobody", "squares")


def _manager(kind: type[BaseManager] = ChengtuProcessManager) -> BaseManager:
    return kind({"name": "x", "processes": process_resources(KEY)})


def test_two_hundred_executions_on_sixteen_threads_each_get_their_own_answer(
    sources: dict[str, ProcessSource],
) -> None:
    manager = _manager()
    area = mapping(_to_degrees(box(EAST, NORTH, EAST + 400, NORTH + 50)))

    def run(index: int) -> tuple[str, bool]:
        if index % 2:
            inputs = {"collection": ("squares", "lines")[index % 4 // 2], "area": area}
            job, media, result, _, _ = manager.execute_process("area-statistics", inputs)
            return job, media == "application/json" and result["collection"] == inputs["collection"]
        inputs = {"collection": "squares", "clip": area, "distance": 1 + index}
        job, media, result, _, _ = manager.execute_process("buffer-clip", inputs)
        return job, media == "application/geo+json" and result["distance"] == 1 + index

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(run, range(200)))
    assert all(own for _, own in answers)
    assert len({uuid.UUID(job) for job, _ in answers}) == 200
    assert {uuid.UUID(job).version for job, _ in answers} == {4}
    assert not hasattr(manager, "processor")


def test_answers_as_document_and_raw(sources: dict[str, ProcessSource]) -> None:
    inputs = {"collection": "squares", "clip": SQUARE, "distance": 1}
    raw = _manager().execute_process("buffer-clip", inputs)
    document = _manager().execute_process("buffer-clip", inputs, requested_response="document")
    assert raw[1] == "application/geo+json"
    assert document[1:3] == ("application/json", {"features": raw[2]})


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"subscriber": SimpleNamespace(success_uri="http://example.org")}, "subscriber"),
        ({"requested_response": "paper"}, "response"),
        ({"requested_outputs": {"other": {}}}, "outputs"),
        ({"requested_outputs": {"features": {"transmissionMode": "reference"}}}, "transmissionMode"),
    ],
)
def test_what_is_not_offered_is_refused(
    sources: dict[str, ProcessSource], options: dict[str, Any], name: str
) -> None:
    inputs = {"collection": "squares", "clip": SQUARE, "distance": 1}
    with pytest.raises(InvalidParameter) as caught:
        _manager().execute_process("buffer-clip", inputs, **options)
    assert caught.value.name == name


def test_no_job_is_kept() -> None:
    assert _manager().get_jobs() == {"jobs": [], "numberMatched": 0}
    with pytest.raises(JobNotFoundError):
        _manager().get_job("any")


@pytest.mark.parametrize("processor", [AreaStatisticsProcessor, BufferClipProcessor])
def test_descriptions_are_complete_and_copied(processor: type) -> None:
    first, second = processor({"name": "x"}), processor({"name": "x"})
    json.dumps(first.metadata)
    assert set(first.metadata["title"]) == set(first.metadata["description"]) == {"en", "zh"}
    assert first.metadata["jobControlOptions"] == ["sync-execute"]
    assert all(one["schema"] and one["description"] for one in first.metadata["inputs"].values())
    assert set(first.metadata["example"]["inputs"]) <= set(first.metadata["inputs"])
    (output,) = first.metadata["outputs"].values()
    output["schema"].clear()  # as pygeoapi's OpenAPI writer does
    (kept,) = second.metadata["outputs"].values()
    assert kept["schema"]
