"""Reference systems: axis orders of authorities, shifted degrees, heights."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.errors import UnknownReferenceSystem
from providers.features.crs import (
    BD09,
    CRS84H,
    GCJ02,
    bbox_to_crs84,
    describe_crs,
    reference_system,
    transform_between,
    transform_with_heights,
)
from providers.features.query import CRS84

EPSG = "http://www.opengis.net/def/crs/EPSG/0/"


def moved(source: str, target: str, x: float, y: float) -> tuple[float, float]:
    transform = transform_between(reference_system(source), reference_system(target))
    assert transform is not None
    found = transform(np.array([x]), np.array([y]))
    return float(found[0][0]), float(found[1][0])


@pytest.mark.parametrize(
    ("code", "swap", "decimals", "heights"),
    [
        ("EPSG:4326", True, 7, ""),
        ("EPSG:4490", True, 7, ""),
        ("EPSG:4480", True, 7, "ellipsoidal"),
        ("EPSG:4979", True, 7, "ellipsoidal"),
        ("EPSG:4513", True, 4, ""),
        ("EPSG:4533", True, 4, ""),
        ("EPSG:4534", True, 4, ""),
        ("EPSG:4547", True, 4, ""),
        ("EPSG:4554", True, 4, ""),
        ("EPSG:3857", False, 4, ""),
        ("EPSG:32650", False, 4, ""),
        ("EPSG:2193", True, 4, ""),
        ("EPSG:5041", False, 4, ""),
        ("EPSG:32661", True, 4, ""),
        ("EPSG:3031", False, 4, ""),
        ("EPSG:7415", False, 4, "levelled"),
        ("OGC:CRS84", False, 7, ""),
        ("ESRI:102025", False, 4, ""),
        (CRS84H, False, 7, "ellipsoidal"),
        (GCJ02, False, 7, ""),
    ],
)
def test_axes_decimals_and_heights(code: str, swap: bool, decimals: int, heights: str) -> None:
    system = reference_system(code)
    assert (system.swap, system.decimals, system.heights) == (swap, decimals, heights)


@pytest.mark.parametrize("code", [4490, 4513, 4528, 4547, 3857, 2193, 32661, 5041, 3031])
def test_the_order_on_the_wire_is_the_authoritys(code: int) -> None:
    """PROJ without a say about axes gives the authority's order: ours has to be the same."""
    system = reference_system(f"EPSG:{code}")
    area = system.crs.area_of_use
    assert area is not None
    longitude, latitude = (area.west + area.east) / 2 + 0.3, (area.south + area.north) / 2 + 0.2
    direct = pyproj.Transformer.from_crs(4326, code).transform(latitude, longitude)
    x, y = moved(CRS84, f"EPSG:{code}", longitude, latitude)
    assert ((y, x) if system.swap else (x, y)) == pytest.approx(direct, abs=1e-6)


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        ("urn:ogc:def:crs:EPSG::4490", EPSG + "4490"),
        ("[EPSG:4490]", EPSG + "4490"),
        ("epsg:4490", EPSG + "4490"),
        ("http://www.opengis.net/def/crs/OGC/1.3/CRS84", CRS84),
        ("URN:CHENGTU:DEF:CRS::gcj02", GCJ02),
        ("http://www.opengis.net/def/crs/ESRI/0/102025", "http://www.opengis.net/def/crs/ESRI/0/102025"),
    ],
)
def test_one_uri_a_system(given: str, uri: str) -> None:
    assert reference_system(given).uri == uri


@pytest.mark.parametrize(
    "given",
    [
        "",
        "4490",
        "EPSG:0",
        "EPSG:4978",
        "EPSG:5773",
        "OGC:CRS85",
        "EPSG:４４９０",
        "GCJ02",
        "file:///etc/passwd",
        "+proj=longlat",
        "EPSG:4326;x",
    ],
)
def test_what_no_features_can_be_given_in(given: str) -> None:
    with pytest.raises(UnknownReferenceSystem):
        reference_system(given)


def test_a_system_that_proj_cannot_compute() -> None:
    with pytest.raises(UnknownReferenceSystem, match="no operation"):
        transform_between(reference_system(CRS84), reference_system("EPSG:2221"))


def test_describe_keeps_codes_of_other_authorities() -> None:
    assert describe_crs(pyproj.CRS("ESRI:102025")).uri.endswith("/ESRI/0/102025")
    assert describe_crs(pyproj.CRS("+proj=tmerc +lon_0=114.1 +ellps=GRS80")).uri == ""


# --- GCJ-02 and BD-09 ----------------------------------------------------------------------------------------------------

# WGS 84 and GCJ-02 of the same places, as the published reconstructions agree on them.
_GCJ_POINTS = [
    ((121.5272106, 31.1774276), (121.531541859215, 31.17530398364597)),
    ((113.912316, 22.543847), (113.9171764808363, 22.540796131694766)),
    ((116.377817, 39.911954), (116.38404722455657, 39.91334545536069)),
    ((116.404, 39.915), (116.41024449916938, 39.91640428150164)),
]


@pytest.mark.parametrize(("wgs84", "gcj02"), _GCJ_POINTS)
def test_published_points_of_gcj02(wgs84: tuple[float, float], gcj02: tuple[float, float]) -> None:
    assert moved(CRS84, GCJ02, *wgs84) == pytest.approx(gcj02, abs=1e-12)
    assert moved(GCJ02, CRS84, *gcj02) == pytest.approx(wgs84, abs=1e-10)


def test_published_points_of_bd09() -> None:
    assert moved(GCJ02, BD09, 116.404, 39.915) == pytest.approx(
        (116.41036949371029, 39.92133699351021), abs=1e-9
    )
    # the published inverse is an approximation, good to half a metre
    assert moved(BD09, GCJ02, 116.404, 39.915) == pytest.approx(
        (116.39762729119315, 39.90865673957631), abs=5e-6
    )


@pytest.mark.parametrize("system", [GCJ02, BD09])
@settings(max_examples=200, deadline=None, derandomize=True)
@given(longitude=st.floats(73, 136), latitude=st.floats(2, 55))
def test_there_and_back(system: str, longitude: float, latitude: float) -> None:
    there = moved(CRS84, system, longitude, latitude)
    assert 1e-4 < np.hypot(there[0] - longitude, there[1] - latitude) < 0.03
    assert moved(system, CRS84, *there) == pytest.approx((longitude, latitude), abs=1e-9)


@pytest.mark.parametrize("system", [GCJ02, BD09])
@pytest.mark.parametrize(
    "place", [(0, 0), (-74, 40.7), (2.35, 48.85), (140, 36), (71, 30), (105, 0), (105, 57)]
)
def test_elsewhere_nothing_is_shifted(system: str, place: tuple[float, float]) -> None:
    assert moved(CRS84, system, *place) == place
    assert moved(system, CRS84, *place) == place


def test_shifted_degrees_meet_other_systems() -> None:
    assert transform_between(reference_system(GCJ02), reference_system(GCJ02)) is None
    plane = moved(CRS84, "EPSG:4547", 113.912316, 22.543847)
    assert moved(GCJ02, "EPSG:4547", 113.9171764808363, 22.540796131694766) == pytest.approx(plane, abs=1e-4)
    assert moved("EPSG:4547", GCJ02, *plane) == pytest.approx(
        (113.9171764808363, 22.540796131694766), abs=1e-9
    )
    assert moved("EPSG:4326", GCJ02, 116.404, 39.915) == pytest.approx(_GCJ_POINTS[3][1], abs=1e-12)


def test_a_box_of_shifted_degrees() -> None:
    west, south, east, north = bbox_to_crs84((116.3, 39.9, 116.5, 40.0), reference_system(GCJ02))
    corners = [moved(GCJ02, CRS84, x, y) for x in (116.3, 116.5) for y in (39.9, 40.0)]
    assert all(west - 1e-9 <= x <= east + 1e-9 and south - 1e-9 <= y <= north + 1e-9 for x, y in corners)
    assert bbox_to_crs84((170, -20, -170, 20), reference_system(BD09)) == (170, -20, -170, 20)


# --- boxes and heights ---------------------------------------------------------------------------------------------------


def test_boxes_across_the_antimeridian_and_over_the_pole() -> None:
    assert bbox_to_crs84((-20, 170, 20, -170), reference_system("EPSG:4490")) == pytest.approx(
        (170, -20, -170, 20)
    )
    polar = bbox_to_crs84((-100_000, -100_000, 100_000, 100_000), reference_system("EPSG:3413"))
    assert polar == pytest.approx((-180, 88.6946, 180, 90), abs=1e-3)
    with pytest.raises(ValueError, match="outside"):
        bbox_to_crs84((1e30, 1e30, 2e30, 2e30), reference_system("EPSG:4547"))


def test_heights_are_moved_where_proj_is_sure() -> None:
    """And else not at all: without the grid of a vertical datum PROJ would answer with the height it was given."""
    solid = transform_with_heights(reference_system("EPSG:4979"), reference_system(CRS84H))
    assert solid is not None
    assert [
        float(axis[0]) for axis in solid(np.array([114.0]), np.array([22.5]), np.array([10.0]))
    ] == pytest.approx([114, 22.5, 10])
    old = transform_with_heights(reference_system("EPSG:4985"), reference_system("EPSG:4979"))
    assert old is not None
    assert float(old(np.array([114.0]), np.array([22.5]), np.array([10.0]))[2][0]) != 10.0
    assert transform_with_heights(reference_system("EPSG:4326"), reference_system("EPSG:4979")) is None
    assert transform_with_heights(reference_system("EPSG:4979"), reference_system("EPSG:4979")) is None
