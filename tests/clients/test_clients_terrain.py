"""The served terrain: layer.json, and every tile it says is there, read as quantized-mesh 1.0 says; CesiumJS and MapLibre on it."""

import math
import struct

import numpy as np
import pytest
import rasterio
from pyproj import Transformer

from server.registry.catalogue import RepresentationKind as Kind
from tiles.terrain import TerrainTiles

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

HEADER = struct.Struct("<3d2f4d3d")
LARGEST = 32767


GRIDS = {"EPSG:4326": "", "EPSG:3857": "/WebMercatorQuad"}


@pytest.fixture(scope="module")
def hills(every_scene):
    """The address of hills between 15 and 45 m, with lakes below 22 m, and their generation's folder."""
    return every_scene.collection("hills")


@pytest.fixture(scope="module", params=GRIDS)
def grid(request):
    return request.param


@pytest.fixture(scope="module")
def address(hills, grid):
    return f"{hills}/terrain{GRIDS[grid]}"


@pytest.fixture(scope="module")
def layer(address, fetch_json):
    return fetch_json(f"{address}/layer.json")


def zigzag_sums(values):
    """u, v or height of each vertex from the coded differences."""
    values = values.astype(np.int64)
    return np.cumsum((values >> 1) ^ -(values & 1))


def high_water(codes):
    """Indices from codes relative to the highest index so far."""
    indices = np.empty(len(codes), np.int64)
    highest = 0
    for number, code in enumerate(codes.tolist()):
        indices[number] = highest - code
        highest += code == 0
    return indices


def read_tile(content):
    """(header, u, v, heights in metres, triangles, indices of the four edges, extensions) of a quantized-mesh tile."""
    header = HEADER.unpack_from(content)
    (count,) = struct.unpack_from("<I", content, HEADER.size)
    offset = HEADER.size + 4
    u, v, height = (
        zigzag_sums(np.frombuffer(content, "<u2", count, offset + 2 * count * part)) for part in range(3)
    )
    offset += 6 * count
    kind = "<u4" if count > 65536 else "<u2"
    size = np.dtype(kind).itemsize
    offset += -offset % size
    (triangles,) = struct.unpack_from("<I", content, offset)
    offset += 4
    indices = high_water(np.frombuffer(content, kind, 3 * triangles, offset))
    offset += 3 * triangles * size
    edges = []
    for _ in range(4):
        (number,) = struct.unpack_from("<I", content, offset)
        edges.append(np.frombuffer(content, kind, number, offset + 4))
        offset += 4 + number * size
    extensions = {}
    while offset < len(content):
        identifier, length = struct.unpack_from("<BI", content, offset)
        extensions[identifier] = content[offset + 5 : offset + 5 + length]
        offset += 5 + length
    assert offset == len(content)
    low, high = header[3:5]
    metres = low + height / LARGEST * (high - low)
    return header, u, v, metres, indices.reshape(-1, 3), edges, extensions


def available(layer, most_in_a_level=24):
    """(z, x, y) of the tiles said to be there; of a large level evenly spread ones."""
    for z, ranges in enumerate(layer["available"]):
        places = [
            (z, x, y)
            for one in ranges
            for x in range(one["startX"], one["endX"] + 1)
            for y in range(one["startY"], one["endY"] + 1)
        ]
        yield from places[:: math.ceil(len(places) / most_in_a_level)]


def test_layer_json(layer, grid):
    assert layer["tilejson"] == "2.1.0"
    assert layer["format"] == "quantized-mesh-1.0"
    assert (layer["scheme"], layer["projection"]) == ("tms", grid)
    roots = 1 if grid == "EPSG:4326" else 0
    assert layer["available"][0] == [{"startX": 0, "startY": 0, "endX": roots, "endY": 0}]
    assert layer["extensions"] == ["octvertexnormals", "watermask", "metadata"]
    assert len(layer["available"]) == layer["maxzoom"] + 1


def check_tile(z, tile):
    header, u, v, metres, triangles, edges, extensions = tile
    for axis in (u, v):
        assert axis.min() == 0
        assert axis.max() == LARGEST
    assert header[3] <= header[4]
    assert -1 < metres.min() <= metres.max() < 50
    assert triangles.min() == 0
    assert triangles.max() == len(u) - 1
    # West, south, east, north: the vertices named lie on that edge, and all that lie there are named.
    for edge, axis, value in zip(edges, (u, v, u, v), (0, 0, LARGEST, LARGEST), strict=True):
        assert sorted(edge.tolist()) == np.flatnonzero(axis == value).tolist()
    # Counter-clockwise seen from above, and together the whole tile.
    x, y = u[triangles].astype(float), v[triangles].astype(float)
    areas = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    assert (areas >= 0).all()
    assert areas.sum() / 2 == pytest.approx(LARGEST**2, rel=1e-6)
    assert len(extensions[1]) == 2 * len(u)
    assert len(extensions[2]) in (1, 256 * 256)
    assert set(extensions[2]) <= set(range(256))


def test_every_available_tile(address, layer, http):
    highest = {}
    for z, x, y in available(layer):
        reply = http.get(f"{address}/{z}/{x}/{y}.terrain", timeout=30)
        assert reply.status_code == 200, (z, x, y)
        assert reply.headers["Content-Type"].startswith("application/vnd.quantized-mesh")
        tile = read_tile(reply.content)
        check_tile(z, tile)
        highest[z] = max(highest.get(z, -math.inf), tile[3].max())
    assert sorted(highest) == list(range(layer["maxzoom"] + 1))
    assert highest[layer["maxzoom"]] > 38


def test_a_tile_outside_is_not_there(address, layer, http):
    z = layer["maxzoom"]
    last = layer["available"][z][-1]
    outside = http.get(f"{address}/{z}/{last['endX'] + 1}/{last['endY'] + 1}.terrain", timeout=30)
    assert outside.status_code == 404


# --- CesiumJS ---------------------------------------------------------------------------------------------------------------

CESIUM_SAMPLES = """async ([url, places]) => {
  const options = { requestVertexNormals: true, requestWaterMask: true, requestMetadata: true };
  const provider = await Cesium.CesiumTerrainProvider.fromUrl(url, options);
  const asked = places.map(([x, y]) => Cesium.Cartographic.fromDegrees(x, y));
  const sampled = await Cesium.sampleTerrainMostDetailed(provider, asked);
  const level = provider.availability.computeMaximumLevelAtPosition(asked[0]);
  const corner = provider.tilingScheme.positionToTileXY(asked[0], level);
  const tile = await provider.requestTileGeometry(corner.x, corner.y, level);
  return { heights: sampled.map((one) => one.height), level, normals: provider.hasVertexNormals, water: provider.hasWaterMask,
    encoded: tile._encodedNormals?.length, vertices: tile._quantizedVertices.length / 3, mask: tile.waterMask?.length };
}"""
CESIUM_GLOBE = """async ([url, longitude, latitude]) => {
  const terrainProvider = await Cesium.CesiumTerrainProvider.fromUrl(url, { requestVertexNormals: true, requestWaterMask: true });
  open3d({ terrainProvider });
  const { globe } = widget.scene;
  globe.baseColor = Cesium.Color.DARKKHAKI;
  globe.enableLighting = true;
  widget.scene.light = new Cesium.DirectionalLight({ direction: Cesium.Cartesian3.normalize(
    Cesium.Matrix4.multiplyByPointAsVector(Cesium.Transforms.eastNorthUpToFixedFrame(
      Cesium.Cartesian3.fromDegrees(longitude, latitude)), new Cesium.Cartesian3(1, 1, -0.4), new Cesium.Cartesian3()),
    new Cesium.Cartesian3()) });
  widget.camera.setView({ destination: Cesium.Cartesian3.fromDegrees(longitude, latitude - 0.01, 900),
    orientation: { heading: 0, pitch: -0.7, roll: 0 } });
  let errors = 0;
  terrainProvider.errorEvent.addEventListener(() => { errors += 1; });
  const loaded = await settled(() => globe.tilesLoaded, 12);
  return { loaded, errors };
}"""


def spread(every_scene, count=60):
    """Places (n, 2) well inside the hills."""
    west, south, east, north = np.array(every_scene.collections["hills"].bbox)[[0, 1, -3, -2]]
    random = np.random.default_rng(4)
    margin = 0.1
    x = west + (east - west) * random.uniform(margin, 1 - margin, count)
    y = south + (north - south) * random.uniform(margin, 1 - margin, count)
    return np.column_stack((x, y))


def truth(every_scene, places):
    """Heights of the raster itself, bilinear between its pixels."""
    collection = every_scene.collections["hills"]
    with rasterio.open(collection.path_of(Kind.COVERAGE)) as file:
        to_raster = Transformer.from_crs("EPSG:4326", file.crs, always_xy=True)
        columns, rows = ~file.transform @ np.array(to_raster.transform(*places.T))
        values = file.read(1).astype(float)
    columns, rows = columns - 0.5, rows - 0.5
    x, y = np.floor(columns).astype(int), np.floor(rows).astype(int)
    a, b = columns - x, rows - y
    upper = values[y, x] * (1 - a) + values[y, x + 1] * a
    lower = values[y + 1, x] * (1 - a) + values[y + 1, x + 1] * a
    return upper * (1 - b) + lower * b


def test_cesium_samples_the_heights_of_the_model(cesium, every_scene, hills, grid):
    places = spread(every_scene)
    seen = cesium.page.evaluate(CESIUM_SAMPLES, [f"{hills}/terrain{GRIDS[grid]}", places.tolist()])
    assert (seen["normals"], seen["water"]) == (True, True)
    assert seen["encoded"] == 2 * seen["vertices"]
    assert seen["mask"] in (1, 256 * 256)
    terrain = TerrainTiles.open(every_scene.collections["hills"].path_of(Kind.TERRAIN).parent)
    heights = np.array(seen["heights"])
    if grid == "EPSG:4326":
        assert seen["level"] == terrain.recipe.deepest
        assert heights == pytest.approx(terrain.mesh_heights(places), abs=0.05)
    # The drawn ground keeps within its bound of the model at the samples; between them this model bends by centimetres.
    assert heights == pytest.approx(truth(every_scene, places), abs=terrain.largest_difference + 0.35)
    assert cesium.problems == []


def test_cesium_draws_hills_and_lakes(cesium, every_scene, hills, grid):
    middle = spread(every_scene).mean(axis=0)
    seen = cesium.page.evaluate(CESIUM_GLOBE, [f"{hills}/terrain{GRIDS[grid]}", *middle.tolist()])
    assert seen == {"loaded": True, "errors": 0}
    picture = cesium.picture().astype(int)
    # The ground is khaki, water is not; and slopes are lit by the normals of their vertices.
    lakes = picture[..., 2] > 0.65 * picture[..., 0]
    assert 0.005 < lakes.mean() < 0.3
    darkest, brightest = np.percentile(picture.sum(axis=2)[~lakes], (5, 95))
    assert brightest - darkest > 15
    assert cesium.problems == []


# --- MapLibre ---------------------------------------------------------------------------------------------------------------

MAPLIBRE = """async ([base, source, places]) => {
  document.body.innerHTML = '<div id="globe" style="width:400px;height:300px"></div>';
  const { Map } = await import(base);
  const map = new Map({ container: 'globe', center: places[0], zoom: 14, pitch: 50, fadeDuration: 0,
    style: { version: 8, sources: { ground: { type: 'raster-dem', url: source }, again: { type: 'raster-dem', url: source } }, terrain: { source: 'ground', exaggeration: 1 },
      layers: [{ id: 'back', type: 'background', paint: { 'background-color': '#cde' } },
               { id: 'shade', type: 'hillshade', source: 'again' }] } });
  const errors = [];
  map.on('error', (event) => errors.push(String(event.error)));
  await new Promise((resolve) => map.once('idle', resolve));
  const heights = [];
  for (const place of places) {
    map.jumpTo({ center: place, zoom: 15 });
    await new Promise((resolve) => { map.once('idle', resolve); map.triggerRepaint(); });
    heights.push(map.queryTerrainElevation(place));
  }
  map.remove();
  return { heights, errors };
}"""


@pytest.mark.parametrize("query", ["", "/terrarium?size=512", "/mapbox?format=png"])
def test_maplibre_knows_the_heights(cesium, every_scene, http, hills, query):
    page = http.get(f"{every_scene.address}/t/scene/", timeout=60).text
    styles = page.partition("/vendor/maplibre-gl@")[2].partition("/dist/")[0]
    base = f"{every_scene.address}/vendor/maplibre-gl@{styles}/dist/maplibre-gl.mjs"
    places = spread(every_scene, 5)
    seen = cesium.page.evaluate(MAPLIBRE, [base, f"{hills}/terrain-rgb{query}", places.tolist()])
    assert seen["errors"] == []
    # Steps of 0.1 m (mapbox), pixels of 5 m, and MapLibre's own interpolation.
    assert np.array(seen["heights"]) == pytest.approx(truth(every_scene, places), abs=0.6)
    assert cesium.problems == []
