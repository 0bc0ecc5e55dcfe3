"""A million buildings from the embedded store to 3D Tiles on two cores, with bounded memory and size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tiles.three_d.check import check_tileset

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]
COUNT = 1_000_000


def test_a_million_buildings(tmp_path: Path) -> None:
    # A process of its own: its memory, and that of the processes it starts, is what counts.
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.three_d_build", "--count", str(COUNT), "--processes", "2",
         "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["buildings"] == COUNT
    assert 0 < figures["peak_memory_mb"] < 2000
    assert figures["gzip_bytes_per_building"] <= 210
    assert check_tileset(tmp_path / f"houses-{COUNT}" / "3dtiles") == []
