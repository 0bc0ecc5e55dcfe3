"""Headless QGIS on the same towers in every store, by OGC API - Features and by WFS: read, filter, and what it may edit."""

import json

import numpy as np
import pytest
import shapely
from pyproj import Transformer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]  # the first test builds the city

STORES = ("embedded", "postgis", "parquet", "ogr", "features", "wfs", "arcgis")
BOX = (113.85, 22.70, 113.95, 22.80)
SUBSET = "height > 60 AND name LIKE 'Tower%'"
EACH = pytest.mark.parametrize("name", STORES)
BOTH = pytest.mark.parametrize("provider", ["oapif", "wfs"])


@pytest.fixture(scope="module")
def qgis(root, every_store, run):
    """What QGIS saw, and what it asked."""
    task = {
        "ogc": every_store.ogc,
        "wfs": f"{every_store.tenant}/wfs",
        "names": STORES,
        "box": BOX,
        "subset": SUBSET,
    }
    script = root / "tests" / "clients" / "qgis_edit_stores.py"
    start = len(every_store.recorder.requests)
    told = json.loads(run("/usr/bin/python3", str(script), json.dumps(task)))
    return told | {"asked": every_store.recorder.requests[start:]}


@pytest.fixture(scope="module")
def wanted(every_store):
    """Keys by what is asked for."""
    towers = every_store.towers
    met = shapely.intersects(towers.geometries, shapely.box(*BOX))
    filtered = [
        secret
        for secret, name, height in zip(towers.secrets, towers.names, towers.heights, strict=True)
        if height is not None and height > 60 and name is not None and name.startswith("Tower")
    ]
    return {
        "all": sorted(towers.secrets),
        "box": sorted(np.array(towers.secrets)[met].tolist()),
        "expression": sorted(filtered),
        "subset": sorted(filtered),
    }


@BOTH
@EACH
@pytest.mark.parametrize("asked", ["all", "box", "expression", "subset"])
def test_what_is_read(qgis, wanted, provider, name, asked):
    seen = qgis[provider][name]
    assert seen["valid"], seen
    assert seen[asked] == wanted[asked]


@BOTH
@EACH
def test_types_of_fields(qgis, provider, name):
    fields = qgis[provider][name]["fields"]
    kinds = {key: fields[key].lower().rpartition(":")[2] for key in ("name", "height", "floors", "updated")}
    assert kinds["name"] == "string"
    assert kinds["height"] in ("real", "double")
    assert kinds["floors"] in ("integer", "integer64", "int", "long")
    assert kinds["updated"] == "datetime"


@BOTH
@EACH
def test_qgis_transforms_to_a_zone_of_cgcs2000(qgis, every_store, provider, name):
    transform = Transformer.from_crs("OGC:CRS84", 4547, always_xy=True).transform
    bounds = shapely.bounds(shapely.transform(every_store.towers.geometries[0], transform, interleaved=False))
    assert qgis[provider][name]["grid"] == pytest.approx(bounds.tolist(), abs=0.2)


@EACH
def test_boxes_are_asked_of_the_store(qgis, name):
    asked = [one for one in qgis["asked"] if one.path.endswith(f"/collections/{name}/items")]
    boxes = [one.query["bbox"] for one in asked if "bbox" in one.query]
    assert any([float(part) for part in box.split(",")] == pytest.approx(BOX) for box in boxes)


@EACH
def test_conditions_are_asked_of_the_store_by_wfs_alone(qgis, name):
    """QGIS 3.22 evaluates the subset of an OGC API layer itself; of a WFS layer it sends it as an OGC filter."""
    by_api = [one for one in qgis["asked"] if one.path.endswith(f"/collections/{name}/items")]
    assert by_api
    assert not any("filter" in one.query for one in by_api)
    by_wfs = [
        {key.lower(): value for key, value in one.query.items()}
        for one in qgis["asked"]
        if one.path.endswith("/wfs")
    ]
    filters = [
        one["filter"] for one in by_wfs if one.get("typenames") == f"chengtu:{name}" and "filter" in one
    ]
    assert any("PropertyIsLike" in text and "PropertyIsGreaterThan" in text for text in filters)


@BOTH
@EACH
def test_qgis_3_22_edits_by_neither(qgis, provider, name):
    """Its OGC API provider only reads; our WFS has no transactions. Later versions edit by Part 4."""
    assert qgis[provider][name]["edits"] is False
    assert qgis[provider][name]["startEditing"] is False


def test_nothing_that_qgis_asked_was_refused(qgis):
    assert [one for one in qgis["asked"] if one.status >= 400] == []
