"""What features look like in the answers of every store: values, geometries, what is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
import shapely

from providers.errors import UnsupportedQuery
from providers.features.crs import reference_system, transform_between
from providers.features.query import CRS84, ItemQuery
from providers.features.source import Ability, FeatureSource

Parse = Callable[[dict[str, str]], ItemQuery]
Refused = Callable[[FeatureSource, ItemQuery], bool]
HIDDEN = frozenset({"secret"})
EPSG = "http://www.opengis.net/def/crs/EPSG/0/"


def _features(source: FeatureSource, query: ItemQuery) -> dict[str, Any]:
    return {
        feature["id"]: feature
        for feature in (orjson.loads(body) for body in source.page(query, HIDDEN).bodies)
    }


def _visible(sample: Any, row: int) -> dict[str, Any]:
    return {name: values[row] for name, values in sample.columns.items() if name not in HIDDEN}


def test_every_value_comes_back(source: FeatureSource, sample: Any, parse: Parse) -> None:
    features = _features(source, parse({}))
    assert sorted(features) == sorted(sample.ids)
    for row, feature_id in enumerate(sample.ids):
        feature = features[feature_id]
        assert feature["type"] == "Feature"
        assert feature["properties"] == _visible(sample, row)
        assert list(feature["properties"]) == [
            field.name for field in sample.fields if field.name not in HIDDEN
        ]


def test_every_geometry_comes_back(source: FeatureSource, sample: Any, parse: Parse) -> None:
    features = _features(source, parse({}))
    for feature_id, shape in zip(sample.ids, sample.geometries, strict=True):
        given = features[feature_id]["geometry"]
        if shape is None:
            assert given is None
        else:
            found = shapely.from_geojson(orjson.dumps(given))
            assert shapely.normalize(found).equals_exact(shapely.normalize(shape), 1e-7)


def test_columns_are_the_page(source: FeatureSource, sample: Any, parse: Parse) -> None:
    query = parse({})
    page = source.columns(query, HIDDEN)
    assert page.columns.ids == list(_features(source, query))
    assert "secret" not in page.columns.columns
    rows = [sample.ids.index(feature_id) for feature_id in page.columns.ids]
    for name, values in page.columns.columns.items():
        assert list(values) == [sample.columns[name][row] for row in rows]
    empty = shapely.is_missing(page.columns.geometries) | shapely.is_empty(page.columns.geometries)
    assert empty.tolist() == [sample.geometries[row] is None for row in rows]


def test_one_item(source: FeatureSource, sample: Any) -> None:
    for row, feature_id in enumerate(sample.ids):
        found = source.item(feature_id, hidden=HIDDEN)
        assert found is not None
        feature = orjson.loads(found.body)
        assert feature["id"] == feature_id
        assert feature["properties"] == _visible(sample, row)


@pytest.mark.parametrize("feature_id", ["", "nothing", "a1 ", "A1", "a1' OR '1'='1", "0", "%", "楼"])
def test_no_such_item(source: FeatureSource, feature_id: str) -> None:
    assert source.item(feature_id) is None


def test_some_properties_only(source: FeatureSource, sample: Any, parse: Parse, refused: Refused) -> None:
    query = parse({"properties": "floors,name"})
    if refused(source, query):
        return
    for feature in _features(source, query).values():
        assert sorted(feature["properties"]) == ["floors", "name"]
    assert all(
        feature["properties"] == {} for feature in _features(source, parse({"properties": ""})).values()
    )


def test_without_geometry(source: FeatureSource, parse: Parse, refused: Refused) -> None:
    query = parse({"skipGeometry": "true", "bbox": "113,22,115,24"})
    if refused(source, query):
        return
    features = _features(source, query)
    assert len(features) == 18
    assert all(feature.get("geometry") is None for feature in features.values())


@pytest.mark.parametrize("crs", [EPSG + "4490", EPSG + "3857", EPSG + "4547", "urn:chengtu:def:crs::GCJ02"])
def test_another_crs(source: FeatureSource, sample: Any, parse: Parse, refused: Refused, crs: str) -> None:
    query = parse({"crs": crs, "kind": "tower"})
    if refused(source, query):
        return
    page = source.page(query)
    assert page.crs == crs
    system = reference_system(crs)
    transform = transform_between(reference_system(CRS84), system)
    for body in page.bodies:
        feature = orjson.loads(body)
        shape = sample.geometries[sample.ids.index(feature["id"])]
        x, y = np.array([shape.x]), np.array([shape.y])
        if transform is not None:
            x, y = transform(x, y)
        expected = (y[0], x[0]) if system.swap else (x[0], y[0])
        assert feature["geometry"]["coordinates"] == pytest.approx(expected, abs=2 * 10**-system.decimals)


def test_facts(source: FeatureSource, sample: Any) -> None:
    assert source.count() in (None, len(sample.ids))
    assert source.bbox[:2] == pytest.approx((-180, -89.9))
    assert [(field.name, field.type, field.format) for field in source.schema.fields] == [
        (field.name, field.type, field.format) for field in sample.fields
    ]
    assert source.schema.time_field == sample.time_field
    assert source.change() == source.change()


def test_read_for_tiles(source: FeatureSource, sample: Any) -> None:
    from providers.features.query import BBox

    found = source.read(BBox(113.9, 22.4, 114.3, 22.7))
    expected = [
        "a1",
        "a2",
        "a3",
        "a4",
        "a5",
        "a6",
        "l1",
        "l2",
        "l3",
        "p1",
        "p2",
        "p3",
        "p4",
        "p5",
        "p6",
        "m1",
    ]
    assert sorted(found.ids) == sorted(expected)
    assert source.read(BBox(50, 50, 51, 51)).ids == []
    assert list(source.read(BBox(-1, -1, 1, 1), ["name"]).columns) == ["name"]


def test_an_old_state_is_refused_or_known(source: FeatureSource, parse: Parse) -> None:
    query = parse({"asof": "2000-01-01T00:00:00Z"})
    if Ability.ASOF in source.abilities:
        assert source.page(query).bodies == []
    else:
        with pytest.raises(UnsupportedQuery, match="asof"):
            source.page(query)
