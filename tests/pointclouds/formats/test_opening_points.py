"""Any file of points is opened in a projected CRS: labels from beside it, degrees and geocentric coordinates reprojected."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest

from pointclouds.errors import MissingCrsError, UnreadablePointCloudError, UnusableCrsError
from pointclouds.formats.opening import SourceOptions, open_source, open_sources, recognise
from pointclouds.formats.reprojecting import projected_crs_of, reproject
from pointclouds.sources import LasSource, PointSource


def places(source: PointSource) -> np.ndarray[Any, Any]:
    given, records = source.description, np.concatenate(list(source.chunks(700)))
    columns = [records[name] * given.scale[axis] + given.offset[axis] for axis, name in enumerate("XYZ")]
    return np.stack(columns, axis=1)


@pytest.fixture
def degrees(tmp_path: Path) -> Callable[..., Path]:
    """degrees(longitude, latitude, name): a text of 500 points within a hundredth of a degree."""

    def write(longitude: float, latitude: float, name: str = "degrees.csv") -> Path:
        random = np.random.default_rng(1)
        rows = np.column_stack([
            longitude + random.uniform(0, 0.01, 500), latitude + random.uniform(0, 0.01, 500), random.uniform(0, 50, 500)
        ])  # fmt: skip
        path = tmp_path / name
        np.savetxt(path, rows, "%.9f,%.9f,%.3f", header="lon,lat,height", comments="")
        return path

    return write


@pytest.mark.parametrize(
    ("crs", "place", "expected"),
    [
        ("EPSG:4326", (116.3, 39.9), "EPSG:32650"),
        ("EPSG:4326", (-70.6, -33.4), "EPSG:32719"),
        ("EPSG:4490", (116.3, 39.9), "EPSG:4548"),
        ("EPSG:4490", (75.0, 39.9), "EPSG:4534"),
        ("EPSG:4480", (120.1, 30.0), "EPSG:4549"),
        ("EPSG:4258", (4.35, 52.0), "EPSG:25831"),
        ("EPSG:4269", (-123.0, 44.0), "EPSG:26910"),
        ("EPSG:4326", (10.0, 85.0), "EPSG:5041"),
    ],
)
def test_degrees_get_the_projection_of_their_place(
    crs: str, place: tuple[float, float], expected: str
) -> None:
    box = (*place, 0.0, place[0] + 0.1, place[1] + 0.1, 10.0)
    assert projected_crs_of(pyproj.CRS(crs), box) == pyproj.CRS(expected)


def test_a_datum_without_zones_of_its_own_keeps_its_datum() -> None:
    crs = projected_crs_of(pyproj.CRS("EPSG:4289"), (4.3, 52.0, 0.0, 4.4, 52.1, 1.0))
    assert crs.is_projected
    assert crs.geodetic_crs is not None
    assert crs.geodetic_crs.datum == pyproj.CRS("EPSG:4289").datum


def test_what_is_no_degrees_is_refused() -> None:
    with pytest.raises(UnusableCrsError, match="no longitudes and latitudes"):
        projected_crs_of(pyproj.CRS("EPSG:4326"), (84_900.0, 447_500.0, 0.0, 85_000.0, 447_600.0, 1.0))


def test_degrees_are_reprojected_and_heights_kept(degrees: Callable[..., Path]) -> None:
    path = degrees(116.3, 39.9)
    source = pickle.loads(pickle.dumps(open_source(path, "EPSG:4490+5737", SourceOptions(format="xyz"))))
    rows = np.loadtxt(path, delimiter=",", skiprows=1)
    x, y = pyproj.Transformer.from_crs("EPSG:4490", "EPSG:4548", always_xy=True).transform(
        rows[:, 0], rows[:, 1]
    )
    np.testing.assert_allclose(places(source), np.column_stack([x, y, rows[:, 2]]), atol=1.2e-3)
    given = source.description
    assert given.crs is not None
    assert [part.to_epsg() for part in given.crs.sub_crs_list] == [4548, 5737]
    assert any("heights are kept" in note for note in given.notes)
    box = given.box
    assert box is not None
    assert (places(source).min(axis=0) >= box[:3]).all()
    assert (places(source).max(axis=0) <= box[3:]).all()


def test_several_files_of_degrees_get_one_projection(degrees: Callable[..., Path]) -> None:
    paths = [degrees(119.95, 30.0, "west.csv"), degrees(120.001, 30.0, "east.csv")]
    crs = {source.description.crs for source in open_sources(paths, "EPSG:4326", SourceOptions(format="xyz"))}
    assert crs == {pyproj.CRS("EPSG:32650")}


def test_geocentric_points_get_heights_above_the_ellipsoid(tmp_path: Path) -> None:
    path = tmp_path / "geocentric.xyz"
    forth = pyproj.Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    rows = np.column_stack(
        forth.transform([116.3, 116.301, 116.302], [39.9, 39.901, 39.902], [10.0, 20.0, 30.0])
    )
    np.savetxt(path, rows, "%.4f")
    source = open_source(path, "EPSG:4978")
    given = source.description
    assert given.crs is not None
    assert len(given.crs.axis_info) == 3
    assert given.crs.to_2d() == pyproj.CRS("EPSG:32650")
    np.testing.assert_allclose(places(source)[:, 2], [10, 20, 30], atol=2e-3)
    assert any("above the ellipsoid" in note for note in given.notes)


def test_target_crs(scan: Path) -> None:
    source = open_source(scan, "EPSG:28992", SourceOptions(target_crs="EPSG:25831"))
    given = source.description
    assert given.crs == pyproj.CRS("EPSG:25831")
    forth = pyproj.Transformer.from_crs("EPSG:28992", "EPSG:25831", always_xy=True)
    assert "reprojected from Amersfoort / RD New to ETRS89 / UTM zone 31N" in given.notes[0]
    was = places(LasSource(scan, "EPSG:28992"))
    x, y = forth.transform(was[:, 0], was[:, 1])
    np.testing.assert_allclose(places(source), np.column_stack([x, y, was[:, 2]]), atol=1.2e-3)
    part = next(iter(source.chunks(10, 59_990)))
    assert len(part) == 10


def test_target_of_the_same_crs_is_the_source_itself(scan: Path) -> None:
    source = LasSource(scan, "EPSG:28992")
    assert reproject(source, "EPSG:28992") is source


@pytest.mark.parametrize(
    ("crs", "target", "message"),
    [
        ("EPSG:28992", "EPSG:4326", "is not projected"),
        ("EPSG:28992", "EPSG:28992+5709", "does not say what its heights count from"),
        ("EPSG:28992", "nonsense", "--target-crs"),
    ],
)
def test_targets_of_no_use(scan: Path, crs: str, target: str, message: str) -> None:
    with pytest.raises(UnusableCrsError, match=message):
        open_source(scan, crs, SourceOptions(target_crs=target))


def test_wrong_crs_is_refused(scan: Path) -> None:
    with pytest.raises(UnusableCrsError):
        open_source(scan, "EPSG:4326")


def test_crs_of_a_file_beside(tmp_path: Path, make_scan: Callable[..., Path]) -> None:
    path = make_scan(tmp_path / "in.las", 50, crs=None)
    with pytest.raises(MissingCrsError, match=r"in\.las names no coordinate reference system"):
        open_source(path)
    assert open_source(path, None, SourceOptions(require_crs=False)).description.crs is None
    (tmp_path / "in.prj").write_text(pyproj.CRS("EPSG:28992").to_wkt("WKT1_ESRI"))
    crs = open_source(path).description.crs
    assert crs is not None
    assert crs.is_projected
    (tmp_path / "in.prj").write_text("PROJCS[nonsense]")
    with pytest.raises(UnusableCrsError, match=r"in\.prj"):
        open_source(path)


def test_vertical_crs_is_put_beside(scan: Path) -> None:
    crs = open_source(scan, None, SourceOptions(vertical="EPSG:5709")).description.crs
    assert crs is not None
    assert [part.to_epsg() for part in crs.sub_crs_list] == [28992, 5709]
    with pytest.raises(UnusableCrsError, match="no vertical"):
        open_source(scan, None, SourceOptions(vertical="EPSG:28992"))


def test_formats_are_told_by_content(tmp_path: Path, scan: Path) -> None:
    for content, key in (
        (scan.read_bytes()[:500], "las"),
        (b"ASTM-E57" + bytes(100), "e57"),
        (b"ply\nformat ascii 1.0\n", "pointply"),
        (b"1 2 3\n4 5 6\n", "xyz"),
        (b"PK\x03\x04 no archive", None),
        (b"<html></html>", None),
        (b"", None),
    ):
        path = tmp_path / "file.bin"
        path.write_bytes(content)
        assert recognise(path) == key
    with pytest.raises(UnreadablePointCloudError, match="allowed: LAS, LAZ or COPC"):
        open_source(path)
    with pytest.raises(UnreadablePointCloudError, match=r"missing\.las"):
        open_source(tmp_path / "missing.las")
