"""Heights of the ground at given places, for whatever stands or lies on it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from tiles.terrain.elevation import ElevationModel, Heights
from tiles.terrain.errors import TerrainError
from tiles.three_d.placement import as_crs, horizontal_part, to_longitude_latitude


class HeightSampler:
    """Asks one elevation model (a raster file or a mosaic's index) again and again, for places of one CRS.

    Keeps the file open, and opens it at the first question; pickles, so that each process has a file of its own. Safe in
    threads. A context manager.
    """

    def __init__(self, path: Path, crs: CRS | str) -> None:
        self._path = path
        self._source = horizontal_part(as_crs(crs))
        self._model: ElevationModel | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_source": self._source.to_wkt(), "_model": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._path, self._model = state["_path"], None
        self._source = CRS.from_wkt(state["_source"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, xy: NDArray[np.float64]) -> Heights:
        """The same as `heights`."""
        return self.heights(xy)

    def heights(self, xy: NDArray[np.float64]) -> Heights:
        """Heights (n,) float64 in metres at `xy` (n, 2 or more columns; x is easting or longitude), in the model's own vertical
        reference; bilinear; NaN outside the model and in its gaps.

        Raises TerrainError where the file is no elevation model or `xy` has another shape, PlacementError where a CRS has no way to
        the model's.
        """
        places = np.asarray(xy, dtype=np.float64)
        if places.ndim != 2 or places.shape[1] < 2:
            raise TerrainError(f"places have shape {places.shape}; needed is (n, 2)")
        if self._model is None:
            self._model = ElevationModel(self._path)
        model = self._model
        here = places[:, :2]
        if self._source != model.horizontal:
            here = model.path().inverse(to_longitude_latitude(self._source, places)[0])
        return model.heights(model.unwrapped(here))

    def close(self) -> None:
        """Close the file; the next question opens it again."""
        if self._model is not None:
            self._model.close()
            self._model = None


def sample_heights(dem_path: Path, xy: NDArray[np.float64], crs: CRS | str) -> Heights:
    """Heights of the ground at `xy` in `crs`, once: see HeightSampler.heights, which keeps the file open."""
    with HeightSampler(dem_path, crs) as sampler:
        return sampler.heights(xy)
