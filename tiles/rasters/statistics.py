"""What is known of the values of a raster: exact range, mean and deviation; percentiles and histogram from an overview.

Kept as dictionaries of plain numbers, an item a band, as the registry and a mosaic's index hold them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiles.rasters.cog import CogSource, block_windows

HISTOGRAM_CLASSES = 64
_SAMPLE_EDGE = 1024


def file_statistics(
    path: Path, report: Callable[[float], None] = lambda _fraction: None
) -> list[dict[str, Any]]:
    """Statistics of each band of a file; every pixel is read once. `report` hears how much is done, 0 to 1.

    Keys: count, pixels, minimum, maximum, mean, deviation, valid_share, percentile_2, percentile_98, histogram (low, high,
    counts); None where the band has no valid pixel. Raises RasterError.
    """
    source = CogSource(path)
    description = source.description
    bands = [band.number for band in description.bands]
    totals = [_Total() for _ in bands]
    windows = list(block_windows(path))
    for number, window in enumerate(windows, 1):
        values, valid = source.read_window(window, bands)
        for index, total in enumerate(totals):
            total.add(values[index] if valid is None else values[index][valid[min(index, len(valid) - 1)]])
        if number % 16 == 0 or number == len(windows):
            report(number / len(windows))
    step = max(1, math.ceil(max(description.width, description.height) / _SAMPLE_EDGE))
    shape = (math.ceil(description.height / step), math.ceil(description.width / step))
    sample = source.read(description.bounds, shape, bands)
    return [
        total.described(sample.values[index][sample.valid[index]], description.width * description.height)
        for index, total in enumerate(totals)
    ]


class _Total:
    """Running count, range, mean and sum of squared distances from it (Chan's way of joining two sets)."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, 0.0, 0.0
        self.low, self.high = math.inf, -math.inf

    def add(self, values: NDArray[Any]) -> None:
        if not values.size:
            return
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        mean = float(values.mean(dtype=np.float64))
        squares = float(np.square(values - mean, dtype=np.float64).sum())
        self.join(int(values.size), mean, squares)

    def join(self, count: int, mean: float, squares: float) -> None:
        whole, apart = self.count + count, mean - self.mean
        self.squares += squares + apart * apart * self.count * count / whole
        self.mean += apart * count / whole
        self.count = whole

    def described(self, sample: NDArray[Any], pixels: int) -> dict[str, Any]:
        if not self.count:
            return _nothing(pixels)
        if not sample.size:
            sample = np.array([self.mean])
        low, high = (float(value) for value in np.percentile(sample, (2, 98)))
        counts, edges = np.histogram(sample.astype(np.float64), HISTOGRAM_CLASSES, _wide(self.low, self.high))
        return {
            "count": self.count,
            "pixels": pixels,
            "minimum": self.low,
            "maximum": self.high,
            "mean": self.mean,
            "deviation": math.sqrt(self.squares / self.count),
            "valid_share": self.count / pixels,
            "percentile_2": low,
            "percentile_98": high,
            "histogram": {"low": float(edges[0]), "high": float(edges[-1]), "counts": counts.tolist()},
        }


def _nothing(pixels: int) -> dict[str, Any]:
    keys = ("minimum", "maximum", "mean", "deviation", "percentile_2", "percentile_98", "histogram")
    return {"count": 0, "pixels": pixels, "valid_share": 0.0, **dict.fromkeys(keys)}


def _wide(low: float, high: float) -> tuple[float, float]:
    """A range that is not empty, also where two large numbers differ by less than can be told."""
    if high - low > abs(low) * 1e-12 and math.isfinite(high - low):
        return low, high
    half = max(0.5, abs(low) * 1e-6)
    return low - half, low + half


def joined_statistics(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Statistics of one band over several files; percentiles from their histograms."""
    held = [part for part in parts if part["count"]]
    pixels = sum(part["pixels"] for part in parts)
    if not held:
        return _nothing(pixels)
    total = _Total()
    for part in held:
        total.join(part["count"], part["mean"], part["deviation"] ** 2 * part["count"])
    total.low = min(part["minimum"] for part in held)
    total.high = max(part["maximum"] for part in held)
    middles, weights = _classes(held)
    counts, edges = np.histogram(middles, HISTOGRAM_CLASSES, _wide(total.low, total.high), weights=weights)
    order = np.argsort(middles)
    share = np.cumsum(weights[order]) / weights.sum()
    places = np.minimum(np.searchsorted(share, (0.02, 0.98)), len(order) - 1)
    low, high = (float(value) for value in middles[order][places])
    found = total.described(np.array([total.mean]), pixels)
    found |= {"percentile_2": low, "percentile_98": high}
    found["histogram"] = {
        "low": float(edges[0]),
        "high": float(edges[-1]),
        "counts": np.rint(counts).astype(int).tolist(),
    }
    return found


def _classes(parts: Sequence[dict[str, Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middles of the classes of all histograms, and how many pixels each stands for."""
    middles, weights = [], []
    for part in parts:
        histogram = part["histogram"]
        counts = np.asarray(histogram["counts"], dtype=np.float64)
        width = (histogram["high"] - histogram["low"]) / len(counts)
        middles.append(histogram["low"] + (np.arange(len(counts)) + 0.5) * width)
        weights.append(counts * (part["count"] / max(counts.sum(), 1.0)))
    return np.concatenate(middles), np.concatenate(weights)
