"""The dimensions of a point cloud as the fields of a collection: what can be asked, and what is answered."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from pointclouds.cloud.cloud import Cloud
from pointclouds.las.dimensions import Dimension
from pointclouds.las.times import gps_interval, is_absolute
from providers.features.schema import CollectionSchema, FieldDefinition

TIME_FIELD: Final = "datetime"
"""GpsTime as an instant, where it is one."""
_TITLES: Final = {
    "X": "Easting", "Y": "Northing", "Z": "Height", "Intensity": "Intensity of the return", "ReturnNumber": "Number of the return",
    "NumberOfReturns": "Returns of the pulse", "Synthetic": "Made, not measured", "KeyPoint": "Key point of a model",
    "Withheld": "To be left out", "Overlap": "In the overlap of flight lines", "ScannerChannel": "Scanner head",
    "ScanDirectionFlag": "Direction of the mirror", "EdgeOfFlightLine": "At the edge of a flight line",
    "Classification": "Class (ASPRS code)", "UserData": "User data", "ScanAngle": "Scan angle (degrees)",
    "PointSourceId": "Flight line", "GpsTime": "GPS time (seconds)", "Red": "Red", "Green": "Green", "Blue": "Blue",
    "Infrared": "Near infrared",
}  # fmt: skip


def has_instants(cloud: Cloud) -> bool:
    """Whether the GPS times of a cloud are dates: its files say so, and the times are sound ones."""
    return _has_instants(cloud)


@lru_cache(maxsize=256)
def _has_instants(cloud: Cloud) -> bool:
    if not is_absolute(cloud.file(cloud.tiles[0]).header.las.global_encoding):
        return False
    return all(gps_interval(*tile.gps) is not None for tile in cloud.tiles)


def visible_dimensions(cloud: Cloud, hidden: frozenset[str] = frozenset()) -> tuple[Dimension, ...]:
    """All dimensions but the hidden ones; the place of a point cannot be hidden. In disk order."""
    return tuple(one for one in cloud.dimensions if one.name not in hidden or one.name in ("X", "Y", "Z"))


@lru_cache(maxsize=512)
def point_schema(cloud: Cloud, hidden: frozenset[str] = frozenset()) -> CollectionSchema:
    """The fields that a filter may name: dimensions of one number, and the instant where there are instants."""
    fields = [_field(one) for one in visible_dimensions(cloud, hidden) if one.members == 1]
    names = {field.name for field in fields}
    if TIME_FIELD not in names and "GpsTime" in names and has_instants(cloud):
        fields.append(FieldDefinition(TIME_FIELD, "string", "date-time", title="GPS time (UTC)"))
    return CollectionSchema(
        tuple(fields),
        storage_crs=_uri(cloud),
        time_field=TIME_FIELD if TIME_FIELD not in names and has_instants(cloud) else None,
        geometry_type="Point",
    )


def _uri(cloud: Cloud) -> str:
    from providers.points.places import native_system

    return native_system(cloud).uri


def _field(one: Dimension) -> FieldDefinition:
    whole = np.dtype(one.dtype).kind in "iu" and not one.is_scaled
    title = one.description or _TITLES.get(one.name) or one.name
    return FieldDefinition(one.name, "integer" if whole else "number", column=one.field, title=title)
