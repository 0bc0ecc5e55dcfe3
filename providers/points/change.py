"""What has changed between two surveys: differences of their surfaces or terrains, cell by cell, and how sure they are.

A difference counts where it is larger than both the threshold (what the two surveys are known to be apart) and 1.96 times the
standard error of the two means (95 %): heights of a cell that scatter, as in trees, have to change by more.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from rasterio.features import rasterize, shapes

from pointclouds.rasters.raster import ERRORS, PointRaster
from providers.points.areas import AreaCells, Float, heights_in

Surface = Literal["dsm", "dtm"]
_SURE: Final = 1.96
MAXIMUM_POLYGONS: Final = 20_000


@dataclass(frozen=True)
class Change:
    """`difference` (rows, columns) is after less before, NaN where either is unknown; `least` what it has to be to count; `counts`
    where it does. Units are those of the clouds."""

    cells: AreaCells
    difference: Float
    least: Float
    counts: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ChangeSummary:
    """Volumes and areas of what counts, in units of the clouds cubed and squared; `compared` is the area known in both."""

    gained: float
    lost: float
    gained_area: float
    lost_area: float
    compared: float
    uncertainty: float
    mean_unchanged: float | None

    @property
    def net(self) -> float:
        """Gained less lost."""
        return self.gained - self.lost


def compare(
    before: PointRaster, after: PointRaster, cells: AreaCells, surface: Surface, threshold: float
) -> Change:
    """Compare two clouds of one CRS on the cells of an area. Raises AnswerTooLarge, RasterError, InvalidParameter."""
    names = [surface, ERRORS[surface]]
    first, second = heights_in(before, cells, names), heights_in(after, cells, names)
    difference = np.where(cells.share > 0, second[surface] - first[surface], np.nan)
    # A cell with one point has no deviation: the threshold alone is left.
    spread = [np.nan_to_num(part[ERRORS[surface]]) for part in (first, second)]
    least = np.maximum(threshold, _SURE * np.hypot(*spread))
    with np.errstate(invalid="ignore"):
        counts = np.abs(difference) > least
    return Change(cells, difference, least, counts)


def summarized(change: Change) -> ChangeSummary:
    """Volumes, areas, and how sure the net volume is (one standard deviation, cells taken as independent).

    `mean_unchanged` is the mean difference of cells that do not count: far from 0 the two surveys do not fit.
    """
    weight = change.cells.share * change.cells.cell**2
    known = np.isfinite(change.difference)
    gained, lost = change.counts & (change.difference > 0), change.counts & (change.difference < 0)
    quiet = known & ~change.counts
    return ChangeSummary(
        gained=float((change.difference[gained] * weight[gained]).sum()),
        lost=float(-(change.difference[lost] * weight[lost]).sum()),
        gained_area=float(weight[gained].sum()),
        lost_area=float(weight[lost].sum()),
        compared=float(weight[known].sum()),
        uncertainty=float(
            np.sqrt(np.square(change.least[change.counts] / _SURE * weight[change.counts]).sum())
        ),
        mean_unchanged=float(change.difference[quiet].mean()) if quiet.any() else None,
    )


def polygons_of(change: Change, least_area: float) -> tuple[list[shapely.Geometry], list[dict[str, Any]]]:
    """Native polygons of cells that gained or lost side by side, those below `least_area` left out, and what each holds: kind
    ("gained", "lost"), area, volume (positive), mean and extreme difference. Largest volume first."""
    sign = np.where(change.counts, np.sign(change.difference), 0).astype(np.int16)
    found = [
        (shapely.geometry.shape(outline), int(value))
        for outline, value in shapes(sign, mask=sign != 0, connectivity=4, transform=change.cells.transform)
    ]
    found = [(outline, value) for outline, value in found if shapely.area(outline) >= least_area]
    found.sort(key=lambda one: -float(shapely.area(one[0])))
    found = found[:MAXIMUM_POLYGONS]
    if not found:
        return [], []
    labels = rasterize(
        ((outline, number) for number, (outline, _) in enumerate(found, 1)),
        sign.shape, transform=change.cells.transform, fill=0, dtype="int32",
    )  # fmt: skip
    place = labels.ravel() * (sign.ravel() != 0)
    size = len(found) + 1
    weight = (change.cells.share * change.cells.cell**2).ravel()
    difference = np.nan_to_num(change.difference.ravel())
    area = np.bincount(place, weight, size)[1:]
    volume = np.bincount(place, difference * weight, size)[1:]
    extreme = np.zeros(size)
    np.maximum.at(extreme, place, np.abs(difference))
    values = [
        {
            "change": "gained" if value > 0 else "lost",
            "area": float(area[number]),
            "volume": abs(float(volume[number])),
            "mean": float(volume[number] / area[number]) if area[number] else 0.0,
            "extreme": float(extreme[number + 1]) * value,
        }
        for number, (_, value) in enumerate(found)
    ]
    order = sorted(range(len(found)), key=lambda number: -float(values[number]["volume"]))
    return [found[number][0] for number in order], [values[number] for number in order]


def geotiff(change: Change, crs_wkt: str) -> bytes:
    """Bands difference, least (what a difference has to be to count) and significant (difference where it counts), NaN elsewhere."""
    rows, columns = change.difference.shape
    bands = {
        "difference": change.difference,
        "least": np.where(np.isfinite(change.difference), change.least, np.nan),
        "significant": np.where(change.counts, change.difference, np.nan),
    }
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=columns, height=rows, count=len(bands), dtype="float32", crs=crs_wkt,
            transform=change.cells.transform, nodata=float("nan"), compress="deflate", predictor=3,
        ) as out:  # fmt: skip
            for number, (name, values) in enumerate(bands.items(), 1):
                out.write(values.astype(np.float32), number)
                out.set_band_description(number, name)
        return io.BytesIO(memory.read()).getvalue()
