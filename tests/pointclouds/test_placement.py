"""Heights on the globe: the best operation, or an honest substitute, never a silent z."""

import numpy as np
import pyproj
import pytest

from pointclouds import placement
from pointclouds.errors import PlacementError
from pointclouds.placement import place

DELFT = (84_900.0, 447_500.0, 10.0)


def height(found: placement.Placement, point: tuple[float, float, float]) -> float:
    return float(found.geodetic(np.array([point]))[0, 2])


def test_an_offset_replaces_the_vertical_transformation():
    found = place(pyproj.CRS("EPSG:7415"), DELFT, 43.2)
    assert height(found, DELFT) == pytest.approx(53.2)
    assert found.height_reference == "ellipsoid: z (NAP height) plus 43.2 m, as given"


def test_unknown_vertical_reference_is_said():
    found = place(pyproj.CRS("EPSG:28992"), DELFT)
    assert height(found, DELFT) == 10.0
    assert "unknown" in found.height_reference


def test_a_known_vertical_datum_is_never_passed_through_in_silence():
    """NAP lies about 43 m above the ellipsoid at Delft: by its grid, by EGM96, or said to be left as it is."""
    found = place(pyproj.CRS("EPSG:7415"), DELFT)
    moved = height(found, DELFT) - 10
    if "taken as it is" in found.height_reference:
        assert moved == 0
    else:
        assert 42 < moved < 45
        assert "NAP height" in found.height_reference


def test_without_any_grid_z_stays_and_the_reference_says_so(monkeypatch):
    monkeypatch.setattr(placement, "_GRID_FOLDERS", ())
    monkeypatch.setattr(placement, "_EGM96_GRIDS", ())
    monkeypatch.setattr(placement, "_best_operation", lambda crs, centre: None)
    found = place(pyproj.CRS("EPSG:7415"), DELFT)
    assert height(found, DELFT) == 10.0
    assert found.height_reference.startswith("ellipsoid: z of NAP height taken as it is")


def test_feet_become_metres():
    found = place(pyproj.CRS("EPSG:2991+6360"), (237_000.0, 250_000.0, 100.0), 0.0)
    assert height(found, (237_000.0, 250_000.0, 100.0)) == pytest.approx(30.48006, abs=1e-5)


def test_horizontal_position_agrees_with_proj():
    found = place(pyproj.CRS("EPSG:3879"), (25_496_000.0, 6_673_000.0, 10.0))
    longitude, latitude, _ = found.geodetic(np.array([[25_496_000.0, 6_673_000.0, 10.0]]))[0]
    assert (longitude, latitude) == (
        pytest.approx(24.92794571, abs=1e-7),
        pytest.approx(60.16986236, abs=1e-7),
    )


def test_cgcs2000_is_taken_as_wgs84_by_name():
    found = place(pyproj.CRS("EPSG:4547"), (500_000.0, 3_400_000.0, 10.0))
    assert found.geodetic(np.array([[500_000.0, 3_400_000.0, 10.0]]))[0, 0] == pytest.approx(114.0)
    assert "CGCS2000 taken as WGS 84" in found.height_reference


def test_three_dimensional_crs_has_ellipsoidal_heights():
    crs = pyproj.CRS("EPSG:32631").to_3d()
    found = place(crs, (600_000.0, 5_760_000.0, 7.0))
    assert height(found, (600_000.0, 5_760_000.0, 7.0)) == 7.0
    assert "heights of" in found.height_reference


def test_geocentric_positions_lie_on_the_ellipsoid():
    found = place(pyproj.CRS("EPSG:28992"), DELFT, 0.0)
    earth = found.geocentric(np.array([[*DELFT[:2], 0.0]]))[0]
    a, b = 6_378_137.0, 6_356_752.314245
    assert (earth[0] ** 2 + earth[1] ** 2) / a**2 + earth[2] ** 2 / b**2 == pytest.approx(1, abs=1e-12)


def test_no_way_to_the_globe_is_an_error():
    local = pyproj.CRS('LOCAL_CS["site grid",UNIT["metre",1]]')
    with pytest.raises(PlacementError, match="site grid"):
        place(local, (0.0, 0.0, 0.0))
    with pytest.raises(PlacementError):
        place(pyproj.CRS("EPSG:28992"), (np.inf, 0.0, 0.0))
