"""Geometries of clients that would keep GEOS, which nothing can interrupt, busy for minutes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shapely
import shapely.affinity
from shapely.geometry import mapping

from providers.errors import AnswerTooLarge, InvalidFeature, InvalidParameter
from providers.features.cql2 import matches, parse_filter_document
from providers.features.crossings import FREE_PAIRS_OF_UNIONS, Crossings, is_tangled
from providers.features.crs import reference_system
from providers.features.edits import parse_feature
from providers.features.query import CRS84, ItemQuery
from providers.features.schema import CollectionSchema, FieldDefinition
from providers.features.source import EditKind
from providers.features.store import FeatureStore, FeatureStoreWriter

RANDOM = np.random.default_rng(11)


def comb(teeth: int, *, turned: bool = False) -> shapely.Polygon:
    """A polygon of thin teeth, from south to north, or from west to east."""
    x, y = np.repeat(np.linspace(0.0, 0.2, teeth + 1), 2), np.tile([0.01, 0.2], teeth + 1)
    ring = np.stack([np.r_[x[:-1], 0.2, 0.0], np.r_[y[:-1], 0.0, 0.0]], axis=1)
    return shapely.Polygon((ring[:, ::-1] if turned else ring) + (113.9, 22.6))


def tangle(vertices: int) -> shapely.LineString:
    """A line that goes from one random place to the next."""
    return shapely.LineString(RANDOM.random((vertices, 2)) * 0.2 + (113.9, 22.6))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """One feature with many teeth, and a small box."""
    path = tmp_path_factory.mktemp("crossings") / "features.gpkg"
    with FeatureStoreWriter(
        path, fields=(FieldDefinition("n", "integer"),), storage_crs="EPSG:4326"
    ) as writer:
        writer.add(np.array([comb(1500), shapely.box(113.95, 22.65, 113.951, 22.651)]), {"n": [1, 2]})
        writer.finish()
    return FeatureStore(path)


def condition(operator: str, geometry: shapely.Geometry) -> dict[str, object]:
    return {"op": operator, "args": [{"property": "geometry"}, mapping(geometry)]}


@pytest.mark.parametrize(
    ("geometry", "is_one"),
    [
        (shapely.Point(1, 2), False),
        (shapely.MultiPoint(RANDOM.random((5000, 2))), False),
        (shapely.Point(0, 0).buffer(1, quad_segs=25_000), False),
        (comb(20_000), False),
        (tangle(1000), False),
        (tangle(5000), True),
        (shapely.GeometryCollection([tangle(3000), shapely.Point(1, 2)]), True),
        (shapely.affinity.rotate(comb(3000), 45), True),
    ],
    ids=["point", "points", "circle", "comb", "short tangle", "tangle", "collection", "turned comb"],
)
def test_a_geometry_is_tangled_where_its_segments_may_cross_millions_of_times(
    geometry: shapely.Geometry, is_one: bool
) -> None:
    assert is_tangled(geometry) is is_one


def test_unions_are_held_to_less() -> None:
    both = shapely.GeometryCollection([comb(500), comb(500, turned=True)])
    assert not is_tangled(both)
    assert is_tangled(both, FREE_PAIRS_OF_UNIONS)


@pytest.mark.parametrize(
    "geometry", [tangle(5000), shapely.GeometryCollection([comb(500), comb(500, turned=True)])]
)
def test_a_tangled_literal_is_refused(store: FeatureStore, geometry: shapely.Geometry) -> None:
    with pytest.raises(InvalidParameter, match="cross each other less often"):
        parse_filter_document(condition("s_intersects", geometry), store.schema)


def test_a_tangled_feature_is_refused_before_its_validity_is_checked() -> None:
    schema = CollectionSchema((), geometry_type="Polygon")
    storage = reference_system(CRS84)
    for teeth, fits in ((300, True), (20_000, False)):
        turned = shapely.affinity.rotate(comb(teeth), 45)
        geometry = json.loads(shapely.to_geojson(turned))
        feature = {"type": "Feature", "geometry": geometry, "properties": {}}
        if fits:
            assert parse_feature(feature, schema, storage, EditKind.CREATE).geometry.equals(turned)
        else:
            with pytest.raises(InvalidFeature, match="segments lie beside or across"):
                parse_feature(feature, schema, storage, EditKind.CREATE)


def test_a_literal_that_is_just_long_is_answered(store: FeatureStore) -> None:
    for operator in ("s_intersects", "s_within"):
        found = parse_filter_document(
            condition(operator, shapely.Point(113.95, 22.65).buffer(0.1, 20_000)), store.schema
        )
        assert store.page(ItemQuery(filter=found)).number_matched == (2 if operator == "s_intersects" else 1)


@pytest.mark.parametrize(
    "operator", ["s_touches", "s_crosses", "s_overlaps", "s_contains", "s_within", "s_equals"]
)
def test_a_relation_nobody_can_wait_for_is_ended(store: FeatureStore, operator: str) -> None:
    literal = comb(1500, turned=True)
    assert Crossings(literal).are_many(comb(1500))
    found = parse_filter_document(condition(operator, literal), store.schema)
    with pytest.raises(AnswerTooLarge):
        store.page(ItemQuery(filter=found))
    with pytest.raises(AnswerTooLarge, match="cross too often"):
        matches(found.node, store.read(), store.schema)
    # The connection is as good as before.
    assert store.page(ItemQuery()).number_matched == 2
