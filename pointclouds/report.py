"""The validation report of a finished point cloud: what it holds, how evenly, and what surprises in it.

Made from the nodes' statistics; points are read only when that is asked for (outliers by point, duplicates).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import shapely

from pointclouds.cloud.cloud import Cloud
from pointclouds.cloud.mosaic_table import boxes_of
from pointclouds.cloud.nodes import RETURNS, NodeTable
from pointclouds.crs import horizontal_part, vertical_name, vertical_part, vertical_unit
from pointclouds.las.classes import class_name
from pointclouds.las.structures import GPS_STANDARD_TIME
from pointclouds.las.times import utc_of
from pointclouds.report_grid import DensityGrid, PointCounter, density_grid, node_boxes, polygons_in_crs84
from pointclouds.report_heights import HeightReport, heights_of_nodes, heights_of_points
from pointclouds.report_text import report_text
from pointclouds.report_warnings import Warned, find_warnings

Language = Literal["en", "zh"]


@dataclass(frozen=True)
class DimensionSpan:
    """Lowest, highest, mean and standard deviation of a dimension, natural units."""

    lowest: float
    highest: float
    mean: float
    deviation: float


@dataclass(frozen=True)
class Density:
    """Points a square metre: of the whole covered area, and percentiles of cells of `cell` metres; `spacing` is metres between points."""

    mean: float
    p5: float
    median: float
    p95: float
    cell: float
    covered_m2: float
    spacing: float


@dataclass(frozen=True)
class Gaps:
    """Empty cells inside the hull: share of its cells, their number and area."""

    share: float
    cells: int
    area_m2: float
    places: int


@dataclass(frozen=True)
class ValidationReport:
    """See the module. `classes` code -> points, `returns` by return number (0-15), `gps` lowest and highest time as stored."""

    count: int
    tiles: int
    nodes: int
    box: tuple[float, float, float, float, float, float]
    crs: str
    vertical: str
    point_format: int
    classes: dict[int, int]
    returns: tuple[int, ...]
    dimensions: dict[str, DimensionSpan]
    density: Density
    gaps: Gaps
    heights: HeightReport
    gps_standard: bool
    points_read: bool
    warnings: tuple[Warned, ...]
    polygons: tuple[shapely.Polygon, ...]
    cloud: Cloud

    @property
    def period(self) -> tuple[str, str] | None:
        """First and last instant (RFC 3339), None where GPS times are no dates."""
        span = self.dimensions.get("GpsTime")
        if span is None or not self.gps_standard or span.highest == span.lowest == 0:
            return None
        ends = utc_of([span.lowest, span.highest])
        if np.isnat(ends).any():
            return None
        return f"{np.datetime_as_string(ends[0], 's')}Z", f"{np.datetime_as_string(ends[1], 's')}Z"

    def as_json(self) -> dict[str, Any]:
        """JSON values, for the registry and for programs."""
        heights = self.heights
        return {
            "count": self.count,
            "tiles": self.tiles,
            "nodes": self.nodes,
            "classes": {
                str(code): {"count": count, "en": class_name(code), "zh": class_name(code, "zh")}
                for code, count in sorted(self.classes.items())
            },
            "returns": {str(number): count for number, count in enumerate(self.returns) if count},
            "density": _rounded(self.density.__dict__),
            "gaps": _rounded(self.gaps.__dict__),
            "heights": {
                "lowest": round(heights.lowest, 3),
                "highest": round(heights.highest, 3),
                "usual": [round(value, 3) for value in heights.usual],
                "suspect_nodes": heights.suspects,
                "low_outliers": heights.low,
                "high_outliers": heights.high,
            },
            "duplicates": heights.duplicates,
            "gps_time": "standard" if self.gps_standard else "week",
            "period": list(self.period) if self.period else None,
            "dimensions": {name: _rounded(span.__dict__) for name, span in self.dimensions.items()},
            "vertical_reference": self.vertical,
            "points_read": self.points_read,
            "warnings": [
                {"code": one.code, "en": one.text("en"), "zh": one.text("zh")} for one in self.warnings
            ],
        }

    def as_text(self, language: Language = "en") -> str:
        """Lines for a person."""
        return report_text(self.as_json(), self.crs, self.box, language)

    def gaps_geojson(self) -> dict[str, Any] | None:
        """The gaps as polygons in CRS84; None where there are none."""
        return polygons_in_crs84(self.polygons, self.cloud.crs) if self.polygons else None


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Six significant digits are more than any of these numbers means; whole numbers stay whole."""
    return {
        name: float(f"{value:.10g}") if isinstance(value, float) else value for name, value in values.items()
    }


def validation_report(cloud: Cloud, *, read_points: bool = False) -> ValidationReport:
    """The report of a cloud.

    Args:
        read_points: read every point too, for outliers, duplicates, and gaps smaller than a node; else nothing but the nodes'
            statistics.

    Raises:
        UnreadablePointCloudError, InvalidCopcError: the cloud is damaged.
    """
    kept = cloud.table
    tables = [cloud.nodes(tile) for tile in cloud.tiles] if kept is None else [kept.tiles]
    nodes = np.concatenate([boxes_of(table) for table in tables]) if kept is None else kept.nodes
    boxes = node_boxes(nodes)
    unit = float(horizontal_part(cloud.crs).axis_info[0].unit_conversion_factor)
    grid = density_grid(boxes)
    height_unit = vertical_unit(cloud.crs)
    if read_points:
        counter = PointCounter(cloud.box, _density(grid, cloud.count, 1.0).spacing)
        heights = heights_of_points(cloud, boxes, height_unit, counter)
        grid = counter.grid()
    else:
        heights = heights_of_nodes(boxes, height_unit)
    share, polygons, cells = grid.gaps()
    dimensions = _spans(tables)
    classes, returns = _classes(tables), _returns(tables)
    standard = bool(cloud.file(cloud.tiles[0]).header.las.global_encoding & GPS_STANDARD_TIME)
    density = _density(grid, cloud.count, unit)
    gaps = Gaps(share, cells, cells * (grid.size * unit) ** 2, len(polygons))
    return ValidationReport(
        count=cloud.count,
        tiles=len(cloud.tiles),
        nodes=len(boxes.counts),
        box=cloud.box,
        crs=cloud.crs.name,
        vertical=vertical_name(cloud.crs),
        point_format=cloud.point_format,
        classes=classes,
        returns=returns,
        dimensions=dimensions,
        density=density,
        gaps=gaps,
        heights=heights,
        gps_standard=standard,
        points_read=read_points,
        warnings=tuple(
            find_warnings(
                beyond=int(nodes["beyond"].sum()),
                count=cloud.count,
                classes=classes,
                returns=returns,
                spans={name: (span.lowest, span.highest, span.mean) for name, span in dimensions.items()},
                colours=cloud.point_format in (7, 8),
                gps_standard=standard,
                vertical_known=vertical_part(cloud.crs) is not None or len(cloud.crs.axis_info) == 3,
                gap_share=share,
                evenness=density.p5 / density.median if density.median else 1.0,
                heights=heights,
            )
        ),
        polygons=tuple(polygons),
        cloud=cloud,
    )


def _density(grid: DensityGrid, count: int, unit: float) -> Density:
    each = grid.densities() / unit**2
    area = float(grid.coverage.sum()) * (grid.size * unit) ** 2
    mean = count / area if area else 0.0
    p5, median, p95 = (float(value) for value in np.percentile(each, (5, 50, 95)))
    return Density(mean, p5, median, p95, grid.size * unit, area, float(1 / np.sqrt(mean)) if mean else 0.0)


def _classes(tables: Sequence[NodeTable]) -> dict[int, int]:
    found: dict[int, int] = {}
    for table in tables:
        for code, count in zip(table.classes, table.class_counts.sum(axis=0, dtype=np.int64), strict=True):
            found[code] = found.get(code, 0) + int(count)
    return {code: count for code, count in sorted(found.items()) if count}


def _returns(tables: Sequence[NodeTable]) -> tuple[int, ...]:
    total = np.zeros(RETURNS, np.int64)
    for table in tables:
        total += table.return_counts.sum(axis=0, dtype=np.int64)
    return tuple(int(count) for count in total)


def _spans(tables: Sequence[NodeTable]) -> dict[str, DimensionSpan]:
    """Of every dimension that all tables have and that holds a number."""
    count = sum(table.count for table in tables)
    found = {}
    for name in tables[0].dimensions:
        if not all(name in table.dimensions for table in tables):
            continue
        columns = [table.column(name) for table in tables]
        low = np.concatenate([table.lowest[:, at] for table, at in zip(tables, columns, strict=True)])
        high = np.concatenate([table.highest[:, at] for table, at in zip(tables, columns, strict=True)])
        if not np.isfinite(low).any():
            continue
        total = sum(float(table.sums[:, at].sum()) for table, at in zip(tables, columns, strict=True))
        squares = sum(float(table.squares[:, at].sum()) for table, at in zip(tables, columns, strict=True))
        mean = total / count
        spread = max(squares / count - mean * mean, 0.0)
        found[name] = DimensionSpan(
            float(np.nanmin(low)), float(np.nanmax(high)), mean, float(np.sqrt(spread))
        )
    return found
