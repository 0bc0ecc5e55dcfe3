"""The validation report: counts equal to the points, gaps and outliers where they were put, warnings for what was made wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pytest

from pointclouds.build.build import build_copc
from pointclouds.cloud.cloud import Cloud, open_cloud
from pointclouds.copc.writer import write_copc
from pointclouds.report import validation_report
from pointclouds.report_warnings import _TEXTS, Warned
from pointclouds.sources import LasSource

MakeScan = Callable[..., Path]


def cloud_of(path: Path, change: Callable[[laspy.LasData], None] | None, crs: str = "EPSG:7415") -> Cloud:
    las = laspy.read(path)
    if change is not None:
        change(las)
        las.write(path)
    out = path.with_name(path.name + ".copc.laz")
    write_copc(path, out, crs=crs)
    return open_cloud(out)


def codes(report: Any) -> set[str]:
    return {one.code for one in report.warnings}


def test_counts_and_spans_are_those_of_the_points(copc: Path) -> None:
    las, report = laspy.read(copc), validation_report(open_cloud(copc))
    assert report.count == len(las.points) == 60_000
    classes, counts = np.unique(las.classification, return_counts=True)
    assert report.classes == dict(zip(classes.tolist(), counts.tolist(), strict=True))
    assert sum(report.returns) == 60_000
    assert report.returns[1] == int((np.asarray(las.return_number) == 1).sum())
    for name, column in (("Z", las.z), ("Intensity", las.intensity), ("GpsTime", las.gps_time)):
        span, values = report.dimensions[name], np.asarray(column, np.float64)
        assert (span.lowest, span.highest) == pytest.approx((values.min(), values.max()))
        assert span.mean == pytest.approx(values.mean())
        assert span.deviation == pytest.approx(values.std(), rel=1e-6)
    # 60,000 points on 100 by 100 metres
    assert report.density.mean == pytest.approx(6.0, rel=0.05)
    assert report.density.median == pytest.approx(6.0, rel=0.2)
    assert report.density.spacing == pytest.approx(1 / np.sqrt(6.0), rel=0.05)
    assert report.gaps.share == 0
    assert report.gaps_geojson() is None


def test_json_and_text_tell_the_same(copc: Path) -> None:
    report = validation_report(open_cloud(copc))
    document = report.as_json()
    assert document["classes"]["2"]["zh"] == "地面"
    assert document["gps_time"] == "week"
    assert document["period"] is None
    for language, words in (
        ("en", ("Points: 60,000", "Ground", "Gaps: none")),
        ("zh", ("点数: 60,000", "地面", "空洞: 无")),
    ):
        text = report.as_text(language)  # type: ignore[arg-type] # of two words
        assert all(word in text for word in words), text
        assert all(one.text(language) in text for one in report.warnings)


@pytest.mark.parametrize("read_points", [False, True])
def test_gaps_are_found(tmp_path: Path, make_scan: MakeScan, read_points: bool) -> None:
    path = make_scan(tmp_path / "lake.las", 60_000, 1, size=400.0)
    las = laspy.read(path)
    x, y = np.asarray(las.x) - 84_900, np.asarray(las.y) - 447_500
    las.points = las.points[~((np.abs(x - 200) < 100) & (np.abs(y - 200) < 100))]
    las.write(path)
    out = tmp_path / "lake.copc.laz"
    build_copc([LasSource(path, "EPSG:7415")], out, processes=1, leaf_points=1_000)
    report = validation_report(open_cloud(out), read_points=read_points)
    lake = 200 * 200
    assert report.gaps.places == 1
    assert 0.5 * lake < report.gaps.area_m2 <= 1.01 * lake
    assert report.gaps.share == pytest.approx(report.gaps.area_m2 / 400**2, rel=0.2)
    if read_points:
        assert report.gaps.area_m2 > 0.9 * lake
    assert ("gaps" in codes(report)) == (report.gaps.share > 0.05)
    document = report.gaps_geojson()
    assert document is not None
    (feature,) = document["features"]
    ring = np.array(feature["geometry"]["coordinates"][0])
    assert (np.abs(ring - (4.36, 52.01)) < 0.02).all()
    assert feature["properties"]["area_m2"] == pytest.approx(report.gaps.area_m2, rel=0.01)


def test_outliers_and_duplicates_are_counted_when_points_are_read(
    tmp_path: Path, make_scan: MakeScan
) -> None:
    def birds(las: laspy.LasData) -> None:
        z = np.asarray(las.z).copy()
        z[:3], z[3:8] = 900.0, -700.0
        las.z = z
        for axis in "XYZ":
            las[axis][5_000:5_100] = las[axis][6_000:6_100]

    cloud = cloud_of(make_scan(tmp_path / "birds.las", 20_000, 1), birds)
    report = validation_report(cloud, read_points=True)
    assert (report.heights.low, report.heights.high) == (5, 3)
    assert report.heights.duplicates == 100
    assert {"outliers", "duplicates"} <= codes(report)
    assert "100" in report.as_text("en")
    quick = validation_report(cloud)
    assert (quick.heights.low, quick.heights.high, quick.heights.duplicates) == (None, None, None)
    assert quick.heights.highest == pytest.approx(900.0, abs=0.01)


def all_zero(las: laspy.LasData) -> None:
    las.intensity[:] = 0
    las.gps_time[:] = 0
    las.classification[:] = 1
    for name in ("red", "green", "blue"):
        las[name][:] = 0


def strange(las: laspy.LasData) -> None:
    las.classification[:] = 6
    las.classification[:10], las.classification[10:30] = 7, 70
    las.number_of_returns[:] = 2
    las.return_number[:] = 3
    las.return_number[:5] = 0
    for name in ("red", "green", "blue"):
        las[name][:] = np.arange(len(las.points)) % 256


@pytest.mark.parametrize(
    ("change", "crs", "expected"),
    [
        (all_zero, "EPSG:28992", {"intensity-zero", "gps-zero", "unclassified", "colour-zero", "vertical-unknown", "withheld"}),
        (strange, "EPSG:7415", {"no-ground", "noise", "unnamed-classes", "return-zero", "return-beyond", "colour-8-bit", "gps-week", "withheld"}),
    ],
)  # fmt: skip
def test_what_surprises_is_told(
    tmp_path: Path, make_scan: MakeScan, change: Callable[[laspy.LasData], None], crs: str, expected: set[str]
) -> None:
    report = validation_report(
        cloud_of(make_scan(tmp_path / "in.las", 3_000, 7, "1.4", crs=crs), change, crs)
    )
    assert codes(report) == expected


def test_every_warning_has_its_sentence_in_both_languages() -> None:
    values = dict.fromkeys(("count", "codes", "nodes", "percent", "low", "high"), 7)
    for code in _TEXTS:
        english, chinese = Warned(code, values).text("en"), Warned(code, values).text("zh")
        assert english.isascii()
        assert any("一" <= letter <= "鿿" for letter in chinese)


@pytest.mark.parametrize("count", [1, 2])
def test_clouds_of_hardly_any_points(tmp_path: Path, make_scan: MakeScan, count: int) -> None:
    report = validation_report(cloud_of(make_scan(tmp_path / "in.las", count), None), read_points=True)
    assert report.count == count
    assert report.as_text("en").startswith(f"Points: {count}")
