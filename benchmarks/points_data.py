"""A survey to measure point clouds with: flight lines over hills, houses and trees, made once, or a real scan repeated on a grid.

The simulated survey has what decides how LAZ packs and how an octree thins: scan lines in the order of flight, rising GPS times, up to
four returns of a pulse in trees, overlapping strips. Fixed seed: the same file every time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import laspy
import numpy as np
import pyproj
from numpy.typing import NDArray

CRS = "EPSG:28992+5709"
ORIGIN = (84_000.0, 447_000.0)
_SCALE = 0.001
_DENSITY = 12.0
"""Pulses a square metre, over all strips."""
_STRIP = 240.0
_LINE_SPACING = 0.30


def survey(path: Path, points: int) -> Path:
    """A LAZ (1.4, format 6) of about so many points, if it is not there yet."""
    if path.exists():
        return path
    side = float(np.sqrt(points / (_DENSITY * 1.16)))
    part = path.with_suffix(".part.laz")
    with laspy.open(part, mode="w", header=_header(6), laz_backend=laspy.LazBackend.Lazrs) as out:
        for records in _strips(side, out.header):
            out.write_points(records)
    part.replace(path)
    return path


def repeated(source: Path, path: Path, copies: int) -> Path:
    """A LAZ of a real scan again and again, side by side on a grid, if it is not there yet."""
    if path.exists():
        return path
    part = path.with_suffix(".part.laz")
    with laspy.open(source) as scan:
        header, points = scan.header, scan.read()
    columns = int(np.ceil(np.sqrt(copies)))
    width, depth = np.ceil(header.maxs[:2] - header.mins[:2])
    target = laspy.LasHeader(point_format=header.point_format, version=str(header.version))
    target.scales, target.offsets = header.scales, header.offsets
    target.add_crs(pyproj.CRS(CRS))
    x, y, times = np.array(points.x), np.array(points.y), np.array(points.gps_time)
    span = float(times.max() - times.min()) + 1
    with laspy.open(part, mode="w", header=target, laz_backend=laspy.LazBackend.LazrsParallel) as out:
        for number in range(copies):
            row, column = divmod(number, columns)
            copy = laspy.ScaleAwarePointRecord(
                points.points.array.copy(), points.point_format, header.scales, header.offsets
            )
            copy["X"] = np.rint((x + column * width - header.offsets[0]) / header.scales[0])
            copy["Y"] = np.rint((y + row * depth - header.offsets[1]) / header.scales[1])
            copy["gps_time"] = times + number * span
            out.write_points(copy)
    part.replace(path)
    return path


def part_of(source: Path, path: Path, points: int) -> Path:
    """The first points of a LAZ as LAS or LAZ by the name of `path`, for peers that are slow, if it is not there yet."""
    if not path.exists():
        with laspy.open(source) as whole, laspy.open(path, mode="w", header=whole.header) as out:
            out.write_points(whole.read_points(points))
    return path


def _header(point_format: int) -> laspy.LasHeader:
    header = laspy.LasHeader(point_format=point_format, version="1.4")
    header.scales, header.offsets = [_SCALE] * 3, [*ORIGIN, 0.0]
    header.add_crs(pyproj.CRS(CRS))
    return header


def _strips(side: float, header: laspy.LasHeader) -> Iterator[laspy.ScaleAwarePointRecord]:
    """Strip by strip, some hundred scan lines at a time."""
    random = np.random.default_rng(20_261_123)
    count = max(1, int(np.ceil(side / _STRIP)))
    width = side / count
    lines, each = int(side / _LINE_SPACING), max(1, int(_DENSITY * width * _LINE_SPACING))
    time = 300_000_000.0
    for strip in range(count):
        for first in range(0, lines, 400):
            numbers = np.arange(first, min(first + 400, lines))
            if strip % 2:
                numbers = lines - 1 - numbers
            yield _records(random, header, numbers, each, strip, width, time)
            time += numbers.size * each * 2e-6
        time += 60


def _records(
    random: np.random.Generator,
    header: laspy.LasHeader,
    lines: NDArray[np.int64],
    each: int,
    strip: int,
    width: float,
    time: float,
) -> laspy.ScaleAwarePointRecord:
    across = np.tile(np.linspace(0, 1, each, endpoint=False), lines.size)
    # A turning mirror: every other line comes back.
    back = np.repeat(lines % 2 == 1, each)
    across = np.where(back, 1 - across, across)
    x = strip * width + across * width + random.normal(0, 0.03, across.size)
    y = np.repeat(lines * _LINE_SPACING, each) + random.normal(0, 0.03, across.size)
    ground = 4 + 3 * np.sin(x / 180) + 2 * np.cos(y / 240)
    house = (np.floor(x / 24) % 3 == 0) & (np.floor(y / 30) % 2 == 0) & (x % 24 < 12) & (y % 30 < 20)
    tree = ~house & ((np.floor(x / 24) % 3 == 1) & (((x % 24 - 12) ** 2 + (y % 30 - 15) ** 2) < 36))
    roof = 9 + 0.4 * np.abs(x % 24 - 6)
    returns = np.where(tree, random.integers(1, 5, x.size), 1)
    pulse = np.repeat(np.arange(x.size), returns)
    number = np.arange(pulse.size) - np.repeat(np.cumsum(returns) - returns, returns) + 1
    last = number == returns[pulse]
    crown = 3 + random.gamma(3.0, 2.0, pulse.size) / number
    height = np.where(house[pulse], roof[pulse], np.where(tree[pulse] & ~last, crown, 0.0))
    z = ground[pulse] + height + random.normal(0, 0.02, pulse.size)
    records = laspy.ScaleAwarePointRecord.zeros(pulse.size, header=header)
    records["X"] = np.rint(x[pulse] / _SCALE)
    records["Y"] = np.rint(y[pulse] / _SCALE)
    records["Z"] = np.rint(z / _SCALE)
    brightness = np.where(house, 900, np.where(tree, 400, 1_400))[pulse] / number
    records["intensity"] = np.clip(brightness + random.normal(0, 60, pulse.size), 1, 65_535)
    records["return_number"], records["number_of_returns"] = number, returns[pulse]
    records["classification"] = np.where(house[pulse], 6, np.where(tree[pulse] & ~last, 5, 2))
    records["gps_time"] = time + pulse * 2e-6
    records["scan_angle"] = np.rint((across[pulse] - 0.5) * 50 / 0.006)
    records["scan_direction_flag"] = back[pulse]
    records["point_source_id"] = np.full(pulse.size, strip + 1)
    return records
