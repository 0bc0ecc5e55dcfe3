"""Which conformance classes a source passes, found out by asking it: the self-test of publishing.

Each class has one check. A check puts questions to the real source about a small part of its own data and compares the
answers with what `providers.features.cql2.matches` finds in that part; it changes nothing. What a check of a class needs and
the collection does not have (a date, say) is left out: a class passes where nothing of it fails.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import shapely

from providers.errors import ProviderError, UnsupportedQuery
from providers.features.conformance_filters import FILTERS
from providers.features.crs import reference_system
from providers.features.query import CRS84, BBox, ItemQuery, SortKey
from providers.features.schema import FieldDefinition
from providers.features.source import (
    Ability,
    ColumnPage,
    EditableSource,
    FeatureColumns,
    FeatureSource,
)
from providers.features.store.encoding import geometries_in

_PART = 200
"""Features of the part that answers are compared on."""
_PAGE = 3
FEATURES_1 = "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf"
FEATURES_2 = "http://www.opengis.net/spec/ogcapi-features-2/1.0/conf"
FEATURES_3 = "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf"
FEATURES_4 = "http://www.opengis.net/spec/ogcapi-features-4/1.0/conf"
FEATURES_5 = "http://www.opengis.net/spec/ogcapi-features-5/1.0/conf"
CQL2 = "http://www.opengis.net/spec/cql2/1.0/conf"
SORTING = "http://www.opengis.net/spec/ogcapi-records-1/1.0/conf/sorting"
QUERY_PARAMETERS = "http://www.opengis.net/spec/ogcapi-records-1/1.0/conf/record-core-query-parameters"


class ClassFailed(Exception):
    """An answer is not what the class demands."""


class NotOffered(Exception):
    """The source does not claim what the class is about."""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The result: classes passed, and what was wrong with the answers of those that failed, by URI."""

    passed: list[str]
    failed: dict[str, str] = field(default_factory=dict)


class Probe:
    """A source, and the part of its data that questions are about."""

    def __init__(self, source: FeatureSource) -> None:
        self.source = source
        self.schema = source.schema

    def need(self, *abilities: Ability) -> None:
        """Raise NotOffered where the source lacks one."""
        for ability in abilities:
            if ability not in self.source.abilities:
                raise NotOffered(ability.value)

    @cached_property
    def box(self) -> BBox | None:
        """A box that holds at most `_PART` features and one at least; None where there is none, or no way to ask for it."""
        if Ability.BBOX not in self.source.abilities:
            return None
        first = self.source.columns(ItemQuery(limit=50)).columns
        bounds = shapely.bounds(self.in_crs84(first))
        placed = bounds[~np.isnan(bounds[:, 0])]
        if not len(placed):
            return None
        whole = BBox(*np.r_[placed[:, :2].min(axis=0), placed[:, 2:].max(axis=0)].tolist())
        if self.source.columns(ItemQuery(bbox=whole, limit=_PART)).cursor is None:
            return whole
        return BBox(*placed[0].tolist())

    @cached_property
    def part(self) -> ColumnPage:
        """The part, and whether it is all that the box holds."""
        return self.source.columns(ItemQuery(bbox=self.box, limit=_PART))

    @cached_property
    def part84(self) -> FeatureColumns:
        """The part with its geometries in CRS84."""
        columns = self.part.columns
        return replace(columns, geometries=self.in_crs84(columns))

    def in_crs84(self, columns: FeatureColumns) -> Any:
        """Geometries of columns in CRS84."""
        return geometries_in(columns.geometries, self.source.storage, reference_system(CRS84))

    def sample(self, *types: str) -> Iterator[tuple[FieldDefinition, Any]]:
        """Fields of these types ("date" and "date-time" are types here) with a value that occurs in the part."""
        for item in self.schema.fields:
            if (item.format or item.type) not in types:
                continue
            value = next((value for value in self.part.columns.columns[item.name] if value is not None), None)
            if value is not None:
                yield item, value

    def hold(self, asked: str, query: ItemQuery, matching: Sequence[bool] | Any) -> None:
        """Raise ClassFailed where the answer to `query` differs from the features of the part that `matching` marks."""
        answer = self.source.columns(replace(query, bbox=query.bbox or self.box, limit=_PART))
        wanted = {id_ for id_, flag in zip(self.part.columns.ids, matching, strict=True) if flag}
        found = set(answer.columns.ids)
        known = set(self.part.columns.ids)
        missing = wanted - found if answer.cursor is None else set()
        extra = (found & known) - wanted
        if missing or extra:
            raise ClassFailed(
                f"{asked}: {len(missing)} features are missing, {len(extra)} should not be there "
                f"(for example {sorted(missing | extra)[0]!r})"
            )


def self_test(source: FeatureSource) -> SelfTest:
    """Run every check against a source. Never raises what a source or a check raises."""
    probe = Probe(source)
    result = SelfTest([])
    for uri, check in CHECKS.items():
        try:
            check(probe)
        except (NotOffered, UnsupportedQuery):
            continue
        except (ClassFailed, ProviderError) as error:
            result.failed[uri] = str(error)
        else:
            result.passed.append(uri)
    return result


# --- Part 1 and 2 --------------------------------------------------------------------------------------------------------


def _core(probe: Probe) -> None:
    probe.need(Ability.BBOX, Ability.EQUALS)
    source = probe.source
    one_page = source.columns(ItemQuery(limit=4 * _PAGE)).columns.ids
    paged = _paged(probe, ItemQuery(limit=_PAGE), len(one_page))
    if paged != one_page:
        raise ClassFailed(f"pages of {_PAGE} hold other features than one page of {4 * _PAGE}")
    for id_ in one_page[:_PAGE]:
        item = source.item(id_)
        if item is None or orjson.loads(item.body)["id"] != id_:
            raise ClassFailed(f"item {id_!r} is listed and cannot be read")
    if source.item("chengtu-no-such-item-0") is not None:
        raise ClassFailed("an item that does not exist is answered")
    _boxes(probe)
    _equalities(probe)
    _times(probe)


def _paged(probe: Probe, query: ItemQuery, count: int) -> list[str]:
    ids: list[str] = []
    while len(ids) < count:
        page = probe.source.columns(query)
        ids += page.columns.ids
        if page.cursor is None:
            break
        query = replace(query, cursor=page.cursor)
    return ids[:count]


def _boxes(probe: Probe) -> None:
    if probe.box is None:
        return
    bounds = shapely.bounds(probe.part84.geometries)
    west, south, east, north = probe.box
    middle = BBox(west, south, (west + east) / 2, (south + north) / 2)
    meets = (bounds[:, 0] <= middle.east) & (bounds[:, 1] <= middle.north)
    probe.hold("bbox", ItemQuery(bbox=middle), meets & (bounds[:, 2] >= west) & (bounds[:, 3] >= south))


def _equalities(probe: Probe) -> None:
    for item, value in probe.sample("string", "integer", "boolean"):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        matching = [one == value for one in probe.part.columns.columns[item.name]]
        probe.hold(f"{item.name}=", ItemQuery(equals={item.name: text}), matching)


def _times(probe: Probe) -> None:
    name = probe.schema.time_field
    if name is None or Ability.DATETIME not in probe.source.abilities:
        return
    from providers.features.cql2 import matches_query
    from providers.features.parser import parse_datetime

    for _, value in probe.sample("date", "date-time"):
        query = ItemQuery(datetime=parse_datetime(f"../{value}"))
        probe.hold("datetime", query, matches_query(query, probe.part84, probe.schema))
        return


def _crs(probe: Probe) -> None:
    probe.need(Ability.CRS)
    plain = probe.source.page(ItemQuery(limit=_PAGE))
    for code, tolerance in (("EPSG:3857", 0.02), ("EPSG:4326", 2e-7)):
        system = reference_system(code)
        asked = probe.source.page(ItemQuery(limit=_PAGE, crs=system.uri))
        for body, body84 in zip(asked.bodies, plain.bodies, strict=True):
            shape, shape84 = (_shape(orjson.loads(one)["geometry"]) for one in (body, body84))
            expected = geometries_in(np.array([shape84]), reference_system(CRS84), system)[0]
            if (shape is None) != (expected is None) or (
                shape is not None and not shapely.equals_exact(shape, expected, tolerance)
            ):
                raise ClassFailed(f"coordinates in {code} are not those of CRS84 transformed")


def _shape(geometry: dict[str, Any] | None) -> shapely.Geometry | None:
    return None if geometry is None else shapely.force_2d(shapely.from_geojson(orjson.dumps(geometry)))


# --- Part 3, sorting, text -----------------------------------------------------------------------------------------------


def _filter_check(name: str) -> Callable[[Probe], None]:
    def check(probe: Probe) -> None:
        from providers.features.cql2 import matches, parse_filter, to_json
        from providers.features.cql2 import parse_filter_document as parse_document

        probe.need(Ability.FILTER)
        for text in FILTERS[name](probe):
            parsed = parse_filter(text, "cql2-text", probe.schema)
            marked = (
                np.full(len(probe.part.columns), parsed.node)
                if isinstance(parsed.node, bool)
                else matches(parsed.node, probe.part84, probe.schema)
            )
            probe.hold(text, ItemQuery(filter=parsed), marked)
            if name == "cql2-json":
                again = parse_document(to_json(parsed.node), probe.schema)
                probe.hold(f"{text} as JSON", ItemQuery(filter=again), marked)

    return check


def _sorting(probe: Probe) -> None:
    probe.need(Ability.SORTBY, Ability.CURSOR)
    for item, _ in probe.sample("string", "integer", "number", "date", "date-time"):
        for descending in (False, True):
            query = ItemQuery(bbox=probe.box, limit=_PART, sortby=(SortKey(item.name, descending),))
            page = probe.source.columns(query)
            values = page.columns.columns[item.name]
            present = [value for value in values if value is not None]
            if values[: len(present)] != present or present != sorted(present, reverse=descending):
                raise ClassFailed(f"sortby={'-' if descending else ''}{item.name} is not in order")
            count = min(3 * _PAGE, len(values))
            if _paged(probe, replace(query, limit=_PAGE), count) != page.columns.ids[:count]:
                raise ClassFailed(f"sortby={item.name}: pages hold other features than the whole")


def _text_search(probe: Probe) -> None:
    probe.need(Ability.Q)
    from providers.features.cql2 import matches_query

    for _, value in probe.sample("string"):
        query = ItemQuery(q=(str(value)[:20],))
        probe.hold("q", query, matches_query(query, probe.part84, probe.schema))


def _offered(probe: Probe) -> None:
    """The class is about documents the server makes for every collection; its HTTP tests hold it."""


def _properties(probe: Probe) -> None:
    probe.need(Ability.EQUALS)
    _equalities(probe)


_filtered = _filter_check("basic-cql2")


# --- Part 4 --------------------------------------------------------------------------------------------------------------


def _editable(probe: Probe) -> EditableSource:
    if not isinstance(probe.source, EditableSource):
        raise NotOffered("edits")
    return probe.source


def _edits(probe: Probe) -> None:
    from providers.features.conformance_edits import edit_a_copy, edit_in_vain

    source = _editable(probe)
    if probe.source.kind == "embedded":
        with tempfile.TemporaryDirectory() as folder:
            wrong = edit_a_copy(probe.source, probe.part.columns, Path(folder))
    else:
        wrong = edit_in_vain(source, probe.part.columns.ids[:1])
    if wrong is not None:
        raise ClassFailed(wrong)


CHECKS: Mapping[str, Callable[[Probe], None]] = {
    f"{FEATURES_1}/core": _core,
    f"{FEATURES_1}/geojson": _core,
    f"{FEATURES_1}/html": _offered,
    f"{FEATURES_2}/crs": _crs,
    f"{FEATURES_3}/queryables": _filtered,
    f"{FEATURES_3}/queryables-query-parameters": _properties,
    f"{FEATURES_3}/filter": _filtered,
    f"{FEATURES_3}/features-filter": _filtered,
    **{f"{CQL2}/{name}": _filter_check(name) for name in FILTERS},
    SORTING: _sorting,
    QUERY_PARAMETERS: _text_search,
    f"{FEATURES_4}/create-replace-delete": _edits,
    f"{FEATURES_4}/update": _edits,
    f"{FEATURES_4}/optimistic-locking-etags": _edits,
    f"{FEATURES_4}/features": _edits,
    f"{FEATURES_5}/schemas": _offered,
    f"{FEATURES_5}/core-roles-features": _offered,
    f"{FEATURES_5}/returnables-and-receivables": _offered,
    f"{FEATURES_5}/queryables": _filtered,
    f"{FEATURES_5}/sortables": _sorting,
}
"""Every class a feature collection can pass, and its check."""
