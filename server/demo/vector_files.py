"""Writing small GeoPackages and Shapefiles of the demo, which are then published like anyone's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiona
import fiona.crs
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True, slots=True)
class Column:
    """One attribute: its name and its type as fiona writes it ("str:40", "int", "float:10.2", "bool", "date")."""

    name: str
    type: str


def write_layer(
    path: Path,
    columns: Sequence[Column],
    features: Iterable[tuple[BaseGeometry, Mapping[str, Any]]],
    *,
    geometry_type: str,
    crs: str,
    driver: str = "GPKG",
    encoding: str = "UTF-8",
) -> int:
    """Write a vector file with one layer and return how many features it holds. Absent attributes become null."""
    schema = {"geometry": geometry_type, "properties": {column.name: column.type for column in columns}}
    names = [column.name for column in columns]
    records = [
        {"geometry": mapping(geometry), "properties": {name: properties.get(name) for name in names}}
        for geometry, properties in features
    ]
    with fiona.open(
        path, "w", driver=driver, crs=fiona.crs.CRS.from_user_input(crs), schema=schema, encoding=encoding
    ) as out:
        out.writerecords(records)
    return len(records)
