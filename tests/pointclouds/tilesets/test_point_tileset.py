"""Tilesets of points made of a COPC: points where PROJ puts them, in tiles whose boxes hold them."""

import json
import struct

import laspy
import numpy as np
import pyproj
import pytest

from pointclouds.cloud.cloud import open_cloud
from pointclouds.copc.writer import write_copc
from pointclouds.errors import (
    InvalidCopcError,
    MissingCrsError,
    OutputError,
    PointCloudError,
    QueryError,
)
from pointclouds.tilesets.attributes import attributes_of
from pointclouds.tilesets.local_frame import LocalFrame
from pointclouds.tilesets.octree import Address, Level, Octree, cells_of, morton
from pointclouds.tilesets.plan import PLAN_FILE, read_point_plan, write_point_plan
from pointclouds.tilesets.subtrees import subtree_file, subtree_levels
from pointclouds.tilesets.tileset import Look, PointTileset

LOOK = Look("class", ("Classification",))


def opened(path, out_dir, colour="class", height_offset=0.0):
    """A tileset and what its plan says."""
    cloud = open_cloud(path)
    summary = write_point_plan(cloud, out_dir, colour, height_offset)
    return PointTileset(cloud, read_point_plan(out_dir / PLAN_FILE)), summary


def read_glb(data):
    size = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + size]), data[28 + size :]


def attribute(document, binary, name):
    accessor = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"][name]]
    view = document["bufferViews"][accessor["bufferView"]]
    dtype = np.dtype({5121: np.uint8, 5123: np.uint16, 5126: np.float32}[accessor["componentType"]])
    rows = np.frombuffer(binary, dtype, view["byteLength"] // dtype.itemsize, view["byteOffset"])
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
    return rows.reshape(accessor["count"], -1)[:, :width]


def local_positions(data):
    """Positions of a tile in the tileset's frame, by the rules of glTF and 3D Tiles only."""
    document, binary = read_glb(data)
    node = document["nodes"][0]
    y_up = attribute(document, binary, "POSITION").astype(np.float64) * node.get("scale", 1)
    y_up += np.array(node["translation"])
    return np.stack((y_up[:, 0], -y_up[:, 2], y_up[:, 1]), axis=1)


def addresses(tileset):
    for entry in tileset.cloud.file(tileset.cloud.tiles[0]).entries:
        yield Address(*(int(entry[name]) for name in ("level", "x", "y", "z"))), entry


def test_points_are_where_proj_puts_them_and_boxes_hold_them(copc, tmp_path):
    tileset, summary = opened(copc, tmp_path, height_offset=43.0)
    assert summary.feature_count == 60_000
    assert summary.properties()["store"] == "points"
    (tile,) = tileset.cloud.tiles
    file, octree = tileset.cloud.file(tile), tileset.octree(tile)
    transform = np.array(tileset.plan.transform).reshape(4, 4)
    to_earth = pyproj.Transformer.from_pipeline("+proj=cart +ellps=WGS84")
    to_degrees = pyproj.Transformer.from_crs("EPSG:28992", "EPSG:4979", always_xy=True, allow_ballpark=False)
    count = 0
    for address, entry in addresses(tileset):
        native = file.coordinates(file.read_node(entry))
        longitude, latitude = to_degrees.transform(native[:, 0], native[:, 1])
        expected = np.stack(to_earth.transform(longitude, latitude, native[:, 2] + 43.0), axis=1)
        local = local_positions(tileset.content(tile, address, LOOK, None))
        earth = np.column_stack((local, np.ones(len(local)))) @ transform
        assert np.abs(earth[:, :3] - expected).max() < 0.002
        level = octree.levels[address.level]
        place = np.flatnonzero((cells_of(level.codes) == address[1:]).all(axis=1))[0]
        assert (local >= level.low[place] - 0.001).all()
        assert (local <= level.high[place] + 0.001).all()
        assert (level.low[place] >= octree.cube[0] - 0.05).all()
        count += len(local)
    assert count == 60_000


@pytest.mark.parametrize("size", [3_000.0, 100_000.0])
def test_a_wide_cloud_keeps_its_millimetres(tmp_path, make_scan, size):
    """Too large for one quadratic and for 16 bits; its plane leaves the ground by hundreds of metres."""
    source = make_scan(tmp_path / "in.laz", 60_000, size=size, origin=(80_000.0, 420_000.0, 0.0))
    write_copc(source, tmp_path / "in.copc.laz")
    tileset, summary = opened(tmp_path / "in.copc.laz", tmp_path / "t")
    (tile,) = tileset.cloud.tiles
    file, octree = tileset.cloud.file(tile), tileset.octree(tile)
    worst = 0.0
    for address, entry in addresses(tileset):
        native = file.coordinates(file.read_node(entry))
        local = local_positions(tileset.content(tile, address, LOOK, None))
        worst = max(worst, float(np.abs(local - tileset.frame.exact(native)).max()))
        level = octree.levels[address.level]
        place = np.flatnonzero((cells_of(level.codes) == address[1:]).all(axis=1))[0]
        assert (local >= level.low[place] - 0.004).all()
        assert (local <= level.high[place] + 0.004).all()
    assert worst < 0.005
    assert summary.bbox84[5] > float(tileset.cloud.box[5])


def test_boxes_hold_what_a_grid_bends(copc):
    """Boxes of native boxes beside thousands of points placed one by one."""
    cloud = open_cloud(copc)
    from pointclouds.placement import place

    origin = np.array([85_000.0, 447_500.0, 0.0])
    frame = LocalFrame(place(cloud.crs, (85_000.0, 447_500.0, 0.0)), origin)
    random = np.random.default_rng(3)
    for edge in (1.0, 100.0, 5_000.0, 60_000.0):
        low = origin + random.uniform(-20_000, 20_000, 3) * (1, 1, 0.001)
        high = low + edge * np.array((1.0, 0.7, 0.1))
        lows, highs = frame.boxes(low[None], high[None])
        within = frame.exact(low + random.uniform(0, 1, (3000, 3)) * (high - low))
        corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
        within = np.concatenate((within, frame.exact(low + corners * (high - low))))
        assert (within >= lows[0]).all()
        assert (within <= highs[0]).all()
        # and not much larger than they must be
        assert (highs[0] - lows[0] <= np.ptp(within, axis=0) * 1.05 + 0.05 + edge * 1e-2).all()


@pytest.mark.parametrize("colour", ["class", "height", "rgb", "intensity", "return", "time"])
def test_colour_modes(copc, tmp_path, colour):
    tileset, summary = opened(copc, tmp_path, colour)
    assert summary.colour == tileset.plan.colour == colour
    (tile,) = tileset.cloud.tiles
    file = tileset.cloud.file(tile)
    records = file.read_node(file.entries[0])
    glb = tileset.content(tile, Address(0, 0, 0, 0), Look(colour, ()), None)
    colours = attribute(*read_glb(glb), "COLOR_0").astype(float)
    distinct = len(np.unique(colours[:, :3], axis=0))
    if colour in ("class", "return"):
        assert distinct == {"class": 2, "return": 4}[colour]
    else:
        name = {"height": "Z", "rgb": "Green", "intensity": "Intensity", "time": "GpsTime"}[colour]
        assert distinct > 50
        channel = colours[:, 0] + colours[:, 1] if colour in ("height", "time") else colours[:, 1]
        assert np.corrcoef(channel, records[name].astype(float))[0, 1] > 0.5
    assert set(np.unique(colours[:, 3])) == {65535.0 if colour == "rgb" else 255.0}


def test_rgb_of_eight_bits_in_sixteen_is_not_black(tmp_path, make_scan):
    path = make_scan(tmp_path / "in.las", 500, 2)
    las = laspy.read(path)
    for name in ("red", "green", "blue"):
        las[name] = np.full(500, 255)
    las.write(path)
    write_copc(path, tmp_path / "in.copc.laz")
    tileset, _ = opened(tmp_path / "in.copc.laz", tmp_path / "t", "rgb")
    glb = tileset.content(tileset.cloud.tiles[0], Address(0, 0, 0, 0), Look("rgb", ()), None)
    assert (attribute(*read_glb(glb), "COLOR_0") == 65535).all()


def test_what_a_cloud_has_not_falls_back_to_class_and_says_so(tmp_path, make_scan):
    write_copc(make_scan(tmp_path / "in.laz", 500, 1), tmp_path / "in.copc.laz")
    tileset, summary = opened(tmp_path / "in.copc.laz", tmp_path / "t", "rgb")
    assert summary.colour == "class"
    assert summary.colours == ("class", "height", "intensity", "return", "time")
    with pytest.raises(QueryError, match="choose one of class, height"):
        tileset.content(tileset.cloud.tiles[0], Address(0, 0, 0, 0), Look("rgb", ()), None)


def test_a_single_point_is_a_tileset(tmp_path, make_scan):
    write_copc(make_scan(tmp_path / "in.laz", 1), tmp_path / "in.copc.laz")
    tileset, summary = opened(tmp_path / "in.copc.laz", tmp_path / "t")
    assert summary.feature_count == 1
    for form in ("glb", "plain"):
        glb = tileset.content(tileset.cloud.tiles[0], Address(0, 0, 0, 0), Look("class", (), form), None)
        assert np.isfinite(local_positions(glb)).all()
    assert tileset.content(tileset.cloud.tiles[0], Address(1, 0, 0, 0), LOOK, None) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"colour": "mood"}, "class, height, rgb, intensity, return, time"),
        ({"height_offset": float("nan")}, "height offset"),
    ],
)
def test_nonsense_is_refused(copc, tmp_path, arguments, message):
    with pytest.raises(QueryError, match=message):
        write_point_plan(open_cloud(copc), tmp_path / "t", **arguments)
    assert not (tmp_path / "t").exists()


def test_a_place_that_cannot_be_written_and_a_file_without_crs(copc, tmp_path):
    (tmp_path / "t").write_text("a file")
    with pytest.raises(OutputError):
        write_point_plan(open_cloud(copc), tmp_path / "t")
    bare = tmp_path / "bare.copc.laz"
    bare.write_bytes(copc.read_bytes().replace(b"LASF_Projection", b"LASF_Nothing\0\0\0", 1))
    with pytest.raises((MissingCrsError, InvalidCopcError)):
        write_point_plan(open_cloud(bare), tmp_path / "u")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: b"",
        lambda text: text[: len(text) // 2],
        lambda text: b"[]",
        lambda text: text.replace(b'"version": 1', b'"version": 2'),
        lambda text: text.replace(b'"box": [', b'"box": [NaN, '),
        lambda text: text.replace(b'"class"', b'"mood"'),
    ],
)
def test_a_damaged_plan_is_one_sentence(copc, tmp_path, damage):
    write_point_plan(open_cloud(copc), tmp_path, "class", 0.0)
    plan = tmp_path / PLAN_FILE
    plan.write_bytes(damage(plan.read_bytes()))
    with pytest.raises(InvalidCopcError, match="publish the point cloud again"):
        read_point_plan(plan)


def test_damaged_points_are_an_error(copc, tmp_path):
    cloud = open_cloud(copc)
    last = cloud.file(cloud.tiles[0]).entries[-1]
    raw = bytearray(copc.read_bytes())
    place = int(last["offset"])
    raw[place : place + int(last["byte_size"])] = b"\xff" * int(last["byte_size"])
    bad = tmp_path / "bad.copc.laz"
    bad.write_bytes(raw)
    with pytest.raises(PointCloudError):
        # no table of nodes beside it: computing one reads every point
        open_cloud(bad).nodes(open_cloud(bad).tiles[0])


def test_dimensions_become_attributes_of_their_own(tmp_path, make_scan):
    names = [("a b", "uint8"), ("A-B", "float64"), ("3d", "int32"), ("wide", "int16"), ("多", "uint16")]
    write_copc(make_scan(tmp_path / "in.laz", 50, 1, extra=names), tmp_path / "in.copc.laz")
    cloud = open_cloud(tmp_path / "in.copc.laz")
    found = attributes_of(cloud.dimensions, [name for name, _ in names], 0.0)
    assert [one.id for one in found] == ["a_b", "A_B_2", "_3d", "wide", "_"]
    assert [one.kind for one in found] == ["u1", "f4", "f4", "i2", "u2"]
    assert len({one.attribute for one in found}) == len(found)


def test_codes_and_cells_are_each_others_inverse():
    random = np.random.default_rng(1)
    cells = random.integers(0, 1 << 21, (1000, 3))
    assert np.array_equal(cells_of(morton(cells)), cells)
    assert morton(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [2, 0, 0]])).tolist() == [1, 2, 4, 8]


def test_a_deep_tree_has_child_subtrees():
    corner, edge = np.zeros((1, 3)), np.ones((1, 3))
    levels = tuple(
        Level(morton(np.array([[(1 << level) - 1, 0, 0]])), np.array([0 if level == 7 else -1]), corner, edge)
        for level in range(8)
    )
    octree = Octree(levels, (corner[0], edge[0]), 1.0, 1.0)
    shown = octree.shown(None)
    depth = subtree_levels(8)
    assert [subtree_levels(count) for count in (1, 6, 7)] == [1, 6, 5]
    first = subtree_file(octree, shown, Address(0, 0, 0, 0), depth)
    second = subtree_file(octree, shown, Address(5, 31, 0, 0), depth)
    assert subtree_file(octree, shown, Address(5, 30, 0, 0), depth) is None
    assert subtree_file(octree, shown, Address(1, 1, 0, 0), depth) is None
    assert subtree_file(octree, octree.shown(np.zeros(1, bool)), Address(0, 0, 0, 0), depth) is None
    size = struct.unpack_from("<Q", first, 8)[0]
    document = json.loads(first[24 : 24 + size])
    assert document["contentAvailability"] == [{"constant": 0}]
    view = document["bufferViews"][document["childSubtreeAvailability"]["bitstream"]]
    raw = np.frombuffer(first[24 + size :], np.uint8, view["byteLength"], view["byteOffset"])
    children = np.flatnonzero(np.unpackbits(raw, bitorder="little"))
    assert children.tolist() == [sum(1 << 3 * bit for bit in range(5))]
    size = struct.unpack_from("<Q", second, 8)[0]
    document = json.loads(second[24 : 24 + size])
    assert document["propertyTables"][0]["count"] == 3
    assert document["contentAvailability"][0]["availableCount"] == 1
