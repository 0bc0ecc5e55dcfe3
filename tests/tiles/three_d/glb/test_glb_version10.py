"""3D Tiles 1.0 and explicit tilesets out of ours."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import orjson
import pytest

from tiles.three_d.errors import GlbError, ThreeDError
from tiles.three_d.explicit import EXPLICIT, VERSION_1_0, ExplicitLayout, explicit_tileset
from tiles.three_d.glb import write_tile
from tiles.three_d.objects import Material, MeshPart, TileAddress
from tiles.three_d.read_glb import read_glb
from tiles.three_d.version10 import version10_tile


def parts_of(content: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Magic, the four sections, and the glb of a b3dm or i3dm."""
    start = 32 if content[:4] == b"i3dm" else 28
    assert struct.unpack_from("<II", content, 4) == (1, len(content))
    lengths = struct.unpack_from("<IIII", content, 12)
    sections = []
    for length in lengths:
        sections.append(content[start : start + length])
        start += length
        assert start % 8 == 0
    (size,) = struct.unpack_from("<I", content, start + 8)
    return content[:4], sections, content[start : start + size]


def test_meshes_become_b3dm(tile: Any) -> None:
    whole = write_tile(tile.parts[:3], tile.frame, tile.table)
    magic, (features, feature_binary, batch, binary), glb = parts_of(version10_tile(whole))
    assert (magic, feature_binary) == (b"b3dm", b"")
    described = orjson.loads(features)
    assert described["BATCH_LENGTH"] == 12
    table = orjson.loads(batch)
    assert table["id"][:2] == ["way/0", "way/1"]
    assert table["u540d_u79f0"][:2] == [None, "楼1"]
    assert table["height"][:4] == [0.0, 0.5, 1.0, None]
    assert table["listed"][:2] == [True, False]
    assert binary == b""
    document = orjson.loads(glb[20 : 20 + struct.unpack_from("<I", glb, 12)[0]])
    assert "extensions" not in document
    attributes = [primitive["attributes"] for primitive in document["meshes"][0]["primitives"]]
    assert all("_BATCHID" in names for names in attributes)
    assert not any(name.startswith("_FEATURE") for names in attributes for name in names)
    # In a b3dm the glb lies around RTC_CENTER, in ECEF axes.
    inner, _ = read_glb(glb).triangles()
    outer, _ = read_glb(whole).triangles()
    assert np.abs(inner + described["RTC_CENTER"] - outer).max() < 1e-3


def test_numbers_without_gaps_are_binary(tile: Any, make_boxes: Any, make_table: Any) -> None:
    whole = write_tile([MeshPart(make_boxes(4), Material())], tile.frame, make_table(4))
    _, (_, _, batch, binary), _ = parts_of(version10_tile(whole))
    stored = orjson.loads(batch)["levels"]
    assert np.frombuffer(binary, "<i4", 4, stored["byteOffset"]).tolist() == [0, 1, 2, 3]


def test_instances_become_i3dm(tile: Any) -> None:
    whole = write_tile(tile.parts[3:], tile.frame, tile.table)
    magic, (features, binary, batch, _), glb = parts_of(version10_tile(whole))
    assert magic == b"i3dm"
    described = orjson.loads(features)
    assert described["INSTANCES_LENGTH"] == 4
    assert orjson.loads(batch)["id"] == ["way/9", "way/10", "way/11", "way/10"]

    def column(name: str) -> np.ndarray:
        return (
            np.frombuffer(binary, "<f4", 12, described[name]["byteOffset"]).reshape(4, 3).astype(np.float64)
        )

    right, up = column("NORMAL_RIGHT"), column("NORMAL_UP")
    turn = np.stack((right, up, np.cross(right, up)), axis=2)
    model, _ = read_glb(glb).triangles()
    placed = np.einsum("nij,tcj->ntci", turn * column("SCALE_NON_UNIFORM")[:, None, :], model)
    placed = placed + column("POSITION")[:, None, None, :] + described["RTC_CENTER"]
    expected, _ = read_glb(whole).triangles()
    mine = np.sort(placed.reshape(-1, 9).mean(axis=1))
    assert np.abs(mine - np.sort(expected.reshape(-1, 9).mean(axis=1))).max() < 1e-3


def test_both_become_cmpt(tile: Any) -> None:
    content = version10_tile(write_tile(tile.parts, tile.frame, tile.table))
    magic, version, length, count = struct.unpack_from("<4sIII", content)
    assert (magic, version, length, count) == (b"cmpt", 1, len(content), 2)
    (first,) = struct.unpack_from("<I", content, 24)
    assert content[16:20] == b"b3dm"
    assert content[16 + first : 20 + first] == b"i3dm"
    alone = version10_tile(write_tile(tile.parts[:1], tile.frame, tile.table), composite=True)
    assert struct.unpack_from("<4sIII", alone)[3] == 1
    with pytest.raises(GlbError):
        version10_tile(b"nothing")


def documents(folder: Any, layout: ExplicitLayout) -> dict[str, dict[str, Any]]:
    """Every document of the city's tileset, by name."""
    implicit = orjson.loads((folder / "tileset.json").read_bytes())
    found = {}
    for path in sorted(folder.glob("subtrees/*/*/*.subtree")):
        level, x, y = int(path.parts[-3]), int(path.parts[-2]), int(path.stem)
        at = TileAddress(level, x, y)
        name = "tileset.json" if level == 0 else f"{level}-{x}-{y}.json"
        found[name] = explicit_tileset(implicit, path.read_bytes(), at, layout=layout)
    return found


def walk(tile: dict[str, Any], documents: dict[str, dict[str, Any]]) -> list[str]:
    """The contents below a tile, following external tilesets; errors fall, and children have the parent's regions around."""
    uri = tile.get("content", {}).get("uri", "")
    if uri.endswith(".json"):
        return walk(documents[uri]["root"], documents)
    found = [uri] if uri else []
    for child in tile.get("children", []):
        assert child["geometricError"] <= tile["geometricError"]
        found += walk(child, documents)
    return found


@pytest.mark.parametrize("layout", [EXPLICIT, VERSION_1_0], ids=["1.1", "1.0"])
def test_explicit_tilesets_name_every_content_once(built: Any, layout: ExplicitLayout) -> None:
    folder, _ = built
    found = documents(folder, layout)
    assert all(one["asset"]["version"] == layout.version for one in found.values())
    assert not any("implicitTiling" in one["root"] or "schema" in one for one in found.values())
    suffix = layout.content[-5:].partition(".")[2]
    contents = walk(found["tileset.json"]["root"], found)
    expected = sorted(
        f"content/{path.parts[-3]}/{path.parts[-2]}/{path.stem}.{suffix}"
        for path in folder.glob("content/*/*/*.glb")
    )
    assert sorted(contents) == expected
    assert len(expected) > 1


def test_regions_hold_their_contents(built: Any) -> None:
    from pyproj import Transformer

    folder, _ = built
    to_geodetic = Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)

    def check(tile: dict[str, Any]) -> int:
        count = 0
        if "content" in tile:
            west, south, east, north, low, high = tile["boundingVolume"]["region"]
            corners, _ = read_glb((folder / tile["content"]["uri"]).read_bytes()).triangles()
            longitude, latitude, height = to_geodetic.transform(*corners.reshape(-1, 3).T)
            slack = np.degrees(0.1 / 6_378_137.0)
            assert (
                np.degrees(west) - 2 * slack
                <= longitude.min()
                <= longitude.max()
                <= np.degrees(east) + 2 * slack
            )
            assert np.degrees(south) - slack <= latitude.min() <= latitude.max() <= np.degrees(north) + slack
            assert low - 0.1 <= height.min() <= height.max() <= high + 0.1
            count = 1
        return count + sum(check(child) for child in tile.get("children", []))

    found = documents(folder, EXPLICIT)
    assert check(found["tileset.json"]["root"]) > 1


def test_what_is_no_subtree_is_an_error(built: Any) -> None:
    folder, _ = built
    implicit = orjson.loads((folder / "tileset.json").read_bytes())
    good = (folder / "subtrees/0/0/0.subtree").read_bytes()
    for content in (b"", b"subt", good[:40], b"tbus" + good[4:], good[:24] + b"x" * (len(good) - 24)):
        with pytest.raises(ThreeDError, match="subtree"):
            explicit_tileset(implicit, content)
    octree = {
        **implicit,
        "root": {
            **implicit["root"],
            "implicitTiling": {**implicit["root"]["implicitTiling"], "subdivisionScheme": "OCTREE"},
        },
    }
    with pytest.raises(ThreeDError, match="quadtrees"):
        explicit_tileset(octree, good)
    plain = {"asset": {"version": "1.1"}, "geometricError": 1, "root": {"refine": "ADD"}}
    assert explicit_tileset(plain, None, layout=VERSION_1_0)["asset"] == {"version": "1.0"}
