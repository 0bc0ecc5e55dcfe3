"""The self-test of a map that is about to be published: its own source draws its own data (tiles.maps.self_test)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from server.registry.catalogue import Field
from tiles.maps.self_test import MapSelfTest, map_self_test

type Box84 = tuple[float, float, float, float]


def feature_map_conformance(
    path: Path,
    bounds84: Box84,
    storage_crs: str,
    style: str | Mapping[str, Any],
    styles_directory: Path,
    fields: Sequence[Field],
    time_field: str | None,
) -> MapSelfTest:
    """What the map of an embedded store passes. Raises StyleError."""
    from tiles.maps.styles import load_style
    from tiles.maps.vector_source import TimeColumn, VectorMapSource

    time = next(
        (TimeColumn(one.column, one.format == "date") for one in fields if one.name == time_field), None
    )
    source = VectorMapSource(
        path,
        crs=storage_crs,
        style=load_style(style, styles_directory),
        columns={one.name: one.column for one in fields},
        time=time,
    )
    return map_self_test(source, bounds84, storage_crs, timed=time is not None)


def raster_map_conformance(
    folder: Path,
    path: str,
    properties: Mapping[str, Any],
    bounds84: Box84,
    storage_crs: str,
    style: str | Mapping[str, Any],
    styles_directory: Path,
) -> MapSelfTest:
    """What the map of a raster passes. `folder`, `path` and `properties` are those of its COVERAGE. Raises StyleError."""
    from tiles.maps.raster_source import RasterMapSource
    from tiles.maps.styles import load_style
    from tiles.rasters import open_raster

    raster = open_raster(folder, path, properties)
    source = RasterMapSource(raster, style=load_style(style, styles_directory))
    instants = raster.description.instants if properties.get("instants") else ()
    return map_self_test(source, bounds84, storage_crs, instants=instants)


def warnings_of(tested: MapSelfTest) -> list[str]:
    """What whoever publishes is told of the classes that failed."""
    return [f"Self-test of {uri}: {why}" for uri, why in tested.failed.items()]
