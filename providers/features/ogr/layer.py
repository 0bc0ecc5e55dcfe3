"""One state of a layer: its fields, and the features of it by their numbers.

What is kept in memory is an index (feature numbers, envelopes in CRS84) and the columns that conditions or sorting have asked
for; features themselves are read from the file when a page shows them, by fiona. Formats without random access are held
whole. Columns and envelopes come through GDAL's Arrow stream (pyogrio) where the first bytes of a file name its format: 15
times as fast as fiona; pyogrio cannot be told which drivers to use, so no other file is given to it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from pyproj.exceptions import CRSError

from providers.errors import StoreCorrupt, StoreError
from providers.features.crs import ReferenceSystem, reference_system, transform_between
from providers.features.in_place import check_named_fields, identity_of, make_schema, storage_of
from providers.features.ogr.fields import field_of, geometries_of, json_values
from providers.features.ogr.paths import (
    RANDOM_READ,
    PlacedFile,
    check_whole_shapefile,
    files_behind,
    names_its_format,
)
from providers.features.ogr.sessions import (
    LayerName,
    gdal_errors,
    list_layers,
    no_error_reported,
    open_layer,
)
from providers.features.query import CRS84, SortKey
from providers.features.schema import FieldDefinition
from providers.features.source import FeatureColumns

MOST_INDEXED = 1_000_000
"""Features of a layer whose columns are kept for conditions and sorting; larger ones are read in their order, and by bbox."""
MOST_HELD = 200_000
"""Features of a layer in a format without random access."""
MOST_NUMBERED = 5_000_000
"""Features of any layer: numbers and envelopes are kept, 40 bytes a feature."""
_CHUNK = 10_000
_ORDERS = 4  # orders of the whole layer that are kept

type Positions = NDArray[np.int64]


class LayerState:
    """A layer as it is while `identity` stays."""

    def __init__(
        self,
        place: PlacedFile,
        layer: str | None,
        id_field: str | None,
        time_field: str | None,
        crs: ReferenceSystem | None,
        most_indexed: int = MOST_INDEXED,
    ) -> None:
        """Raises StoreCorrupt, StoreError."""
        self.place = place
        check_whole_shapefile(place)
        self.identity = identity_of(files_behind(place))
        self.id_field = id_field
        chosen = _chosen_layer(place, layer)
        with gdal_errors(place), open_layer(place, chosen) as opened:
            kinds: dict[str, str] = dict(opened.schema["properties"])
            self.geometry_type = _geometry_type(str(opened.schema.get("geometry")))
            self.storage = crs or _storage(opened, place)
            self.random_read = opened.driver in RANDOM_READ and not place.is_archive
        found = {name: field_of(name, kind) for name, kind in kinds.items()}
        left_out = tuple(name for name, field in found.items() if field is None)
        self.fields = {name: field for name, field in found.items() if field is not None}
        check_named_fields(list(self.fields), id_field, time_field, list(self.fields.values()), place.name)
        shown = tuple(field for name, field in self.fields.items() if name != id_field)
        self.schema = make_schema(shown, self.storage, time_field, self.geometry_type)
        self.name = LayerName(place, chosen, self.identity, left_out)
        self._arrow = names_its_format(place)
        if self._arrow and not _reads_at_random(place, chosen):  # FlatGeobuf without its index
            self._arrow = self.random_read = False
        self._lock = threading.RLock()
        self._columns: dict[str, list[Any]] = {}
        self._held: NDArray[np.object_] | None = None
        self.numbers: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.envelopes: NDArray[np.float64] = np.empty((0, 4))
        self._read_index(most_indexed)
        self.is_indexed = len(self.numbers) <= most_indexed
        """Whether conditions on fields and sorting can be answered."""
        if id_field is not None and not self.is_indexed:
            raise StoreError(
                f"{place.name!r} holds more than {most_indexed:,} features: ids cannot be taken from a field of it. "
                "Leave out 'id', or publish the file"
            )
        self._positions_by_id: dict[str, int] | None = None
        self.orders: dict[tuple[SortKey, ...], Positions] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def bbox(self) -> tuple[float, ...]:
        """CRS84; () without any geometry."""
        known = self.envelopes[~np.isnan(self.envelopes[:, 0])]
        if not len(known):
            return ()
        low, high = known[:, :2].min(axis=0), known[:, 2:].max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    # --- the index -------------------------------------------------------------------------------------------------

    def _read_index(self, most_indexed: int) -> None:
        with self.name.session() as session:
            try:
                expected: int | None = len(session)
            except TypeError:  # the driver would have to read everything
                expected = None
        most = MOST_NUMBERED if self.random_read else min(MOST_HELD, most_indexed)
        if expected is not None and expected > most:
            raise self._too_many(most)
        numbers, envelopes = self._arrow_index() if self._arrow else self._fiona_index(most)
        if expected is not None and expected != len(numbers):
            raise StoreCorrupt(
                f"{self.place.name!r} is truncated or damaged: {len(numbers)} features could be read of {expected}"
            )
        order = np.argsort(numbers, kind="stable")
        self.numbers, self.envelopes = numbers[order], envelopes[order]

    def _too_many(self, most: int) -> StoreError:
        why = "" if self.random_read else " in a format without random access"
        return StoreError(f"{self.place.name!r} holds more than {most:,} features{why}; publish it")

    def _arrow_index(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        numbers, boxes = [np.empty(0, dtype=np.int64)], [np.empty((0, 4))]
        for batch in self._arrow_batches([], read_geometry=True):
            numbers.append(np.asarray(batch[_FID], dtype=np.int64))
            boxes.append(self._boxes(_from_wkb(batch["geometry"], self.place)))
        return np.concatenate(numbers), np.concatenate(boxes)

    def _fiona_index(self, most: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Formats without random access are held: a second pass over them costs what the first did."""
        numbers: list[int] = []
        boxes = [np.empty((0, 4))]
        held: list[NDArray[np.object_]] = []
        columns: dict[str, list[Any]] = {name: [] for name in self.fields}
        for features in self._chunks():
            numbers += [int(feature.id) for feature in features]
            if len(numbers) > most:
                raise self._too_many(most)
            geometries = geometries_of(features, self.place.name)
            boxes.append(self._boxes(geometries))
            if not self.random_read:
                held.append(geometries)
                for name, values in columns.items():
                    values += [feature.properties[name] for feature in features]
        found = np.array(numbers, dtype=np.int64)
        if not self.random_read:
            self._hold(found, held, columns)
        return found, np.concatenate(boxes)

    def _hold(
        self, numbers: NDArray[np.int64], held: list[NDArray[np.object_]], columns: dict[str, list[Any]]
    ) -> None:
        order = np.argsort(numbers, kind="stable")
        self._held = np.concatenate([np.empty(0, dtype=object), *held])[order]
        for name, field in self.fields.items():
            values = json_values(field, columns[name])
            self._columns[name] = [values[place] for place in order.tolist()]

    def _chunks(self) -> Iterator[list[Any]]:
        """All features, in the order of the file."""
        with self.name.session() as session, no_error_reported(self.place):
            features: list[Any] = []
            for feature in session.filter():
                features.append(feature)
                if len(features) == _CHUNK:
                    yield features
                    features = []
            if features:
                yield features

    def _boxes(self, geometries: NDArray[np.object_]) -> NDArray[np.float64]:
        """Envelopes in CRS84; NaN without geometry."""
        boxes: NDArray[np.float64] = shapely.bounds(self.in_crs84(geometries))
        boxes[~np.isfinite(boxes).all(axis=1)] = np.nan
        return boxes

    def in_crs84(self, geometries: NDArray[np.object_]) -> NDArray[np.object_]:
        """Geometries of the storage CRS in CRS84, x = longitude; two-dimensional."""
        transform = transform_between(self.storage, reference_system(CRS84))
        if transform is None:
            return geometries
        flat = shapely.force_2d(geometries)
        coordinates = shapely.get_coordinates(flat)
        if not len(coordinates):
            return np.asarray(flat, dtype=object)
        x, y = transform(coordinates[:, 0], coordinates[:, 1])
        return np.asarray(shapely.set_coordinates(flat, np.column_stack((x, y))), dtype=object)

    # --- columns and features ----------------------------------------------------------------------------------------

    def column(self, name: str) -> list[Any]:
        """All values of a field as JSON values, in the order of `numbers`; kept."""
        values = self._columns.get(name)
        if values is None:
            with self._lock:
                if name not in self._columns:
                    self._columns[name] = self._read_column(name)
                values = self._columns[name]
        return values

    def _read_column(self, name: str) -> list[Any]:
        field = self.fields[name]
        numbers: list[int] = []
        values: list[Any] = []
        if self._arrow:
            for batch in self._arrow_batches([name], read_geometry=False):
                numbers += batch[_FID].to_pylist()
                values += json_values(field, batch[name].to_pylist())
        else:
            for features in self._chunks():
                numbers += [int(feature.id) for feature in features]
                values += json_values(field, [feature.properties[name] for feature in features])
        found = np.array(numbers, dtype=np.int64)
        order = np.argsort(found, kind="stable")
        if not np.array_equal(found[order], self.numbers):
            raise StoreCorrupt(f"{self.place.name!r} was changed while it was read")
        return [values[place] for place in order.tolist()]

    def _arrow_batches(self, names: Sequence[str], *, read_geometry: bool) -> Iterator[Any]:
        """Tables of the wanted columns; the feature numbers are `_FID`, WKB is "geometry"."""
        import pyarrow as pa
        from pyogrio.errors import DataLayerError, DataSourceError
        from pyogrio.raw import open_arrow

        try:
            with open_arrow(
                self.place.opened,
                layer=self.name.layer,
                columns=list(names),
                read_geometry=read_geometry,
                return_fids=True,
                datetime_as_string=True,
                use_pyarrow=True,
            ) as (described, reader):
                for batch in reader:
                    table = pa.Table.from_batches([batch])
                    fid, geometry = (
                        described["fid_column"] or _FID,
                        described["geometry_name"] or "wkb_geometry",
                    )
                    renamed = {fid: _FID, geometry: "geometry"}
                    yield table.rename_columns([renamed.get(column, column) for column in table.column_names])
        except (DataSourceError, DataLayerError, pa.ArrowException, OSError, RuntimeError) as error:
            raise StoreCorrupt(f"{self.place.name!r} cannot be read: it is truncated or damaged") from error

    def features(
        self, positions: Positions, fields: Sequence[FieldDefinition], *, with_geometry: bool = True
    ) -> FeatureColumns:
        """The features at these places of `numbers`, in their order. Raises StoreCorrupt where one cannot be read."""
        numbers = self.numbers[positions].tolist()
        if self._held is not None:
            held = self._held[positions] if with_geometry else np.full(len(numbers), None, dtype=object)
            places = positions.tolist()
            shown = {field.name: [self._columns[field.name][place] for place in places] for field in fields}
            ids = [self._columns[self.id_field][place] for place in places] if self.id_field else numbers
            return FeatureColumns(numbers, [str(value) for value in ids], held, shown)
        with self.name.session() as session:
            rows = [session.get(number) for number in numbers]
        missing = [number for number, row in zip(numbers, rows, strict=True) if row is None]
        if missing:
            raise StoreCorrupt(f"{self.place.name!r} does not give feature {missing[0]}")
        geometries = (
            geometries_of(rows, self.place.name) if with_geometry else np.full(len(rows), None, dtype=object)
        )
        columns = {
            field.name: json_values(field, [row.properties[field.name] for row in rows]) for field in fields
        }
        ids = [row.properties[self.id_field] for row in rows] if self.id_field else numbers
        return FeatureColumns(numbers, [str(value) for value in ids], geometries, columns)

    def keep_order(self, sortby: tuple[SortKey, ...], order: Positions) -> None:
        """Keep the order of the whole layer by some keys: the last few that were asked for."""
        with self._lock:
            self.orders[sortby] = order
            while len(self.orders) > _ORDERS:
                self.orders.pop(next(iter(self.orders)))

    def position_of(self, feature_id: str) -> int | None:
        """Where a feature stands, None where none has this id."""
        if self.id_field is None:
            if not (feature_id.isascii() and feature_id.isdecimal() and len(feature_id) < 19):
                return None
            place = int(np.searchsorted(self.numbers, int(feature_id)))
            found = place < len(self) and str(int(self.numbers[place])) == feature_id
            return place if found else None
        if self._positions_by_id is None:
            values = self.column(self.id_field)
            self._positions_by_id = {str(value): place for place, value in reversed(list(enumerate(values)))}
        return self._positions_by_id.get(feature_id)


def _reads_at_random(place: PlacedFile, layer: str) -> bool:
    from pyogrio import read_info
    from pyogrio.errors import DataLayerError, DataSourceError

    try:
        return bool(read_info(place.opened, layer=layer)["capabilities"]["random_read"])
    except (DataSourceError, DataLayerError) as error:
        raise StoreCorrupt(f"{place.name!r} cannot be read: it is truncated or damaged") from error


_FID = "__feature_number__"


def _from_wkb(column: Any, place: PlacedFile) -> NDArray[np.object_]:
    try:
        made: NDArray[np.object_] = shapely.from_wkb(column.to_numpy())
        return made
    except shapely.errors.ShapelyError as error:
        raise StoreCorrupt(f"A geometry of {place.name!r} is broken: {error}") from error


def _chosen_layer(place: PlacedFile, layer: str | None) -> str:
    layers = list_layers(place)
    if layer is None and len(layers) == 1:
        return layers[0]
    if layer not in layers:
        asked = f"no layer {layer!r}" if layer else "several layers; name one"
        raise StoreError(f"{place.name!r} has {asked}: {', '.join(layers[:50]) or 'it has none'}")
    return str(layer)


def _geometry_type(kind: str) -> str:
    plain = kind.removeprefix("3D ")
    return plain if plain not in ("Unknown", "None") else "Geometry"


def _storage(opened: Any, place: PlacedFile) -> ReferenceSystem:
    try:
        wkt = opened.crs_wkt
    except UnboundLocalError:  # fiona 1.10.1, where GDAL cannot export the CRS
        wkt = ""
    if not wkt:
        raise StoreError(
            f"{place.name!r} does not state its CRS; state it with the member 'crs' of the description"
        )
    try:
        return storage_of(pyproj.CRS.from_user_input(wkt), place.name)
    except CRSError as error:
        raise StoreError(
            f"The CRS of {place.name!r} is not understood; state it with the member 'crs'"
        ) from error
