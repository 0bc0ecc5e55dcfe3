"""From a projected CRS with heights to positions on the globe, and an honest word on how the height was got.

PROJ without the grid of a vertical datum returns z unchanged and says nothing. Here only the best operation is
accepted, guesses ("ballpark") are refused, and what is done instead stands in `height_reference`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyproj
from pyproj.exceptions import ProjError

from pointclouds.crs import horizontal_part, vertical_name, vertical_part, vertical_unit
from pointclouds.errors import PlacementError

Positions = npt.NDArray[np.float64]
Transform = Callable[[Positions], Positions]

_GEODETIC: Final = "EPSG:4979"
_GEOCENTRIC: Final = "EPSG:4978"
_EGM96_GRIDS: Final = ("us_nga_egm96_15.tif", "egm96_15.gtx")
_GRID_FOLDERS: Final = ("/usr/share/proj", "/usr/local/share/proj")
_CGCS2000_DATUM: Final = "China 2000"


@cache
def _to_earth() -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(_GEODETIC, _GEOCENTRIC, always_xy=True)


@dataclass(frozen=True)
class Placement:
    """Takes positions of one CRS to the globe.

    `geodetic`: (n, 3) native x, y, z -> longitude, latitude (degrees, WGS 84), ellipsoidal height (m).
    `height_reference` begins with "ellipsoid" and says how the height was got.
    """

    geodetic: Transform
    height_reference: str

    def geocentric(self, positions: Positions) -> Positions:
        """Native positions (n, 3) as earth-centred, earth-fixed metres (n, 3)."""
        lonlath = self.geodetic(positions)
        return np.stack(_to_earth().transform(lonlath[:, 0], lonlath[:, 1], lonlath[:, 2]), axis=1)


def place(
    crs: pyproj.CRS, centre: tuple[float, float, float], height_offset: float | None = None
) -> Placement:
    """Find the way from a CRS to the globe near a point.

    Args:
        crs: projected, alone or in a compound with a vertical CRS.
        centre: native x, y, z of the middle of the data; the operation best there is used everywhere.
        height_offset: metres to add to z (turned into metres) in place of any vertical transformation.
            None: the best vertical operation; else EGM96, if its grid is installed; else z as it is.

    Raises:
        PlacementError: there is no horizontal operation better than a guess, or it fails at the centre.
    """
    vertical = vertical_part(crs)
    if vertical is not None and height_offset is None:
        whole = _best_operation(crs, centre)
        if whole is not None:
            return Placement(_three_dimensional(whole), f"ellipsoid: {vertical.name} by {_words(whole)}")
    horizontal, remark = _horizontal_operation(crs, centre)
    unit = vertical_unit(crs)
    name = vertical_name(crs)
    if height_offset is not None:
        return _with_height(
            horizontal, unit, height_offset, f"z ({name}) plus {height_offset:g} m, as given{remark}"
        )
    if vertical is None and name == "ellipsoid":
        return _with_height(horizontal, unit, 0.0, f"heights of {crs.name}{remark}")
    if vertical is None:
        return _with_height(
            horizontal, unit, 0.0, f"z taken as it is, the vertical reference is unknown{remark}"
        )
    grid = _egm96()
    if grid is not None:
        note = f"{vertical.name} taken as height above EGM96 ({grid.name}), its own grid is not installed{remark}"
        return _with_egm96(horizontal, unit, grid, note)
    note = f"z of {vertical.name} taken as it is, neither its grid nor EGM96 is installed{remark}"
    return _with_height(horizontal, unit, 0.0, note)


def _words(transformer: pyproj.Transformer) -> str:
    return str(transformer.description).replace(" (with axis order normalized for visualization)", "")


def _best_operation(crs: pyproj.CRS, centre: tuple[float, float, float]) -> pyproj.Transformer | None:
    """The best operation to WGS 84 with ellipsoidal heights, if all it needs is installed."""
    try:
        transformer = pyproj.Transformer.from_crs(
            crs, _GEODETIC, always_xy=True, only_best=True, allow_ballpark=False
        )
        if not np.isfinite(transformer.transform(*centre, errcheck=True)).all():
            return None
        return transformer.get_last_used_operation()
    except ProjError:
        return None


def _horizontal_operation(
    crs: pyproj.CRS, centre: tuple[float, float, float]
) -> tuple[pyproj.Transformer, str]:
    """The most accurate horizontal operation whose grids are there, and a remark for the height reference."""
    source = crs.sub_crs_list[0] if crs.is_compound else crs
    if len(source.axis_info) == 3:
        source = source.to_2d()
    remark = ""
    target: str | pyproj.CRS = _GEODETIC
    geodetic = horizontal_part(source).geodetic_crs
    if geodetic is not None and geodetic.datum is not None and geodetic.datum.name == _CGCS2000_DATUM:
        # EPSG holds no operation from CGCS2000 to WGS 84: both are realisations of ITRS, centimetres apart.
        target, remark = geodetic, "; CGCS2000 taken as WGS 84, they agree within centimetres"
    try:
        transformer = pyproj.Transformer.from_crs(source, target, always_xy=True, allow_ballpark=False)
        lonlat = transformer.transform(centre[0], centre[1], errcheck=True)
        used = transformer.get_last_used_operation()
    except ProjError as error:
        raise PlacementError(
            f"{crs.name} cannot be placed on the globe at x {centre[0]:.2f}, y {centre[1]:.2f}: {error}. "
            "Check the CRS against the coordinates, or install the grid it needs"
        ) from error
    if not np.isfinite(lonlat).all():
        raise PlacementError(f"x {centre[0]:.2f}, y {centre[1]:.2f} lies outside {crs.name}; check the CRS")
    return used, remark


def _three_dimensional(transformer: pyproj.Transformer) -> Transform:
    def run(positions: Positions) -> Positions:
        return np.stack(transformer.transform(positions[:, 0], positions[:, 1], positions[:, 2]), axis=1)

    return run


def _with_height(horizontal: pyproj.Transformer, unit: float, offset: float, note: str) -> Placement:
    def run(positions: Positions) -> Positions:
        longitude, latitude = horizontal.transform(positions[:, 0], positions[:, 1])
        return np.stack((longitude, latitude, positions[:, 2] * unit + offset), axis=1)

    return Placement(run, f"ellipsoid: {note}")


def _with_egm96(horizontal: pyproj.Transformer, unit: float, grid: Path, note: str) -> Placement:
    """EGM96 height -> ellipsoidal height by its grid of undulations."""
    shift = pyproj.Transformer.from_pipeline(
        "+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad "
        f'+step +proj=vgridshift +grids="{grid}" +multiplier=1 +step +proj=unitconvert +xy_in=rad +xy_out=deg'
    )

    def run(positions: Positions) -> Positions:
        longitude, latitude = horizontal.transform(positions[:, 0], positions[:, 1])
        return np.stack(shift.transform(longitude, latitude, positions[:, 2] * unit), axis=1)

    return Placement(run, f"ellipsoid: {note}")


def _egm96() -> Path | None:
    """The EGM96 grid, in PROJ's own folders or the system's."""
    folders = [*pyproj.datadir.get_data_dir().split(os.pathsep), *_GRID_FOLDERS]
    for variable in ("PROJ_DATA", "PROJ_LIB"):
        folders += [folder for folder in os.environ.get(variable, "").split(os.pathsep) if folder]
    candidates = (Path(folder) / name for folder in folders for name in _EGM96_GRIDS)
    return next((path for path in candidates if path.is_file()), None)
