"""What a reader of vector data gives: batches of shapely geometries with columns of plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from server.publish.errors import InvalidGeometry
from server.registry.catalogue import Field

BATCH_SIZE = 10_000

Geometries = NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some features, in the order of the file.

    `geometries` has shape (n,), x is easting or longitude, None where a feature has no geometry. `columns` has one
    sequence of n values (str, int, float, bool or None) for each field. `ids` are the file's own feature ids or None.
    """

    geometries: Geometries
    columns: Mapping[str, Sequence[Any]]
    ids: Sequence[str] | None = None


class VectorSource(Protocol):
    """One open layer. `expected` is the number of features, None where the format does not say.

    `warnings` is complete after the last batch.
    """

    name: str
    fields: tuple[Field, ...]
    crs: pyproj.CRS | None
    expected: int | None
    warnings: list[str]

    def batches(self) -> Iterator[Batch]:
        """Read from the beginning. Raises subclasses of InputError."""
        ...


def geometries_of(
    types: Sequence[str | None],
    coordinates: Sequence[Any],
    first: int,
    source: str,
    broken: list[str] | None = None,
) -> Geometries:
    """Make shapely geometries of GeoJSON coordinate arrays, a whole batch at a time where all have one type.

    `first` is the number of the first feature (1 for the first of the file), for messages. A geometry that cannot be made
    at all (a ring of three positions) becomes None and is told to `broken`; without such a list it raises InvalidGeometry.
    """
    geometries = np.full(len(types), None, dtype=object)
    present = [index for index, kind in enumerate(types) if kind is not None]
    kinds = {types[index] for index in present}
    if len(kinds) == 1 and (kind := kinds.pop()) in _BUILDERS:
        try:
            geometries[present] = _ragged(str(kind), [coordinates[index] for index in present])
            return geometries
        except (ValueError, TypeError, shapely.errors.ShapelyError):
            pass  # mixed dimensions or a broken ring: one by one, so that the message can name it
    for index in present:
        try:
            geometries[index] = _single(str(types[index]), coordinates[index])
        except (ValueError, TypeError, shapely.errors.ShapelyError) as error:
            if broken is None:
                raise InvalidGeometry(
                    f"The geometry of feature {first + index} of {source} is broken: {error} Correct it in the source, or "
                    "publish with --repair, which leaves such geometries out."
                ) from error
            broken.append(f"feature {first + index}: {error}")
    return geometries


def broken_geometries(broken: Sequence[str], source: str) -> list[str]:
    """The warning about geometries that could not be made; [] where there was none."""
    if not broken:
        return []
    return [
        f"{len(broken)} geometries of {source} could not be repaired and were left out (the first: {broken[0]})."
    ]


def _single(kind: str, coordinates: Any) -> shapely.Geometry:
    if kind == "GeometryCollection":
        return shapely.GeometryCollection([shapely.geometry.shape(part) for part in coordinates or ()])
    if not coordinates:
        return shapely.from_wkt(f"{kind.upper()} EMPTY")
    return shapely.geometry.shape({"type": kind, "coordinates": coordinates})


def _offsets(parts: Sequence[Sequence[Any]]) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum([len(part) for part in parts], dtype=np.int64)))


def _points(positions: Sequence[Any]) -> NDArray[np.float64]:
    array = np.array(positions, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] not in (2, 3):
        raise ValueError("a position needs two or three numbers")
    return array


def _flat(parts: Sequence[Sequence[Any]]) -> list[Any]:
    return [item for part in parts for item in part]


def _ragged(kind: str, coordinates: Sequence[Any]) -> Geometries:
    """All geometries of one type at once: nested lists to one coordinate array and offsets, innermost first."""
    geometry_type, depth = _BUILDERS[kind]
    offsets: list[NDArray[np.int64]] = []
    level: Sequence[Any] = coordinates
    for _ in range(depth):
        offsets.insert(0, _offsets(level))
        level = _flat(level)
    if not level:
        raise ValueError("no coordinates")
    made: Geometries = shapely.from_ragged_array(geometry_type, _points(level), tuple(offsets) or None)
    return made


_BUILDERS = {
    "Point": (shapely.GeometryType.POINT, 0),
    "LineString": (shapely.GeometryType.LINESTRING, 1),
    "MultiPoint": (shapely.GeometryType.MULTIPOINT, 1),
    "Polygon": (shapely.GeometryType.POLYGON, 2),
    "MultiLineString": (shapely.GeometryType.MULTILINESTRING, 2),
    "MultiPolygon": (shapely.GeometryType.MULTIPOLYGON, 3),
}
"""GeoJSON type -> shapely's type and how deep its positions are nested."""
