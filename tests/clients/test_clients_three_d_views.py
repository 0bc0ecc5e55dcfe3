"""Every 3D collection of the demo city in every view (implicit, explicit, 3D Tiles 1.0): our checker, Khronos' validator on each
model inside, and 3d-tiles-tools as a reader that rewrites what it reads."""

import json
import struct
import subprocess
from urllib.parse import urlsplit

import pytest

from server.registry.catalogue import RepresentationKind as Kind
from tiles.three_d.check import CallFiles, inspect_tileset

pytestmark = pytest.mark.clients

VIEWS = ("tileset.json", "explicit/tileset.json", "1.0/tileset.json")
# Old tiles have no points with classes and no octree: point clouds have the first view only.
POINTS = "points"


@pytest.fixture(scope="module")
def tilesets(published):
    """3D Tiles of the tenant, by the collection's id."""
    found = {
        one.qualified_id.partition(".")[2]: one.representations[Kind.TILESET_3D].properties
        for one in published.values()
        if one.qualified_id.startswith("helsinki.") and Kind.TILESET_3D in one.representations
    }
    assert {"buildings", "pipes", "lidar"} <= found.keys()
    return found


class Fetched:
    """A view, checked as it was fetched; the files are kept in a folder."""

    def __init__(self, http, address, folder):
        self.http, self.folder, self.root = http, folder, urlsplit(address)
        self.report = inspect_tileset(CallFiles(self.get), self.root.path.lstrip("/"))

    def get(self, path):
        reply = self.http.get(f"{self.root.scheme}://{self.root.netloc}/{path}", timeout=120)
        if reply.status_code == 404:
            return None
        assert reply.status_code == 200, f"{reply.status_code} {path}"
        file = self.folder / path.partition("?")[0]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(reply.content)
        return reply.content


@pytest.fixture(scope="module")
def views(tilesets, helsinki, http, tmp_path_factory):
    """Each view of each collection, fetched and checked once."""
    return {
        (name, view): Fetched(
            http, f"{helsinki}/ogc/collections/{name}/3dtiles/{view}", tmp_path_factory.mktemp(name)
        )
        for name, stated in tilesets.items()
        for view in (VIEWS if stated["content"] != POINTS else VIEWS[:1])
    }


def models(content):
    """The binary glTF in a tile of 3D Tiles 1.0, those in a composite too."""
    magic = content[:4]
    if magic == b"glTF":
        yield content
    elif magic == b"cmpt":
        start, count = 16, struct.unpack_from("<I", content, 12)[0]
        for _ in range(count):
            size = struct.unpack_from("<I", content, start + 8)[0]
            yield from models(content[start : start + size])
            start += size
    elif magic in (b"b3dm", b"i3dm"):
        header = 28 if magic == b"b3dm" else 32
        start = header + sum(struct.unpack_from("<4I", content, 12))
        length = struct.unpack_from("<I", content, start + 8)[0]
        yield content[start : start + length]


def test_our_checker_finds_nothing(views):
    found = {name: [str(one) for one in fetched.report.findings] for name, fetched in views.items()}
    assert {name: faults[:5] for name, faults in found.items() if faults} == {}


def test_every_view_shows_every_feature(views, tilesets):
    """In tilesets that add, each feature is in one tile; in those that replace, in at least one."""
    for (name, view), fetched in views.items():
        counts, stated = fetched.report.counts, tilesets[name]
        seen = counts.get("features", 0) if stated["content"] != POINTS else counts.get("points", 0)
        if view == "1.0/tileset.json":
            seen = max(seen, counts.get("instances", 0))
        assert seen >= stated["feature_count"], (name, view, counts)


def test_khronos_validator_finds_no_error(views, root, run, tmp_path):
    for number, ((name, view), fetched) in enumerate(views.items()):
        for place, file in enumerate(sorted(one for one in fetched.folder.rglob("*") if one.is_file())):
            for part, model in enumerate(models(file.read_bytes())):
                target = tmp_path / f"{number}-{name}-{view.partition('/')[0]}-{place}-{part}.glb"
                target.write_bytes(model)
    report = json.loads(run("node", str(root / "tests" / "clients" / "gltf_validate.mjs"), str(tmp_path)))
    assert report["files"] >= len(views)
    assert report["errors"] == 0, report["messages"]


def test_3d_tiles_tools_reads_and_rewrites_the_old_view(views, tilesets, root, tmp_path):
    """It turns the buildings of 3D Tiles 1.0 into 1.1, with their tables, and packs both into archives and out again."""
    tool = root / "node_modules" / ".bin" / "3d-tiles-tools"
    fetched = views["buildings", "1.0/tileset.json"]
    source = next(fetched.folder.rglob("1.0/tileset.json")).parent

    def ran(*arguments):
        done = subprocess.run(
            [tool, *arguments, "-f"], capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    ran("upgrade", "-i", source / "tileset.json", "-o", tmp_path / "new", "--targetVersion", "1.1")
    report = inspect_tileset(tmp_path / "new")
    assert report.counts["features"] == tilesets["buildings"]["feature_count"]
    assert report.counts["triangles"] == fetched.report.counts["triangles"]
    ran("convert", "-i", source / "tileset.json", "-o", tmp_path / "packed.3tz")
    ran("convert", "-i", tmp_path / "packed.3tz", "-o", tmp_path / "unpacked/")
    assert inspect_tileset(tmp_path / "unpacked").findings == ()
