"""What a collection's own map passes of OGC API - Maps (20-058): asked of the source that will draw it, about its own data.

Each check draws a few maps of 64 pixels and compares them with each other. What no source can answer wrongly (parameters, formats,
links) is not asked here: tests of the server hold it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from pyproj.exceptions import ProjError

from tiles.crs import parse_crs, transformer
from tiles.errors import TilesError, UnknownInstant
from tiles.maps.source import Box, MapSource, Pixels

_CONF = "http://www.opengis.net/spec/ogcapi-maps-1/1.0/conf"
_SIDE = 64
_BEFORE = "0001-01-01T00:00:00Z"


class _Wrong(Exception):
    """What a map showed that it should not, in words."""


@dataclass(frozen=True, slots=True)
class MapSelfTest:
    """The result: classes passed, and what was wrong with the maps of those that failed, by URI."""

    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Asked:
    source: MapSource
    box: Box
    storage_crs: str
    instants: Sequence[str]
    timed: bool

    def draw(
        self, box: Box, crs: str = "OGC:CRS84", width: int = _SIDE, instant: str | None = None
    ) -> Pixels:
        pixels = self.source.render(box, crs, width, _SIDE, instant=instant)
        if pixels.shape != (_SIDE, width, 4) or pixels.dtype != np.uint8:
            raise _Wrong(f"an image of {width} x {_SIDE} pixels came as {pixels.shape} of {pixels.dtype}")
        return pixels


def map_self_test(
    source: MapSource,
    extent84: Box,
    storage_crs: str,
    *,
    instants: Sequence[str] = (),
    timed: bool = False,
) -> MapSelfTest:
    """Ask a source of a collection about its data. `extent84` is its extent in degrees, `storage_crs` anything parse_crs takes.

    `instants` are those of a raster; `timed` says that features have a time. Raises nothing of the source's: a source that cannot
    draw passes nothing.
    """
    result = MapSelfTest()
    west, south, east, north = extent84
    if west > east:
        west, east = -180.0, 180.0
    pad = max((east - west) / 50, (north - south) / 50, 1e-5)
    box = (west - pad, max(south - pad, -90.0), east + pad, min(north + pad, 90.0))
    asked = _Asked(source, box, storage_crs, instants, timed)
    for name, check in CHECKS.items():
        try:
            if check(asked):
                result.passed.append(class_of(name))
        except _Wrong as wrong:
            result.failed[class_of(name)] = str(wrong)
        except TilesError as error:
            result.failed[class_of(name)] = f"the map could not be drawn: {error}"
    return result


def class_of(name: str) -> str:
    """The URI of a class of OGC API - Maps."""
    return f"{_CONF}/{name}"


# --- the checks: True where the class is passed, False where the source does not offer it --------------------------------------


def _core(asked: _Asked) -> bool:
    if not asked.draw(asked.box)[..., 3].any():
        raise _Wrong("a map of the whole extent is empty")
    return True


def _scaling(asked: _Asked) -> bool:
    small, wide = _shown(asked.draw(asked.box)), _shown(asked.draw(asked.box, width=2 * _SIDE))
    if not _alike(_occupied(small), _occupied(wide)):
        raise _Wrong("the same box shows other places when it is drawn twice as wide")
    return True


def _spatial_subsetting(asked: _Asked) -> bool:
    west, south, east, north = asked.box
    middle = (west + east) / 2
    whole = _shown(asked.draw(asked.box, width=2 * _SIDE))
    halves = [
        _shown(asked.draw((west, south, middle, north))),
        _shown(asked.draw((middle, south, east, north))),
    ]
    if not _alike(_occupied(whole), _occupied(np.concatenate(halves, axis=1))):
        raise _Wrong("the western and the eastern half do not show what the whole shows")
    wide, high = 2 * (east - west), 2 * (north - south)
    for beside in (
        (west - wide, south, west - wide / 2, north),
        (west, south - high, east, south - high / 2),
    ):
        inside = beside[0] >= -180.0 and beside[1] >= -90.0
        if inside and _shown(asked.draw(beside)).mean() > 0.01:
            raise _Wrong("a box beside the extent is not empty")
    return True


def _crs(asked: _Asked) -> bool:
    here = _occupied(_shown(asked.draw(asked.box)))
    for crs in dict.fromkeys(("EPSG:3857", asked.storage_crs)):
        box = _box_in(crs, asked.box)
        if box is None:
            continue
        there = _shown(asked.draw(box, crs))
        if not there.any():
            raise _Wrong(f"a map of the whole extent in {crs[:60]} is empty")
        if crs == "EPSG:3857" and asked.box[3] - asked.box[1] < 2.0 and not _alike(here, _occupied(there)):
            raise _Wrong("a map in EPSG:3857 shows other places than one in CRS84")
    return True


def _box_in(crs: str, box: Box) -> Box | None:
    if crs == "EPSG:3857":
        box = (max(box[0], -180.0), max(box[1], -85.0), min(box[2], 180.0), min(box[3], 85.0))
    # The box around features at a pole has a margin beyond it.
    west, south, east, north = box
    try:
        found = transformer("OGC:CRS84", crs).transform_bounds(
            west, max(south, -90.0), east, min(north, 90.0), densify_pts=21
        )
    except ProjError:
        return None  # a CRS that does not reach there has no box to draw
    good = all(map(math.isfinite, found)) and found[0] < found[2] and found[1] < found[3]
    return (found[0], found[1], found[2], found[3]) if good and parse_crs(crs) is not None else None


def _datetime(asked: _Asked) -> bool:
    if asked.instants:
        for instant in dict.fromkeys((asked.instants[0], asked.instants[-1])):
            asked.draw(asked.box, instant=instant)
        try:
            asked.draw(asked.box, instant=_BEFORE)
        except UnknownInstant:
            return True
        raise _Wrong("an instant that no scene has is drawn")
    if not asked.timed:
        return False
    if _shown(asked.draw(asked.box, instant=_BEFORE)).any():
        raise _Wrong("features are shown at a time before all of them")
    return True


def _display_resolution(asked: _Asked) -> bool:
    return "mm_per_pixel" in inspect.signature(asked.source.render).parameters


CHECKS: Mapping[str, Callable[[_Asked], bool]] = MappingProxyType(
    {
        "core": _core,
        "scaling": _scaling,
        "spatial-subsetting": _spatial_subsetting,
        "crs": _crs,
        "datetime": _datetime,
        "display-resolution": _display_resolution,
    }
)
"""The last part of each class's URI with its check."""


# --- comparing pictures --------------------------------------------------------------------------------------------------------


def _shown(pixels: Pixels) -> NDArray[np.bool_]:
    return np.asarray(pixels[..., 3] > 0)


def _occupied(shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of 8 x 8 fields show anything, and those around them: symbols and labels are wider than what they stand for."""
    rows, columns = shown.shape
    return shown.reshape(8, rows // 8, 8, columns // 8).any(axis=(1, 3))


def _alike(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> bool:
    """Whether each shows something only where the other does, or beside it."""
    return bool(not (first & ~_grown(second)).any() and not (second & ~_grown(first)).any())


def _grown(fields: NDArray[np.bool_]) -> NDArray[np.bool_]:
    padded = np.pad(fields, 1)
    parts = [padded[row : row + 8, column : column + 8] for row in range(3) for column in range(3)]
    return np.asarray(np.logical_or.reduce(parts))
