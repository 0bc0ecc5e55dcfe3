"""What every feature store can do: the protocols behind which the stores of `providers.features` stand.

`FeatureSource` answers queries; `EditableSource` and `HistorySource` add what only some stores have. The embedded store,
PostGIS, GeoParquet, OGR files and remote services implement them; `tests/providers/features/compliance` holds each to the same answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import shapely
from numpy.typing import NDArray

from providers.errors import UnsupportedQuery
from providers.features.crs import ReferenceSystem
from providers.features.query import CRS84, BBox, Cursor, ItemQuery
from providers.features.schema import CollectionSchema

type Version = int | str
"""A feature's version: changes with every edit of it, and with nothing else."""

NO_FIELDS: frozenset[str] = frozenset()


class Ability(StrEnum):
    """A part of a query, by the name of its parameter, that a source answers in full."""

    BBOX = "bbox"
    DATETIME = "datetime"
    EQUALS = "property filters"
    FILTER = "filter"
    SORTBY = "sortby"
    Q = "q"
    PROPERTIES = "properties"
    SKIP_GEOMETRY = "skipGeometry"
    CRS = "crs"
    CURSOR = "cursor"
    OFFSET = "offset"
    HITS = "resulttype=hits"
    ASOF = "asof"


@dataclass(frozen=True, slots=True)
class FeaturePage:
    """One page: GeoJSON Feature bytes in the order asked for (the store's own key order without `sortby`).

    `cursor` leads to the next page, None on the last one. `number_matched` is exact, or None where counting would cost more
    than the page. `crs` is the URI the coordinates are in.
    """

    bodies: list[bytes]
    cursor: Cursor | None
    number_matched: int | None
    crs: str = CRS84

    @property
    def number_returned(self) -> int:
        """Features on this page."""
        return len(self.bodies)


@dataclass(frozen=True, slots=True)
class FeatureColumns:
    """Features as columns of equal length.

    `geometries`: shapely objects (or None) in the storage CRS, x = east, y = north. `columns`: JSON values by field name.
    `keys`: the store's own order.
    """

    keys: list[int]
    ids: list[str]
    geometries: NDArray[np.object_]
    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class ColumnPage:
    """One page as columns; `cursor` and `number_matched` as in `FeaturePage`."""

    columns: FeatureColumns
    cursor: Cursor | None
    number_matched: int | None


@dataclass(frozen=True, slots=True)
class ItemResult:
    """One feature as GeoJSON Feature bytes, and its version."""

    body: bytes
    version: Version


@runtime_checkable
class FeatureSource(Protocol):
    """The features of one collection. Safe to use from many threads; made after the fork."""

    @property
    def kind(self) -> str:
        """What the source is, for messages: "embedded", "postgis", "parquet", "ogr", "wfs", "features", "arcgis"."""
        ...

    @property
    def abilities(self) -> frozenset[Ability]:
        """The parts of a query it answers; `refuse_what_it_cannot` refuses the others."""
        ...

    @property
    def schema(self) -> CollectionSchema:
        """Fields and reference systems."""
        ...

    @property
    def storage(self) -> ReferenceSystem:
        """The CRS of the geometries in `FeatureColumns`."""
        ...

    @property
    def bbox(self) -> tuple[float, ...]:
        """CRS84 (4 numbers) or CRS84h (6); () without any geometry."""
        ...

    def count(self) -> int | None:
        """Features in the collection; None where only reading all of them would tell."""
        ...

    def change(self) -> int | str:
        """A value that differs after every edit: cheap, asked once a request for its ETag."""
        ...

    def page(self, query: ItemQuery, hidden: frozenset[str] = NO_FIELDS) -> FeaturePage:
        """A page as GeoJSON. `hidden` fields are left out (the parser has refused them in conditions)."""
        ...

    def columns(self, query: ItemQuery, hidden: frozenset[str] = NO_FIELDS) -> ColumnPage:
        """The same page as columns; `query.crs` is not looked at, geometries come in the storage CRS."""
        ...

    def item(
        self, feature_id: str, crs: str = CRS84, hidden: frozenset[str] = NO_FIELDS, asof: str | None = None
    ) -> ItemResult | None:
        """One feature, None where there is none (or was none at `asof`)."""
        ...

    def read(
        self,
        bbox: BBox | None = None,
        fields: Sequence[str] | None = None,
        limit: int = -1,
        *,
        zoom: int | None = None,
    ) -> FeatureColumns:
        """Features whose CRS84 envelope meets `bbox`, for tiles and maps; -1 is no limit, `fields` None is all.

        With `zoom` (WebMercatorQuad) a store may leave out what no tile of that zoom shows.
        """
        ...


class EditKind(StrEnum):
    """What an edit does."""

    CREATE = "create"
    REPLACE = "replace"
    UPDATE = "update"
    DELETE = "delete"


class Unchanged:
    """The type of `UNCHANGED`."""


UNCHANGED = Unchanged()
"""In an update: the geometry stays as it is."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit, checked against the schema by `providers.features.edits`.

    `feature_id` None: the store gives the id (create only). `geometry`: shapely in the storage CRS, x = east. `properties`:
    JSON values by field name; all fields in create and replace (absent: null), only the changed ones in update.
    `version`: the one the client has seen; None edits whatever is there.
    """

    kind: EditKind
    feature_id: str | None = None
    geometry: shapely.Geometry | Unchanged | None = UNCHANGED
    properties: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    version: Version | None = None


@dataclass(frozen=True, slots=True)
class EditResult:
    """What became of one edit; `version` is None after a delete."""

    feature_id: str
    version: Version | None


@runtime_checkable
class EditableSource(Protocol):
    """A source whose features can be edited."""

    def edit(self, edits: Sequence[Edit], author: str = "") -> list[EditResult]:
        """Make all edits in one transaction, or none. When it returns, they are on disk and every reader sees them.

        Raises ItemNotFound, ItemExists, VersionConflict, InvalidFeature (each with the `index` of the edit), ReadOnlySource,
        StoreError.
        """
        ...


@dataclass(frozen=True, slots=True)
class FeatureVersion:
    """One version of a feature: `since` and `until` are RFC 3339 instants in UTC, `until` None while it is current.

    `version` None stands for "deleted", where `body` is None.
    """

    version: Version | None
    since: str
    until: str | None
    author: str
    body: bytes | None


@runtime_checkable
class HistorySource(Protocol):
    """A source that keeps every state."""

    def history(
        self, feature_id: str, crs: str = CRS84, hidden: frozenset[str] = NO_FIELDS
    ) -> list[FeatureVersion]:
        """All versions of a feature, the latest first; [] where there never was one."""
        ...


def asked_abilities(query: ItemQuery) -> list[Ability]:
    """The parts of a query that not every source can answer, in the order of the parameters."""
    asked = [
        (Ability.BBOX, query.bbox is not None),
        (Ability.DATETIME, query.datetime is not None),
        (Ability.EQUALS, bool(query.equals)),
        (Ability.FILTER, query.filter is not None),
        (Ability.SORTBY, bool(query.sortby)),
        (Ability.Q, bool(query.q)),
        (Ability.PROPERTIES, query.properties is not None),
        (Ability.SKIP_GEOMETRY, query.skip_geometry),
        (Ability.CRS, query.crs != CRS84),
        (Ability.CURSOR, query.cursor is not None),
        (Ability.OFFSET, query.offset > 0),
        (Ability.HITS, query.hits_only),
        (Ability.ASOF, query.asof is not None),
    ]
    return [ability for ability, is_asked in asked if is_asked]


def refuse_what_it_cannot(query: ItemQuery, source: FeatureSource) -> None:
    """Raise UnsupportedQuery, naming parameter and store, where the source cannot answer all of the query."""
    for ability in asked_abilities(query):
        if ability not in source.abilities:
            able = ", ".join(sorted(source.abilities))
            name = next(iter(query.equals)) if ability is Ability.EQUALS else ability.value.partition("=")[0]
            raise UnsupportedQuery(
                f"Parameter {ability.value!r} cannot be answered by this collection's store ({source.kind}); it answers: {able}",
                name,
                f"what the store ({source.kind}) answers: {able}",
            )


@dataclass(frozen=True, slots=True)
class TileWindow:
    """The part of the world that one vector tile shows.

    `crs` is the tile matrix set's, `bounds` (minx, miny, maxx, maxy) in it with x = east; `zoom` is the WebMercatorQuad level of
    nearest resolution. `extent` and `buffer` are cells of the tile (Mapbox Vector Tile 2.1). `fields` None: all visible ones.
    """

    crs: ReferenceSystem
    bounds: tuple[float, float, float, float]
    zoom: int
    extent: int = 4096
    buffer: int = 64
    fields: tuple[str, ...] | None = None


@runtime_checkable
class TileSource(Protocol):
    """A source that makes vector tiles itself, faster than they are made of `FeatureSource.read`."""

    def vector_tile(
        self,
        window: TileWindow,
        layer: str,
        hidden: frozenset[str] = NO_FIELDS,
        asof: str | None = None,
    ) -> bytes:
        """A Mapbox vector tile with one layer; b"" where nothing lies in it."""
        ...
