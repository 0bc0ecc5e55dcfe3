"""Pipelines from users: what is let through, and every way out of the list that one can think of."""

from __future__ import annotations

from typing import Any

import pytest

from pointclouds.errors import PipelineRefusedError
from pointclouds.pdal.allowed import MAXIMUM_STAGES, RESERVED, STAGES, check_pipeline
from pointclouds.pdal.steps import STEPS, parse_step


def _stage(kind: str, **options: Any) -> dict[str, Any]:
    return {"type": kind, **options}


ALLOWED = [
    ([_stage("filters.smrf")], [{"type": "filters.smrf"}]),
    ({"pipeline": [_stage("filters.smrf", cell="2.5")]}, [{"type": "filters.smrf", "cell": 2.5}]),
    ([_stage("smrf", returns="last, only")], [{"type": "filters.smrf", "returns": "last,only"}]),
    (
        [_stage("filters.range", limits="Classification![7:7], Z(-1.5:2e3]")],
        [{"type": "filters.range", "limits": "Classification![7:7], Z(-1.5:2e3]"}],
    ),
    (
        [_stage("filters.assign", value="Classification = 2 WHERE Z < 10 && Intensity >= 3")],
        [{"type": "filters.assign", "value": ["Classification = 2 WHERE Z < 10 && Intensity >= 3"]}],
    ),
    (
        [_stage("filters.crop", polygon="POLYGON((0 0, 1 0, 1 1, 0 0))", outside=True)],
        [{"type": "filters.crop", "polygon": "POLYGON ((0 0, 1 0, 1 1, 0 0))", "outside": True}],
    ),
    (
        [_stage("filters.reprojection", out_srs="epsg:28992")],
        [{"type": "filters.reprojection", "out_srs": "EPSG:28992"}],
    ),
    (
        [_stage("filters.transformation", matrix="1 0 0 5 0 1 0 0 0 0 1 0 0 0 0 1")],
        [
            {
                "type": "filters.transformation",
                "matrix": "1.0 0.0 0.0 5.0 0.0 1.0 0.0 0.0 0.0 0.0 1.0 0.0 0.0 0.0 0.0 1.0",
            }
        ],
    ),
    (
        [_stage("filters.outlier", where="Z > 3", mean_k=8)],
        [{"type": "filters.outlier", "where": "Z > 3", "mean_k": 8}],
    ),
]


@pytest.mark.parametrize(("document", "expected"), ALLOWED)
def test_what_is_let_through(document: Any, expected: list[dict[str, Any]]) -> None:
    assert [stage.document() for stage in check_pipeline(document)] == expected


ATTACKS: list[tuple[Any, str]] = [
    # what reads and writes
    ([_stage("readers.las", filename="/etc/passwd")], "filters only"),
    ([_stage("readers.ept", filename="http://10.0.0.1/ept.json")], "filters only"),
    ([_stage("readers.text", filename="/etc/shadow")], "filters only"),
    ([_stage("writers.text", filename="/tmp/x")], "filters only"),
    ([_stage("writers.gdal", filename="x.tif", gdaldriver="GTiff")], "filters only"),
    (["/etc/passwd"], "files are not named"),
    (["filters.smrf"], "files are not named"),
    ([_stage("filters.smrf"), "out.las"], "files are not named"),
    # what runs code
    ([_stage("filters.python", source="import os", function="f", module="m")], "runs no code"),
    ([_stage("python", script="/tmp/x.py")], "runs no code"),
    ([_stage("filters.matlab", script="x")], "runs no code"),
    ([_stage("filters.julia", script="x")], "runs no code"),
    ([_stage("filters.shell", command="id")], "runs no code"),
    # what names files
    ([_stage("filters.colorization", raster="/etc/passwd")], "step colourise"),
    ([_stage("filters.hag_dem", raster="/vsicurl/http://10.0.0.1/x.tif")], "step height"),
    ([_stage("filters.overlay", datasource="/etc", dimension="Classification")], "step clip"),
    ([_stage("filters.dem", raster="x.tif", limits="Z[0:1]")], "not allowed"),
    ([_stage("filters.neighborclassifier", candidate="/etc/passwd")], "not allowed"),
    ([_stage("filters.smrf", dir="/tmp")], "no option 'dir'"),
    ([_stage("filters.csf", dir="/tmp", debug=True)], "no option 'dir'"),
    ([_stage("filters.icp")], "not allowed"),
    ([_stage("filters.splitter", length=1)], "not allowed"),
    ([_stage("filters.trajectory")], "not allowed"),
    # what every stage of PDAL has
    ([_stage("filters.smrf", option_file="/etc/passwd")], "no option 'option_file'"),
    ([_stage("filters.smrf", log="/tmp/log")], "no option 'log'"),
    ([_stage("filters.smrf", user_data={"a": 1})], "no option 'user_data'"),
    ([_stage("filters.smrf", tag="a")], "no option 'tag'"),
    ([_stage("filters.smrf", inputs=["a"])], "no option 'inputs'"),
    ([_stage("filters.smrf", plugin="/tmp/x.so")], "no option 'plugin'"),
    ([_stage("filters.smrf", filename="x")], "no option 'filename'"),
    ([_stage("filters.smrf", where="system('id')")], "where of filters.smrf"),
    ([_stage("filters.smrf", where='Z > 1; "')], "where of filters.smrf"),
    ([_stage("filters.smrf", where="Z > $HOME")], "where of filters.smrf"),
    ([_stage("filters.smrf", where_merge="true")], "no option 'where_merge'"),
    # values
    ([_stage("filters.smrf", cell="/etc/passwd")], "a number from"),
    ([_stage("filters.smrf", cell=float("nan"))], "a number from"),
    ([_stage("filters.smrf", cell=float("inf"))], "a number from"),
    ([_stage("filters.smrf", cell=10**4000)], "a number from"),
    ([_stage("filters.smrf", cell=1e-300)], "a number from"),
    ([_stage("filters.smrf", cell=True)], "a number from"),
    ([_stage("filters.smrf", cell=None)], "a number from"),
    ([_stage("filters.smrf", cell=[1])], "a number from"),
    ([_stage("filters.smrf", cell={"a": {"b": []}})], "a number from"),
    ([_stage("filters.smrf", window=1e9)], "a number from"),
    ([_stage("filters.outlier", mean_k=1.5)], "a whole number"),
    ([_stage("filters.outlier", mean_k=1_000_000)], "a whole number"),
    ([_stage("filters.outlier", method="x")], "one of"),
    ([_stage("filters.smrf", returns="first,/etc")], "one of"),
    ([_stage("filters.smrf", returns=[])], "a list of"),
    ([_stage("filters.csf", smooth="maybe")], "true or false"),
    ([_stage("filters.range", limits="/etc/passwd")], "ranges such as"),
    ([_stage("filters.range", limits="Z[0:1]" + ",Z[0:1]" * 500)], "ranges such as"),
    ([_stage("filters.assign", assignment="Z[:]=@file")], "assignments"),
    ([_stage("filters.assign", value="Z = `id`")], "an expression"),
    ([_stage("filters.assign", value=["Z = 1"] * 33)], "1 to 32"),
    ([_stage("filters.ferry", dimensions="X=>/etc")], "copies"),
    ([_stage("filters.crop", polygon={"type": "ogr", "datasource": "/etc/passwd"})], "POLYGON"),
    ([_stage("filters.crop", ogr={"datasource": "x"})], "no option 'ogr'"),
    ([_stage("filters.crop", polygon="/etc/passwd")], "POLYGON"),
    ([_stage("filters.crop", polygon="POLYGON((0 0, 1 1, 1 0, 0 1, 0 0))")], "valid"),
    ([_stage("filters.crop", polygon="POLYGON((" + "0 0," * 20_001 + "0 0))")], "corners"),
    ([_stage("filters.crop", bounds="file")], "a box such as"),
    ([_stage("filters.crop", a_srs="/etc/passwd")], "no option 'a_srs'"),
    ([_stage("filters.reprojection", out_srs="http://example.org/x.wkt")], "EPSG code"),
    ([_stage("filters.reprojection", out_srs="/etc/passwd")], "EPSG code"),
    (
        [_stage("filters.reprojection", out_srs="+proj=pipeline +step +proj=hgridshift +grids=/etc/x")],
        "EPSG code",
    ),
    ([_stage("filters.transformation", matrix="/etc/passwd")], "16 numbers"),
    ([_stage("filters.transformation", matrix=" ".join(["x"] * 16))], "a number from"),
    ([_stage("filters.sort", dimension="X; rm")], "name of a dimension"),
    ([_stage("filters.range", limits=f"{RESERVED}[0:1]")], "which is the server's"),
    ([_stage("filters.sort", dimension=RESERVED.lower())], "which is the server's"),
    # the document
    ([], "a list of filters"),
    ({}, "whose only member"),
    ({"pipeline": []}, "a list of filters"),
    ({"pipeline": "x"}, "a list of filters"),
    ({"pipeline": [_stage("filters.smrf")], "metadata": 1}, "whose only member"),
    ("filters.smrf", "a list of filters"),
    (None, "a list of filters"),
    (7, "a list of filters"),
    ([None], "no object"),
    ([[]], "no object"),
    ([{}], "no object"),
    ([{"type": ["filters.smrf"]}], "no object"),
    ([_stage("")], "not allowed"),
    ([_stage("filters.")], "not allowed"),
    ([_stage("filters.smrf\x00")], "not allowed"),
    ([_stage("FILTERS.SMRF")], "not allowed"),
    ([_stage("filters.smrf", **{"": 1})], "no option ''"),
    ([_stage("filters.mortonorder")] * (MAXIMUM_STAGES + 1), "at most 32"),
    ([_stage("filters.mortonorder")] * 10_000, "at most 32"),
]


@pytest.mark.parametrize(("document", "words"), ATTACKS)
def test_what_is_refused(document: Any, words: str) -> None:
    with pytest.raises(PipelineRefusedError) as refused:
        check_pipeline(document)
    assert words in str(refused.value)
    assert len(str(refused.value)) < 1_500


def test_the_most_stages_are_allowed() -> None:
    assert len(check_pipeline([_stage("filters.mortonorder")] * MAXIMUM_STAGES)) == MAXIMUM_STAGES


def test_no_option_of_a_stage_is_a_file() -> None:
    options = {option for rules in STAGES.values() for option in rules}
    assert not options & {
        "filename",
        "raster",
        "script",
        "source",
        "dir",
        "log",
        "option_file",
        "candidate",
        "a_srs",
    }


@pytest.mark.parametrize("name", sorted(STAGES))
def test_every_stage_that_is_allowed_exists(pdal: Any, name: str) -> None:
    later = {"filters.expression", "filters.label_duplicates"}
    assert pdal.has(name) or name in later


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nix", "there is no step"),
        ("", "there is no step"),
        ("ground:cell", "OPTION=VALUE"),
        ("ground:cell=a", "a number"),
        ("ground:dir=/tmp", "no option 'dir'"),
        ("thin:radius=0", "a number"),
        ("reproject", "needs crs"),
        ("reproject:crs=/etc/passwd", "EPSG code"),
        ("colourise", "needs collection"),
        ("colourise:collection=/etc/passwd", "id of a collection"),
        ("colourise:collection=../x", "id of a collection"),
        ("clip:collection=a", "needs feature"),
    ],
)
def test_steps_that_are_refused(text: str, words: str) -> None:
    with pytest.raises(PipelineRefusedError, match=words):
        parse_step(text)


def test_steps_as_text() -> None:
    assert parse_step("ground").name == "ground"
    step = parse_step("ground:method=csf,ignore=Classification[7:7],Z[0:5],resolution=0.5")
    assert step.document() == {
        "step": "ground",
        "method": "csf",
        "ignore": "Classification[7:7],Z[0:5]",
        "resolution": 0.5,
    }
    assert set(STEPS) == {"ground", "outliers", "height", "thin", "reproject", "colourise", "clip"}
