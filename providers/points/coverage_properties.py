"""What the registry keeps of a cloud's rasters: the grid, the bands, and statistics from a coarse raster of the whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from providers.points.coverage import CODES, PointRasterSource, raster_errors
from providers.points.opening import STORE
from tiles.rasters.source import RasterBand

_EDGE: Final = 512
_CLASSES: Final = 64


def coverage_properties(path: Path, crs_uri: str, ground_classes: Sequence[int] = (2,)) -> dict[str, Any]:
    """Properties of the COVERAGE representation of the cloud at `path`.

    Statistics are of at most 512 x 512 cells over the whole, not of the finest ones, and of a mosaic of those that its overview has
    points for: nothing as large as the cloud is read, and no file of a tile is opened.
    Raises RasterError, AnswerTooLarge.
    """
    source = PointRasterSource(path, {"ground_classes": list(ground_classes)})
    description = source.description
    with raster_errors():
        step = max(2.0**source.raster.overview_level, max(description.width, description.height) / _EDGE)
    shape = (math.ceil(description.height / step), math.ceil(description.width / step))
    numbers = [band.number for band in description.bands]
    block = source.read(description.bounds, shape, numbers)
    return {
        "store": STORE,
        "dtype": "float32",
        "bands": [
            _kept(band, values[valid], valid.size)
            for band, values, valid in zip(description.bands, block.values, block.valid, strict=True)
        ],
        "width": description.width,
        "height": description.height,
        "resolution": list(description.resolution),
        "crs": crs_uri,
        "ground_classes": list(ground_classes),
    }


def _kept(band: RasterBand, values: NDArray[Any], pixels: int) -> dict[str, Any]:
    kept: dict[str, Any] = {
        "name": band.name,
        "title": band.title,
        "unit": band.unit,
        "dtype": band.dtype,
        "nodata": None,
        "interpretation": band.interpretation,
        "valid_share": values.size / max(pixels, 1),
    }
    if not values.size:
        return kept
    numbers = values.astype(np.float64)
    low, high = (float(value) for value in np.percentile(numbers, (2, 98)))
    lowest, highest = float(numbers.min()), float(numbers.max())
    counts, edges = np.histogram(numbers, _CLASSES, (lowest, highest if highest > lowest else lowest + 1.0))
    kept |= {
        "minimum": lowest,
        "maximum": highest,
        "mean": float(numbers.mean()),
        "deviation": float(numbers.std()),
        "percentile_2": low,
        "percentile_98": high,
        "histogram": {"low": float(edges[0]), "high": float(edges[-1]), "counts": counts.tolist()},
    }
    if band.name == CODES and band.colours is not None:
        present = set(np.unique(values).tolist())
        kept["colours"] = [[code, list(colour)] for code, colour in band.colours if code in present]
    return kept
