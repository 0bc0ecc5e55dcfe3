"""Headless QGIS on the demo city: features, WMS, WMTS, vector tiles, the GeoPackage download, and drawn maps."""

import json
import os
import shutil
from pathlib import Path

import pytest

from server.registry.catalogue import RepresentationKind as Kind

pytestmark = pytest.mark.clients

PICTURES = ("features", "wms", "wmts", "vector_tiles", "together")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where QGIS draws. Kept in CHENGTU_PICTURES too where that is set, to be looked at."""
    made = tmp_path_factory.mktemp("qgis")
    yield made
    keep = os.environ.get("CHENGTU_PICTURES")
    if keep:
        for picture in made.glob("*.png"):
            shutil.copy(picture, Path(keep) / f"qgis-{picture.name}")


@pytest.fixture(scope="module")
def qgis(root, helsinki, http, run, folder):
    """What QGIS saw."""
    download = http.get(f"{helsinki}/ogc/collections/buildings/download/buildings.gpkg", timeout=60)
    (folder / "buildings.gpkg").write_bytes(download.content)
    script = root / "tests" / "clients" / "qgis_read.py"
    return json.loads(run("/usr/bin/python3", str(script), helsinki, str(folder)))


@pytest.mark.parametrize(
    ("layer", "collection"), [("buildings", "buildings"), ("pipes", "pipes"), ("survey", "survey-cgcs2000")]
)
def test_features_by_oapif(qgis, published, layer, collection):
    seen, stated = qgis[layer], published[f"helsinki.{collection}"]
    count = stated.representations[Kind.FEATURES].properties["count"]
    assert seen["valid"], seen["error"]
    assert seen["count"] == seen["read"] == count
    assert seen["crs"] in ("EPSG:4326", "OGC:CRS84")
    half = len(stated.bbox) // 2
    assert seen["extent"] == pytest.approx([*stated.bbox[:2], *stated.bbox[half : half + 2]], abs=3e-5)


def test_features_of_a_box(qgis, fetch_json, helsinki):
    answer = fetch_json(
        f"{helsinki}/ogc/collections/buildings/items", bbox="24.940,60.168,24.944,60.171", limit="1000"
    )
    assert qgis["buildings"]["inside"] == sorted(str(feature["id"]) for feature in answer["features"])
    assert 0 < len(qgis["buildings"]["inside"]) < qgis["buildings"]["count"]


def test_chinese_fields(qgis):
    first = qgis["survey"]["first"]
    assert first["宗地号"] == "420111000001"
    assert first["坐落"] == "武汉市洪山区珞喻路2号(模拟)"
    assert qgis["survey"]["geometry"].startswith("Polygon")


def test_heights(qgis):
    assert qgis["pipes"]["geometry"].startswith("LineStringZ")


def test_the_geopackage_download(qgis):
    assert qgis["download"]["valid"]
    assert qgis["download"]["read"] == qgis["buildings"]["read"]


@pytest.mark.parametrize("name", PICTURES)
def test_drawn_maps_are_not_blank(qgis, folder, look, name):
    assert qgis["pictures"][name] == {"valid": True, "errors": []}
    pixels = look(folder / f"{name}.png")
    assert pixels.shape[:2] == (500, 500)
    coloured = (pixels[..., :3] < 250).any(axis=-1).mean()
    assert coloured > (0.02 if name == "vector_tiles" else 0.15)


def test_wms_and_wmts_show_the_same(qgis, folder, look):
    one, other = (look(folder / f"{name}.png")[..., :3].astype(float) for name in ("wms", "wmts"))
    assert abs(one - other).mean() < 14
