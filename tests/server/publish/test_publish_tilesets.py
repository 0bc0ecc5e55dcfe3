"""Tilesets of others, taken over as they are."""

from __future__ import annotations

import json
import math
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from server.publish.errors import InputError
from server.registry.catalogue import RepresentationKind
from tiles.three_d.check import check_tileset
from tiles.three_d.takeover import TakeoverError, read_foreign_tileset

RING = [[116.0, 40.0], [116.001, 40.0], [116.001, 40.001], [116.0, 40.001], [116.0, 40.0]]
REGION = {"region": [math.radians(v) for v in (116.0, 40.0, 116.001, 40.001)] + [0.0, 30.0]}


@pytest.fixture
def tileset(publisher, tmp_path: Path) -> Path:
    """The folder of a tileset of ours, as a stranger would bring it."""
    file = tmp_path / "one.geojson"
    feature = {
        "type": "Feature",
        "properties": {"height": 30},
        "geometry": {"type": "Polygon", "coordinates": [RING]},
    }
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    result = publisher.publish(file, collection="source", scene={"height_field": "height"})
    folder = result.collection.path_of(RepresentationKind.TILESET_3D).parent
    target = tmp_path / "foreign"
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.gz"))
    return target


def _explicit(folder: Path, **root: Any) -> Path:
    folder.mkdir(exist_ok=True)
    document = {
        "asset": {"version": "1.0", "copyright": "© the neighbours"},
        "geometricError": 50.0,
        "root": {"boundingVolume": REGION, "geometricError": 10.0, "refine": "ADD", **root},
    }
    file = folder / "tileset.json"
    file.write_text(json.dumps(document))
    return file


def _names(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".gz"
    }


def test_taken_over_byte_for_byte(publisher, tileset):
    result = publisher.publish(tileset / "tileset.json", collection="taken")
    assert result.kinds[0] == RepresentationKind.TILESET_3D
    found = result.collection.path_of(RepresentationKind.TILESET_3D).parent
    assert _names(found) == _names(tileset)
    assert check_tileset(found) == []
    assert result.warnings == ()
    west, south, bottom, east, north, top = result.collection.bbox
    assert (west, south, east, north) == pytest.approx((116.0, 40.0, 116.001, 40.001), abs=4e-4)
    assert (bottom, top) == pytest.approx((0.0, 30.0), abs=0.5)


@pytest.mark.parametrize(("name", "below"), [("city.3tz", ""), ("city.zip", "export/")])
def test_archives(publisher, tileset, tmp_path, name, below):
    archive = tmp_path / name
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for inner, content in _names(tileset).items():
            opened.writestr(below + inner, content)
        opened.writestr("@3dtilesIndex1@", b"\x00" * 48)
        opened.writestr(below + "notes.csv", "x,y\n1,2\n")
    result = publisher.publish(archive, collection="taken")
    found = result.collection.path_of(RepresentationKind.TILESET_3D).parent
    assert _names(found) == _names(tileset)


def test_external_tilesets_and_gltf_with_files_beside(publisher, tmp_path):
    folder = tmp_path / "tree"
    _explicit(
        folder,
        children=[{"boundingVolume": REGION, "geometricError": 5, "content": {"uri": "sub/inner.json"}}],
    )
    (folder / "sub").mkdir()
    inner = {
        "asset": {"version": "1.0"},
        "geometricError": 5,
        "root": {"boundingVolume": REGION, "geometricError": 0, "content": {"url": "../parts/a%20b.gltf"}},
    }
    (folder / "sub" / "inner.json").write_text(json.dumps(inner))
    (folder / "parts").mkdir()
    (folder / "parts" / "a b.gltf").write_text(
        json.dumps(
            {
                "asset": {"version": "2.0"},
                "buffers": [{"uri": "a.bin", "byteLength": 4}],
                "images": [{"uri": "data:image/png;base64,AA"}],
            }
        )
    )
    (folder / "parts" / "a.bin").write_bytes(bytes(4))
    (folder / "private.json").write_text("{}")
    found = read_foreign_tileset(folder)
    assert found.files == {"tileset.json", "sub/inner.json", "parts/a b.gltf", "parts/a.bin"}
    assert found.copyright == "© the neighbours"
    result = publisher.publish(folder / "tileset.json", collection="tree")
    target = result.collection.path_of(RepresentationKind.TILESET_3D).parent
    assert set(_names(target)) == found.files


def test_a_tileset_that_stands_by_its_transform(tmp_path):
    # A box of 100 x 100 x 20 m, east-north-up at longitude 0, latitude 0.
    transform = [0, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 6_378_137.0, 0, 0, 1]
    box = {"box": [0, 0, 10, 50, 0, 0, 0, 50, 0, 0, 0, 10]}
    _explicit(tmp_path / "t", boundingVolume=box, transform=transform)
    west, south, bottom, east, north, top = read_foreign_tileset(tmp_path / "t").bbox84h
    assert (west, east) == pytest.approx((-50 / 111_319.5, 50 / 111_319.5), rel=1e-3)
    assert (south, north) == pytest.approx((-50 / 110_574.3, 50 / 110_574.3), rel=1e-3)
    assert (bottom, top) == pytest.approx((0, 20), abs=0.01)


def test_across_the_antimeridian(tmp_path):
    angle = math.pi  # longitude 180
    transform = [-math.sin(angle), math.cos(angle), 0, 0, 0, 0, 1, 0, math.cos(angle), math.sin(angle), 0, 0,
                 6_378_137.0 * math.cos(angle), 0, 0, 1]  # fmt: skip
    _explicit(tmp_path / "t", boundingVolume={"sphere": [0, 0, 0, 1000]}, transform=transform)
    west, _, _, east, _, _ = read_foreign_tileset(tmp_path / "t").bbox84h
    assert 179.9 < west <= 180
    assert -180 <= east < -179.9


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        ({"content": {"uri": "http://elsewhere.example/a.glb"}}, "relative addresses"),
        ({"content": {"uri": "//elsewhere.example/a.glb"}}, "relative addresses"),
        ({"content": {"uri": "/etc/passwd"}}, "relative addresses"),
        ({"content": {"uri": "file:///etc/passwd"}}, "relative addresses"),
        ({"content": {"uri": "../outside.glb"}}, "leads out"),
        ({"content": {"uri": "a/../../outside.glb"}}, "leads out"),
        ({"content": {"uri": "%2e%2e/outside.glb"}}, "leads out"),
        ({"content": {"uri": "missing.glb"}}, "not there"),
        ({"content": {"uri": "secret.key"}}, "no file of a tileset"),
        ({"content": {}}, "no address"),
        ({"children": "all"}, "lists"),
        ({"children": [1]}, "no JSON object"),
        ({"boundingVolume": {"box": [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]}}, "not lie on the globe"),
        ({"boundingVolume": {"sphere": [0, 0, 0]}}, "no region, box or sphere"),
        ({"boundingVolume": None}, "no boundingVolume"),
        (
            {"content": {"uri": "tileset.json"}, "children": [{"content": {"uri": "loop.json"}}]},
            "cannot be read",
        ),
        ({"content": {"uri": "http://[::1"}}, "no address"),
        ({"content": {"uri": "a" * 300 + ".glb"}}, "not there"),
        ({"boundingVolume": {"region": [0, 0, 99, 1, 0, 1]}}, "no place on Earth"),
        ({"boundingVolume": {"region": [0, 0, 1, 1, 0, 1e300]}}, "no place on Earth"),
        ({"boundingVolume": {"box": [1e300] + [1] * 11}}, "no place on Earth"),
    ],
)
def test_what_cannot_be_taken_over_is_said(publisher, tmp_path, root, reason):
    folder = tmp_path / "bad"
    file = _explicit(folder, **root)
    (folder / "secret.key").write_text("x")
    (folder / "loop.json").write_text("{")
    with pytest.raises(TakeoverError, match=reason):
        read_foreign_tileset(folder)
    with pytest.raises(InputError):
        publisher.publish(file, collection="bad")
    assert publisher.collection("bad") is None
    assert publisher.leftovers() == []


def test_tilesets_that_name_each_other_end(tmp_path):
    folder = tmp_path / "loop"
    _explicit(folder, content={"uri": "other.json"})
    (folder / "other.json").write_text(
        (folder / "tileset.json").read_text().replace("other.json", "tileset.json")
    )
    assert read_foreign_tileset(folder).files == {"tileset.json", "other.json"}


def test_long_chains_of_files(tmp_path):
    """Longer than Python's stack, of tilesets and of glTF; some of it is no list or object where one should be."""
    folder = tmp_path / "chain"
    _explicit(folder, content={"uri": "c0.json"}, extensions={"3DTILES_multiple_contents": {"contents": 5}})
    document = json.loads((folder / "tileset.json").read_text())
    for number in range(1200):
        document["root"]["content"]["uri"] = f"c{number + 1}.json"
        (folder / f"c{number}.json").write_text(json.dumps(document))
        (folder / f"g{number}.gltf").write_text(json.dumps({"buffers": [{"uri": f"g{number + 1}.gltf"}]}))
    document["root"] |= {"content": {"uri": "g0.gltf"}, "extensions": {"3DTILES_multiple_contents": [1]}}
    (folder / "c1200.json").write_text(json.dumps(document))
    (folder / "g1200.gltf").write_text('{"buffers": 5, "images": [3]}')
    assert len(read_foreign_tileset(folder).files) == 1 + 2 * 1201


def test_only_files_that_a_template_stands_for_are_taken(tmp_path):
    folder = tmp_path / "implicit"
    tiling = {"subtrees": {"uri": "{level}.{x}.{y}.subtree"}}
    _explicit(folder, content={"uri": "{level}/{x}/{y}.gltf"}, implicitTiling=tiling)
    (folder / "1" / "0").mkdir(parents=True)
    (folder / "1/0/1.gltf").write_text('{"images": [{"uri": "wall.png"}]}')
    for name in ("1/0/wall.png", "1/0/other.png", "1/0/x.gltf", "private.json"):
        (folder / name).write_bytes(b"{}")
    text = b'{"buffers":[{"uri":"bits.bin"}]}'
    (folder / "0.0.0.subtree").write_bytes(
        b"subt" + (1).to_bytes(4, "little") + len(text).to_bytes(8, "little") + bytes(8) + text
    )
    (folder / "bits.bin").write_bytes(b"")
    found = read_foreign_tileset(folder).files
    assert found == {"tileset.json", "1/0/1.gltf", "1/0/wall.png", "0.0.0.subtree", "bits.bin"}


def test_a_link_out_of_the_folder_is_not_followed(publisher, tmp_path):
    folder = tmp_path / "linked"
    file = _explicit(folder, content={"uri": "a.glb"})
    (tmp_path / "elsewhere.glb").write_bytes(b"glTF")
    (folder / "a.glb").symlink_to(tmp_path / "elsewhere.glb")
    with pytest.raises(InputError, match="link"):
        publisher.publish(file, collection="linked")


def test_faults_are_warnings(publisher, tmp_path):
    folder = tmp_path / "faulty"
    file = _explicit(folder, content={"uri": "a.b3dm"})
    (folder / "a.b3dm").write_bytes(b"b3dm" + bytes(40))
    result = publisher.publish(file, collection="faulty")
    assert result.warnings
    assert all("tileset" in warning for warning in result.warnings)
