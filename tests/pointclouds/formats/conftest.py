"""Small files of every format of points, and reading in a child process that may not take memory without end."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pye57
import pytest

Points = dict[str, np.ndarray[Any, Any]]

_READ = """
import json, resource, sys, warnings
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
warnings.simplefilter("ignore")
from pointclouds.errors import PointCloudError
from pointclouds.formats.opening import SourceOptions, open_source
for path, crs, options in json.load(sys.stdin):
    try:
        source = open_source(Path(path), crs, SourceOptions(**options))
        outcome = ["points", sum(len(part) for part in source.chunks(50_000)), source.description.count]
    except PointCloudError as error:
        outcome = [type(error).__name__, str(error)]
    print(json.dumps(outcome), flush=True)
"""


@pytest.fixture(scope="session")
def read_in_child() -> Callable[..., list[list[Any]]]:
    """read(paths, crs, timeout=60, **options): what became of each file: ["points", read, said] or [error class, message].

    A crash, an endless loop or more than 3 GiB of address space fails the test.
    """

    def read(
        paths: Sequence[Path], crs: str | None = "EPSG:28992", timeout: float = 60, **options: Any
    ) -> list[list[Any]]:
        asked = json.dumps([(str(path), crs, options) for path in paths])
        done = subprocess.run(
            [sys.executable, "-c", _READ],
            input=asked,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        lines = done.stdout.splitlines()
        assert done.returncode == 0, (done.returncode, paths[len(lines)].name, done.stderr[-2000:])
        return [json.loads(line) for line in lines]

    return read


@pytest.fixture(scope="session")
def points() -> Points:
    """3,000 points near Delft, to a millimetre, with colours, classes and one further dimension."""
    random = np.random.default_rng(3)
    count = 3_000
    return {
        "x": np.round(84_900 + random.uniform(0, 100, count), 3),
        "y": np.round(447_500 + random.uniform(0, 100, count), 3),
        "z": np.round(random.uniform(-2, 30, count), 3),
        "intensity": random.integers(0, 4000, count),
        "red": random.integers(0, 256, count),
        "green": random.integers(0, 256, count),
        "blue": random.integers(0, 256, count),
        "classification": random.integers(1, 7, count),
        "quality": random.uniform(0, 9, count).astype(np.float32),
    }


_PLY_TYPES = {
    "x": ("double", "f8"),
    "y": ("double", "f8"),
    "z": ("double", "f8"),
    "intensity": ("ushort", "u2"),
    "red": ("uchar", "u1"),
    "green": ("uchar", "u1"),
    "blue": ("uchar", "u1"),
    "classification": ("uchar", "u1"),
    "quality": ("float", "f4"),
}


@pytest.fixture(scope="session")
def write_ply(points: Points) -> Callable[..., Path]:
    """write(path, encoding, lists=False, comment=""): the points; with `lists` each has a list of one to three numbers in its middle."""

    def write(path: Path, encoding: str, *, lists: bool = False, comment: str = "") -> Path:
        order = ">" if "big" in encoding else "<"
        count = len(points["x"])
        head = [
            f"ply\nformat {encoding} 1.0",
            *([f"comment {comment}"] if comment else []),
            f"element vertex {count}",
        ]
        for number, (name, (kind, _)) in enumerate(_PLY_TYPES.items()):
            if lists and number == 4:
                head.append("property list uchar short neighbours")
            head.append(f"property {kind} {name}")
        body = b""
        if encoding == "ascii":
            rows = []
            for at in range(count):
                row = [repr(points[name][at].item()) for name in _PLY_TYPES]
                if lists:
                    row[4:4] = [str(1 + at % 3), *["7"] * (1 + at % 3)]
                rows.append(" ".join(row))
            body = ("\n".join(rows) + "\n").encode()
        elif lists:
            for at in range(count):
                values = [points[name][at].item() for name in _PLY_TYPES]
                form = f"{order}dddHB{1 + at % 3}hBBBBf"
                body += struct.pack(form, *values[:4], 1 + at % 3, *[7] * (1 + at % 3), *values[4:])
        else:
            table = np.empty(count, [(name, order + kind) for name, (_, kind) in _PLY_TYPES.items()])
            for name in _PLY_TYPES:
                table[name] = points[name]
            body = table.tobytes()
        path.write_bytes("\n".join([*head, "end_header", ""]).encode() + body)
        return path

    return write


@pytest.fixture(scope="session")
def write_e57() -> Callable[..., Path]:
    """write(path, scans): scans of (data of pye57, rotation w x y z, translation x y z)."""

    def write(path: Path, scans: Sequence[tuple[Any, Any, Any]]) -> Path:
        with pye57.E57(str(path), mode="w") as file:
            for data, rotation, translation in scans:
                file.write_scan_raw(data, rotation=np.array(rotation), translation=np.array(translation))
        return path

    return write
