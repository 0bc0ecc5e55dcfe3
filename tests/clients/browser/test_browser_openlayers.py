"""OpenLayers on WMTS (options from the capabilities), WMS with a style and a time, and tiles by z/x/y."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

EDGE = 400
PAGE = """<!doctype html><body style="margin:0;background:#fff"><div id="map" style="width:{edge}px;height:{edge}px"></div>
<script src="/ol.js"></script><script>
async function layer() {{ {layer} }}
layer().then((made) => {{
  const view = new ol.View({{center: ol.proj.fromLonLat([116.4005, 39.9105]), zoom: 15}});
  const map = new ol.Map({{target: "map", layers: [made], view, controls: []}});
  map.on("rendercomplete", () => {{ window.done = true; }});
}}).catch((error) => console.error(String(error)));</script>"""
WMTS = """
  const text = await (await fetch("{maps}/wmts/1.0.0/WMTSCapabilities.xml")).text();
  const found = new ol.format.WMTSCapabilities().read(text);
  const options = ol.source.WMTS.optionsFromCapabilities(
    found, {{layer: "blocks", matrixSet: "WebMercatorQuad", style: "polygon", requestEncoding: "{encoding}"}});
  return new ol.layer.Tile({{source: new ol.source.WMTS(options)}});"""
WMS = """
  const text = await (await fetch("{maps}/service?SERVICE=WMS&REQUEST=GetCapabilities")).text();
  const found = new ol.format.WMSCapabilities().read(text);
  const names = found.Capability.Layer.Layer.map((one) => one.Name);
  const params = {{LAYERS: names[0], STYLES: "polygon"{more}}};
  return new ol.layer.{kind}({{source: new ol.source.{source}({{url: "{maps}/service", params}})}});"""
XYZ = """
  return new ol.layer.Tile({{source: new ol.source.XYZ({{url: "{maps}/xyz/blocks/WebMercatorQuad/{{z}}/{{x}}/{{y}}.png"}})}});"""


def drawn(browser: Browser, root: Path, served: str, layer: str) -> np.ndarray:
    """The picture of a layer; nothing went wrong on the way."""
    page: Page = browser.new_page(viewport={"width": EDGE, "height": EDGE})
    problems: list[str] = []
    page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("response", lambda r: problems.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    body = PAGE.format(edge=EDGE, layer=layer)
    script = (root / "node_modules" / "ol" / "dist" / "ol.js").read_text(encoding="utf-8")
    page.route("**/blank", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.route("**/ol.js", lambda route: route.fulfill(body=script, content_type="text/javascript"))
    page.goto(f"{served}/blank")
    page.wait_for_function("() => window.done", timeout=120_000)
    picture = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
    page.close()
    assert problems == []
    return picture


@pytest.fixture(scope="module")
def reference(browser: Browser, root: Path, block: str) -> np.ndarray:
    """The layer by WMS in one image."""
    layer = WMS.format(maps=f"{block}/t/beijing/maps", more="", kind="Image", source="ImageWMS")
    return drawn(browser, root, block, layer)


def test_wms_draws_the_layer(reference: np.ndarray) -> None:
    inked = (reference < 245).any(axis=-1)
    assert inked[EDGE // 2 - 4 : EDGE // 2 + 4, EDGE // 2 - 4 : EDGE // 2 + 4].all(), (
        "a building in the middle"
    )
    assert not inked[:20, :20].any()


@pytest.mark.parametrize("encoding", ["REST", "KVP"])
def test_wmts_from_its_capabilities(
    browser: Browser, root: Path, block: str, reference: np.ndarray, encoding: str
) -> None:
    layer = WMTS.format(maps=f"{block}/t/beijing/maps", encoding=encoding)
    picture = drawn(browser, root, block, layer)
    assert (np.abs(picture - reference) > 60).any(axis=-1).mean() < 0.01


def test_tiles_by_number(browser: Browser, root: Path, block: str, reference: np.ndarray) -> None:
    picture = drawn(browser, root, block, XYZ.format(maps=f"{block}/t/beijing/maps"))
    assert (np.abs(picture - reference) > 60).any(axis=-1).mean() < 0.01


def test_tiled_wms_at_a_time(browser: Browser, root: Path, block: str, reference: np.ndarray) -> None:
    maps = f"{block}/t/beijing/maps"
    layer = WMS.format(maps=maps, more=', TIME: "2001"', kind="Tile", source="TileWMS")
    picture = drawn(browser, root, block, layer)
    assert (picture < 245).any(axis=-1).sum() < (reference < 245).any(axis=-1).sum()
