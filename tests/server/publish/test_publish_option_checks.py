"""An option that would do nothing is refused before anything is built, whatever the option and the data."""

from __future__ import annotations

import dataclasses
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import pytest

from server.publish import EditingOptions, PublishRequest, ReadingOptions, SceneOptions
from server.publish.errors import OptionError
from server.publish.formats import FORMATS
from server.publish.inputs import Input
from server.publish.instance_options import InstanceOptions
from server.publish.option_checks import OPTION_USES, OptionUse, check_options
from server.publish.placement_options import PlacementOptions
from server.publish.point_cloud_options import PointCloudOptions
from server.publish.text_encoding import named_encoding
from server.publish.underground_options import UndergroundOptions

POINTS = json.dumps(
    {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "properties": {"v": 1}, "geometry": {"type": "Point", "coordinates": [1, 2]}}
        ],
    }
).encode()
FILES = {
    "a.geojson": POINTS,
    "a.csv": b"lon,lat\n1,2\n",
    "a.tif": b"II*\x00" + bytes(50),
    "a.las": b"LASF" + bytes(300),
    "a.json": b'{"type": "CityJSON", "version": "2.0", "CityObjects": {}, "vertices": []}',
}
"""Enough to be recognised, not enough to be read: what refuses them has looked at nothing else."""

GIVEN: dict[str, Any] = {
    "reading.tags": ("name",),
    "reading.keep_fields": ("v",),
    "reading.repair": True,
    "field_titles": {"v": "Value"},
    "editing.editable": False,
    "editing.if_match_required": False,
    "editing.create_by_put": True,
    "editing.constraints": {"v": {"minimum": 0}},
    "tile_fields": {"0-11": ["v"]},
    "scene.default_height": 3.0,
    "scene.default_diameter": 0.3,
    "scene.ground": Path("dem.tif"),
    "scene.terrain": True,
    "scene.terrain_levels": 9,
    "points.mosaic": True,
    "points.pipeline": ("ground",),
    "scene.point_tiles": False,
    "scene.placement.place": (1.0, 2.0),
    "scene.placement.heading": 10.0,
    "scene.placement.scale": 0.001,
    "scene.instances.models": {"oak": "broadleaf_tree"},
    "scene.underground.section_size": (6.0, 5.5),
    "scene.underground.wall": 0.4,
    "scene.underground.default_depth": 1.0,
    "scene.underground.fields": {"kind": "v"},
    "scene.underground.colours": {"water": "#0000FF"},
    "scene.underground.layers": ("fill",),
}


def asking(*paths: str) -> PublishRequest:
    """A request with a value for each of these options."""
    parts: dict[str, dict[str, Any]] = {
        section: {}
        for section in (
            "reading",
            "scene",
            "scene.underground",
            "scene.instances",
            "scene.placement",
            "editing",
            "points",
            "",
        )
    }
    for path in paths:
        section, _, name = path.rpartition(".")
        parts[section][name] = GIVEN.get(path, "x")
    return PublishRequest(
        files=(),
        tenant="t",
        id="c",
        titles={"en": "T"},
        reading=ReadingOptions(**parts["reading"]),
        scene=SceneOptions(
            underground=UndergroundOptions(**parts["scene.underground"]),
            instances=InstanceOptions(**parts["scene.instances"]),
            placement=PlacementOptions(**parts["scene.placement"]),
            **parts["scene"],
        ),
        editing=EditingOptions(**parts["editing"]),
        points=PointCloudOptions(**parts["points"]),
        **parts[""],
    )


def test_every_option_about_the_data_says_what_it_is_for() -> None:
    asked = {f"reading.{field.name}" for field in dataclasses.fields(ReadingOptions)}
    asked |= {f"scene.{field.name}" for field in dataclasses.fields(SceneOptions)}
    asked -= {"scene.underground", "scene.instances", "scene.placement"}
    asked |= {f"scene.instances.{field.name}" for field in dataclasses.fields(InstanceOptions)}
    asked |= {f"scene.placement.{field.name}" for field in dataclasses.fields(PlacementOptions)}
    asked |= {f"scene.underground.{field.name}" for field in dataclasses.fields(UndergroundOptions)}
    asked |= {f"editing.{field.name}" for field in dataclasses.fields(EditingOptions)}
    asked |= {f"points.{field.name}" for field in dataclasses.fields(PointCloudOptions)}
    asked |= {"style", "field_titles", "tile_fields"}
    assert sorted(use.path for use in OPTION_USES) == sorted(asked)
    assert all(use.formats and use.formats <= FORMATS.keys() for use in OPTION_USES)


@pytest.mark.parametrize("use", OPTION_USES, ids=lambda use: use.flag)
def test_each_option_is_refused_for_every_format_it_is_not_for(use: OptionUse) -> None:
    request = asking(use.path)
    for item in FORMATS.values():
        if item.key in use.formats:
            continue
        with pytest.raises(OptionError) as caught:
            check_options(request, [Input(Path("/in/file.dat"), item, "file.dat")])
        said = str(caught.value)
        assert said.startswith(
            f"{use.flag} is for {use.purpose}; file.dat is {item.title} ({item.family.value})"
        )
        assert said.endswith(f"without {use.flag}.")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.geojson", {"scene": {"terrain": True}}, r"--terrain is for rasters.*a\.geojson is GeoJSON \(vector\)"),
        ("a.tif", {"scene": {"height_field": "h"}}, r"--height-field is for footprints.*\(raster\)"),
        ("a.tif", {"scene": {"levels_field": "h"}}, "--levels-field is for"),
        ("a.las", {"scene": {"diameter_field": "d"}}, r"--diameter-field is for lines.*\(point cloud\)"),
        ("a.json", {"scene": {"height_field": "h"}}, r"--height-field is for .*\(city model\)"),
        ("a.geojson", {"reading": {"tags": ("name",)}}, "--tag is for OpenStreetMap"),
        ("a.geojson", {"reading": {"encoding": "gb18030"}}, "--encoding is for .*Shapefile, CSV"),
        ("a.geojson", {"reading": {"x_column": "x", "y_column": "y"}}, "--x-column is for CSV"),
        ("a.tif", {"reading": {"wkt_column": "g"}}, "--wkt-column is for CSV"),
        ("a.csv", {"reading": {"layer": "a"}}, "--layer is for formats with layers"),
        ("a.tif", {"reading": {"time_field": "t"}}, "--time-field is for features"),
        ("a.las", {"style": "point"}, "style .point. .* is for features; a.las is"),
        ("a.geojson", {"scene": {"point_tiles": False}}, "--no-point-tiles is for point clouds"),
        ("a.tif", {"scene": {"point_colour": "rgb"}}, "--point-colour is for point clouds"),
        # of no use alone
        ("a.geojson", {"scene": {"base_field": "v"}}, "--base-field does nothing alone.*--height-field or "),
        ("a.geojson", {"scene": {"depth_field": "v"}}, "--depth-field does nothing alone.*--diameter-field or"),
        ("a.geojson", {"scene": {"ground": Path("dem.tif")}}, "--ground does nothing alone"),
        ("a.geojson", {"scene": {"vertical": 3.0}}, "--height-reference does nothing alone"),
        ("a.tif", {"scene": {"vertical": "egm96"}}, "--height-reference does nothing alone.*goes with --terrain"),
        # only one would be heard
        ("a.geojson", {"scene": {"height_field": "h", "diameter_field": "d"}}, "--height-field and --diameter-field do not"),
        ("a.geojson", {"scene": {"height_field": "h", "base_field": "v", "ground": Path("dem.tif")}}, "--base-field and --ground do not"),
        ("a.csv", {"reading": {"wkt_column": "g", "x_column": "x"}}, "--wkt-column and --x-column do not"),
        ("a.las", {"scene": {"point_tiles": False, "point_colour": "rgb"}}, "--no-point-tiles and --point-colour do not"),
        # values
        ("a.geojson", {"reading": {"encoding": "nope"}}, "no text encoding 'nope'"),
        ("a.tif", {"reading": {"encoding": "nope"}}, "no text encoding 'nope'"),
        ("a.csv", {"reading": {"encoding": "base64"}}, "no text encoding 'base64'"),
        ("a.csv", {"reading": {"encoding": "undefined"}}, "no text encoding 'undefined'"),
        ("a.csv", {"reading": {"encoding": "utf\0"}}, "no text encoding"),
        ("a.geojson", {"scene": {"height_field": ""}}, "--height-field is empty"),
        ("a.geojson", {"scene": {"default_height": -3.0}}, "--default-height is -3. Allowed: .* above 0"),
        ("a.geojson", {"scene": {"default_height": 0.0}}, "--default-height is 0"),
        ("a.geojson", {"scene": {"default_height": math.nan}}, "--default-height is nan"),
        ("a.geojson", {"scene": {"default_height": math.inf}}, "--default-height is inf"),
        ("a.geojson", {"scene": {"default_diameter": -0.1}}, "--default-diameter is -0.1"),
        ("a.geojson", {"scene": {"underground": UndergroundOptions(wall=0.3)}}, "--wall does nothing alone"),
        ("a.geojson", {"scene": {"underground": UndergroundOptions(kind="caves")}}, "--underground is 'caves'. Allowed: pipes"),
        ("a.geojson", {"scene": {"underground": UndergroundOptions(depth_to="moon")}}, "--depth-to is 'moon'"),
        ("a.geojson", {"scene": {"underground": UndergroundOptions(wall=0.0)}}, "--wall is 0"),
        ("a.geojson", {"scene": {"underground": UndergroundOptions(section_size=(1.0, math.nan))}}, "--section-size is nan"),
        ("a.geojson", {"scene": {"underground": UndergroundOptions(default_depth=math.inf)}}, "--default-depth is inf"),
        ("a.geojson", {"scene": {"underground": UndergroundOptions(fields={"colour": "v"})}}, "no meaning 'colour'. Allowed: diameter"),
        ("a.geojson", {"scene": {"underground": UndergroundOptions(colours={"water": "blue"})}}, "--colour-of water: 'blue' is no colour"),
        ("a.geojson", {"scene": {"underground": UndergroundOptions(network_kind="beer")}}, "--network-kind is 'beer'. Allowed"),
        ("a.las", {"scene": {"underground": UndergroundOptions(kind="pipes")}}, "--underground is for features"),
        ("a.las", {"scene": {"vertical": math.inf}}, "--height-reference is inf"),
        ("a.las", {"scene": {"vertical": "moon"}}, "cannot count from 'moon'"),
        ("a.las", {"scene": {"vertical": "egm96"}}, "point cloud cannot count from 'egm96'.*automatic"),
        ("a.las", {"scene": {"point_colour": "mood"}}, "coloured by 'mood'"),
        # styles
        ("a.geojson", {"style": "no-such-style"}, "'no-such-style' is not in styles; there are any, buildings, dem"),
        ("a.geojson", {"style": "../styles/point"}, "is not in styles; there are any"),
        ("a.geojson", {"style": ""}, "--style is empty"),
        ("a.geojson", {"style": {"rulez": []}}, "unknown keys 'rulez'"),
        ("a.geojson", {"style": "dem"}, r"style 'dem' \(--style\) is for rasters; a\.geojson is GeoJSON"),
        ("a.tif", {"style": "buildings"}, "style 'buildings' .* is for features; a.tif is"),
    ],
)  # fmt: skip
def test_an_option_that_does_not_fit_is_one_error_before_anything_is_read(
    publisher: Any, tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name])
    stages: list[str] = []

    def report(stage: str, _fraction: float) -> None:
        stages.append(stage)

    with pytest.raises(OptionError, match=message) as caught:
        publisher.publish(path, callbacks={"report": report}, **options)
    assert set(stages) == {"checking"}
    assert "\n" not in str(caught.value)
    assert publisher.collection() is None
    assert publisher.leftovers() == []


def test_a_layer_may_name_the_dataset_of_an_archive(publisher: Any, tmp_path: Path) -> None:
    path = tmp_path / "both.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("wells.geojson", POINTS)
    with pytest.raises(
        OptionError, match=r"--layer is for .*archives.*; both\.zip/wells\.geojson is GeoJSON"
    ):
        publisher.publish(path, reading={"layer": "roads"})
    assert publisher.publish(path, reading={"layer": "wells"}).count == 1


@pytest.mark.parametrize(
    ("name", "codec"),
    [("GBK", "gbk"), ("GB18030", "gb18030"), ("utf8", "utf-8"), ("UTF-16", "utf-16"), ("utf_32", "utf-32")],
)
def test_encodings_that_there_are(name: str, codec: str) -> None:
    assert named_encoding(name) == codec
