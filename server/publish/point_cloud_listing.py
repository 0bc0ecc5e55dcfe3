"""What is told of a published point cloud: its files, what it holds, its edits, its validation report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pointclouds.cloud.cloud import Cloud, open_cloud
from pointclouds.mosaic.boxes import boxes_in_crs84
from pointclouds.report import validation_report
from server.publish.failures import clear_errors
from server.publish.point_cloud_generations import point_cloud_of
from server.publish.point_cloud_representations import classes_of
from server.registry.catalogue import Collection, RepresentationKind

if TYPE_CHECKING:
    from pointclouds.report import ValidationReport
    from server.registry.registry import Registry

_TOLD = (
    "count", "classes", "dimensions", "point_format", "scale", "offset", "crs", "vertical_reference", "gps_time", "mosaic", "tiles",
    "overview",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ListedTile:
    """A file as it is listed. `bbox` is west, south, bottom, east, north, top; degrees and metres. `classes`: code and points."""

    name: str
    count: int
    bytes: int
    start: str | None
    end: str | None
    classes: dict[int, int]
    bbox: tuple[float, ...]
    source: str | None

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "name": self.name,
            "count": self.count,
            "bytes": self.bytes,
            "interval": [self.start, self.end],
            "classes": {str(code): count for code, count in self.classes.items()},
            "bbox": self.bbox,
            "source": self.source,
        }


def _opened(registry: Registry, tenant: str, collection: str) -> tuple[Collection, Cloud]:
    present = point_cloud_of(registry, tenant, collection)
    return present, open_cloud(present.path_of(RepresentationKind.POINT_CLOUD))


def list_tiles(registry: Registry, tenant: str, collection: str) -> list[ListedTile]:
    """The files of a cloud, by name. Raises UnknownCollection, OptionError, BuildError where it is damaged."""
    with clear_errors(registry.home):
        _, cloud = _opened(registry, tenant, collection)
        boxes = boxes_in_crs84([tile.box for tile in cloud.tiles], cloud.crs)
        return [
            ListedTile(
                tile.name,
                tile.count,
                tile.path.stat().st_size,
                tile.start,
                tile.end,
                classes_of(cloud, tile),
                tuple(float(value) for value in box),
                tile.facts.get("source"),
            )
            for tile, box in zip(cloud.tiles, boxes, strict=True)
        ]


def describe_cloud(registry: Registry, tenant: str, collection: str) -> dict[str, Any]:
    """What a cloud holds, and under "edits" the edits that led to it, oldest first. Raises as list_tiles does."""
    present = point_cloud_of(registry, tenant, collection)
    properties = present.representations[RepresentationKind.POINT_CLOUD].properties
    interval = None if present.interval is None else list(present.interval)
    return {
        "collection": present.qualified_id,
        "generation": present.generation,
        **{name: properties[name] for name in _TOLD if properties.get(name) is not None},
        **({} if interval is None else {"interval": interval}),
        "edits": list(properties.get("edits", ())),
    }


def validation_of(
    registry: Registry, tenant: str, collection: str, *, read_points: bool = False
) -> ValidationReport:
    """The validation report of the cloud as it is served; `read_points` as in pointclouds.report. Raises as list_tiles does."""
    with clear_errors(registry.home):
        _, cloud = _opened(registry, tenant, collection)
        return validation_report(cloud, read_points=read_points)
