"""GeoParquet files read where they lie, by DuckDB: `open_parquet` gives the source, `describe_parquet` what a file holds.

A page takes two statements: the first finds the keys of its rows, the second reads the columns of these rows alone. Without
conditions the keys follow from the numbers of rows, so that page 10,000 costs what page 1 costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
from providers.features.parquet.columns import quote
from providers.features.parquet.database import run
from providers.features.parquet.rows import keys_of_id, matched, page_of, read_rows, rows_of
from providers.features.parquet.state import OPENING_SECONDS, ParquetState, files_of, load_state
from providers.features.query import CRS84, BBox, ItemQuery
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

_ABILITIES = frozenset(Ability) - {Ability.ASOF}


class ParquetSource(FileSource[ParquetState]):
    """The features of one file, or of the files of one folder. Implements `FeatureSource`."""

    def __init__(
        self,
        path: Path,
        id_field: str | None = None,
        time_field: str | None = None,
        crs: ReferenceSystem | None = None,
        file_roots: Sequence[Path] = (),
    ) -> None:
        """Raises StoreMissing, StoreCorrupt, StoreError."""
        super().__init__(path, lambda: load_state(path, id_field, time_field, crs, file_roots))

    @property
    def kind(self) -> str:
        """ "parquet"."""
        return "parquet"

    @property
    def abilities(self) -> frozenset[Ability]:
        """Everything but `asof`: files keep no history."""
        return _ABILITIES

    @property
    def bbox(self) -> tuple[float, ...]:
        """CRS84; () without any geometry."""
        return self.state().place.bbox

    def count(self) -> int:
        """Features in all files."""
        return self.state().count

    def change(self) -> str:
        """Differs when a file was written or replaced."""
        return identity_of(files_of(self._path))

    def page(self, query: ItemQuery, hidden: frozenset[str] = NO_FIELDS) -> FeaturePage:
        """A page as GeoJSON. Raises UnsupportedQuery, AnswerTooLarge, InvalidParameter, StoreError."""
        refuse_what_it_cannot(query, self)
        if query.hits_only:
            count = self.answer(lambda state: matched(state, query, hidden))
            return FeaturePage([], None, count, query.crs)

        def read(state: ParquetState) -> FeaturePage:
            columns, cursor, count = page_of(state, query, hidden)
            bodies = feature_bodies(columns, state.storage, query.crs, skip_geometry=query.skip_geometry)
            return FeaturePage(bodies, cursor, count, query.crs)

        return self.answer(read)

    def columns(self, query: ItemQuery, hidden: frozenset[str] = NO_FIELDS) -> ColumnPage:
        """The same page as columns."""
        refuse_what_it_cannot(query, self)
        return ColumnPage(*self.answer(lambda state: page_of(state, query, hidden)))

    def item(
        self, feature_id: str, crs: str = CRS84, hidden: frozenset[str] = NO_FIELDS, asof: str | None = None
    ) -> ItemResult | None:
        """One feature, None where there is none. With an id field its whole column may be looked through (see the docs)."""
        if asof is not None:
            refuse_what_it_cannot(ItemQuery(asof=asof), self)

        def read(state: ParquetState) -> ItemResult | None:
            fields = visible_fields(state.schema, None, hidden)
            columns = rows_of(state, keys_of_id(state, feature_id), fields, with_geometry=True)
            bodies = feature_bodies(columns, state.storage, crs)
            return ItemResult(bodies[0], state.identity) if bodies else None

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

        def read(state: ParquetState) -> FeatureColumns:
            return read_rows(state, bbox, self.chosen_fields(state, fields), limit)

        return self.answer(read)


def open_parquet(description: Mapping[str, Any], settings: SourceSettings) -> ParquetSource:
    """The source that a description tells: `path` (a file, or a folder of files), `id`, `time`, and `crs` where files state none.

    Raises StoreMissing, StoreCorrupt, StoreError.
    """
    return ParquetSource(
        absolute_path(description, "parquet"),
        optional_name(description, "id"),
        optional_name(description, "time"),
        stated_crs(description),
        settings.file_roots,
    )


def describe_parquet(
    path: Path | str, id_field: str | None = None, time_field: str | None = None, crs: str | None = None
) -> SourceFacts:
    """What a file (or folder of files) holds, to register it; looks at every value of the fields named.

    Raises DuplicateFeatureId and StoreError where `id_field` cannot give ids; StoreMissing, StoreCorrupt, StoreError.
    """
    full = Path(path).absolute()
    state = load_state(full, id_field, time_field, stated_crs({"crs": crs}))
    if id_field is not None:
        _check_ids(state, id_field)
    return SourceFacts(
        fields=state.schema.fields,
        count=state.count,
        bbox=state.place.bbox,
        storage_crs=state.storage.uri,
        storage_wkt=state.storage.crs.to_wkt(),
        geometry_type=state.metadata.geometry_type,
        id_field=id_field,
        time_field=time_field,
        time_interval=_interval(state, time_field),
    )


def _check_ids(state: ParquetState, id_field: str) -> None:
    column = quote(id_field)
    statement = (
        f"SELECT count({column}) AS given, count(DISTINCT {column}) AS different FROM {state.relation}"  # noqa: S608 - quoted names
    )
    table = run(state.folder, statement, (), OPENING_SECONDS)
    given, different = int(table["given"][0].as_py()), int(table["different"][0].as_py())
    if given < state.count:
        raise StoreError(
            f"The field {id_field!r} is empty in {state.count - given} features, so it cannot give ids"
        )
    if different < given:
        raise DuplicateFeatureId(
            f"The field {id_field!r} gives {given} features only {different} different ids"
        )


def _interval(state: ParquetState, time_field: str | None) -> tuple[str | None, str | None]:
    if time_field is None:
        return None, None
    shown = state.columns[time_field].shown
    table = run(
        state.folder,
        f"SELECT min({shown}) AS first, max({shown}) AS last FROM {state.relation}",  # noqa: S608 - quoted names
        (),
        OPENING_SECONDS,
    )
    return table["first"][0].as_py(), table["last"][0].as_py()
