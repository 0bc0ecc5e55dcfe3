"""Heights reach the ellipsoid by a stated way or not at all; frames and quaternions are exact."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from pyproj import CRS, Transformer

from tiles.three_d.errors import PlacementError, VerticalReferenceError
from tiles.three_d.placement import (
    LocalFrame,
    as_crs,
    horizontal_part,
    outside_area_of_use,
    to_ecef,
    to_longitude_latitude,
    unwrap_longitudes,
    y_up,
)
from tiles.three_d.vertical import VerticalReference, to_ellipsoid, to_geodetic, undulation, vertical_unit

HELSINKI = np.array([[24.94, 60.17], [25.0, 60.2]])


def write_gtx(path: Path, value: float, *, west: float = 20.0, south: float = 58.0) -> Path:
    """A geoid grid of one value over 10 x 5 degrees (GTX: big-endian header of lower left, steps, rows, columns)."""
    rows, columns = 6, 11
    head = struct.pack(">4d2i", south, west, 1.0, 1.0, rows, columns)
    path.write_bytes(head + np.full(rows * columns, value, dtype=">f4").tobytes())
    return path


def test_ecef_is_that_of_proj() -> None:
    generator = np.random.default_rng(7)
    longitude, latitude = generator.uniform(-180, 180, 200), generator.uniform(-90, 90, 200)
    height = generator.uniform(-100, 9000, 200)
    expected = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True).transform(
        longitude, latitude, height
    )
    assert np.abs(to_ecef(longitude, latitude, height) - np.column_stack(expected)).max() < 1e-6


@pytest.mark.parametrize(
    ("longitude", "latitude"),
    [(0, 0), (24.9, 60.2), (-70.6, -33.4), (180, 10), (114, 30), (10, 90), (-90, -90), (90, 0)],
)
def test_node_transform_places_a_y_up_mesh(longitude: float, latitude: float) -> None:
    """glTF node, then the turn from y-up to z-up, gives the same place as the frame itself."""
    frame = LocalFrame.at(longitude, latitude, 12.0)
    local = np.array([[1.0, 2.0, 3.0], [-40.0, 5.5, 100.0], [0.0, 0.0, 0.0]])
    translation, (x, y, z, w) = frame.node_transform()
    axis, vectors = np.array([x, y, z]), y_up(local)
    assert np.dot(axis, axis) + w * w == pytest.approx(1.0, abs=1e-12)
    first = 2.0 * np.cross(axis, vectors)
    turned = vectors + w * first + np.cross(axis, first) + translation
    placed = np.column_stack((turned[:, 0], -turned[:, 2], turned[:, 1]))
    assert np.abs(placed - frame.to_ecef(local)).max() < 1e-6
    assert np.abs(frame.to_local(placed) - local).max() < 1e-6


def test_ellipsoidal_heights_stay() -> None:
    height, said = to_ellipsoid(
        as_crs("EPSG:3879"), HELSINKI, np.array([3.0, 4.0]), VerticalReference.ellipsoidal()
    )
    assert height.tolist() == [3.0, 4.0]
    assert "taken as ellipsoidal" in said


def test_a_grid_is_added(tmp_path: Path) -> None:
    grid = write_gtx(tmp_path / "geoid model.gtx", 17.5)
    height, said = to_ellipsoid(
        as_crs("EPSG:3879"), HELSINKI, np.array([3.0, np.nan]), VerticalReference.grid(grid)
    )
    assert height[0] == pytest.approx(20.5)
    assert np.isnan(height[1])
    assert "geoid model.gtx" in said


def test_unwrapped_longitudes_find_their_grid(tmp_path: Path) -> None:
    grid = write_gtx(tmp_path / "g.gtx", 9.0, west=-180.0, south=-20.0)
    assert undulation(grid, np.array([[181.0, -17.0], [np.nan, np.nan]]))[0] == pytest.approx(9.0)


def test_a_grid_that_does_not_cover_the_data_is_refused(tmp_path: Path) -> None:
    grid = write_gtx(tmp_path / "g.gtx", 9.0)
    with pytest.raises(VerticalReferenceError, match="does not cover"):
        undulation(grid, np.array([[114.0, 30.0]]))


@pytest.mark.parametrize("name", ["missing.gtx", "a,b.gtx", "a+proj=x.gtx", 'q".gtx'])
def test_grids_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    if name != "missing.gtx":
        write_gtx(tmp_path / name, 1.0)
    with pytest.raises(VerticalReferenceError, match="not a readable file"):
        undulation(tmp_path / name, HELSINKI)


def test_a_file_that_is_no_grid(tmp_path: Path) -> None:
    path = tmp_path / "no.gtx"
    path.write_bytes(b"nothing")
    with pytest.raises(VerticalReferenceError):
        undulation(path, HELSINKI)


def test_egm96_is_taken_by_name_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap 9: a compound CRS whose own grid is missing does not keep its heights unchanged."""
    write_gtx(tmp_path / "egm96_15.gtx", 43.0)
    monkeypatch.setenv("PROJ_DATA", str(tmp_path))
    crs = as_crs("EPSG:3879+3900")
    placed = to_geodetic(crs, np.array([[25_496_000.0, 6_672_000.0, 10.0]]), VerticalReference.automatic())
    if "own grids" not in placed.description:
        assert placed.height[0] == pytest.approx(53.0)
        assert "N2000 height taken as EGM96" in placed.description


@pytest.mark.parametrize(
    ("crs", "metres", "name"),
    [
        ("EPSG:4490+5737", 10.0, "Yellow Sea 1985 height"),
        ("EPSG:3067+6360", 10.0 * 1200 / 3937, "NAVD88 height (ftUS)"),
        ("EPSG:4326+5715", -10.0, "MSL depth"),
        ("EPSG:3879", 10.0, "no vertical CRS given"),
    ],
)
def test_units_and_depths_of_vertical_crs(
    crs: str, metres: float, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gtx(tmp_path / "egm96_15.gtx", 1.0)
    monkeypatch.setenv("PROJ_DATA", str(tmp_path))
    system = as_crs(crs)
    height, said = to_ellipsoid(system, HELSINKI, np.array([10.0, 10.0]), VerticalReference.egm96())
    assert height == pytest.approx([11.0] * 2), "metres stay metres"
    assert name in said
    assert vertical_unit(system) == pytest.approx(metres / 10.0)
    xy = Transformer.from_crs("EPSG:4326", horizontal_part(system), always_xy=True).transform(*HELSINKI[0])
    for vertical, added in ((VerticalReference.egm96(), 1.0), (VerticalReference.ellipsoidal(), 0.0), (VerticalReference.offset(2.5), 2.5)):  # fmt: skip
        own = to_geodetic(system, np.array([[*xy, 10.0]]), vertical)
        assert own.height[0] == pytest.approx(metres + added)
        brought = to_geodetic(system, np.array([[*xy, 10.0]]), vertical, metres=True)
        assert brought.height[0] == pytest.approx(10.0 + added)


def test_without_any_geoid_heights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from tiles.three_d import vertical

    monkeypatch.setattr(vertical, "_EGM96_FILES", ("no such grid",))
    with pytest.raises(VerticalReferenceError, match=r"give a geoid grid, an offset"):
        to_ellipsoid(as_crs("EPSG:3879"), HELSINKI, np.zeros(2), VerticalReference.egm96())


def test_3d_geographic_heights_are_ellipsoidal() -> None:
    placed = to_geodetic(as_crs("EPSG:4979"), np.array([[24.9, 60.2, 31.0]]), VerticalReference.automatic())
    assert placed.height.tolist() == [31.0]


def test_cgcs2000_is_taken_as_wgs84_and_said() -> None:
    lonlat, said = to_longitude_latitude(as_crs("EPSG:4547"), np.array([[500_000.0, 3_379_000.0]]))
    assert lonlat[0] == pytest.approx([114.0, 30.53], abs=0.01)
    assert "taken as WGS 84" in said


def test_a_datum_without_a_way_is_refused() -> None:
    with pytest.raises(PlacementError, match="ballpark one is refused"):
        to_longitude_latitude(as_crs("EPSG:4024"), np.array([[10.0, 10.0]]))


def test_engineering_crs_are_refused() -> None:
    local = CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]')
    with pytest.raises(PlacementError, match="geocentric or local"):
        horizontal_part(local)


def test_places_far_from_the_area_of_use_are_no_places() -> None:
    crs = as_crs("EPSG:28992")
    lonlat, _ = to_longitude_latitude(crs, np.array([[84_700.0, 447_500.0], [1e27, 1e27]]))
    assert np.isfinite(lonlat[0]).all()
    assert np.isnan(lonlat[1]).all()
    pacific = as_crs("EPSG:3832")
    assert not outside_area_of_use(pacific, np.array([[179.0, 0.0], [-179.0, 0.0]])).any()


def test_longitudes_are_made_continuous() -> None:
    assert unwrap_longitudes(np.array([179.0, -179.0, np.nan])).tolist()[:2] == [179.0, 181.0]
    assert unwrap_longitudes(np.array([-5.0, 5.0])).tolist() == [-5.0, 5.0]
    assert unwrap_longitudes(np.array([np.nan])).size == 1
