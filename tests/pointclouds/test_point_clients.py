"""Real clients: npm `copc` over HTTP ranges, Khronos' gltf-validator."""

import json
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pointclouds.cloud.cloud import open_cloud
from pointclouds.cloud.summary import summarize
from pointclouds.tilesets.attributes import DEFAULT
from pointclouds.tilesets.glb import empty_glb
from pointclouds.tilesets.octree import Address
from pointclouds.tilesets.plan import PLAN_FILE, read_point_plan, write_point_plan
from pointclouds.tilesets.tileset import Look, PointTileset

pytestmark = pytest.mark.clients


class RangeHandler(SimpleHTTPRequestHandler):
    """Answers single byte ranges, and nothing else."""

    def do_GET(self) -> None:
        first, last = (int(part) for part in self.headers["Range"].removeprefix("bytes=").split("-"))
        data = Path(self.translate_path(self.path)).read_bytes()[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""


@pytest.fixture
def url(copc):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(RangeHandler, directory=str(copc.parent)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{copc.name}"
    server.shutdown()
    thread.join()
    server.server_close()


def node(root: Path, script: str, *arguments: str) -> dict:
    command = ["node", str(root / "tests" / "clients" / script), *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def test_npm_copc_reads_every_point_over_ranges(root, copc, url):
    ours = summarize(copc)
    theirs = node(root, "copc_read.mjs", url, "--decode")
    assert theirs["pointCount"] == theirs["nodePoints"] == theirs["decoded"] == ours.count
    assert theirs["classes"] == {str(code): count for code, count in ours.classes.items()}
    assert theirs["nodes"] == ours.nodes
    assert theirs["pointFormat"] == ours.point_format
    assert theirs["bbox"] == pytest.approx(ours.bbox)
    assert theirs["gpsTimeRange"] == pytest.approx(ours.gps_range)
    assert "Amersfoort / RD New" in theirs["wkt"]


@pytest.mark.parametrize("form", ["glb", "plain", "marks"])
@pytest.mark.parametrize("colour", ["class", "rgb", "height"])
def test_gltf_validator_has_nothing_to_say(root, copc, tmp_path, colour, form):
    cloud = open_cloud(copc)
    write_point_plan(cloud, tmp_path, colour, 0.0)
    tileset = PointTileset(cloud, read_point_plan(tmp_path / PLAN_FILE))
    (tile,) = cloud.tiles
    look = Look(colour, (*DEFAULT, "Red", "ScanAngle"), form)
    folder = tmp_path / "glb"
    folder.mkdir()
    (folder / "empty.glb").write_bytes(empty_glb())
    for number, entry in enumerate(cloud.file(tile).entries):
        address = Address(*(int(entry[name]) for name in ("level", "x", "y", "z")))
        (folder / f"{number}.glb").write_bytes(tileset.content(tile, address, look, None))
    report = node(root, "gltf_validate.mjs", str(folder))
    count = len(cloud.file(tile).entries) + 1
    assert report == {"files": count, "errors": 0, "warnings": 0, "messages": {}}
