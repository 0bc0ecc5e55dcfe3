"""COPC -> 3D Tiles: points where PROJ puts them, in tiles whose boxes hold them."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pyproj
import pytest

from pointclouds.cloud.subset import read_points
from pointclouds.copc.reader import CopcFile
from pointclouds.copc.writer import write_copc
from pointclouds.errors import MissingCrsError, OutputError, PointCloudError, QueryError
from pointclouds.tilesets.build import build_point_tileset
from pointclouds.tilesets.subtrees import build_subtrees, subtree_levels


def read_glb(data: bytes) -> tuple[dict, bytes]:
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON"
    start = 20 + size
    binary, kind = struct.unpack_from("<I4s", data, start)
    assert kind == b"BIN\0"
    assert start + 8 + binary == len(data)
    return json.loads(data[20:start]), data[start + 8 :]


def attribute(document: dict, binary: bytes, name: str) -> np.ndarray:
    accessor = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"][name]]
    view = document["bufferViews"][accessor["bufferView"]]
    dtype = {5121: np.uint8, 5123: np.uint16}[accessor["componentType"]]
    rows = np.frombuffer(binary, dtype, view["byteLength"] // np.dtype(dtype).itemsize, view["byteOffset"])
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
    return rows.reshape(accessor["count"], -1)[:, :width]


def earth_positions(folder: Path, glb: Path) -> np.ndarray:
    """Earth-centred positions of a tile, by the rules of glTF and 3D Tiles only."""
    document, binary = read_glb(glb.read_bytes())
    node = document["nodes"][0]
    y_up = attribute(document, binary, "POSITION") * np.array(node["scale"]) + np.array(node["translation"])
    local = np.stack((y_up[:, 0], -y_up[:, 2], y_up[:, 1], np.ones(len(y_up))), axis=1)
    tileset = json.loads((folder / "tileset.json").read_bytes())
    return (local @ np.array(tileset["root"]["transform"]).reshape(4, 4))[:, :3]


def key_of(glb: Path) -> tuple[int, ...]:
    return (*map(int, glb.parts[-4:-1]), int(glb.stem))


def read_subtree(data: bytes) -> tuple[dict, bytes]:
    magic, version, size, binary = struct.unpack_from("<4sIQQ", data)
    assert (magic, version) == (b"subt", 1)
    assert size % 8 == 0
    assert binary % 8 == 0
    assert 24 + size + binary == len(data)
    return json.loads(data[24 : 24 + size]), data[24 + size :]


def bits(document: dict, binary: bytes, availability: dict, size: int) -> np.ndarray:
    if "constant" in availability:
        return np.full(size, availability["constant"], np.uint8)
    view = document["bufferViews"][availability["bitstream"]]
    raw = np.frombuffer(binary, np.uint8, view["byteLength"], view["byteOffset"])
    found = np.unpackbits(raw, bitorder="little")[:size]
    assert found.sum() == availability["availableCount"]
    return found


@pytest.fixture(scope="module")
def tileset(copc, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiles") / "tileset"
    summary = build_point_tileset(copc, folder, colour="class", height_offset=43.0)
    return folder, summary


def test_tiles_equal_the_octree(copc, tileset):
    folder, summary = tileset
    with CopcFile(copc) as source:
        expected = {
            tuple(int(entry[name]) for name in ("level", "x", "y", "z")): int(entry["point_count"])
            for entry in source.entries
        }
    glbs = sorted((folder / "content").rglob("*.glb"))
    found = {}
    for glb in glbs:
        document, binary = read_glb(glb.read_bytes())
        found[key_of(glb)] = len(attribute(document, binary, "POSITION"))
    assert found == expected
    assert summary.feature_count == sum(found.values()) == 60_000
    assert summary.tiles == len(found)
    assert summary.properties()["content"] == "points"


def test_points_are_where_proj_puts_them(copc, tileset):
    folder, _ = tileset
    to_earth = pyproj.Transformer.from_pipeline("+proj=cart +ellps=WGS84")
    to_degrees = pyproj.Transformer.from_crs("EPSG:28992", "EPSG:4979", always_xy=True, allow_ballpark=False)
    with CopcFile(copc) as source:
        for entry in source.entries:
            native = source.coordinates(source.read_node(entry))
            longitude, latitude = to_degrees.transform(native[:, 0], native[:, 1])
            expected = np.stack(to_earth.transform(longitude, latitude, native[:, 2] + 43.0), axis=1)
            key = "/".join(str(int(entry[name])) for name in ("level", "x", "y", "z"))
            positions = earth_positions(folder, folder / "content" / f"{key}.glb")
            # half a quantisation step in each axis, and a millimetre for the quadratic
            step = np.ptp(native, axis=0).max() / 65535
            assert np.abs(positions - expected).max() < step + 0.001


def test_every_tile_box_holds_its_points_and_its_children(tileset):
    folder, summary = tileset
    assert summary.subtrees == 1
    tree = json.loads((folder / "tileset.json").read_bytes())
    implicit = tree["root"]["children"][0]["implicitTiling"]
    levels = implicit["subtreeLevels"]
    assert implicit["availableLevels"] <= levels
    document, binary = read_subtree((folder / "subtrees/0/0/0/0.subtree").read_bytes())
    size = (8**levels - 1) // 7
    tiles = bits(document, binary, document["tileAvailability"], size)
    assert tiles.sum() == summary.tiles
    assert bits(document, binary, document["childSubtreeAvailability"], 8**levels).sum() == 0
    view = document["bufferViews"][document["propertyTables"][0]["properties"]["boundingBox"]["values"]]
    boxes = np.frombuffer(binary, np.float64, view["byteLength"] // 8, view["byteOffset"]).reshape(-1, 12)
    transform = np.array(tree["root"]["transform"]).reshape(4, 4)
    for row, index in enumerate(np.flatnonzero(tiles)):
        level = 0
        while (8 ** (level + 1) - 1) // 7 <= index:
            level += 1
        code = int(index) - (8**level - 1) // 7
        x, y, z = (sum(((code >> (3 * bit + axis)) & 1) << bit for bit in range(level)) for axis in range(3))
        centre, half = boxes[row, :3], boxes[row, [3, 7, 11]]
        below = [
            glb
            for glb in (folder / "content").rglob("*.glb")
            if (key := key_of(glb))[0] >= level
            and tuple(part >> (key[0] - level) for part in key[1:]) == (x, y, z)
        ]
        assert below
        for glb in below:
            local = (earth_positions(folder, glb) - transform[3, :3]) @ transform[:3, :3].T
            assert (np.abs(local - centre) <= half + 0.01).all()
            if level == 0:
                for tile in (tree["root"], tree["root"]["children"][0]):
                    root = np.array(tile["boundingVolume"]["box"])
                    assert (np.abs(local - root[:3]) <= root[[3, 7, 11]] + 0.05).all()


def test_every_file_has_a_gzipped_sibling(tileset):
    folder, summary = tileset
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".gz"]
    assert {path.suffix for path in files} == {".json", ".subtree", ".glb"}
    packed = 0
    for path in files:
        sibling = path.with_name(path.name + ".gz")
        assert gzip.decompress(sibling.read_bytes()) == path.read_bytes()
        packed += sibling.stat().st_size
    assert packed == summary.bytes_gzip < summary.bytes == sum(path.stat().st_size for path in files)


def test_classification_is_metadata_and_errors_halve_with_spacing(copc, tileset):
    folder, summary = tileset
    document, binary = read_glb((folder / "content/0/0/0/0.glb").read_bytes())
    codes = attribute(document, binary, "_CLASSIFICATION")[:, 0]
    with CopcFile(copc) as source:
        assert np.array_equal(codes, source.read_node(source.entries[0])["Classification"])
        spacing = source.info.spacing
    assert document["meshes"][0]["primitives"][0]["extensions"]["EXT_structural_metadata"] == {
        "propertyAttributes": [0]
    }
    assert summary.geometric_error == pytest.approx(4 * spacing, rel=1e-3)
    tree = json.loads((folder / "tileset.json").read_bytes())
    assert tree["asset"]["version"] == "1.1"
    assert tree["root"]["refine"] == "ADD"
    assert (
        tree["root"]["geometricError"]
        > tree["root"]["children"][0]["geometricError"]
        == summary.geometric_error
    )


@pytest.mark.parametrize("colour", ["class", "height", "rgb", "intensity"])
def test_colour_modes(copc, tmp_path, colour):
    summary = build_point_tileset(copc, tmp_path / "t", colour=colour, height_offset=0.0)
    assert summary.colour == colour
    document, binary = read_glb((tmp_path / "t/content/0/0/0/0.glb").read_bytes())
    colours = attribute(document, binary, "COLOR_0").astype(float)
    root = read_points(copc, resolution=1e9)
    distinct = len(np.unique(colours[:, :3], axis=0))
    if colour == "class":
        assert distinct == 2
    else:
        by = {"height": root.z, "rgb": root.columns["Green"], "intensity": root.columns["Intensity"]}[colour]
        assert distinct > 50
        channel = colours[:, 0] + colours[:, 1] if colour == "height" else colours[:, 1]
        assert np.corrcoef(channel, by)[0, 1] > 0.5
    assert set(np.unique(colours[:, 3])) == {65535.0 if colour == "rgb" else 255.0}


def test_rgb_of_eight_bits_in_sixteen_is_not_black(tmp_path, make_scan):
    import laspy

    path = make_scan(tmp_path / "in.las", 500, 2)
    las = laspy.read(path)
    for name in ("red", "green", "blue"):
        las[name] = np.full(500, 255)
    las.write(path)
    write_copc(path, tmp_path / "in.copc.laz")
    build_point_tileset(tmp_path / "in.copc.laz", tmp_path / "t", colour="rgb", height_offset=0.0)
    document, binary = read_glb((tmp_path / "t/content/0/0/0/0.glb").read_bytes())
    assert (attribute(document, binary, "COLOR_0") == 65535).all()


def test_rgb_falls_back_to_class_and_says_so(tmp_path, make_scan):
    write_copc(make_scan(tmp_path / "in.laz", 500, 1), tmp_path / "in.copc.laz")
    assert build_point_tileset(tmp_path / "in.copc.laz", tmp_path / "t", colour="rgb").colour == "class"


def test_a_single_point_is_a_tileset(tmp_path, make_scan):
    write_copc(make_scan(tmp_path / "in.laz", 1), tmp_path / "in.copc.laz")
    summary = build_point_tileset(tmp_path / "in.copc.laz", tmp_path / "t")
    assert (summary.feature_count, summary.tiles) == (1, 1)
    assert np.isfinite(earth_positions(tmp_path / "t", tmp_path / "t/content/0/0/0/0.glb")).all()


def test_a_wide_cloud_is_placed_exactly_too(tmp_path, make_scan):
    """40 km: too large for one quadratic, and its plane leaves the ground by a hundred metres."""
    source = make_scan(tmp_path / "in.laz", 3_000, size=40_000.0, origin=(80_000.0, 430_000.0, 0.0))
    write_copc(source, tmp_path / "in.copc.laz")
    summary = build_point_tileset(tmp_path / "in.copc.laz", tmp_path / "t", height_offset=0.0)
    native = read_points(tmp_path / "in.copc.laz")
    earth = earth_positions(tmp_path / "t", tmp_path / "t/content/0/0/0/0.glb")
    to_degrees = pyproj.Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)
    height = to_degrees.transform(*earth.T)[2]
    assert np.abs(height - native.z).max() < 40_000 / 65535
    assert summary.bbox84[5] > native.z.max()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"colour": "time"}, QueryError, "class, height, rgb, intensity"),
        ({"height_offset": float("nan")}, QueryError, "height offset"),
    ],
)
def test_nonsense_is_refused(copc, tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        build_point_tileset(copc, tmp_path / "t", **arguments)
    assert not (tmp_path / "t").exists()


def test_a_full_folder_and_a_file_without_crs_are_refused(copc, tmp_path, sample_bytes_without_crs):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "keep.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        build_point_tileset(copc, tmp_path / "t")
    assert (tmp_path / "t" / "keep.txt").read_text() == "mine"
    bare = tmp_path / "bare.copc.laz"
    bare.write_bytes(sample_bytes_without_crs)
    with pytest.raises(MissingCrsError):
        build_point_tileset(bare, tmp_path / "u")


@pytest.fixture
def sample_bytes_without_crs(copc) -> bytes:
    return copc.read_bytes().replace(b"LASF_Projection", b"LASF_Nothing\0\0\0", 1)


def test_damaged_points_leave_nothing_behind(copc, tmp_path):
    with CopcFile(copc) as source:
        last = source.entries[-1]
    raw = bytearray(copc.read_bytes())
    place = int(last["offset"])
    raw[place : place + int(last["byte_size"])] = b"\xff" * int(last["byte_size"])
    bad = tmp_path / "bad.copc.laz"
    bad.write_bytes(raw)
    with pytest.raises(PointCloudError):
        build_point_tileset(bad, tmp_path / "t", height_offset=0.0)
    assert not (tmp_path / "t").exists()


def test_a_deep_tree_has_child_subtrees():
    corner, edge = np.zeros(3), np.ones(3)
    tiles = {(level, (1 << level) - 1, 0, 0): (corner, edge) for level in range(8)}
    levels = subtree_levels(8)
    assert [subtree_levels(count) for count in (1, 6, 7)] == [1, 6, 5]
    subtrees = build_subtrees(tiles, {(7, 127, 0, 0)}, levels)
    assert set(subtrees) == {(0, 0, 0, 0), (5, 31, 0, 0)}
    document, binary = read_subtree(subtrees[0, 0, 0, 0])
    children = bits(document, binary, document["childSubtreeAvailability"], 8**5)
    assert np.flatnonzero(children).tolist() == [sum(1 << 3 * bit for bit in range(5))]
    assert document["contentAvailability"] == [{"constant": 0}]
    document, binary = read_subtree(subtrees[5, 31, 0, 0])
    assert document["propertyTables"][0]["count"] == 3
    size = (8**5 - 1) // 7
    assert bits(document, binary, document["tileAvailability"], size).nonzero()[0].tolist() == [
        0,
        2,
        9 + 1 + 8,
    ]
