"""A small simulated cadastral survey in CGCS2000 / 3-degree Gauss-Kruger CM 114E (EPSG:4547), with Chinese fields.

The area of use of EPSG:4547 is 112.5 to 115.5 degrees east: the parcels are laid out in Wuhan, near 114.36 E, 30.52 N. No such
parcel, owner or control point exists. Parcels are written as a Shapefile in GBK, as they come from many bureaus.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import shapely
from shapely.affinity import rotate
from shapely.geometry import Point, Polygon
from shapely.geometry.base import BaseGeometry

from server.demo.vector_files import Column, write_layer

SURVEY_CRS = "EPSG:4547"
ORIGIN = (534_500.0, 3_377_600.0)  # east, north in metres: south-west corner of the block
_SEED = 4547
_ROWS, _COLUMNS = 8, 10
_PARCEL = (46.0, 34.0)
_ROAD = 12.0
_TURN = 11.0  # degrees, counter-clockwise

PARCEL_COLUMNS = (
    # A DBF field name holds 10 bytes: five Chinese characters in GBK.
    Column("宗地号", "str:20"),
    Column("土地用途", "str:20"),
    Column("权利人", "str:40"),
    Column("坐落", "str:60"),
    Column("面积", "float:12.2"),
    Column("容积率", "float:6.2"),
    Column("登记日期", "date"),
)
CONTROL_COLUMNS = (
    Column("点号", "str:12"),
    Column("等级", "str:12"),
    Column("高程", "float"),
    Column("标石类型", "str:20"),
    Column("测量日期", "date"),
)
_USES = ("住宅用地", "商业用地", "工业用地", "公共设施", "绿地")
_STREETS = ("珞喻路", "东湖路", "楚天街", "光谷大道")


def parcel_features() -> Iterator[tuple[BaseGeometry, dict[str, Any]]]:
    """Parcels of the block, polygons in EPSG:4547 (x = east)."""
    random = np.random.default_rng(_SEED)
    number = 0
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            number += 1
            parcel = _placed(_parcel(row, column, random))
            use = _USES[random.integers(len(_USES))]
            yield (
                parcel,
                {
                    "宗地号": f"420111{number:06d}",
                    "土地用途": use,
                    "权利人": "公共" if use == "绿地" else f"模拟权利人{number:03d}",
                    "坐落": f"武汉市洪山区{_STREETS[row % len(_STREETS)]}{number * 2}号(模拟)",
                    "面积": round(parcel.area, 2),
                    "容积率": 0.0 if use == "绿地" else round(float(random.uniform(0.8, 4.5)), 2),
                    "登记日期": (
                        date(2015, 1, 1) + timedelta(days=int(random.integers(0, 3650)))
                    ).isoformat(),
                },
            )


def control_point_features() -> Iterator[tuple[BaseGeometry, dict[str, Any]]]:
    """Control points at the street crossings of the block, points in EPSG:4547."""
    random = np.random.default_rng(_SEED + 1)
    number = 0
    for row in range(0, _ROWS + 1, 2):
        for column in range(0, _COLUMNS + 1, 5):
            number += 1
            x = column * _PARCEL[0] + (column // 5) * _ROAD - _ROAD / 2
            y = row * _PARCEL[1] + (row // 2) * _ROAD - _ROAD / 2
            yield (
                _placed(Point(x, y)),
                {
                    "点号": f"K{number:03d}",
                    "等级": "四等" if number % 3 == 1 else "一级导线",
                    "高程": round(23.5 + float(random.normal(0, 0.8)), 3),
                    "标石类型": "不锈钢标志" if number % 2 else "混凝土标石",
                    "测量日期": (date(2023, 3, 1) + timedelta(days=number)).isoformat(),
                },
            )


def _parcel(row: int, column: int, random: np.random.Generator) -> Polygon:
    """One parcel before it is turned and moved; every second row and fifth column is followed by a street."""
    west = column * _PARCEL[0] + (column // 5) * _ROAD
    south = row * _PARCEL[1] + (row // 2) * _ROAD
    east, north = west + _PARCEL[0], south + _PARCEL[1]
    corners = [(east, south), (east, north), (west, north)]
    if random.random() < 0.25:  # a corner cut off for a right of way
        cut = float(random.uniform(4, 10))
        return Polygon([*corners, (west, south + cut), (west + cut, south)])
    return Polygon([*corners, (west, south)])


def _placed(geometry: BaseGeometry) -> BaseGeometry:
    """Turned about the block's corner, moved to its place, rounded to millimetres."""
    turned = rotate(geometry, _TURN, origin=(0, 0))
    placed: BaseGeometry = shapely.transform(
        turned, lambda coordinates: np.round(coordinates + np.array(ORIGIN), 3)
    )
    return placed


def write_parcels(path: Path) -> int:
    """Write the parcels as a zipped Shapefile in GBK with a .cpg; returns how many there are."""
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    count = write_layer(
        folder / "parcels.shp",
        PARCEL_COLUMNS,
        parcel_features(),
        geometry_type="Polygon",
        crs=SURVEY_CRS,
        driver="ESRI Shapefile",
        encoding="GBK",
    )
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for part in sorted(folder.iterdir()):
            archive.write(part, part.name)
    return count


def write_control_points(path: Path) -> int:
    """Write the control points as a GeoPackage; returns how many there are."""
    return write_layer(path, CONTROL_COLUMNS, control_point_features(), geometry_type="Point", crs=SURVEY_CRS)
