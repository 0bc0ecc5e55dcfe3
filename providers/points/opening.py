"""Point clouds as a kind of store of rasters: what makes `tiles.rasters.open_raster` know them. Light: nothing is opened here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tiles.raster_stores import register_store

if TYPE_CHECKING:
    from tiles.rasters.source import RasterSource

STORE: Final = "points"
"""`store` in the properties of a COVERAGE representation whose values are made of points; its path is the cloud's."""


def _opened(path: Path, properties: Mapping[str, Any]) -> RasterSource:
    from providers.points.coverage import PointRasterSource  # what other rasters need not

    return PointRasterSource(path, properties)


def register_point_rasters() -> None:
    """Make rasters of points known; any number of times."""
    register_store(STORE, _opened)
