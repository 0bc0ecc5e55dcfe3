"""A collection of a remote service as a feature source like any other."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from providers.errors import AnswerTooLarge, InvalidParameter, SourceUnavailable, StoreError
from providers.features.crs import ReferenceSystem, reference_system, transform_between
from providers.features.query import CRS84, BBox, Cursor, ItemQuery
from providers.features.remote.conditions import boxes_of
from providers.features.remote.facts import FactsKeeper, RemoteFacts
from providers.features.remote.service import Asked, Batch, Place, RemoteService
from providers.features.remote.values import Misfit, shown_column
from providers.features.schema import CollectionSchema, FieldDefinition
from providers.features.source import (
    Ability,
    ColumnPage,
    FeatureColumns,
    FeaturePage,
    ItemResult,
    refuse_what_it_cannot,
)
from providers.features.store.encoding import encode_features, geometries_in
from providers.outgoing import RemoteUnavailable

_NOTHING: frozenset[str] = frozenset()
_REQUESTS = 20  # to a service whose own pages are small, for one page of ours
_READ_AT_MOST = 50_000  # features for one tile or map
_READ_PAGE = 2_000
_SECONDS = 10.0  # after which a page of several requests ends, with a cursor
_LONGEST_ID = 1_000
_SLACK = 1e-6  # degrees: services round


class RemoteSource:
    """The features of one remote collection; never kept here, and never edited from here. Safe to use from many threads."""

    def __init__(
        self,
        service: RemoteService,
        keeper: FactsKeeper,
        fresh_seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.service = service
        self.keeper = keeper
        self._fresh = max(fresh_seconds, 1)
        self._clock = clock
        self._count: tuple[int, int | None] | None = None
        self._count_lock = threading.Lock()

    @property
    def kind(self) -> str:
        """The kind of service: "wfs", "features" or "arcgis"."""
        return self.service.kind

    @property
    def facts(self) -> RemoteFacts:
        """What is known of the collection. Raises SourceUnavailable where nothing ever was."""
        return self.keeper.facts()

    @property
    def abilities(self) -> frozenset[Ability]:
        """What the service says, and has been seen, to support."""
        return self.facts.abilities

    @property
    def schema(self) -> CollectionSchema:
        """Fields and reference systems."""
        return self.facts.schema

    @property
    def storage(self) -> ReferenceSystem:
        """The CRS in which features are asked for: CRS84 wherever the service has it."""
        return self.facts.storage

    @property
    def bbox(self) -> tuple[float, ...]:
        """The extent that the service states."""
        return self.facts.bbox

    @property
    def attribution(self) -> str:
        """Whom to name, as the service or the description says."""
        return self.facts.attribution

    def count(self) -> int | None:
        """Features in the collection, asked at most once in the time for which answers count as fresh; None where it is not told."""
        moment = self._moment()
        known = self._count
        if known is not None and (known[0] == moment or self._count_lock.locked()):
            return known[1]
        if not self._count_lock.acquire(blocking=False):
            return None
        try:
            asked = Asked(ItemQuery(hits_only=True), (), _NOTHING, 0, None, geometry=False)
            self._count = moment, self._matched(self.facts, asked)
        except SourceUnavailable:
            self._count = moment, None
        finally:
            self._count_lock.release()
        return self._count[1]

    def change(self) -> str:
        """What is known of the collection, and a counter of time.

        No service tells cheaply whether any of its features has changed. So a validator made from this stands for at most
        `fresh_seconds`: within them a client may be told "not modified" although the remote has been edited, after them never.
        """
        return f"{self.facts.digest}.{self._moment()}"

    def page(self, query: ItemQuery, hidden: frozenset[str] = _NOTHING) -> FeaturePage:
        """A page as GeoJSON, asked for now. Raises UnsupportedQuery, SourceUnavailable, AnswerTooLarge."""
        refuse_what_it_cannot(query, self)
        facts = self.facts
        fields = _shown(facts, query, hidden)
        if query.hits_only:
            asked = Asked(query, fields, hidden, 0, None, geometry=False)
            return FeaturePage([], None, self._matched(facts, asked), query.crs)
        batch = self._gathered(facts, query, fields, hidden)
        return FeaturePage(
            self._bodies(batch, fields, query.crs, query.skip_geometry, facts),
            _cursor(batch, query),
            batch.number_matched,
            query.crs,
        )

    def columns(self, query: ItemQuery, hidden: frozenset[str] = _NOTHING) -> ColumnPage:
        """The same page as columns, geometries in the storage CRS."""
        refuse_what_it_cannot(replace(query, crs=CRS84), self)
        facts = self.facts
        fields = _shown(facts, query, hidden)
        batch = self._gathered(facts, query, fields, hidden)
        with self._fitting():
            return ColumnPage(_as_columns(batch, fields), _cursor(batch, query), batch.number_matched)

    def item(
        self,
        feature_id: str,
        crs: str = CRS84,
        hidden: frozenset[str] = _NOTHING,
        asof: str | None = None,
    ) -> ItemResult | None:
        """One feature. Its version is a digest of what the service gave: it has no other."""
        if asof is not None:
            refuse_what_it_cannot(ItemQuery(asof=asof), self)
        if not feature_id or len(feature_id) > _LONGEST_ID or not feature_id.isprintable():
            return None
        facts = self.facts
        fields = _shown(facts, ItemQuery(), hidden)
        with self._fitting():
            batch = self.service.one(facts, feature_id, fields)
            found = [i for i, other in enumerate(batch.ids) if other == feature_id]
            if not found:
                return None
            batch = Batch([feature_id], batch.geometries[found[:1]], [batch.rows[found[0]]])
        plain = self._bodies(batch, fields, CRS84, False, facts)[0]
        body = plain if crs == CRS84 else self._bodies(batch, fields, crs, False, facts)[0]
        return ItemResult(body, hashlib.blake2b(plain, digest_size=8).hexdigest())

    def read(
        self,
        bbox: BBox | None = None,
        fields: Sequence[str] | None = None,
        limit: int = -1,
        *,
        zoom: int | None = None,
    ) -> FeatureColumns:
        """Features that the service finds in `bbox`. Raises AnswerTooLarge above 50,000: a map of them has to be made remotely."""
        facts = self.facts
        chosen = facts.fields if fields is None else _named(facts, fields)
        most = _READ_AT_MOST if limit < 0 else min(limit, _READ_AT_MOST)
        query = ItemQuery(bbox=bbox, limit=most)
        refuse_what_it_cannot(query, self)
        batches = self._batches(facts, query, chosen, _NOTHING, _READ_AT_MOST, _READ_PAGE)
        batch = _joined(list(batches))
        if limit < 0 and batch.place is not None:
            raise AnswerTooLarge(
                f"{self.service.name} has more than {_READ_AT_MOST:,} features here; ask for a smaller area"
            )
        with self._fitting():
            return _as_columns(batch, chosen)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _moment(self) -> int:
        return int(self._clock() // self._fresh)

    def _matched(self, facts: RemoteFacts, asked: Asked) -> int | None:
        with self._fitting():
            return self.service.matched(facts, asked)

    def _gathered(
        self,
        facts: RemoteFacts,
        query: ItemQuery,
        fields: tuple[FieldDefinition, ...],
        hidden: frozenset[str],
    ) -> Batch:
        return _joined(list(self._batches(facts, query, fields, hidden, _REQUESTS, query.limit)))

    def _batches(
        self,
        facts: RemoteFacts,
        query: ItemQuery,
        fields: tuple[FieldDefinition, ...],
        hidden: frozenset[str],
        requests: int,
        at_once: int,
    ) -> Iterator[Batch]:
        """Answers one after the other until `query.limit` features are there, the last page, `requests` answers or 10 s."""
        left, place = query.limit, _place(query)
        until = time.monotonic() + _SECONDS
        seen: set[str] = set()
        for _ in range(requests):
            asked = Asked(query, fields, hidden, min(left, at_once), place, not query.skip_geometry)
            with self._fitting():
                batch = self.service.batch(facts, asked)
                _check_ids(batch, seen)
                if query.bbox is not None and asked.geometry:
                    _check_place(batch, query.bbox, facts.storage)
            yield batch
            left -= len(batch.ids)
            place = batch.place
            if place is None or left <= 0 or not batch.ids or time.monotonic() > until:
                return

    def _bodies(
        self,
        batch: Batch,
        fields: tuple[FieldDefinition, ...],
        crs: str,
        skip_geometry: bool,
        facts: RemoteFacts,
    ) -> list[bytes]:
        with self._fitting():
            columns = [shown_column(item, [row.get(item.name) for row in batch.rows]) for item in fields]
        geometries = (
            None if skip_geometry else geometries_in(batch.geometries, facts.storage, reference_system(crs))
        )
        return encode_features(batch.ids, geometries, [item.name for item in fields], columns)

    def _fitting(self) -> _Fitting:
        return _Fitting(self)


class _Fitting:
    """Turns a misfit into "unavailable", and has the metadata read anew: the remote's schema may have changed."""

    def __init__(self, source: RemoteSource) -> None:
        self._source = source

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Misfit):
            self._source.keeper.mark_old()
            raise RemoteUnavailable(
                f"{self._source.service.name} answers with {error}; what it says of itself is read again"
            ) from error


def _shown(facts: RemoteFacts, query: ItemQuery, hidden: frozenset[str]) -> tuple[FieldDefinition, ...]:
    wanted = query.properties
    return tuple(
        item for item in facts.fields if item.name not in hidden and (wanted is None or item.name in wanted)
    )


def _named(facts: RemoteFacts, names: Sequence[str]) -> tuple[FieldDefinition, ...]:
    known = facts.schema.by_name
    unknown = sorted(set(names) - known.keys())
    if unknown:
        raise StoreError(f"The remote collection has no fields {unknown}; it has {sorted(known)}")
    return tuple(known[name] for name in names)


def _cursor(batch: Batch, query: ItemQuery) -> Cursor | None:
    """A cursor holds a value for each sort key, then the place: services page by the place alone."""
    return None if batch.place is None else (*[None] * len(query.sortby), batch.place)


def _place(query: ItemQuery) -> Place | None:
    """The place in a cursor. Raises InvalidParameter."""
    if query.cursor is None:
        return None
    place = query.cursor[-1] if query.cursor else None
    if len(query.cursor) != len(query.sortby) + 1 or not isinstance(place, str | int):
        raise InvalidParameter("cursor", str(query.cursor)[:60], "a cursor taken from a next link")
    return place


def _joined(batches: Sequence[Batch]) -> Batch:
    """Batches as one."""
    first, last = batches[0], batches[-1]
    if len(batches) == 1:
        return first
    return Batch(
        [feature_id for batch in batches for feature_id in batch.ids],
        np.concatenate([batch.geometries for batch in batches]),
        [row for batch in batches for row in batch.rows],
        last.place,
        first.number_matched,
    )


def _check_ids(batch: Batch, seen: set[str]) -> None:
    """Raise Misfit where an id comes twice: the pages of such a service repeat some features and miss others."""
    for feature_id in batch.ids:
        if feature_id in seen:
            raise Misfit(f"the id {feature_id[:80]!r} more than once")
        seen.add(feature_id)


def _check_place(batch: Batch, bbox: BBox, storage: ReferenceSystem) -> None:
    """Raise Misfit where nothing of an answer lies in the box that was asked for."""
    if not batch.ids:
        return
    bounds = _bounds_in_crs84(batch.geometries, storage)
    meets = np.zeros(len(bounds), dtype=bool)
    for box in boxes_of(bbox):
        meets |= (
            (bounds[:, 2] >= box.west - _SLACK)
            & (bounds[:, 0] <= box.east + _SLACK)
            & (bounds[:, 3] >= box.south - _SLACK)
            & (bounds[:, 1] <= box.north + _SLACK)
        )
    if not meets.any():
        raise Misfit(
            "features outside of the bbox that was asked for (does it exchange longitude and latitude?)"
        )


def _bounds_in_crs84(geometries: NDArray[np.object_], storage: ReferenceSystem) -> NDArray[np.float64]:
    bounds = shapely.bounds(geometries)
    transform = transform_between(storage, reference_system(CRS84))
    if transform is None:
        return bounds
    corners = [transform(bounds[:, i], bounds[:, j]) for i in (0, 2) for j in (1, 3)]
    x, y = np.stack([corner[0] for corner in corners]), np.stack([corner[1] for corner in corners])
    return np.column_stack([x.min(0), y.min(0), x.max(0), y.max(0)])


def _as_columns(batch: Batch, fields: tuple[FieldDefinition, ...]) -> FeatureColumns:
    columns: dict[str, list[Any]] = {
        item.name: shown_column(item, [row.get(item.name) for row in batch.rows]) for item in fields
    }
    return FeatureColumns(list(range(len(batch.ids))), batch.ids, batch.geometries, columns)
