"""Vector files that GDAL reads, in place: `open_ogr` gives the source, `describe_ogr` what a layer holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from providers.errors import DuplicateFeatureId, StoreError
from providers.features.crs import ReferenceSystem
from providers.features.file_source import FileSource
from providers.features.in_place import (
    SourceFacts,
    absolute_path,
    feature_bodies,
    identity_of,
    optional_name,
    stated_crs,
    visible_fields,
)
from providers.features.ogr.conditions import OrderedSearch
from providers.features.ogr.layer import MOST_INDEXED, LayerState
from providers.features.ogr.paths import files_behind, placed_file
from providers.features.ogr.sessions import list_layers
from providers.features.query import CRS84, BBox, Cursor, ItemQuery
from providers.features.source import (
    NO_FIELDS,
    Ability,
    ColumnPage,
    FeatureColumns,
    FeaturePage,
    ItemResult,
    refuse_what_it_cannot,
)
from providers.features.sources import SourceSettings

_INDEXED = frozenset(Ability) - {Ability.ASOF}
_NUMBERED = frozenset(
    (
        Ability.BBOX,
        Ability.PROPERTIES,
        Ability.SKIP_GEOMETRY,
        Ability.CRS,
        Ability.CURSOR,
        Ability.OFFSET,
        Ability.HITS,
    )
)
"""What is answered of a layer that is too large to keep columns of."""


class OgrSource(FileSource[LayerState]):
    """One layer of one file. Implements `FeatureSource`."""

    def __init__(
        self,
        path: Path,
        file_roots: Sequence[Path],
        layer: str | None = None,
        id_field: str | None = None,
        time_field: str | None = None,
        crs: ReferenceSystem | None = None,
        most_indexed: int = MOST_INDEXED,
    ) -> None:
        """Raises StoreMissing, StoreCorrupt, StoreError."""
        self._roots = tuple(file_roots)
        super().__init__(
            path,
            lambda: LayerState(
                placed_file(path, self._roots), layer, id_field, time_field, crs, most_indexed
            ),
        )

    @property
    def kind(self) -> str:
        """ "ogr"."""
        return "ogr"

    @property
    def abilities(self) -> frozenset[Ability]:
        """Everything but `asof`; less where the layer is too large to keep columns of."""
        return _INDEXED if self.state().is_indexed else _NUMBERED

    @property
    def bbox(self) -> tuple[float, ...]:
        """CRS84; () without any geometry."""
        return self.state().bbox

    def count(self) -> int:
        """Features of the layer."""
        return len(self.state())

    def change(self) -> str:
        """Differs when the file, or one that belongs to it, was written or replaced."""
        # The place is found again: a link may lead elsewhere by now, and not out of the roots.
        return identity_of(files_behind(placed_file(self._path, self._roots)))

    def page(self, query: ItemQuery, hidden: frozenset[str] = NO_FIELDS) -> FeaturePage:
        """A page as GeoJSON. Raises UnsupportedQuery, AnswerTooLarge, InvalidParameter, StoreError."""
        refuse_what_it_cannot(query, self)

        def read(state: LayerState) -> FeaturePage:
            search = OrderedSearch(state, query, hidden)
            if query.hits_only:
                return FeaturePage([], None, search.count(), query.crs)
            columns, cursor, count = _page(state, search, query, hidden)
            bodies = feature_bodies(columns, state.storage, query.crs, skip_geometry=query.skip_geometry)
            return FeaturePage(bodies, cursor, count, query.crs)

        return self.answer(read)

    def columns(self, query: ItemQuery, hidden: frozenset[str] = NO_FIELDS) -> ColumnPage:
        """The same page as columns."""
        refuse_what_it_cannot(query, self)
        return ColumnPage(
            *self.answer(lambda state: _page(state, OrderedSearch(state, query, hidden), query, hidden))
        )

    def item(
        self, feature_id: str, crs: str = CRS84, hidden: frozenset[str] = NO_FIELDS, asof: str | None = None
    ) -> ItemResult | None:
        """One feature, None where there is none."""
        if asof is not None:
            refuse_what_it_cannot(ItemQuery(asof=asof), self)

        def read(state: LayerState) -> ItemResult | None:
            position = state.position_of(feature_id)
            if position is None:
                return None
            columns = state.features(np.array([position]), visible_fields(state.schema, None, hidden))
            return ItemResult(feature_bodies(columns, state.storage, crs)[0], state.identity)

        return self.answer(read)

    def read(
        self,
        bbox: BBox | None = None,
        fields: Sequence[str] | None = None,
        limit: int = -1,
        *,
        zoom: int | None = None,
    ) -> FeatureColumns:
        """Features whose CRS84 envelope meets `bbox`; `zoom` makes no difference."""

        def read(state: LayerState) -> FeatureColumns:
            search = OrderedSearch(state, ItemQuery(bbox=bbox), NO_FIELDS)
            return state.features(
                search.first(len(state) if limit < 0 else limit), self.chosen_fields(state, fields)
            )

        return self.answer(read)


def _page(
    state: LayerState, search: OrderedSearch, query: ItemQuery, hidden: frozenset[str]
) -> tuple[FeatureColumns, Cursor | None, int | None]:
    positions = search.first(query.limit + 1)
    more = len(positions) > query.limit
    positions = positions[: query.limit]
    cursor = search.cursor_at(int(positions[-1])) if more and len(positions) else None
    fields = visible_fields(state.schema, query.properties, hidden)
    columns = state.features(positions, fields, with_geometry=not query.skip_geometry)
    return columns, cursor, search.cheap_count(more=more, returned=len(positions))


def open_ogr(description: Mapping[str, Any], settings: SourceSettings) -> OgrSource:
    """The source that a description tells: `path`, `layer`, `id`, `time`, and `crs` where the file states none.

    Raises StoreMissing, StoreCorrupt, StoreError (a path outside of `settings.file_roots`, a format that is not allowed).
    """
    return OgrSource(
        absolute_path(description, "ogr"),
        settings.file_roots,
        optional_name(description, "layer"),
        optional_name(description, "id"),
        optional_name(description, "time"),
        stated_crs(description),
    )


def layers_of(path: Path | str, *, file_roots: Sequence[Path]) -> list[str]:
    """Names of the layers of a file. Raises StoreMissing, StoreCorrupt, StoreError."""
    return list_layers(placed_file(Path(path).absolute(), file_roots))


def describe_ogr(
    path: Path | str,
    layer: str | None = None,
    *,
    file_roots: Sequence[Path],
    id_field: str | None = None,
    time_field: str | None = None,
    crs: str | None = None,
) -> SourceFacts:
    """What a layer holds, to register it.

    Raises DuplicateFeatureId and StoreError where `id_field` cannot give ids; StoreMissing, StoreCorrupt, StoreError.
    """
    place = placed_file(Path(path).absolute(), file_roots)
    state = LayerState(place, layer, id_field, time_field, stated_crs({"crs": crs}))
    if id_field is not None:
        values = state.column(id_field)
        if None in values:
            raise StoreError(
                f"The field {id_field!r} is empty in {values.count(None)} features, so it cannot give ids"
            )
        if len(set(values)) < len(values):
            raise DuplicateFeatureId(
                f"The field {id_field!r} gives {len(values)} features only {len(set(values))} different ids"
            )
    times = [value for value in state.column(time_field) if value is not None] if time_field else []
    return SourceFacts(
        fields=state.schema.fields,
        count=len(state),
        bbox=state.bbox,
        storage_crs=state.storage.uri,
        storage_wkt=state.storage.crs.to_wkt(),
        geometry_type=state.geometry_type,
        id_field=id_field,
        time_field=time_field,
        time_interval=(min(times), max(times)) if times else (None, None),
        layer=state.name.layer,
    )
