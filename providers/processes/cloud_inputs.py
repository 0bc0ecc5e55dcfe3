"""Inputs that the processes on point clouds share: their descriptions, and the clouds and polygons they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from pointclouds.cloud.cloud import Cloud, open_cloud
from pointclouds.crs import vertical_name
from pointclouds.rasters.raster import PointRaster
from providers.errors import InvalidParameter
from providers.features.crs import reference_system, transform_between
from providers.features.query import CRS84
from providers.points.areas import raster_of
from providers.points.coverage import PointRasterSource
from providers.points.places import height_unit, length_unit, native_system
from providers.processes.description import POLYGON_SCHEMA
from providers.processes.scene_inputs import SceneInputs, number, one
from providers.processes.sources import ProcessSource, find_source

MOST_POINTS: Final = 20_000_000
"""Points that one execution may read: the answer is waited for."""
MOST_CELLS: Final = 4_000_000
LEAST_CELL, LARGEST_CELL = 0.05, 1_000.0

CLOUD: Final = one(
    "Point cloud",
    "Id of a collection of this view with a point cloud",
    {"type": "string", "minLength": 1, "maxLength": 200},
)
AREA: Final = one("Area", "Polygon or MultiPolygon in CRS84", POLYGON_SCHEMA)
SURFACE: Final = one(
    "Surface",
    "dsm: the highest points; dtm: the ground, filled under buildings",
    {"type": "string", "enum": ["dsm", "dtm"], "default": "dsm"},
    required=False,
)
CELL: Final = number(
    "Cell size", "Metres; without it the finest that the points allow", LEAST_CELL, LARGEST_CELL, None
) | {"minOccurs": 0}


def described(
    identifier: str,
    titles: tuple[str, str],
    texts: tuple[str, str],
    inputs: Mapping[str, Any],
    output: tuple[str, str, Mapping[str, Any]],
    example: Mapping[str, Any],
) -> Mapping[str, Any]:
    """The metadata of a process: titles and texts in English and Chinese; name, text and schema of its output."""
    name, text, schema = output
    return MappingProxyType(
        {
            "version": "1.0.0",
            "jobControlOptions": ["sync-execute"],
            "outputTransmission": ["value"],
            "links": [],
            "id": identifier,
            "title": {"en": titles[0], "zh": titles[1]},
            "description": {"en": texts[0], "zh": texts[1]},
            "keywords": ["point cloud", "lidar", "点云"],
            "inputs": inputs,
            "outputs": {name: {"title": titles[0], "description": text, "schema": schema}},
            "example": {"inputs": example},
        }
    )


EXAMPLE_AREA: Final[Mapping[str, Any]] = {
    "type": "Polygon",
    "coordinates": [[[4.3660, 52.0114], [4.3665, 52.0114], [4.3665, 52.0117], [4.3660, 52.0117], [4.3660, 52.0114]]],
}  # fmt: skip


@dataclass(frozen=True)
class NamedCloud:
    """A cloud as a process sees it. `unit` is metres of a unit of x and y, `height_unit` of z."""

    id: str
    source: ProcessSource
    cloud: Cloud

    @property
    def unit(self) -> float:
        """Metres of a unit of x and y."""
        return length_unit(self.cloud)

    @property
    def height_unit(self) -> float:
        """Metres of a unit of z."""
        return height_unit(self.cloud)

    @property
    def heights(self) -> str:
        """What heights count from."""
        return vertical_name(self.cloud.crs)

    @property
    def ground_classes(self) -> tuple[int, ...]:
        """The classes that are ground."""
        return tuple(self.source.point_raster.get("ground_classes", (2,)))

    def raster(self, cell: float | None = None) -> PointRaster:
        """Its rasters in cells of `cell` units; None for the finest that are kept for it."""
        if cell is None:
            assert self.source.points is not None  # find_cloud gives no other
            return PointRasterSource(self.source.points, self.source.point_raster).raster
        return raster_of(self.cloud, cell, self.ground_classes, MOST_POINTS)


def find_cloud(key: str, inputs: SceneInputs, name: str = "collection", *, whole: bool = True) -> NamedCloud:
    """The cloud that an input names. `whole`: rasters are made of all points, so all must be allowed to be seen.

    Raises InvalidParameter.
    """
    identifier = inputs.text(name)
    source = find_source(key, identifier)
    if source.points is None:
        raise InvalidParameter(name, identifier, "the id of a collection of this view with a point cloud")
    if whole and (source.area is not None or "Classification" in source.hidden):
        raise InvalidParameter(
            name, identifier, "a point cloud of which you may see all points and their classes"
        )
    return NamedCloud(identifier, source, open_cloud(source.points))


def cell_of(inputs: SceneInputs, *clouds: NamedCloud) -> float:
    """The edge of cells in units of the first cloud: what was asked for, else the coarsest of the clouds' finest."""
    unit = clouds[0].unit
    if inputs.given("cellSize"):
        return inputs.number("cellSize", LEAST_CELL, LARGEST_CELL) / unit
    return max(cloud.raster().resolution for cloud in clouds)


def choice(inputs: SceneInputs, name: str, allowed: tuple[str, ...]) -> str:
    """An optional word, the first of those allowed where it is not given. Raises InvalidParameter."""
    if not inputs.given(name):
        return allowed[0]
    value = inputs.text(name)
    if value not in allowed:
        raise InvalidParameter(name, value, "one of " + ", ".join(allowed))
    return value


def require_same_grid(first: NamedCloud, second: NamedCloud, name: str) -> None:
    """Refuse two clouds whose coordinates or heights are not of one system. Raises InvalidParameter."""
    one_crs, other = native_system(first.cloud).horizontal, native_system(second.cloud).horizontal
    if not one_crs.equals(other, ignore_axis_order=True):
        raise InvalidParameter(name, second.id, f"a point cloud in {one_crs.name}, as {first.id} is")
    if first.height_unit != second.height_unit or first.heights != second.heights:
        raise InvalidParameter(
            name, second.id, f"a point cloud with heights above {first.heights}, as {first.id} has"
        )


def to_crs84(shapes: list[shapely.Geometry], cloud: Cloud) -> list[BaseGeometry]:
    """Native shapes in CRS84, to 9 decimals."""
    transform = transform_between(native_system(cloud), reference_system(CRS84))
    found: Any = np.array(shapes, dtype=object)
    if transform is not None and len(found):

        def moved(places: Any) -> Any:
            return np.stack(transform(places[:, 0], places[:, 1]), axis=1)

        found = shapely.transform(found, moved)
    return [shapely.set_coordinates(one, np.round(shapely.get_coordinates(one), 9)) for one in found]


def rounded(values: Mapping[str, float | None], digits: int = 3) -> dict[str, float | None]:
    """Numbers for an answer; None stays."""
    return {name: None if value is None else round(value, digits) for name, value in values.items()}
