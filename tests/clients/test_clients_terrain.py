"""The served terrain: layer.json, and every tile it says is there, read as quantized-mesh 1.0 says."""

import math
import struct

import numpy as np
import pytest

pytestmark = pytest.mark.clients

HEADER = struct.Struct("<3d2f4d3d")
LARGEST = 32767


@pytest.fixture(scope="module")
def address(helsinki):
    return f"{helsinki}/ogc/collections/terrain/terrain"


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


def available(layer, most_in_a_level=64):
    """(z, x, y) of the tiles said to be there; of a large level evenly spread ones."""
    for z, ranges in enumerate(layer["available"]):
        places = [
            (z, x, y)
            for one in ranges
            for x in range(one["startX"], one["endX"] + 1)
            for y in range(one["startY"], one["endY"] + 1)
        ]
        yield from places[:: math.ceil(len(places) / most_in_a_level)]


def test_layer_json(layer):
    assert layer["tilejson"] == "2.1.0"
    assert layer["format"] == "quantized-mesh-1.0"
    assert (layer["scheme"], layer["projection"]) == ("tms", "EPSG:4326")
    assert layer["available"][0] == [{"startX": 0, "startY": 0, "endX": 1, "endY": 0}]
    assert len(layer["available"]) == layer["maxzoom"] + 1


def check_tile(z, tile):
    header, u, v, metres, triangles, edges, extensions = tile
    for axis in (u, v):
        assert axis.min() == 0
        assert axis.max() == LARGEST
    assert header[3] <= header[4]
    assert -20 < metres.min() <= metres.max() < 100
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
    # The hills are in the finest level: simulated ground above the sea, plus the geoid.
    assert highest[layer["maxzoom"]] > 20


def test_a_tile_outside_is_not_there(address, layer, http):
    z = layer["maxzoom"]
    last = layer["available"][z][-1]
    outside = http.get(f"{address}/{z}/{last['endX'] + 1}/{last['endY'] + 1}.terrain", timeout=30)
    assert outside.status_code == 404
