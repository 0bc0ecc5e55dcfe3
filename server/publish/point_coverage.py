"""The COVERAGE and the MAP of a published point cloud: no file of their own, their values are made of points on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from server.publish.building import TILE_MATRIX_SETS, Built, Task
from server.publish.map_conformance import Box84, raster_map_conformance, warnings_of
from server.publish.styles import chosen_style
from server.registry.catalogue import Representation, RepresentationKind
from server.settings import Settings

GROUND_CLASSES: Final = (2,)

_SURFACE_RAMP: Final = (
    (0.0, "#3f7f6b"),
    (0.2, "#8fb582"),
    (0.4, "#d9d6a0"),
    (0.6, "#d5aa70"),
    (0.8, "#b07552"),
    (1.0, "#f4f1ec"),
)


def point_coverage(
    folder: Path, path: str, crs_uri: str, ground_classes: Sequence[int] = GROUND_CLASSES
) -> Representation:
    """The COVERAGE of the cloud at `path` in `folder`; reads a coarse raster of it for the statistics.

    Raises RasterError where the cloud cannot be read.
    """
    from providers.points.coverage_properties import coverage_properties

    return Representation(
        RepresentationKind.COVERAGE, path, 0, 0, coverage_properties(folder / path, crs_uri, ground_classes)
    )


def point_maps(
    folder: Path,
    path: str,
    crs_uri: str,
    bounds84: Box84,
    settings: Settings,
    style: str | Mapping[str, Any] | None = None,
    ground_classes: Sequence[int] = GROUND_CLASSES,
) -> tuple[list[Representation], list[str]]:
    """COVERAGE and MAP of a cloud, and warnings of the map's self-test.

    Args:
        folder, path: of the generation that is built, and of the cloud in it. All its files are there (nodes, overview).
        crs_uri: the collection's storage CRS.
        style: what the publisher asked for; None: the surface by height with shaded relief.

    Raises RasterError, StyleError.
    """
    coverage = point_coverage(folder, path, crs_uri, ground_classes)
    drawn = default_style(coverage.properties["bands"]) if style is None else style
    tested = raster_map_conformance(
        folder, path, coverage.properties, bounds84, crs_uri, drawn, settings.styles_directory
    )
    shown = {
        "style": drawn if isinstance(drawn, str) else dict(drawn),
        "tile_matrix_sets": TILE_MATRIX_SETS,
        "conformance": tested.passed,
    }
    return [coverage, Representation(RepresentationKind.MAP, path, 0, 0, shown)], warnings_of(tested)


def default_style(bands: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The surface in colours of height with shaded relief. Every cloud has a surface."""
    number = [band["name"] for band in bands].index("dsm") + 1
    return {
        "title": {"en": "Surface heights with shaded relief", "zh": "表面高程分层设色与阴影"},
        "raster": {
            "kind": "ramp",
            "bands": [number],
            "ramp": [list(stop) for stop in _SURFACE_RAMP],
            "hillshade": 0.6,
        },
    }


def add_point_coverage(task: Task, built: Built, path: str) -> None:
    """Append the COVERAGE and the MAP of the cloud at `path` in the folder of a publish. Raises RasterError, StyleError."""
    west, south, east, north = built.bbox[0], built.bbox[1], *built.bbox[len(built.bbox) // 2 :][:2]
    made, warnings = point_maps(
        task.folder,
        path,
        built.storage_crs,
        (west, south, east, north),
        task.settings,
        None if task.request.style is None else chosen_style(task.request, "raster", task.settings),
    )
    built.representations += made
    built.warnings += warnings
