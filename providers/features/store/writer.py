"""Builds a feature store file from batches, aside; it appears under its name when it is whole."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from providers.errors import StoreBuildError, UnknownReferenceSystem
from providers.features.crs import ReferenceSystem, describe_crs, reference_system
from providers.features.query import CRS84
from providers.features.schema import FieldDefinition
from providers.features.store import geopackage, layout, overview
from providers.features.store.build import StoreBuild, centres
from providers.features.store.checks import (
    are_small_integers,
    checked_bounds,
    checked_ids,
    checked_shapes,
    with_columns,
)
from providers.features.store.encoding import encode_features, geometries_in
from providers.features.store.tile_parts import PartColumns
from providers.features.store.tile_parts_build import DistinctValues
from providers.features.store.tile_parts_encode import Shapes
from providers.features.store.values import (
    Value,
    shown_instant,
    shown_values,
    stored_values,
)
from providers.features.store.waiting import WaitingRows
from providers.features.store.zorder import KeySpace

_BIG_SHARE = 0.01  # of the features, and at most so many, may stand in `big` for each axis
_BIG_COUNT = 1000
_PAGE_SIZE = 8192
_CACHE_KIB = 4096
"""SQLite sorts an index in runs of this size: runs that fit the processor's cache take half the time."""
_HALF_OF_NOTHING = 0.005  # degrees; the half sizes of a store that is built without any geometry


@dataclass(frozen=True, slots=True)
class StoreSummary:
    """What was built. `bbox` as in `StoreFacts`; `interval` holds RFC 3339 texts, None without a time field or values."""

    count: int
    bbox: tuple[float, ...]
    geometry_type: str
    interval: tuple[str | None, str | None] | None
    fields: tuple[FieldDefinition, ...]
    full_zoom: int


def _storage_system(crs: str | pyproj.CRS) -> ReferenceSystem:
    try:
        return reference_system(crs) if isinstance(crs, str) else describe_crs(crs)
    except UnknownReferenceSystem as error:
        raise StoreBuildError(f"The storage CRS cannot hold features: {error}") from error


class FeatureStoreWriter:
    """Use as a context manager: `add` batches, then `finish`. Leaving without `finish` removes what was written.

    Rows wait in a file beside the target until all are known, because keys need the extent of all of them; memory stays at
    about 100 bytes a feature.
    """

    def __init__(
        self,
        path: Path,
        *,
        fields: Sequence[FieldDefinition],
        storage_crs: str | pyproj.CRS,
        time_field: str | None = None,
        title: str = "",
        attribution: str = "",
    ) -> None:
        """`storage_crs`: a CRS URI or "EPSG:4547", or a pyproj CRS. Raises StoreBuildError for what cannot be kept."""
        self._path = path
        self._fields = with_columns(fields, time_field)
        self._crs = _storage_system(storage_crs)
        self._srs_id = geopackage.srs_id_of(self._crs.crs)
        self._time_field = time_field
        self._title = title
        self._attribution = attribution
        aside = f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}"
        self._aside = path.with_name(aside)
        self._rows = WaitingRows(path.with_name(aside + ".rows"))
        self._bounds84: list[NDArray[np.float64]] = []
        self._bounds: list[NDArray[np.float64]] = []
        self._heights: list[tuple[float, float]] = []
        self._types: set[int] = set()
        self._count = 0
        self._own_ids: bool | None = None
        self._integer_ids = True
        self._interval: tuple[str, str] | None = None
        self._distinct = DistinctValues(self._fields)

    def __enter__(self) -> FeatureStoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def abort(self) -> None:
        """Remove everything that is not finished. Harmless after `finish`."""
        self._rows.remove()
        for suffix in ("", "-journal", "-wal", "-shm"):
            self._aside.with_name(self._aside.name + suffix).unlink(missing_ok=True)

    def add(
        self,
        geometries: NDArray[np.object_] | Sequence[shapely.Geometry | None],
        columns: Mapping[str, Sequence[Any] | NDArray[Any]],
        ids: Sequence[str | int] | None = None,
    ) -> None:
        """Take one batch: shapely geometries (x = east, y = north in the storage CRS; None or empty: no geometry).

        `columns` holds one sequence per field name. Measures (M) are dropped, heights kept. Raises StoreBuildError and its
        kinds, which name the row, counted from 1 over all batches.
        """
        shapes = checked_shapes(geometries, self._count)
        names = self._ids(ids, len(shapes))
        stored = [self._column(field, columns, len(shapes)) for field in self._fields]
        served = geometries_in(shapes, self._crs, reference_system(CRS84))
        bounds84 = checked_bounds(served, self._crs.crs.name, self._count)
        bounds = shapely.bounds(shapes)
        blobs = geopackage.encode_geometries(shapes, bounds, self._srs_id)
        shown = [shown_values(field, values) for field, values in zip(self._fields, stored, strict=True)]
        bodies = encode_features(names, served, [field.name for field in self._fields], shown)
        self._rows.append(zip(Shapes.of(served).packed(), names, blobs, *stored, strict=True), bodies)
        self._bounds84.append(bounds84)
        self._bounds.append(bounds)
        self._note(shapes, stored)
        self._count += len(shapes)

    def finish(self) -> StoreSummary:
        """Build the file, flush it to disk and give it its name; an older file of that name is replaced."""
        facts = self._facts()
        try:
            self._build(facts)
        except sqlite3.Error as error:
            raise StoreBuildError(f"SQLite could not write the store: {error}") from error
        self._aside.replace(self._path)
        _flush(self._path.parent)
        self.abort()
        return StoreSummary(
            count=self._count,
            bbox=facts.bbox,
            geometry_type=facts.geometry_type,
            interval=self._interval_texts(),
            fields=self._fields,
            full_zoom=facts.full_zoom,
        )

    # --- one batch -------------------------------------------------------------------------------------------------

    def _ids(self, ids: Sequence[str | int] | None, count: int) -> list[str]:
        if self._own_ids is None:
            self._own_ids = ids is None
        if self._own_ids is not (ids is None):
            raise StoreBuildError("Ids are given for every batch or for none")
        if ids is None:
            return [str(number) for number in range(self._count + 1, self._count + count + 1)]
        if len(ids) != count:
            raise StoreBuildError(f"{count} geometries came with {len(ids)} ids")
        names = checked_ids(ids, self._count)
        self._integer_ids = self._integer_ids and are_small_integers(names)
        return names

    def _column(
        self, field: FieldDefinition, columns: Mapping[str, Sequence[Any] | NDArray[Any]], count: int
    ) -> list[Value]:
        values = columns.get(field.name)
        if values is None:
            raise StoreBuildError(f"The batch has no column {field.name!r}; it has {sorted(columns)}")
        if len(values) != count:
            raise StoreBuildError(f"{count} geometries came with {len(values)} values of {field.name!r}")
        return stored_values(field, values, self._count)

    def _note(self, shapes: NDArray[np.object_], stored: list[list[Value]]) -> None:
        self._types.update(np.unique(shapely.get_type_id(shapes)).tolist())
        self._distinct.add(self._fields, stored)
        has_z = shapely.has_z(shapes)
        if has_z.any():
            heights = shapely.get_coordinates(shapes[has_z], include_z=True)[:, 2]
            self._heights.append((float(heights.min()), float(heights.max())))
        if self._time_field is not None:
            index = [field.name for field in self._fields].index(self._time_field)
            times = [value for value in stored[index] if isinstance(value, str)]
            if times:
                low, high = min(times), max(times)
                held = self._interval or (low, high)
                self._interval = (min(low, held[0]), max(high, held[1]))

    # --- the whole -------------------------------------------------------------------------------------------------

    def _build(self, facts: layout.StoreFacts) -> None:
        with contextlib.closing(sqlite3.connect(self._aside, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
            for pragma in (
                "journal_mode = OFF",
                "synchronous = OFF",
                "locking_mode = EXCLUSIVE",
                "temp_store = FILE",
                f"cache_size = -{_CACHE_KIB}",
            ):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("BEGIN")
            build = StoreBuild(connection, facts, self._crs, self._srs_id, self._rows)
            build.fill(_taken(self._bounds84), _taken(self._bounds), self._columns(facts))
            build.register(self._title, self._attribution)
            connection.execute("COMMIT")
            connection.execute("PRAGMA analysis_limit = 1000")
            connection.execute("ANALYZE")
        # The file keeps SQLite's usual journal mode, so that readers over HTTP and on read-only volumes need no log beside
        # it. Whoever edits features switches the store to WAL.
        _flush(self._aside)

    def _facts(self) -> layout.StoreFacts:
        bounds = _stack(self._bounds84)
        placed = bounds[~np.isnan(bounds[:, 0])]
        widths, heights = placed[:, 2] - placed[:, 0], placed[:, 3] - placed[:, 1]
        # Without a geometry: the world, for features that edits may bring; every tile shows all of them.
        space, zoom = KeySpace(-180.0, -90.0, 180.0, 90.0), 0
        box: tuple[float, ...] = ()
        half_width = half_height = _HALF_OF_NOTHING
        if len(placed):
            low, high = placed[:, :2].min(axis=0).tolist(), placed[:, 2:].max(axis=0).tolist()
            space, box = KeySpace(*low, *high), self._box(low, high)
            half_width = _threshold(widths) / 2
            half_height = _threshold(heights) / 2
            zoom = overview.full_zoom(*centres(placed))
        return layout.StoreFacts(
            fields=self._fields,
            storage_crs=self._crs.uri,
            storage_wkt=self._crs.crs.to_wkt(),
            time_field=self._time_field,
            geometry_type=self._geometry_type(),
            has_z=bool(self._heights),
            bbox=box,
            space=space,
            half_width=half_width,
            half_height=half_height,
            full_zoom=zoom,
            integer_ids=self._integer_ids,
        )

    def _columns(self, facts: layout.StoreFacts) -> PartColumns:
        return self._distinct.columns(self._fields, self._count, integer_ids=facts.integer_ids)

    def _box(self, low: list[float], high: list[float]) -> tuple[float, ...]:
        if not self._heights:
            return (*low, *high)
        bottom, top = min(pair[0] for pair in self._heights), max(pair[1] for pair in self._heights)
        return (*low, bottom, *high, top)

    def _geometry_type(self) -> str:
        return _type_name(self._types - {-1})

    def _interval_texts(self) -> tuple[str | None, str | None] | None:
        if self._interval is None:
            return None
        return shown_instant(self._interval[0]), shown_instant(self._interval[1])


_TYPE_NAMES = (
    "Point",
    "LineString",
    "LineString",
    "Polygon",
    "MultiPoint",
    "MultiLineString",
    "MultiPolygon",
)


def _type_name(types: set[int]) -> str:
    if len(types) == 1 and (only := next(iter(types))) < len(_TYPE_NAMES):
        return _TYPE_NAMES[only]
    return "Geometry"


def _stack(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """All parts as one array, which takes their place."""
    if len(parts) != 1:
        whole = np.concatenate(parts) if parts else np.empty((0, 4))
        parts[:] = [whole]
    return parts[0]


def _taken(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """All parts as one array, which nobody else has."""
    _stack(parts)
    return parts.pop()


def _threshold(sizes: NDArray[np.float64]) -> float:
    """The size that only few features exceed."""
    larger = min(int(len(sizes) * _BIG_SHARE), _BIG_COUNT)
    return float(np.partition(sizes, len(sizes) - 1 - larger)[len(sizes) - 1 - larger])


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
