"""Real clients: npm `copc` over HTTP ranges, Khronos' gltf-validator."""

import json
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pointclouds.cloud.summary import summarize
from pointclouds.tilesets.build import build_point_tileset

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


@pytest.mark.parametrize("colour", ["class", "rgb"])
def test_gltf_validator_has_nothing_to_say(root, copc, tmp_path, colour):
    summary = build_point_tileset(copc, tmp_path / "t", colour=colour, height_offset=0.0)
    report = node(root, "gltf_validate.mjs", str(tmp_path / "t"))
    assert report == {"files": summary.tiles, "errors": 0, "warnings": 0, "messages": {}}
