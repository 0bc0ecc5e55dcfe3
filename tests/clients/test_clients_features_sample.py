"""First tier: GDAL, OWSLib and the life of a feature on an embedded and a PostGIS collection. The rest is `make clients`."""

import json

import pytest
import requests
from owslib.ogcapi.features import Features

STORES = pytest.mark.parametrize("name", ["embedded", "postgis"])
SHAPE = {"type": "Polygon", "coordinates": [[[114, 22.7], [114.001, 22.7], [114.001, 22.701], [114, 22.7]]]}


@STORES
def test_gdal_reads_a_box(two_stores, run, name):
    text = run(
        *("ogr2ogr", "-f", "GeoJSON", "-spat", "113.85", "22.7", "113.95", "22.8"),
        *("/vsistdout/", f"OAPIF:{two_stores.ogc}", name),
    )
    found = {feature["properties"]["secret"] for feature in json.loads(text)["features"]}
    page = requests.get(
        two_stores.items(name), params={"bbox": "113.85,22.7,113.95,22.8", "limit": "100"}, timeout=30
    )
    assert 0 < len(found) < 60
    assert found == {feature["properties"]["secret"] for feature in page.json()["features"]}


@STORES
def test_owslib_filters(two_stores, name):
    found = Features(two_stores.ogc).collection_items(
        name, limit=100, filter="floors IN (3, 4) OR height < 5"
    )
    towers = two_stores.towers
    assert {feature["properties"]["secret"] for feature in found["features"]} == {
        secret
        for secret, floors, height in zip(towers.secrets, towers.floors, towers.heights, strict=True)
        if floors in (3, 4) or (height is not None and height < 5)
    }


@STORES
def test_a_feature_is_made_changed_and_deleted(two_stores, name):
    items, operator = two_stores.items(name), two_stores.bearer
    feature = {
        "type": "Feature",
        "geometry": SHAPE,
        "properties": {"name": "新楼", "floors": 4, "secret": "s-new"},
    }
    assert requests.post(items, json=feature, timeout=30).status_code == 401
    born = requests.post(items, json=feature, headers=operator, timeout=30)
    assert born.status_code == 201, born.text
    address = born.headers["Location"]
    held = operator | {"If-Match": born.headers["ETag"], "Content-Type": "application/merge-patch+json"}
    changed = requests.patch(address, json={"properties": {"floors": 5}}, headers=held, timeout=30)
    assert changed.status_code == 204, changed.text
    assert requests.get(address, timeout=30).json()["properties"]["floors"] == 5
    assert requests.delete(address, headers=held, timeout=30).status_code == 412
    held["If-Match"] = changed.headers["ETag"]
    assert requests.delete(address, headers=held, timeout=30).status_code in (200, 204)
    assert requests.get(address, timeout=30).status_code == 404


@STORES
def test_a_batch_names_the_edit_that_cannot_be_made(two_stores, name):
    address = f"{two_stores.ogc}collections/{name}/transactions"
    feature = {"type": "Feature", "geometry": SHAPE, "properties": {"secret": "s-batch"}}
    edits = [{"action": "create", "feature": feature}, {"action": "delete", "id": "nobody", "version": 1}]
    refused = requests.post(address, json={"transaction": edits}, headers=two_stores.bearer, timeout=30)
    assert (refused.status_code, refused.json()["edit"]) == (404, 1)
    found = requests.get(two_stores.items(name), params={"secret": "s-batch"}, timeout=30)
    assert found.json()["features"] == []
