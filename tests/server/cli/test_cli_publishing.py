"""The options of `chengtu publish`: each reaches the request, and what the most useful ones make."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import laspy
import numpy as np
import pyproj
import pytest
import rasterio
from rasterio.transform import from_origin

from pointclouds.tilesets.colours import MODES, ColourMode
from server.cli import run
from server.cli.publishing_options import HEIGHT_REFERENCES, PointColour
from server.publish import EditingOptions, PublishRequest, ReadingOptions, SceneOptions
from server.publish.errors import PublishCancelled
from server.publish.instance_options import InstanceOptions
from server.publish.placement_options import PlacementOptions
from server.publish.point_cloud_options import PointCloudOptions
from server.publish.scenes import vertical_reference
from server.publish.underground_options import UndergroundOptions
from server.registry.catalogue import Access, Collection, Representation, RepresentationKind
from server.registry.registry import Registry, open_registry
from server.settings import load_settings

Published = tuple[Collection, str]
Publish = Callable[..., Published]

EVERYTHING = shlex.split("""
a.gpkg b.gpkg --tenant delft --id blocks --title Blocks --title-zh 街区
--description Houses --description-zh 房屋 --keyword one --keyword 二 --attribution Somebody --licence CC-BY-4.0
--licence-url https://example.org/licence --field-title 高度=Height --field-title a=b=c --style buildings --simulated
--private --replace
--format csv --crs EPSG:4547 --layer houses --encoding GB18030 --x-column 东 --y-column 北 --wkt-column wkt --id-field code
--time-field built --keep-field 高度 --keep-field a --tag building:levels --tag name --where 高度>1 --repair --time tag --nodata -9999 --on-top first
--read-only --no-if-match --create-by-put --tile-fields 0-11=名称,kind --tile-fields 12=
--height-field 高度 --levels-field floors --default-height 4.5 --base-field ground --diameter-field 管径
--default-diameter 0.2 --depth-field 埋深
--underground pipes --field-means end_depth=终点埋深 --field-means kind=类=别 --depth-to bottom --size-unit mm
--section box --section-size 6x5.5 --wall 0.4 --default-depth 1.2 --network-kind water --colour-of water=#0000FF
--layer-name fill --layer-name clay --interpolation linear
--instances broadleaf_tree --model-field 树种 --model-of 杉=conifer --model-of a=b=palm --instance-height-field 树高 --width-field 冠幅
--scale-field k --heading-field 方向 --min-height-field 底高 --place 24.94,60.17,12 --heading 90 --model-scale 0.001
--terrain --water nodata --terrain-levels 12 --mosaic --pipeline ground --pipeline outliers:method=radius --point-columns 'x y z' --vertical-crs EPSG:5737 --target-crs EPSG:4549 --no-point-tiles --point-colour rgb --compress-3d draco --ground dem.tif --height-reference -12.5
""")
REQUESTED = PublishRequest(
    files=(Path("a.gpkg"), Path("b.gpkg")),
    tenant="delft",
    id="blocks",
    titles={"en": "Blocks", "zh": "街区"},
    descriptions={"en": "Houses", "zh": "房屋"},
    keywords=("one", "二"),
    attribution="Somebody",
    licence="CC-BY-4.0",
    licence_url="https://example.org/licence",
    simulated=True,
    access=Access.PRIVATE,
    replace=True,
    style="buildings",
    field_titles={"高度": "Height", "a": "b=c"},
    reading=ReadingOptions(
        format="csv",
        crs="EPSG:4547",
        layer="houses",
        encoding="GB18030",
        x_column="东",
        y_column="北",
        wkt_column="wkt",
        id_field="code",
        time_field="built",
        tags=("building:levels", "name"),
        where="高度>1",
        keep_fields=("高度", "a"),
        repair=True,
        time="tag",
        nodata=-9999.0,
        on_top="first",
    ),
    editing=EditingOptions(
        editable=False,
        if_match_required=False,
        create_by_put=True,
        constraints={"高度": {"minimum": 0}},
    ),
    tile_fields={"0-11": ["名称", "kind"], "12": []},
    points=PointCloudOptions(
        mosaic=True,
        columns="x y z",
        vertical="EPSG:5737",
        target_crs="EPSG:4549",
        pipeline=("ground", "outliers:method=radius"),
    ),
    scene=SceneOptions(
        height_field="高度",
        levels_field="floors",
        default_height=4.5,
        base_field="ground",
        ground=Path("dem.tif"),
        diameter_field="管径",
        default_diameter=0.2,
        depth_field="埋深",
        vertical=-12.5,
        terrain=True,
        water="nodata",
        terrain_levels=12,
        point_tiles=False,
        point_colour="rgb",
        compression="draco",
        underground=UndergroundOptions(
            kind="pipes",
            fields={"end_depth": "终点埋深", "kind": "类=别"},
            depth_to="bottom",
            size_unit="mm",
            section="box",
            section_size=(6.0, 5.5),
            wall=0.4,
            default_depth=1.2,
            network_kind="water",
            colours={"water": "#0000FF"},
            layers=("fill", "clay"),
            interpolation="linear",
        ),
        instances=InstanceOptions(
            model="broadleaf_tree",
            model_field="树种",
            models={"杉": "conifer", "a=b": "palm"},
            height_field="树高",
            width_field="冠幅",
            scale_field="k",
            heading_field="方向",
        ),
        min_height_field="底高",
        placement=PlacementOptions(place=(24.94, 60.17, 12.0), heading=90.0, scale=0.001),
    ),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("publishing") / "home"


@pytest.fixture(scope="module")
def registry(home: Path) -> Iterator[Registry]:
    with open_registry(load_settings((), None, {"data.home": home})) as opened:
        opened.add_tenant("delft", "Delft", "代尔夫特")
        yield opened


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch, registry: Registry) -> list[PublishRequest]:
    """What the command asked to be published, in place of publishing it."""
    requests: list[PublishRequest] = []

    def note(request: PublishRequest, *_: object) -> None:
        requests.append(request)
        raise PublishCancelled("noted")

    monkeypatch.setattr("server.publish.publish", note)
    return requests


@pytest.fixture
def publish(home: Path, registry: Registry, capsys: pytest.CaptureFixture[str]) -> Publish:
    """Publishes into the home, as the collection given: the collection as the registry has it, and what was said."""

    def call(collection: str, *arguments: str | Path) -> Published:
        common = ["--home", str(home), "--tenant", "delft", "--id", collection, "--title", "Title"]
        code = run(["publish", *map(str, arguments), *common])
        said = capsys.readouterr()
        assert (code, said.out) == (0, ""), said.err
        found = registry.collection("delft", collection)
        assert found is not None
        return found, said.err

    return call


def tileset(collection: Collection) -> Representation:
    return collection.representations[RepresentationKind.TILESET_3D]


def test_every_option_reaches_the_request(
    requested: list[PublishRequest], home: Path, tmp_path: Path
) -> None:
    constraints = tmp_path / "constraints.yml"
    constraints.write_text("高度: {minimum: 0}\n", encoding="utf-8")
    assert run(["publish", *EVERYTHING, "--constraints", str(constraints), "--home", str(home)]) == 1
    assert requested == [REQUESTED]


def test_that_request_differs_from_the_defaults_in_everything(
    requested: list[PublishRequest], home: Path
) -> None:
    """So what is added to the request without an option of the command is found here."""
    run(["publish", "c.tif", "--tenant", "x", "--id", "y", "--title", "Z", "--home", str(home)])
    plain = PublishRequest(files=(Path("c.tif"),), tenant="x", id="y", titles={"en": "Z"})
    assert requested == [plain]
    for asked, default in (
        (REQUESTED, plain),
        (REQUESTED.reading, plain.reading),
        (REQUESTED.editing, plain.editing),
        (REQUESTED.scene, plain.scene),
        (REQUESTED.points, plain.points),
    ):
        same = [
            field.name
            for field in dataclasses.fields(asked)
            if getattr(asked, field.name) == getattr(default, field.name)
        ]
        assert same == (["extra_representations", "provenance"] if asked is REQUESTED else [])


def test_the_words_offered_are_those_that_publishing_knows(
    requested: list[PublishRequest], home: Path
) -> None:
    assert tuple(PointColour) == get_args(ColourMode) == tuple(MODES)
    for word in HEIGHT_REFERENCES:
        vertical_reference(SceneOptions(vertical=word))
        run(["publish", *EVERYTHING, "--height-reference", word, "--home", str(home)])
    assert [one.scene.vertical for one in requested] == list(HEIGHT_REFERENCES)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--point-colour", "mood"], "'class', 'height', 'rgb', 'intensity', 'return', 'time'"),
        (["--height-reference", "moon"], "nor a number of metres"),
        (["--height-reference", "nan"], "nor a number of metres"),
        (["--field-title", "height"], "is not FIELD=TITLE"),
        (["--field-title", "=Height"], "is not FIELD=TITLE"),
        (["--field-title", "height= "], "is not FIELD=TITLE"),
        (["--default-height", "high"], "--default-height"),
        (["--field-means", "diameter"], "is not MEANING=FIELD"),
        (["--colour-of", "=#00A8F0"], "is not NAME=#RRGGBB"),
        (["--section-size", "wide"], "is not WIDTHxHEIGHT"),
        (["--section-size", "1x2x3"], "is not WIDTHxHEIGHT"),
        (["--default-diameter", "wide"], "--default-diameter"),
    ],
)
def test_values_that_cannot_be_are_refused_before_anything_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    home = tmp_path / "untouched"
    common = ["--home", str(home), "--tenant", "delft", "--id", "x", "--title", "X"]
    assert run(["publish", "x.gpkg", *common, *arguments]) == 2
    assert says in capsys.readouterr().err
    assert not home.exists()


def test_the_help_fits_a_terminal_and_groups_the_options(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["publish", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    headings = [line for line in lines if line.endswith(":") and not line.startswith((" ", "Usage"))]
    assert (headings[0], headings[1], headings[-1]) == ("Arguments:", "The collection:", "Options:")
    assert len(headings) == 12
    (pipes,) = [number for number, line in enumerate(lines) if line.startswith("Lines to pipes")]
    assert lines[pipes + 1].lstrip().startswith("--diameter-field FIELD")


def dem(path: Path, heights: np.ndarray[Any, Any]) -> Path:
    rows, columns = heights.shape
    profile = {"driver": "GTiff", "width": columns, "height": rows, "count": 1, "dtype": "float32"}
    transform = from_origin(4.35, 52.02, 0.0005, 0.0005)
    with rasterio.open(path, "w", **profile, crs="EPSG:4326", transform=transform) as file:
        file.write(heights.astype("float32"), 1)
    return path


def geojson(path: Path, kind: str, *features: tuple[list[Any], dict[str, Any]]) -> Path:
    documents = [
        {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}
        for coordinates, properties in features
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": documents}), encoding="utf-8")
    return path


def square(x: float) -> list[Any]:
    return [[[x, 52.0], [x + 0.001, 52.0], [x + 0.001, 52.001], [x, 52.001], [x, 52.0]]]


def test_a_terrain_of_a_dem(publish: Publish, tmp_path: Path) -> None:
    slope = np.tile(np.linspace(10, 60, 64), (64, 1))
    collection, _ = publish("terrain", dem(tmp_path / "dem.tif", slope), "--terrain")
    assert {RepresentationKind.COVERAGE, RepresentationKind.TERRAIN} <= set(collection.representations)
    layer = json.loads(collection.path_of(RepresentationKind.TERRAIN).read_text())
    assert layer["format"].startswith("quantized-mesh")
    assert (collection.bbox[2], collection.bbox[5]) == pytest.approx((10, 60), abs=1)
    lifted, _ = publish("lifted", tmp_path / "dem.tif", "--terrain", "--height-reference", "40.5")
    assert (lifted.bbox[2], lifted.bbox[5]) == pytest.approx((50.5, 100.5), abs=1)
    plain, _ = publish("plain", tmp_path / "dem.tif")
    assert RepresentationKind.TERRAIN not in plain.representations


def test_buildings_with_heights_titles_and_warnings(publish: Publish, tmp_path: Path) -> None:
    file = geojson(
        tmp_path / "blocks.geojson",
        "Polygon",
        (square(4.36), {"高度": 21.0, "floors": 9, "secret": "x"}),
        (square(4.37), {"高度": None, "floors": 2, "secret": "x"}),
        (square(4.38), {"高度": None, "floors": None, "secret": "x"}),
    )
    fields = ["--height-field", "高度", "--levels-field", "floors"]
    kept = ["--keep-field", "高度", "--keep-field", "floors"]
    titles = ["--field-title", "高度=Height", "--field-title", "hight=Height"]
    collection, said = publish("blocks", file, *fields, *kept, *titles)
    assert {field.name: field.title for field in collection.fields} == {"高度": "Height", "floors": None}
    assert (tileset(collection).properties["content"], tileset(collection).properties["feature_count"]) == (
        "buildings",
        2,
    )
    assert (collection.bbox[2], collection.bbox[5]) == pytest.approx((0, 21), abs=0.1)
    warnings = [line for line in said.splitlines() if line.startswith("Warning: ")]
    assert len(warnings) == 2
    assert "1 objects are not in the 3D tileset" in warnings[0]
    assert "no field 'hight'" in warnings[1]
    whole, said = publish("whole", file, *fields, "--default-height", "3", "--field-title", "floors=Floors")
    assert tileset(whole).properties["feature_count"] == 3
    assert "Warning" not in said


def test_pipes_below_the_ground(publish: Publish, tmp_path: Path) -> None:
    line = [[4.36, 52.0], [4.361, 52.0]]
    file = geojson(
        tmp_path / "pipes.geojson",
        "LineString",
        (line, {"管径": 0.4, "埋深": 2.0}),
        (line, {"管径": None, "埋深": 3.0}),
    )
    ground = dem(tmp_path / "ground.tif", np.full((64, 64), 30.0))
    measures = ["--diameter-field", "管径", "--default-diameter", "0.2", "--depth-field", "埋深"]
    collection, _ = publish("pipes", file, *measures, "--ground", ground)
    assert (tileset(collection).properties["content"], tileset(collection).properties["feature_count"]) == (
        "pipes",
        2,
    )
    # 30 m less 3 m and the thin pipe's radius; 30 m less 2 m and up the thick one's. At most a radius more for mitres.
    assert 26.75 < collection.bbox[2] <= 26.95
    assert 28.15 <= collection.bbox[5] < 28.45


def las(path: Path) -> Path:
    header = laspy.LasHeader(point_format=7, version="1.4")
    header.scales, header.offsets = np.full(3, 0.01), np.array([85000.0, 447000.0, 0.0])
    header.add_crs(pyproj.CRS("EPSG:28992"))
    cloud = laspy.LasData(header)
    random = np.random.default_rng(5)
    cloud.x, cloud.y = 85000 + random.uniform(0, 40, 300), 447000 + random.uniform(0, 40, 300)
    cloud.z = random.uniform(0, 20, 300)
    cloud.classification = np.full(300, 2, dtype="uint8")
    cloud.red = cloud.green = cloud.blue = random.integers(1, 65535, 300).astype("uint16")
    cloud.write(path)
    return path


def test_colours_of_a_point_cloud(publish: Publish, tmp_path: Path) -> None:
    file = las(tmp_path / "cloud.las")
    by_default, _ = publish("by-class", file)
    assert tileset(by_default).properties["colour"] == "class"
    contents = set()
    for colour in ("height", "rgb"):
        collection, _ = publish(f"by-{colour}", file, "--point-colour", colour)
        assert tileset(collection).properties["colour"] == colour
        contents.add(collection.path_of(RepresentationKind.TILESET_3D).read_bytes())
    assert len(contents) == 2
    none, _ = publish("no-tiles", file, "--no-point-tiles")
    assert RepresentationKind.POINT_CLOUD in none.representations
    assert RepresentationKind.TILESET_3D not in none.representations
