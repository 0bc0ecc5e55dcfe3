"""A CRS that is defined by parameters in GeoTIFF keys is built from them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import laspy
import pyproj
import pytest

from pointclouds.crs import crs_identifier, las_wkt, registered
from pointclouds.las.reader import inspect

TRANSVERSE_MERCATOR = 1
# key, where its value stands (0: here, 34736: doubles, 34737: text), count, value or index
KEYS = [
    (1024, 0, 1, 1),
    (1026, 34737, 22, 0),
    (2048, 0, 1, 4490),
    (3072, 0, 1, 32767),
    (3074, 0, 1, 32767),
    (3075, 0, 1, TRANSVERSE_MERCATOR),
    (3076, 0, 1, 9001),
    (3080, 34736, 1, 0),
    (3081, 34736, 1, 1),
    (3082, 34736, 1, 2),
    (3083, 34736, 1, 3),
    (3092, 34736, 1, 4),
]
DOUBLES = [116.0, 30.0, 300_000.0, -3_000_000.0, 1.0]
CITY_GRID = "+proj=tmerc +lat_0=30 +lon_0=116 +k=1 +x_0=300000 +y_0=-3000000 +ellps=GRS80 +units=m"


def with_keys(path: Path, keys: list[tuple[int, int, int, int]], doubles: list[float]) -> Path:
    las = laspy.read(path)
    directory = struct.pack("<4H", 1, 1, 0, len(keys)) + b"".join(struct.pack("<4H", *key) for key in keys)
    for record, data in (
        (34735, directory),
        (34736, struct.pack(f"<{len(doubles)}d", *doubles)),
        (34737, b"City grid of somewhere|\0"),
    ):
        las.header.vlrs.append(laspy.VLR("LASF_Projection", record, "", data))
    las.write(path)
    return path


def test_a_city_grid_of_parameters(tmp_path: Path, make_scan: Callable[..., Path]) -> None:
    crs = inspect(with_keys(make_scan(tmp_path / "in.las", 10, crs=None), KEYS, DOUBLES)).crs
    assert crs is not None
    assert crs.is_projected
    assert crs.geodetic_crs is not None
    assert crs.geodetic_crs.ellipsoid is not None
    place = (116.4, 39.9)
    ours = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True).transform(*place)
    truth = pyproj.Proj(CITY_GRID)(*place)
    assert ours == pytest.approx(truth, abs=1e-3)


@pytest.mark.parametrize(
    ("keys", "doubles"),
    [
        ([key for key in KEYS if key[0] not in (3074, 3075)], DOUBLES),
        ([(3072, 0, 1, 32767), (3075, 0, 1, 999)], []),
        ([(3072, 0, 1, 32767), (3075, 0, 1, 1), (3080, 34736, 60_000, 60_000)], [1.0]),
    ],
)
def test_definitions_in_part_are_none(
    tmp_path: Path,
    make_scan: Callable[..., Path],
    keys: list[tuple[int, int, int, int]],
    doubles: list[float],
) -> None:
    header = inspect(with_keys(make_scan(tmp_path / "in.las", 10, crs=None), keys, doubles))
    assert header.crs is None or header.crs.is_projected
    if not any(key == 3075 for key, *_ in keys):
        assert header.crs is None


@pytest.mark.parametrize("crs", ["EPSG:4548", "EPSG:4526", "EPSG:28992", "EPSG:7415", "EPSG:4548+5737"])
def test_a_written_crs_is_known_by_its_code_again(crs: str) -> None:
    """WKT 1 cannot say that northing comes before easting, as it does in CGCS2000."""
    given = pyproj.CRS(crs)
    written = registered(pyproj.CRS(las_wkt(given)))
    parts = given.sub_crs_list or [given]
    assert [part.to_epsg() for part in written.sub_crs_list or [written]] == [
        part.to_epsg() for part in parts
    ]
    assert crs_identifier(written) == crs_identifier(given)


def test_a_crs_that_borrows_a_code_is_not_taken_for_it() -> None:
    wkt = las_wkt(pyproj.CRS("EPSG:4548")).replace(
        'PARAMETER["central_meridian",117]', 'PARAMETER["central_meridian",116.5]'
    )
    crs = pyproj.CRS(wkt)
    assert registered(crs) is crs
