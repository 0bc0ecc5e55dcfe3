"""MapLibre draws the style of a collection as our maps do: tiles, glyphs and icons of this server, Chinese labels included."""

from __future__ import annotations

import io
import json
import urllib.request

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

EDGE = 500
PAGE = """<!doctype html><link rel="stylesheet" href="/vendor/maplibre-gl/dist/maplibre-gl.css">
<body style="margin:0"><div id="map" style="width:{edge}px;height:{edge}px"></div><script type="module">
import * as maplibregl from "/vendor/maplibre-gl/dist/maplibre-gl.mjs";
window.map = new maplibregl.Map({{container: "map", style: "{style}", bounds: {bounds}, fitBoundsOptions: {{padding: 40}},
  fadeDuration: 0, attributionControl: false, localIdeographFontFamily: false}});
map.on("idle", () => {{ window.done = true; }});</script>"""


def test_maplibre_draws_a_collection_as_its_map(browser: Browser, block: str) -> None:
    collection = f"{block}/t/beijing/ogc/collections/blocks"
    with urllib.request.urlopen(f"{collection}/items?f=json&limit=1") as answer:
        ring = np.array(json.load(answer)["features"][0]["geometry"]["coordinates"][0])
    west, south, east, north = (*ring.min(axis=0)[:2].tolist(), *ring.max(axis=0)[:2].tolist())
    style = f"{collection}/styles/polygon?f=mapbox"
    page = browser.new_page(viewport={"width": EDGE, "height": EDGE})
    problems: list[str] = []
    asked: list[str] = []
    page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "response",
        lambda r: problems.append(f"{r.status} {r.url}") if r.status >= 400 else asked.append(r.url),
    )
    body = PAGE.format(edge=EDGE, style=style, bounds=[[west, south], [east, north]])
    page.route("**/blank", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.goto(f"{block}/blank")
    page.wait_for_function("() => window.done", timeout=120_000)
    drawn = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
    corners = page.evaluate(
        f"() => [map.unproject([0, {EDGE}]), map.unproject([{EDGE}, 0])].flatMap(c => [c.lng, c.lat])"
    )
    page.close()
    assert problems == []
    assert any("/tiles/WebMercatorQuad/" in url for url in asked)
    assert any("/fonts/Chengtu%20Sans/19968-20223.pbf" in url for url in asked)
    box = ",".join(map(str, corners))
    crs = "http://www.opengis.net/def/crs/EPSG/0/3857"
    url = f"{collection}/styles/polygon/map?f=png&width={EDGE}&height={EDGE}&bbox={box}&crs={crs}&bgcolor=0xFFFFFF&transparent=false"
    with urllib.request.urlopen(url) as answer:
        ours = np.asarray(Image.open(io.BytesIO(answer.read())).convert("RGB")).astype(int)
    assert (drawn != 255).any(axis=-1).mean() > 0.05
    assert (np.abs(drawn - ours) > 48).any(axis=-1).mean() < 0.03
