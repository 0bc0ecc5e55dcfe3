"""The self-test passes a sound store in every class, and finds each way in which a store can be wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import shapely

from providers.features.conformance import (
    CHECKS,
    CQL2,
    FEATURES_1,
    FEATURES_2,
    FEATURES_4,
    SORTING,
    self_test,
)
from providers.features.query import ItemQuery
from providers.features.schema import FieldDefinition
from providers.features.source import Ability, ColumnPage, Edit, EditResult, FeaturePage
from providers.features.store import FeatureStore, FeatureStoreWriter

FIELDS = (
    FieldDefinition("name", "string"),
    FieldDefinition("code", "string"),
    FieldDefinition("height", "number"),
    FieldDefinition("floors", "integer"),
    FieldDefinition("open", "boolean"),
    FieldDefinition("built", "string", "date"),
    FieldDefinition("seen", "string", "date-time"),
)
COUNT = 40


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("self-test") / "features.gpkg"
    with FeatureStoreWriter(path, fields=FIELDS, storage_crs="EPSG:4547", time_field="built") as writer:
        corners = [(500_000 + 10 * (i % 7), 2_500_000 + 10 * (i // 7)) for i in range(COUNT)]
        writer.add(
            [shapely.box(x, y, x + 8, y + 8) for x, y in corners],
            {
                "name": [f"Häuschen {i}" if i % 5 else None for i in range(COUNT)],
                "code": [f"k{i % 4}" for i in range(COUNT)],
                "height": [i * 1.5 if i % 6 else None for i in range(COUNT)],
                "floors": [i % 9 for i in range(COUNT)],
                "open": [bool(i % 2) for i in range(COUNT)],
                "built": [f"20{i:02d}-01-01" for i in range(COUNT)],
                "seen": [f"2024-01-01T00:{i:02d}:00Z" for i in range(COUNT)],
            },
        )
        writer.finish()
    return path


def test_a_sound_store_passes_every_class(path: Path) -> None:
    tested = self_test(FeatureStore(path))
    assert tested.failed == {}
    assert tested.passed == list(CHECKS)


class Broken(FeatureStore):
    """A store that changes the query, or the answer, behind the back of whoever asks."""

    change_query: Callable[[ItemQuery], ItemQuery] = staticmethod(lambda query: query)

    def columns(self, query: ItemQuery, hidden: frozenset[str] = frozenset()) -> ColumnPage:
        return super().columns(self.change_query(query), hidden)


class IgnoresFilter(Broken):
    change_query = staticmethod(lambda query: replace(query, filter=None))


class IgnoresSorting(Broken):
    change_query = staticmethod(
        lambda query: replace(query, sortby=(), cursor=query.cursor and (query.cursor[-1],))
    )


class IgnoresBox(Broken):
    change_query = staticmethod(lambda query: replace(query, bbox=None))


class IgnoresText(Broken):
    change_query = staticmethod(lambda query: replace(query, q=()))


class IgnoresCursor(Broken):
    change_query = staticmethod(lambda query: replace(query, cursor=None))


class IgnoresEquality(Broken):
    change_query = staticmethod(lambda query: replace(query, equals={}))


class DropsFirst(Broken):
    def columns(self, query: ItemQuery, hidden: frozenset[str] = frozenset()) -> ColumnPage:
        page = super().columns(query, hidden)
        if query.filter is None:
            return page
        kept = replace(
            page.columns,
            keys=page.columns.keys[1:],
            ids=page.columns.ids[1:],
            geometries=page.columns.geometries[1:],
            columns={name: values[1:] for name, values in page.columns.columns.items()},
        )
        return replace(page, columns=kept)


class IgnoresCrs(FeatureStore):
    def page(self, query: ItemQuery, hidden: frozenset[str] = frozenset()) -> FeaturePage:
        page = super().page(replace(query, crs=ItemQuery().crs), hidden)
        return replace(page, crs=query.crs)


class SwapsAxes(FeatureStore):
    def page(self, query: ItemQuery, hidden: frozenset[str] = frozenset()) -> FeaturePage:
        page = super().page(query, hidden)
        if not query.crs.endswith("/4326"):
            return page
        return replace(page, bodies=[orjson.dumps(_swapped(orjson.loads(body))) for body in page.bodies])


def _swapped(feature: dict[str, Any]) -> dict[str, Any]:
    rings = feature["geometry"]["coordinates"]
    feature["geometry"]["coordinates"] = [[point[::-1] for point in ring] for ring in rings]
    return feature


@pytest.mark.parametrize(
    ("kind", "fails"),
    [
        (IgnoresFilter, f"{CQL2}/basic-cql2"),
        (IgnoresFilter, f"{CQL2}/temporal-functions"),
        (IgnoresFilter, f"{CQL2}/spatial-functions"),
        (DropsFirst, f"{CQL2}/advanced-comparison-operators"),
        (DropsFirst, f"{CQL2}/case-insensitive-comparison"),
        (IgnoresSorting, SORTING),
        (IgnoresBox, f"{FEATURES_1}/core"),
        (IgnoresCursor, f"{FEATURES_1}/core"),
        (IgnoresEquality, f"{FEATURES_1}/core"),
        (IgnoresText, "http://www.opengis.net/spec/ogcapi-records-1/1.0/conf/record-core-query-parameters"),
        (IgnoresCrs, f"{FEATURES_2}/crs"),
        (SwapsAxes, f"{FEATURES_2}/crs"),
    ],
)
def test_a_wrong_store_fails_the_class_it_is_wrong_in(
    path: Path, kind: type[FeatureStore], fails: str
) -> None:
    tested = self_test(kind(path))
    assert fails in tested.failed, sorted(tested.failed)
    assert fails not in tested.passed


def test_what_a_source_does_not_claim_is_neither_passed_nor_failed(path: Path) -> None:
    class Plain(FeatureStore):
        @property
        def abilities(self) -> frozenset[Ability]:
            return super().abilities - {Ability.FILTER, Ability.SORTBY, Ability.Q}

    tested = self_test(Plain(path))
    named = {*tested.passed, *tested.failed}
    assert tested.failed == {}
    assert not any("/cql2/" in uri for uri in named)
    assert SORTING not in named
    assert f"{FEATURES_1}/core" in tested.passed


def test_edits_that_take_any_version_fail(path: Path) -> None:
    class Careless(FeatureStore):
        """A remote kind of store: only edits that must be refused are tried on it."""

        kind = "elsewhere"

        def edit(self, edits: Sequence[Edit], author: str = "") -> list[EditResult]:
            return [EditResult(edit.feature_id or "", 1) for edit in edits]

    tested = self_test(Careless(path))
    assert "does not exist is taken" in tested.failed[f"{FEATURES_4}/create-replace-delete"]
