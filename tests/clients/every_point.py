"""Point clouds for clients: a scan of four fields whose classes and colours say where a point lies, as one file and as a mosaic; and, where
the sample data are, a real block of Delft and the autzen sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pyproj
import requests

TENANT = "points"
SIDE = 200.0
CORNER = (25_496_600.0, 6_673_000.0)
"""Of the scan in EPSG:3879, by the harbour of Helsinki."""
POINTS = 80_000
FIELDS = {
    (0, 0): (2, (170, 120, 80)),
    (1, 0): (5, (30, 130, 50)),
    (0, 1): (6, (220, 90, 70)),
    (1, 1): (9, (60, 120, 210)),
}
"""Class and colour by field: (column, row) from the south-west."""


BEGIN = datetime(2021, 3, 17, 7, 6, 22, tzinfo=UTC)
"""Of the scan, which takes an hour: GPS second 1,300,000,000, 18 leap seconds before UTC."""


@dataclass(frozen=True)
class PointCity:
    """A served city of point clouds; `classes` of each by collection: code -> points, counted in the files that were published."""

    address: str
    classes: dict[str, dict[int, int]]

    def url(self, collection: str, *more: str) -> str:
        """The address of a collection, or of something below it."""
        return "/".join([f"{self.address}/t/{TENANT}/ogc/collections/{collection}", *more])


def write_scan(path: Path, column: int | None = None) -> Path:
    """The scan, or its western (0) or eastern (1) half, as LAZ."""
    generator = np.random.default_rng(6)
    x, y = generator.uniform(0, SIDE, (2, POINTS))
    if column is not None:
        chosen = (x >= SIDE / 2) == bool(column)
        x, y = x[chosen], y[chosen]
    header = laspy.LasHeader(version="1.4", point_format=7)
    header.scales, header.offsets = (0.01, 0.01, 0.01), (*CORNER, 0.0)
    header.add_crs(pyproj.CRS("EPSG:3879+3900"))
    header.global_encoding.gps_time_type = laspy.header.GpsTimeType.STANDARD
    las = laspy.LasData(header)
    las.x, las.y = x + CORNER[0], y + CORNER[1]
    las.z = 10 + x / 20 + y / 40
    places = np.stack(((x >= SIDE / 2).astype(int), (y >= SIDE / 2).astype(int)), axis=1)
    codes = np.array([[FIELDS[column, row][0] for row in (0, 1)] for column in (0, 1)])
    shades = np.array([[FIELDS[column, row][1] for row in (0, 1)] for column in (0, 1)])
    las.classification = codes[places[:, 0], places[:, 1]]
    las.red, las.green, las.blue = (shades[places[:, 0], places[:, 1]] * 257).T
    las.intensity = (x / SIDE * 60_000).astype(np.uint16)
    las.return_number = las.number_of_returns = np.ones(len(x), np.uint8)
    las.gps_time = 300_000_000 + np.linspace(0, 3600, len(x))
    las.write(path)
    return path


def classes_of(*files: Path) -> dict[int, int]:
    """Points of each class in files."""
    found: dict[int, int] = {}
    for file in files:
        codes, counts = np.unique(np.asarray(laspy.read(file).classification), return_counts=True)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            found[code] = found.get(code, 0) + count
    return found


def publish_all(folder: Path, sample: Path | None, one: Callable[..., Any]) -> dict[str, dict[int, int]]:
    """Publish by `one(name, *files, crs=..., mosaic=...)`; gives the classes of each."""
    halves = [write_scan(folder / f"half{column}.laz", column) for column in (0, 1)]
    sources: dict[str, tuple[list[Path], dict[str, Any]]] = {
        "scan": ([write_scan(folder / "scan.laz")], {}),
        "flights": (halves, {"mosaic": True}),
    }
    if sample is not None:
        delft = sorted((sample / "delft" / "ahn3").glob("*.laz"))
        sources["delft"] = (delft, {"crs": "EPSG:28992+5709", "mosaic": True})
        sources["autzen"] = ([sample / "pointcloud" / "autzen_trim.laz"], {})
    for name, (files, options) in sources.items():
        one(name, *files, **options)
    return {name: classes_of(*files) for name, (files, _) in sources.items()}


class HttpFile:
    """A file read by HTTP ranges, as laspy's CopcReader reads a source; `ranges` counts them."""

    def __init__(self, url: str) -> None:
        self.session, self.url, self.place, self.ranges = requests.Session(), url, 0, 0

    def seek(self, place: int, whence: int = 0) -> int:
        """Only from the beginning."""
        assert whence == 0
        self.place = place
        return place

    def tell(self) -> int:
        """Where the next byte is read."""
        return self.place

    def read(self, count: int) -> bytes:
        """The next bytes, by a range that must be answered as one."""
        asked = {"Range": f"bytes={self.place}-{self.place + count - 1}"}
        reply = self.session.get(self.url, headers=asked, timeout=60)
        assert reply.status_code == 206, reply.status_code
        self.ranges += 1
        self.place += len(reply.content)
        return reply.content

    def close(self) -> None:
        """End the connection."""
        self.session.close()
