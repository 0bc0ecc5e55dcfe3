"""Point clouds as a kind of store of rasters: what makes `tiles.rasters.open_raster` know them. Light: nothing is opened here."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from tiles.raster_stores import register_store

if TYPE_CHECKING:
    from tiles.rasters.source import RasterSource

STORE: Final = "points"
"""`store` in the properties of a COVERAGE representation whose values are made of points; its path is the cloud's."""


_BAND_DIMENSIONS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "dtm": frozenset(("Z", "Classification")),
        "dsm": frozenset(("Z",)),
        "height": frozenset(("Z", "Classification")),
        "intensity": frozenset(("Intensity",)),
        "density": frozenset(),
        "classification": frozenset(("Classification",)),
        "red": frozenset(("Red",)),
        "green": frozenset(("Green",)),
        "blue": frozenset(("Blue",)),
    }
)
"""The dimensions that the cells of each band are made of."""


def hidden_bands(properties: Mapping[str, Any] | None, hidden: frozenset[str]) -> frozenset[str]:
    """Names of the bands of a COVERAGE representation that are made of hidden dimensions of points; none for other rasters."""
    if not hidden or properties is None or properties.get("store") != STORE:
        return frozenset()
    names = (str(band["name"]) for band in properties.get("bands", ()))
    return frozenset(name for name in names if _BAND_DIMENSIONS.get(name, hidden) & hidden)


DEFAULT_POINTS: Final = 50_000_000
_lock = threading.Lock()
_limits: dict[Path, int] = {}


def limit_point_rasters(home: Path, points: int) -> None:
    """Say how many points one part of a raster may read, of clouds kept below `home`; what was said before is replaced."""
    with _lock:
        _limits[home.resolve()] = points


def point_limit(path: Path) -> int:
    """How many points one part of a raster of the cloud at `path` may read."""
    with _lock:
        known = dict(_limits)
    return next((known[folder] for folder in path.resolve().parents if folder in known), DEFAULT_POINTS)


def _opened(path: Path, properties: Mapping[str, Any]) -> RasterSource:
    from providers.points.coverage import PointRasterSource  # what other rasters need not

    return PointRasterSource(path, properties)


def register_point_rasters() -> None:
    """Make rasters of points known; any number of times."""
    register_store(STORE, _opened)
