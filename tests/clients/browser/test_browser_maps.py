"""OpenLayers, MapLibre and Cesium on maps of a raster, of cascades and of a time series; compared with what is really there.

OpenLayers reads our tileset documents, capabilities and OGC API - Maps itself, in web Mercator and in CGCS2000.
"""

from __future__ import annotations

import io
import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

EDGE = 400
MERCATOR, CGCS2000 = "EPSG:3857", "EPSG:4490"
DAY = "2024-05-01"

OPENLAYERS = """<!doctype html><body style="margin:0;background:#fff"><div id="map" style="width:{edge}px;height:{edge}px"></div>
<script src="/ol.js"></script><script>
const cgcs2000 = new ol.proj.Projection({{code: "EPSG:4490", units: "degrees", axisOrientation: "neu", global: true,
  extent: [-180, -90, 180, 90], worldExtent: [-180, -90, 180, 90]}});
cgcs2000.getMetersPerUnit = () => ol.proj.get("EPSG:4326").getMetersPerUnit();
ol.proj.addProjection(cgcs2000);
ol.proj.addEquivalentProjections([ol.proj.get("EPSG:4326"), cgcs2000]);
async function layer() {{ {layer} }}
layer().then((made) => {{
  const view = new ol.View({{projection: "{crs}", center: {center}, resolution: {resolution}, constrainResolution: false}});
  const map = new ol.Map({{target: "map", layers: [made], view, controls: [], pixelRatio: 1}});
  map.on("rendercomplete", () => {{
    const source = made.getSource();
    if (!source || source.getState() === "ready") window.done = true;
  }});
}}).catch((error) => console.error(String(error)));</script>"""
MAP_TILES = """
  return new ol.layer.Tile({{source: new ol.source.OGCMapTile({{
    url: "{collection}/map/tiles/{grid}?f=json", mediaType: "image/png", projection: {projection} }})}});"""
MAP = """
  return new ol.layer.Image({{source: new ol.source.OGCMap({{
    url: "{collection}/map", params: {{f: "png", transparent: true {more} }}, ratio: 1}})}});"""
WMS = """
  const params = {{LAYERS: "{name}", STYLES: "", TRANSPARENT: true {more} }};
  return new ol.layer.{layer}({{source: new ol.source.{source}({{url: "{maps}/service", params, ratio: 1, gutter: 0}})}});"""
WMTS = """
  const text = await (await fetch("{maps}/wmts/1.0.0/WMTSCapabilities.xml")).text();
  const options = ol.source.WMTS.optionsFromCapabilities(new ol.format.WMTSCapabilities().read(text),
    {{layer: "{name}", matrixSet: "{grid}", requestEncoding: "{encoding}"}});
  {more}
  return new ol.layer.Tile({{source: new ol.source.WMTS(options)}});"""
VECTOR = """
  const style = new ol.style.Style({{fill: new ol.style.Fill({{color: "rgb(200, 30, 30)"}})}});
  return new ol.layer.VectorTile({{style, source: new ol.source.OGCVectorTile({{
    url: "{collection}/tiles/{grid}?f=json", format: new ol.format.MVT(), projection: {projection} }})}});"""

MAPLIBRE = """<!doctype html><link rel="stylesheet" href="/vendor/maplibre-gl/dist/maplibre-gl.css">
<body style="margin:0"><div id="map" style="width:{edge}px;height:{edge}px"></div><script type="module">
import * as maplibregl from "/vendor/maplibre-gl/dist/maplibre-gl.mjs";
window.map = new maplibregl.Map({{container: "map", bounds: {bounds}, fadeDuration: 0, attributionControl: false, style: {style} }});
map.on("idle", () => {{ window.done = true; }});</script>"""

CESIUM = """<!doctype html>
<style>body {{ margin: 0 }} #map, #map .cesium-widget, #map canvas {{ width: {edge}px; height: {edge}px }}</style>
<div id="map"></div><div id="credits" hidden></div>
<script>window.CESIUM_BASE_URL = "/vendor/cesium/Build/Cesium/";</script><script type="module">
import * as Cesium from "/vendor/cesium/Build/Cesium/index.js";
window.Cesium = Cesium;
(async () => {{
  const provider = {provider};
  window.widget = new Cesium.CesiumWidget("map", {{sceneMode: Cesium.SceneMode.SCENE2D, baseLayer: new Cesium.ImageryLayer(provider),
    skyBox: false, skyAtmosphere: false, creditContainer: "credits", mapProjection: new Cesium.GeographicProjection()}});
  const scene = widget.scene;
  scene.globe.baseColor = Cesium.Color.WHITE; scene.backgroundColor = Cesium.Color.WHITE; scene.globe.maximumScreenSpaceError = 1;
  scene.camera.setView({{destination: Cesium.Rectangle.fromDegrees({box})}});
  let calm = 0;
  scene.postRender.addEventListener(() => {{ calm = scene.globe.tilesLoaded ? calm + 1 : 0; if (calm > 20) window.done = true; }});
}})().catch((error) => console.error(String(error)));</script>"""


@pytest.fixture(scope="module")
def city(every_map: Any) -> Any:
    return every_map


type Show = Callable[..., tuple[np.ndarray, Any]]


@pytest.fixture
def show(browser: Browser, root: Path, city: Any, request: pytest.FixtureRequest) -> Iterator[Show]:
    """`show(html, script)`: the picture of a page of the city's own origin and what a script of it gives; nothing went wrong.

    Kept in CHENGTU_PICTURES too where that is set, to be looked at.
    """
    page = browser.new_page(viewport={"width": EDGE, "height": EDGE})
    problems: list[str] = []
    page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("response", lambda r: problems.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    here = (city.address, "data:", "blob:")
    page.on("request", lambda r: problems.append(r.url) if not r.url.startswith(here) else None)
    library = root / "node_modules" / "ol" / "dist" / "ol.js"
    page.route("**/ol.js", lambda route: route.fulfill(path=library, content_type="text/javascript"))

    def shown(html: str, script: str = "null") -> tuple[np.ndarray, Any]:
        page.route("**/blank", lambda route: route.fulfill(body=html, content_type="text/html"))
        page.goto(f"{city.address}/blank")
        page.wait_for_function("() => window.done || false", timeout=120_000)
        taken, told = page.screenshot(), page.evaluate(script)
        keep = os.environ.get("CHENGTU_PICTURES")
        if keep:
            name = "".join(one if one.isalnum() else "-" for one in request.node.name)
            (Path(keep) / f"browser-{name}.png").write_bytes(taken)
        assert problems == []
        return np.asarray(Image.open(io.BytesIO(taken)).convert("RGB")), told

    yield shown
    page.close()


def square(city: Any, crs: str) -> tuple[tuple[float, float], float, tuple[float, float, float, float]]:
    """Centre, resolution and box of a square view of the image with something around it."""
    west, south, east, north = city.photo.bounds(crs, -100)
    half = max(east - west, north - south) / 2
    x, y = (west + east) / 2, (south + north) / 2
    return (x, y), 2 * half / EDGE, (x - half, y - half, x + half, y + half)


def by_openlayers(
    show: Show, city: Any, layer: str, crs: str = MERCATOR
) -> tuple[np.ndarray, tuple[float, ...]]:
    center, resolution, box = square(city, crs)
    html = OPENLAYERS.format(edge=EDGE, layer=layer, crs=crs, center=list(center), resolution=resolution)
    return show(html)[0], box


LAYERS = ("photo", "far-wms", "far-wmts", "far-xyz")


@pytest.mark.parametrize("name", LAYERS)
def test_openlayers_reads_our_map_tilesets(show: Show, city: Any, name: str) -> None:
    layer = MAP_TILES.format(collection=city.collection(name), grid="WebMercatorQuad", projection="undefined")
    picture, box = by_openlayers(show, city, layer)
    assert city.photo.wrong(picture, box, MERCATOR, 12) < 0.03


@pytest.mark.parametrize(("grid", "crs"), [("CGCS2000Quad", CGCS2000), ("WorldCRS84Quad", "EPSG:4326")])
def test_openlayers_reads_our_map_tilesets_in_degrees(show: Show, city: Any, grid: str, crs: str) -> None:
    layer = MAP_TILES.format(collection=city.collection("photo"), grid=grid, projection=f'"{crs}"')
    picture, box = by_openlayers(show, city, layer, crs)
    assert city.photo.wrong(picture, box, crs, 12) < 0.03


@pytest.mark.parametrize("crs", [MERCATOR, CGCS2000])
@pytest.mark.parametrize("kind", ["Image", "Tile"])
def test_openlayers_wms(show: Show, city: Any, kind: str, crs: str) -> None:
    source = {"Image": "ImageWMS", "Tile": "TileWMS"}[kind]
    layer = WMS.format(name="photo", maps=city.maps, layer=kind, source=source, more="")
    picture, box = by_openlayers(show, city, layer, crs)
    assert city.photo.wrong(picture, box, crs, 12) < 0.03


@pytest.mark.parametrize("kind", ["wms", "wmts", "ogc"])
def test_openlayers_shows_a_day_of_a_series(show: Show, city: Any, kind: str) -> None:
    layer = {
        "wms": WMS.format(
            name="series", maps=city.maps, layer="Image", source="ImageWMS", more=f', TIME: "{DAY}"'
        ),
        "wmts": WMTS.format(
            name="series",
            maps=city.maps,
            grid="WebMercatorQuad",
            encoding="REST",
            more=f'options.dimensions.Time = "{DAY}T00:00:00Z";',
        ),
        "ogc": MAP.format(collection=city.collection("series"), more=f', datetime: "{DAY}"'),
    }[kind]
    picture, box = by_openlayers(show, city, layer)
    assert city.series[DAY].wrong(picture, box, MERCATOR, 12) < 0.03


@pytest.mark.parametrize("crs", [MERCATOR, CGCS2000])
def test_openlayers_asks_maps_of_ogc(show: Show, city: Any, crs: str) -> None:
    picture, box = by_openlayers(show, city, MAP.format(collection=city.collection("photo"), more=""), crs)
    assert city.photo.wrong(picture, box, crs, 12) < 0.03


@pytest.mark.parametrize(
    ("grid", "crs", "encoding"),
    [
        ("WebMercatorQuad", MERCATOR, "REST"),
        ("CGCS2000Quad", CGCS2000, "REST"),
        ("CGCS2000Quad", CGCS2000, "KVP"),
    ],
)
def test_openlayers_wmts(show: Show, city: Any, grid: str, crs: str, encoding: str) -> None:
    layer = WMTS.format(name="photo", maps=city.maps, grid=grid, encoding=encoding, more="")
    picture, box = by_openlayers(show, city, layer, crs)
    assert city.photo.wrong(picture, box, crs, 12) < 0.03


@pytest.mark.parametrize(("grid", "crs"), [("WebMercatorQuad", MERCATOR), ("CGCS2000Quad", CGCS2000)])
def test_openlayers_reads_our_vector_tilesets(show: Show, city: Any, grid: str, crs: str) -> None:
    """The blocks, filled, at their places."""
    projection = "undefined" if crs == MERCATOR else f'"{crs}"'
    layer = VECTOR.format(collection=city.collection("blocks"), grid=grid, projection=projection)
    picture, (west, south, east, north) = by_openlayers(show, city, layer, crs)
    red = (abs(picture.astype(int) - (200, 30, 30)) < 40).all(axis=-1)
    with urllib.request.urlopen(f"{city.collection('blocks')}/items?f=json") as answer:
        rings = [np.array(one["geometry"]["coordinates"][0]) for one in json.load(answer)["features"]]
    x = west + (np.arange(EDGE) + 0.5) * (east - west) / EDGE
    y = north - (np.arange(EDGE) + 0.5) * (north - south) / EDGE
    expected = np.zeros((EDGE, EDGE), bool)
    for ring in rings:  # squares along the meridians
        (left, low), (right, high) = ring.min(axis=0)[:2], ring.max(axis=0)[:2]
        if crs == MERCATOR:
            (left, low), (right, high) = mercator(left, low), mercator(right, high)
        expected |= np.outer((y > low) & (y < high), (x > left) & (x < right))
    assert expected.mean() > 0.001
    # Tiles of this level have a cell of half a metre: pixels at the outlines may fall on either side.
    assert (red != expected).mean() < 0.25 * expected.mean()


@pytest.mark.parametrize("name", ["photo", "far-wms", "far-wmts", "far-xyz"])
def test_maplibre_draws_raster_tiles(show: Show, city: Any, name: str) -> None:
    """By the style document of the collection: a raster source of our map tiles."""
    style = "ortho" if name == "photo" else "default"
    west, south, east, north = city.photo.bounds("OGC:CRS84", -100)
    address = f'"{city.collection(name)}/styles/{style}?f=mapbox"'
    html = MAPLIBRE.format(edge=EDGE, bounds=[[west, south], [east, north]], style=address)
    corners = f"[map.unproject([0, {EDGE}]), map.unproject([{EDGE}, 0])].flatMap((c) => [c.lng, c.lat])"
    picture, told = show(html, corners)
    low_x, low_y = mercator(told[0], told[1])
    high_x, high_y = mercator(told[2], told[3])
    assert city.photo.wrong(picture, (low_x, low_y, high_x, high_y), MERCATOR, 14) < 0.03


def mercator(longitude: float, latitude: float) -> tuple[float, float]:
    """Metres of web Mercator."""
    radius = 6378137.0
    return radius * np.radians(longitude), radius * np.log(np.tan(np.pi / 4 + np.radians(latitude) / 2))


PROVIDERS = {
    "wmts": """new Cesium.WebMapTileServiceImageryProvider({{url: "{maps}/wmts", layer: "{name}", style: "{style}", format: "image/png",
      tileMatrixSetID: "WebMercatorQuad", maximumLevel: 18, tilingScheme: new Cesium.WebMercatorTilingScheme()}})""",
    "wmts-rest": """new Cesium.WebMapTileServiceImageryProvider({{layer: "{name}", style: "{style}", format: "image/png",
      url: "{maps}/wmts/1.0.0/{name}/{{Style}}/{{TileMatrixSet}}/{{TileMatrix}}/{{TileRow}}/{{TileCol}}.png",
      tileMatrixSetID: "WebMercatorQuad", maximumLevel: 18, tilingScheme: new Cesium.WebMercatorTilingScheme()}})""",
    "wms": """new Cesium.WebMapServiceImageryProvider({{url: "{maps}/service", layers: "{name}",
      parameters: {{transparent: true, format: "image/png"}}, enablePickFeatures: false}})""",
    "tms": """new Cesium.UrlTemplateImageryProvider({{maximumLevel: 18,
      url: "{maps}/tms/1.0.0/{name}/WebMercatorQuad/{{z}}/{{x}}/{{reverseY}}.png"}})""",
    "xyz": """new Cesium.UrlTemplateImageryProvider({{maximumLevel: 18,
      url: "{maps}/xyz/{name}/WebMercatorQuad/{{z}}/{{x}}/{{y}}.png"}})""",
}


@pytest.mark.parametrize("kind", list(PROVIDERS))
def test_cesium_drapes_the_image(show: Show, city: Any, kind: str) -> None:
    provider = PROVIDERS[kind].format(maps=city.maps, name="photo", style="ortho")
    _, _, box = square(city, "EPSG:4326")
    html = CESIUM.format(edge=EDGE, provider=provider, box=",".join(map(str, box)))
    corners = f"""[[0.5, {EDGE - 0.5}], [{EDGE - 0.5}, 0.5]].flatMap(([x, y]) => {{
      const place = widget.scene.camera.pickEllipsoid(new Cesium.Cartesian2(x, y));
      const at = Cesium.Cartographic.fromCartesian(place);
      return [Cesium.Math.toDegrees(at.longitude), Cesium.Math.toDegrees(at.latitude)];
    }})"""
    picture, told = show(html, corners)
    half_x, half_y = (told[2] - told[0]) / (EDGE - 1) / 2, (told[3] - told[1]) / (EDGE - 1) / 2
    seen = (told[0] - half_x, told[1] - half_y, told[2] + half_x, told[3] + half_y)
    assert city.photo.wrong(picture, seen, "EPSG:4326", 16) < 0.04
