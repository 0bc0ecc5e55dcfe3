"""200 million points within the memory that was given: the real tiles of Delft, laid out on a grid."""

import json
import struct
import subprocess
import sys

import numpy as np
import pytest

from pointclouds.cloud.nodes import load_nodes, nodes_path
from pointclouds.copc.check import check_structure, examine_nodes, node_statistics
from pointclouds.copc.reader import CopcFile
from pointclouds.las.reader import inspect
from pointclouds.sources import LasSource

TILES = ("ahn3_cropped_1.laz", "ahn3_cropped_2.laz")
SIDE = (264, 229)
COPIES = 236
_BOUND = 2 << 30

BUILD = """
import json, os, sys, threading
from pathlib import Path
from pointclouds.build.build import build_copc
from pointclouds.sources import LasSource

def memory():
    total = 0
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit():
                parent = folder.joinpath("stat").read_text().rsplit(")", 1)[1].split()[1]
                if str(os.getpid()) in (folder.name, parent):
                    lines = folder.joinpath("smaps_rollup").read_text().splitlines()
                    total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except OSError:
            continue
    return total * 1024

if __name__ == "__main__":
    highest, ended = [0], threading.Event()
    def watch():
        while not ended.wait(1.0):
            highest[0] = max(highest[0], memory())
    threading.Thread(target=watch, daemon=True).start()
    sources = [LasSource(path, "EPSG:7415") for path in sorted(Path(sys.argv[1]).iterdir())]
    build_copc(sources, Path(sys.argv[2]), processes=2)
    ended.set()
    print(json.dumps(highest[0]))
"""


def lay_out(folder, source, column, row):
    """A copy of a tile at another place: only its offset and box are changed, so nothing is encoded anew."""
    header = inspect(source)
    raw = bytearray(source.read_bytes())
    x, y = column * SIDE[0], row * SIDE[1]
    box = header.bbox
    struct.pack_into("<2d", raw, 155, header.offset[0] + x, header.offset[1] + y)
    struct.pack_into("<4d", raw, 179, box[3] + x, box[0] + x, box[4] + y, box[1] + y)
    (folder / f"{row:02}-{column:02}-{source.name}").write_bytes(raw)


@pytest.mark.acceptance
@pytest.mark.timeout(7200)
def test_two_hundred_million_points_in_two_gigabytes(tmp_path, sample_data):
    folder, out = tmp_path / "in", tmp_path / "out.copc.laz"
    folder.mkdir()
    sources = [sample_data / "delft/ahn3" / name for name in TILES]
    for number in range(COPIES):
        for source in sources:
            lay_out(folder, source, number % 16, number // 16)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder), str(out)], capture_output=True, text=True, check=True
    )
    assert 0 < json.loads(done.stdout) < _BOUND

    classes, returns, count = np.zeros(256, np.int64), np.zeros(16, np.int64), 0
    for source in sources:
        for records in LasSource(source, "EPSG:7415").chunks():
            classes += np.bincount(records["Classification"], minlength=256)
            returns += np.bincount(records["Returns"] & 0x0F, minlength=16)
            count += len(records)
    table = load_nodes(nodes_path(out))
    assert count * COPIES >= 200_000_000
    assert table.count == count * COPIES
    found = dict(zip(table.classes, table.class_counts.sum(axis=0, dtype=np.int64).tolist(), strict=True))
    assert found == {int(code): int(classes[code]) * COPIES for code in np.flatnonzero(classes)}
    assert np.array_equal(table.return_counts.sum(axis=0, dtype=np.int64), returns * COPIES)
    assert check_structure(out) == []
    with CopcFile(out) as copc:
        numbers = np.random.default_rng(3).choice(len(copc.entries), 50, replace=False).tolist()
        assert [wrong for _, wrong, _ in examine_nodes(copc, numbers, node_statistics(copc)) if wrong] == []
