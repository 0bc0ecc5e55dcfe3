"""The served 3D Tiles, fetched as a viewer would by what tileset.json and the subtrees say is there, then checked."""

import json
import struct
from itertools import product

import numpy as np
import pytest

from server.registry.catalogue import RepresentationKind as Kind
from tiles.three_d.check import check_tileset

pytestmark = pytest.mark.clients

COLLECTIONS = ("buildings", "pipes", "lidar")
SUBTREE, GLTF_CHUNK = struct.Struct("<4sIQQ"), struct.Struct("<I4s")


def morton(*axes, level):
    """The index of a tile in its level: bits of the axes interleaved, x lowest."""
    return sum(
        ((axis >> bit) & 1) << (len(axes) * bit + number)
        for bit in range(level)
        for number, axis in enumerate(axes)
    )


class Viewer:
    """Fetches a tileset into a folder, following it."""

    def __init__(self, http, address, folder):
        self.http, self.address, self.folder = http, address, folder
        self.contents = []
        self.empty = []

    def get(self, path):
        reply = self.http.get(f"{self.address}/{path}", timeout=60)
        assert reply.status_code == 200, f"{reply.status_code} {path}"
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(reply.content)
        return reply.content

    def fetch(self):
        document = json.loads(self.get("tileset.json"))
        self.tile(document["root"])
        return document

    def tile(self, tile):
        if "implicitTiling" in tile:
            self.subtree(tile, 0, (0,) * self.axes(tile))
            return
        if "content" in tile:
            self.contents.append(self.get(tile["content"]["uri"]))
        for child in tile.get("children", []):
            self.tile(child)

    @staticmethod
    def axes(tile):
        return {"QUADTREE": 2, "OCTREE": 3}[tile["implicitTiling"]["subdivisionScheme"]]

    @staticmethod
    def place(template, level, place):
        names = {"level": level, **dict(zip("xyz", place, strict=False))}
        return template.format(**names)

    def subtree(self, tile, top, root):
        """Everything available in the subtree whose root is tile `root` of level `top`, and below it."""
        tiling = tile["implicitTiling"]
        depth, axes = tiling["subtreeLevels"], self.axes(tile)
        content = self.get(self.place(tiling["subtrees"]["uri"], top, root))
        magic, version, json_length, binary_length = SUBTREE.unpack_from(content)
        assert (magic, version) == (b"subt", 1)
        assert len(content) == SUBTREE.size + json_length + binary_length
        document = json.loads(content[SUBTREE.size : SUBTREE.size + json_length])
        binary = content[SUBTREE.size + json_length :]

        def bits(availability, size):
            if "constant" in availability:
                return np.full(size, bool(availability["constant"]))
            view = document["bufferViews"][availability["bitstream"]]
            data = binary[view["byteOffset"] :][: view["byteLength"]]
            return np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[:size].astype(bool)

        branches = 2**axes
        nodes = (branches**depth - 1) // (branches - 1)
        present = bits(document["contentAvailability"][0], nodes)
        assert bits(document["tileAvailability"], nodes)[0]
        for below in range(depth):
            start = (branches**below - 1) // (branches - 1)
            for inside in product(range(2**below), repeat=axes):
                place = tuple((above << below) + one for above, one in zip(root, inside, strict=True))
                path = self.place(tile["content"]["uri"], top + below, place)
                if present[start + morton(*inside, level=below)]:
                    self.contents.append(self.get(path))
                else:
                    self.empty.append(path)
        children = bits(document["childSubtreeAvailability"], branches**depth)
        for inside in product(range(2**depth), repeat=axes):
            if children[morton(*inside, level=depth)]:
                place = tuple((above << depth) + one for above, one in zip(root, inside, strict=True))
                self.subtree(tile, top + depth, place)


@pytest.fixture(scope="module", params=COLLECTIONS)
def fetched(request, helsinki, http, tmp_path_factory):
    """(id of the collection, viewer that has fetched its whole tileset, tileset.json)."""
    address = f"{helsinki}/ogc/collections/{request.param}/3dtiles"
    viewer = Viewer(http, address, tmp_path_factory.mktemp(request.param))
    return request.param, viewer, viewer.fetch()


def documents(viewer):
    """The JSON of each glb."""
    for content in viewer.contents:
        length, kind = GLTF_CHUNK.unpack_from(content, 12)
        assert (content[:4], kind) == (b"glTF", b"JSON")
        yield json.loads(content[20 : 20 + length])


def test_our_checker_finds_nothing(fetched):
    _, viewer, _ = fetched
    assert [str(finding) for finding in check_tileset(viewer.folder)] == []


def test_gltf_validator_finds_no_error(fetched, root, run):
    _, viewer, _ = fetched
    report = json.loads(
        run("node", str(root / "tests" / "clients" / "gltf_validate.mjs"), str(viewer.folder))
    )
    assert report["files"] == len(viewer.contents) > 0
    assert report["errors"] == 0, report["messages"]


def test_every_feature_is_there(fetched, published):
    """As many features (rows of property tables) or points (vertices) as were published."""
    name, viewer, _ = fetched
    stated = published[f"helsinki.{name}"].representations[Kind.TILESET_3D].properties
    if stated["content"] == "points":
        found = sum(
            document["accessors"][primitive["attributes"]["POSITION"]]["count"]
            for document in documents(viewer)
            for mesh in document["meshes"]
            for primitive in mesh["primitives"]
        )
    else:
        found = sum(
            table["count"]
            for document in documents(viewer)
            for table in document["extensions"]["EXT_structural_metadata"]["propertyTables"]
        )
    assert found == stated["feature_count"]


def test_what_is_not_available_is_not_served(fetched, http):
    _, viewer, _ = fetched
    for path in viewer.empty[:5]:
        assert http.get(f"{viewer.address}/{path}", timeout=30).status_code == 404


def test_it_is_where_the_city_is(fetched, published):
    """The root's volume, wherever it is a region or a transformed box, lies over the collection's extent."""
    from pyproj import Transformer

    name, _, document = fetched
    box = published[f"helsinki.{name}"].bbox
    root = document["root"]
    if "region" in root["boundingVolume"]:
        west, south, east, north = np.degrees(root["boundingVolume"]["region"][:4])
        # A quadtree's root is square, so one axis may reach further than the data.
        assert box[0] - 0.01 < west <= box[0] < box[3] <= east < box[3] + 0.01
        assert box[1] - 0.01 < south <= box[1] < box[4] <= north < box[4] + 0.01
    else:
        centre = np.array([*root["boundingVolume"]["box"][:3], 1.0])
        place = np.array(root["transform"]).reshape(4, 4).T @ centre
        x, y, z = Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True).transform(*place[:3])
        assert box[0] < x < box[3]
        assert box[1] < y < box[4]
        assert box[2] - 20 < z < box[5] + 20


def test_tiles_are_sent_compressed(helsinki, http):
    address = f"{helsinki}/ogc/collections/buildings/3dtiles/tileset.json"
    reply = http.get(address, headers={"Accept-Encoding": "gzip"}, timeout=30)
    assert reply.headers.get("Content-Encoding") == "gzip"
    assert reply.json()["asset"]["version"] == "1.1"
    assert http.get(address, headers={"If-None-Match": reply.headers["ETag"]}, timeout=30).status_code == 304
