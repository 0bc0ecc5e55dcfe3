"""GDAL's WFS driver and OWSLib on a server on the loopback: 250 features in pages of 40."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import shapely
from lxml import etree
from owslib.fes2 import PropertyIsGreaterThan
from owslib.wfs import WebFeatureService

from server.http.wfs import query

BOX = (113.80, 22.60, 113.85, 22.65)


@pytest.fixture(scope="module")
def items(wfs_client: Any) -> dict[str, dict[str, Any]]:
    """By id, from OGC API - Features."""
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, 250, 40):
        page = wfs_client.json(f"/t/demo/ogc/collections/boxes/items?limit=40&offset={start}")
        found |= {f"boxes.{feature['id']}": feature for feature in page["features"]}
    return found


def gdal(*arguments: str) -> Any:
    """What `gdal_read.py` prints."""
    command = [sys.executable, str(Path(__file__).with_name("gdal_read.py")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("view", "prefix"), [("/t/demo", ""), ("", "demo.")])
def test_gdal_reads_all_pages(wfs_address: str, items: Any, view: str, prefix: str) -> None:
    layer = f"chengtu:{prefix}boxes"
    found = gdal(f"WFS:{wfs_address}{view}/wfs", layer)
    assert layer in found["layers"]
    assert not any("secret" in other for other in found["layers"])
    assert found["info"] == {"features": "250", "geometry_type": "Polygon", "crs": "EPSG:4326"}
    columns = found["columns"]
    assert {name.removeprefix(prefix) for name in columns["gml_id"]} == set(items)
    for identifier, name, height, shape in zip(
        columns["gml_id"], columns["name"], columns["height"], found["shapes"], strict=True
    ):
        item = items[identifier.removeprefix(prefix)]
        assert (name, float(height)) == (item["properties"]["name"], item["properties"]["height"])
        stated = shapely.from_geojson(json.dumps(item["geometry"]))
        assert shapely.equals_exact(shapely.from_wkt(shape), stated, 1e-9)


@pytest.fixture
def filters(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The filters that reach the server."""
    reached: list[str] = []
    original = query.read_filter

    def noted(text: str, *rest: Any) -> Any:
        reached.append(text)
        return original(text, *rest)

    monkeypatch.setattr(query, "read_filter", noted)
    return reached


def test_gdal_pushes_filters(wfs_address: str, items: Any, filters: list[str]) -> None:
    found = gdal(f"WFS:{wfs_address}/t/demo/wfs", "chengtu:boxes", "height > 50 AND kind = 'office'")
    assert set(found["columns"]["gml_id"]) == {
        key
        for key, item in items.items()
        if item["properties"]["height"] > 50 and item["properties"]["kind"] == "office"
    }
    assert any("PropertyIsGreaterThan" in text for text in filters)


def test_gdal_pushes_boxes(wfs_address: str, items: Any, filters: list[str]) -> None:
    found = gdal(f"WFS:{wfs_address}/t/demo/wfs", "chengtu:boxes", "", ",".join(map(str, BOX)))
    assert set(found["columns"]["gml_id"]) == {
        key
        for key, item in items.items()
        if shapely.box(*BOX).intersects(shapely.from_geojson(json.dumps(item["geometry"])))
    }
    assert any("BBOX" in text for text in filters)


def test_gdal_reads_awkward_names_and_heights(wfs_address: str) -> None:
    found = gdal(f"WFS:{wfs_address}/t/demo/wfs", "chengtu:odd")
    assert {"addr_street", "层数", "open"} <= set(found["columns"])
    assert "a < b & c > d" in found["columns"]["addr_street"]
    assert found["shapes"].count(None) == 1
    line = next(shape for shape in found["shapes"] if shape and shape.startswith("LINESTRING Z"))
    first = shapely.get_coordinates(shapely.from_wkt(line), include_z=True)[0]
    assert first.tolist() == pytest.approx([12.5e6, 2.5e6, 3])


@pytest.fixture(scope="module")
def service(wfs_address: str) -> Any:
    return WebFeatureService(f"{wfs_address}/t/demo/wfs", version="2.0.0")


def test_owslib_capabilities(service: Any) -> None:
    assert service.identification.type == "WFS"
    layer = service.contents["chengtu:boxes"]
    assert layer.title == "Boxes of boxes"
    assert layer.boundingBoxWGS84 == pytest.approx((113.8, 22.6, 114.1, 22.8), abs=0.05)
    assert {code.code for code in layer.crsOptions} >= {4326, 4490, 3857}
    assert {operation.name for operation in service.operations} >= {"GetFeature", "GetPropertyValue"}


def test_owslib_features(service: Any, items: Any) -> None:
    box = (*BOX, "urn:ogc:def:crs:EPSG::4326")  # OWSLib takes x, y and sends the authority's order
    page = json.load(service.getfeature(typename="chengtu:boxes", bbox=box, outputFormat="application/json"))
    assert 5 < page["numberMatched"] < 40
    assert all(feature["id"] in items for feature in page["features"])
    reply = service.getfeature(typename="chengtu:boxes", featureid=["boxes.7"], propertyname=["name"])
    assert items["boxes.7"]["properties"]["name"].encode() in reply.read()
    condition = etree.tostring(PropertyIsGreaterThan(propertyname="height", literal="80").toXML()).decode()
    condition = f'<fes:Filter xmlns:fes="http://www.opengis.net/fes/2.0">{condition}</fes:Filter>'
    reply = etree.fromstring(service.getfeature(typename="chengtu:boxes", filter=condition).read())
    assert int(reply.get("numberMatched")) == sum(
        item["properties"]["height"] > 80 for item in items.values()
    )


def test_owslib_schema_and_stored_query(service: Any) -> None:
    schema = service.get_schema("chengtu:boxes")
    assert schema["properties"]["height"] == "double"
    assert schema["geometry"]
    assert [query.id for query in service.storedqueries] == ["urn:ogc:def:query:OGC-WFS::GetFeatureById"]
    reply = service.getfeature(
        storedQueryID="urn:ogc:def:query:OGC-WFS::GetFeatureById", storedQueryParams={"ID": "boxes.7"}
    )
    assert b'gml:id="boxes.7"' in reply.read()
