"""What given heights refer to, and how they reach the ellipsoid without a guess.

Without its grid PROJ returns heights unchanged and calls that a ballpark operation. Here such an operation is refused:
heights come to the ellipsoid by the CRS's own grid, by a grid or an offset the tenant gives, or by EGM96, and which of
them it was is part of the answer.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.datadir import get_data_dir
from pyproj.exceptions import ProjError

from tiles.three_d.errors import VerticalReferenceError
from tiles.three_d.placement import (
    Positions,
    horizontal_part,
    outside_area_of_use,
    to_longitude_latitude,
)

_EGM96_FILES = ("us_nga_egm96_15.tif", "egm96_15.gtx")
# Where distributions put PROJ's grids; the wheel of pyproj has none of its own.
_SYSTEM_FOLDERS = ("/usr/share/proj", "/usr/local/share/proj")


@dataclass(frozen=True, slots=True)
class VerticalReference:
    """What heights refer to. Made by the class methods; `metres` and `path` are used by "offset" and "grid" only."""

    kind: Literal["ellipsoid", "offset", "grid", "egm96", "automatic"]
    metres: float = 0.0
    path: Path | None = None
    name: str = ""

    @classmethod
    def ellipsoidal(cls) -> VerticalReference:
        """Heights are above the WGS 84 ellipsoid already."""
        return cls("ellipsoid")

    @classmethod
    def offset(cls, metres: float, name: str = "") -> VerticalReference:
        """Ellipsoidal height = height + `metres`; `name` says where the number comes from."""
        return cls("offset", metres=float(metres), name=name)

    @classmethod
    def grid(cls, path: Path) -> VerticalReference:
        """Heights above the geoid model in a grid file that PROJ reads (.gtx, .tif)."""
        return cls("grid", path=path)

    @classmethod
    def egm96(cls) -> VerticalReference:
        """Heights above mean sea level, taken as the EGM96 geoid."""
        return cls("egm96")

    @classmethod
    def automatic(cls) -> VerticalReference:
        """By the CRS: its own vertical part where PROJ has the grid, else EGM96, else an error."""
        return cls("automatic")


@dataclass(frozen=True, slots=True)
class GeodeticPositions:
    """Longitude, latitude (degrees) and ellipsoidal height (m), each (n,), NaN where impossible; and what was done."""

    longitude: NDArray[np.float64]
    latitude: NDArray[np.float64]
    height: NDArray[np.float64]
    description: str


def to_geodetic(
    crs: CRS, xyz: Positions, vertical: VerticalReference, *, metres: bool = False
) -> GeodeticPositions:
    """Place positions (n, 3) of `crs`, whose z refers to `vertical`, on WGS 84.

    z counts as the vertical axis of `crs` does, feet or downwards; with `metres` it has been brought to metres upwards.
    Raises PlacementError where the CRS has no way to WGS 84, VerticalReferenceError where heights have none.
    """
    if vertical.kind == "automatic" and crs.is_compound:
        own = xyz / (1.0, 1.0, vertical_unit(crs)) if metres else xyz
        exact = _by_own_grid(crs, own)
        if exact is not None:
            return exact
    # Most corners of buildings lie above others.
    first, number = _distinct(xyz)
    places, horizontal = to_longitude_latitude(crs, xyz[first])
    lonlat = places[number]
    upwards = xyz[:, 2] if metres else xyz[:, 2] * vertical_unit(crs)
    height, said = to_ellipsoid(crs, lonlat, upwards, vertical)
    return GeodeticPositions(lonlat[:, 0], lonlat[:, 1], height, f"{said}; {horizontal}")


def to_ellipsoid(
    crs: CRS, lonlat: Positions, height: NDArray[np.float64], vertical: VerticalReference
) -> tuple[NDArray[np.float64], str]:
    """Ellipsoidal heights (n,) of `height` (n,; metres upwards) at `lonlat` (n, 2), and the sentence for the metadata."""
    if vertical.kind == "ellipsoid":
        return np.array(height, dtype=np.float64), "ellipsoid (WGS 84): heights taken as ellipsoidal"
    if vertical.kind == "offset":
        origin = f" ({vertical.name})" if vertical.name else ""
        return height + vertical.metres, f"ellipsoid (WGS 84): {vertical.metres:+.3f} m added{origin}"
    if vertical.kind == "grid":
        if vertical.path is None:
            raise VerticalReferenceError("a vertical reference by grid needs the path of the grid file")
        return height + undulation(
            vertical.path, lonlat
        ), f"ellipsoid (WGS 84): by geoid grid {vertical.path.name}"
    if vertical.kind == "automatic" and len(crs.axis_info) == 3 and not crs.is_compound:
        return np.array(height, dtype=np.float64), "ellipsoid (WGS 84): heights of a 3D geographic CRS"
    return height + undulation(
        _egm96_grid(), lonlat
    ), f"ellipsoid (WGS 84): {_vertical_name(crs)} taken as EGM96"


def vertical_unit(crs: CRS) -> float:
    """Metres per unit of a CRS's vertical axis, negative where it points down; 1 where the CRS has none."""
    part = _vertical_part(crs)
    axes = crs.axis_info[2:] if part is None else part.axis_info
    if not axes:
        return 1.0
    return float(axes[0].unit_conversion_factor) * (-1.0 if axes[0].direction == "down" else 1.0)


def undulation(grid: Path, lonlat: Positions) -> NDArray[np.float64]:
    """Height of the geoid above the ellipsoid (m, (n,)) at `lonlat` (n, 2) from a grid file.

    NaN where `lonlat` is NaN. Raises VerticalReferenceError where the file cannot be read or does not cover a place.
    """
    finite = np.isfinite(lonlat).all(axis=1)
    result = np.full(len(lonlat), np.nan)
    # PROJ knows longitudes of one turn only; callers may have unwrapped theirs.
    first, number = _distinct(lonlat[finite])
    places = lonlat[finite][first]
    longitude = (places[:, 0] + 180.0) % 360.0 - 180.0
    found = _grid_transformer(str(grid)).transform(longitude, places[:, 1], np.zeros(len(places)))[2]
    result[finite] = np.asarray(found)[number]
    if not np.isfinite(result[finite]).all():
        raise VerticalReferenceError(
            f"geoid grid {grid.name} does not cover all of the data; give a grid of the region or an offset"
        )
    return result


def _distinct(positions: Positions) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """One row for each distinct place in plan of positions (n, 2 or more columns), and which of them (n,) each is; by 64 bits of hash."""
    bits = np.ascontiguousarray(positions[:, :2] + 0.0).view(np.uint64)
    mixed = bits[:, 0] * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= (bits[:, 1] ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    _, first, number = np.unique(mixed, return_index=True, return_inverse=True)
    return first, number


@lru_cache(maxsize=8)
def _grid_transformer(grid: str) -> Transformer:
    if any(character in grid for character in ',"\n+') or not Path(grid).is_file():
        raise VerticalReferenceError(
            f"geoid grid {Path(grid).name!r} is not a readable file (its path may not hold commas, quotes or plus signs)"
        )
    pipeline = (
        "+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad "
        f'+step +proj=vgridshift +grids="{grid}" +multiplier=1 '
        "+step +proj=unitconvert +xy_in=rad +xy_out=deg"
    )
    try:
        return Transformer.from_pipeline(pipeline)
    except ProjError as error:
        raise VerticalReferenceError(
            f"geoid grid {Path(grid).name!r} cannot be read by PROJ: {error}"
        ) from error


def _by_own_grid(crs: CRS, xyz: Positions) -> GeodeticPositions | None:
    """By the compound CRS's own operation, or None where PROJ lacks its grid (it then answers infinity or raises)."""
    try:
        longitude, latitude, height = _exact_transformer(crs.to_wkt()).transform(
            xyz[:, 0], xyz[:, 1], xyz[:, 2]
        )
    except ProjError:
        return None
    if not np.isfinite(height).any():
        return None
    stray = ~np.isfinite(height) | outside_area_of_use(crs, np.column_stack((longitude, latitude)))
    description = f"ellipsoid (WGS 84): {crs.name} by PROJ's own grids"
    return GeodeticPositions(longitude, latitude, np.where(stray, np.nan, height), description)


@lru_cache(maxsize=16)
def _exact_transformer(wkt: str) -> Transformer:
    """Raises ProjError where there is none; kept, because making one takes longer than moving a thousand heights by it."""
    return Transformer.from_crs(wkt, "EPSG:4979", always_xy=True, only_best=True, allow_ballpark=False)


def _egm96_grid() -> Path:
    # What an operator sets by hand comes first.
    folders = [
        value for key in ("PROJ_DATA", "PROJ_LIB") for value in os.environ.get(key, "").split(os.pathsep)
    ]
    folders += get_data_dir().split(os.pathsep)
    for folder in [*folders, *_SYSTEM_FOLDERS]:
        for name in _EGM96_FILES:
            found = Path(folder, name)
            if folder and found.is_file():
                return found
    raise VerticalReferenceError(
        "heights above mean sea level need a geoid: neither the CRS's own grid nor EGM96 was found; install "
        "proj-data (egm96_15.gtx), or give a geoid grid, an offset in metres, or say that heights are ellipsoidal"
    )


def _vertical_part(crs: CRS) -> CRS | None:
    return next((part for part in crs.sub_crs_list if part.is_vertical), None)


def _vertical_name(crs: CRS) -> str:
    part = _vertical_part(crs)
    return (
        part.name if part is not None else f"heights of {horizontal_part(crs).name} (no vertical CRS given)"
    )
