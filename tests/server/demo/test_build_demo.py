"""build_demo publishes what is missing, nothing twice, and leaves other people's collections alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from server.demo import build_demo
from server.demo.datasets import DATASETS, Material
from server.demo.descriptions import read_descriptions
from server.demo.errors import DemoDescriptionError
from server.demo.workshop import Workshop
from server.publish import PublishRequest, SceneOptions, publish
from server.registry.catalogue import RepresentationKind
from server.registry.registry import open_registry
from server.settings import Settings, load_settings

POINTS = tuple(one for one in DATASETS if one.id == "survey-control-points")
SMALL = tuple(one for one in DATASETS if one.id in ("survey-cgcs2000", "survey-control-points"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings((), {}, {"data.home": str(tmp_path / "home")})


def test_every_collection_of_the_demo_is_described(collections_file: Path) -> None:
    texts = read_descriptions(collections_file)
    assert set(texts.collections) == {one.key for one in DATASETS}
    assert set(texts.tenants) == {one.tenant for one in DATASETS}
    simulated = {key for key, text in texts.collections.items() if text.simulated}
    assert simulated == {
        f"helsinki/{name}"
        for name in (
            "terrain",
            "ortho",
            "lidar",
            "pipes",
            "manholes",
            "boreholes",
            "geology",
            "tunnel",
            "trees",
            "survey-cgcs2000",
            "survey-control-points",
        )
    }
    for key, text in texts.collections.items():
        assert text.simulated == ("simulated" in text.keywords), key
        assert text.licence_url.startswith("https://"), key


def test_built_once_then_left_alone(settings: Settings, collections_file: Path) -> None:
    heard: list[tuple[str, float]] = []
    first = build_demo(
        settings, lambda what, fraction: heard.append((what, fraction)), collections_file, SMALL
    )
    assert first == ["helsinki.survey-cgcs2000", "helsinki.survey-control-points"]
    fractions = [fraction for _, fraction in heard]
    assert fractions == sorted(fractions)
    assert heard[-1] == ("done", 1.0)
    assert build_demo(settings, descriptions=collections_file, datasets=SMALL) == []
    assert list((settings.home / "staging").iterdir()) == []
    with open_registry(settings) as registry:
        survey = registry.collection("helsinki", "survey-cgcs2000")
    assert survey is not None
    assert survey.simulated
    assert survey.storage_crs.endswith("/EPSG/0/4547")
    assert [field.name for field in survey.fields][:2] == ["宗地号", "土地用途"]
    assert survey.representations[RepresentationKind.FEATURES].properties["count"] == 80
    assert survey.interval is not None


def one_house_without_height(workshop: Workshop) -> Material:
    workshop.folder.mkdir(parents=True, exist_ok=True)
    file = workshop.folder / "houses.geojson"
    ring = [[24.9, 60.1], [24.901, 60.1], [24.901, 60.101], [24.9, 60.1]]
    features = [
        {"type": "Feature", "properties": {"h": h}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for h in (9.0, None)
    ]
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return Material(file=file, scene=SceneOptions(height_field="h"))


def test_warnings_are_not_lost(
    settings: Settings, collections_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    houses = (dataclasses.replace(POINTS[0], make=one_house_without_height, source=None),)
    heard: list[str] = []
    build_demo(settings, descriptions=collections_file, datasets=houses, warn=heard.append)
    assert len(heard) == 1
    assert heard[0].startswith("helsinki.survey-control-points: 1 objects are not in the 3D tileset")
    assert caplog.records == []
    other = load_settings((), {}, {"data.home": str(settings.home.with_name("other"))})
    build_demo(other, descriptions=collections_file, datasets=houses)
    assert [(one.name, one.getMessage()) for one in caplog.records] == [("server.demo.build", heard[0])]


def test_a_stopped_build_goes_on(settings: Settings, collections_file: Path) -> None:
    build_demo(settings, descriptions=collections_file, datasets=SMALL[:1])
    assert build_demo(settings, descriptions=collections_file, datasets=SMALL) == [
        "helsinki.survey-control-points"
    ]


def test_changed_descriptions_publish_anew(
    settings: Settings, collections_file: Path, tmp_path: Path
) -> None:
    build_demo(settings, descriptions=collections_file, datasets=POINTS)
    changed = tmp_path / "collections.yml"
    changed.write_text(collections_file.read_text().replace("Survey control points", "Control points"))
    assert build_demo(settings, descriptions=changed, datasets=POINTS) == ["helsinki.survey-control-points"]
    with open_registry(settings) as registry:
        points = registry.collection("helsinki", "survey-control-points")
    assert points is not None
    assert (points.titles["en"], points.generation) == ("Control points in CGCS2000 (simulated)", 2)


def test_a_collection_that_someone_published_is_left_alone(
    settings: Settings, collections_file: Path, tmp_path: Path
) -> None:
    build_demo(settings, descriptions=collections_file, datasets=POINTS)
    own = tmp_path / "own.geojson"
    feature = {
        "type": "Feature",
        "properties": {"n": 1},
        "geometry": {"type": "Point", "coordinates": [114.4, 30.5]},
    }
    own.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    with open_registry(settings) as registry:
        request = PublishRequest(
            files=(own,), tenant="helsinki", id="survey-control-points", titles={"en": "Mine"}, replace=True
        )
        publish(request, registry, settings)
    changed = tmp_path / "collections.yml"
    changed.write_text(collections_file.read_text().replace("Survey control points", "Control points"))
    assert build_demo(settings, descriptions=changed, datasets=POINTS) == []


def test_a_lost_ledger_publishes_nothing_again(settings: Settings, collections_file: Path) -> None:
    build_demo(settings, descriptions=collections_file, datasets=POINTS)
    (settings.home / "demo.json").write_text("{ damaged")
    assert build_demo(settings, descriptions=collections_file, datasets=POINTS) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"titles": {"en": "Only English"}}, "titles"),
        ({"licence": None}, "licence"),
        ({"colour": "red"}, "colour"),
        ({"titles": {"en": "Survey", "zh": "测量"}}, "say so"),
    ],
)
def test_bad_descriptions_are_named(
    collections_file: Path, tmp_path: Path, change: dict[str, object], word: str
) -> None:
    document = yaml.safe_load(collections_file.read_text())
    document["collections"]["helsinki/survey-cgcs2000"].update(change)
    path = tmp_path / "collections.yml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True))
    with pytest.raises(DemoDescriptionError, match=word):
        read_descriptions(path)


@pytest.mark.parametrize("text", ["", "[1, 2", "tenants: {}"])
def test_unreadable_descriptions(tmp_path: Path, text: str) -> None:
    path = tmp_path / "collections.yml"
    path.write_text(text)
    with pytest.raises(DemoDescriptionError):
        read_descriptions(path)
    with pytest.raises(DemoDescriptionError):
        read_descriptions(tmp_path / "none.yml")
