"""`chengtu check` opens what each kind of representation is made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from providers.sensors.store import Location, Observation, Parameter, write_series
from server.cli.representation_checks import CHECKERS, what_is_wrong
from server.registry.catalogue import Representation, RepresentationKind

Made = tuple[Path, dict[str, Any]]


def test_every_kind_has_a_checker() -> None:
    assert set(CHECKERS) == set(RepresentationKind)


def coverage(folder: Path) -> Made:
    path = folder / "coverage.tif"
    values = np.random.default_rng(1).integers(0, 1000, (300, 200), dtype="uint16")
    profile = {
        "driver": "GTiff",
        "width": 200,
        "height": 300,
        "count": 1,
        "dtype": "uint16",
        "crs": "EPSG:4547",
    }
    with rasterio.open(path, "w", **profile, transform=from_origin(500_000, 2_500_000, 1, 1)) as dataset:
        dataset.write(values, 1)
    return path, {"width": 200, "height": 300}


def tileset(folder: Path) -> Made:
    path = folder / "tileset.json"
    path.write_text(json.dumps({"asset": {"version": "1.1"}, "root": {"geometricError": 1}}))
    return path, {}


def terrain(folder: Path) -> Made:
    path = folder / "layer.json"
    path.write_text(json.dumps({"tilejson": "2.1.0", "tiles": ["{z}/{x}/{y}.terrain"]}))
    return path, {}


def series(folder: Path) -> Made:
    path = folder / "series.sqlite"
    parameter = Parameter("count", "Pedestrians", "1", "http://example.org/pedestrians")
    observations = [
        Observation("queen", "count", 1_700_000_000 + hour * 3600, float(hour)) for hour in range(5)
    ]
    summary = write_series(
        path, [Location("queen", "Queen Street", 174.7, -36.8, {})], [parameter], observations
    )
    return path, summary.properties()


MAKERS: list[tuple[RepresentationKind, Callable[[Path], Made]]] = [
    (RepresentationKind.COVERAGE, coverage),
    (RepresentationKind.TILESET_3D, tileset),
    (RepresentationKind.TERRAIN, terrain),
    (RepresentationKind.SERIES, series),
]


@pytest.mark.parametrize(("kind", "make"), MAKERS)
def test_sound_files_pass_and_others_do_not(
    kind: RepresentationKind, make: Callable[[Path], Made], tmp_path: Path
) -> None:
    path, properties = make(tmp_path)
    representation = Representation(kind, path.name, 1, 0, properties)
    assert what_is_wrong(path, representation) is None
    content = path.read_bytes()
    for number, damaged in enumerate((content[: len(content) // 3], b"", b"{}")):
        copy = (
            tmp_path / f"{number}-{path.name}"
        )  # another name each: stores keep a file that they have opened open
        copy.write_bytes(damaged)
        wrong = what_is_wrong(copy, representation)
        assert wrong is not None
        assert str(copy) in wrong
    path.unlink()
    assert what_is_wrong(path, representation) == f"there is nothing at {path}"


@pytest.mark.parametrize("make", [coverage, series])
def test_files_of_another_size_than_was_published_are_found(
    make: Callable[[Path], Made], tmp_path: Path
) -> None:
    path, properties = make(tmp_path)
    kind = next(kind for kind, maker in MAKERS if maker is make)
    changed = {**properties, "width": 7, "count": 7}
    wrong = what_is_wrong(path, Representation(kind, path.name, 1, 0, changed))
    assert wrong is not None
    assert "published" in wrong


def test_a_file_that_is_no_point_cloud_is_found(tmp_path: Path) -> None:
    path = tmp_path / "pointcloud.copc.laz"
    for content in (b"", b"LASF" + bytes(1000), b"text" * 1000):
        path.write_bytes(content)
        assert what_is_wrong(path, Representation(RepresentationKind.POINT_CLOUD, path.name, 1)) is not None


@pytest.mark.parametrize(
    "kind", [RepresentationKind.TILES, RepresentationKind.MAP, RepresentationKind.RECORD]
)
def test_what_is_made_from_others_needs_no_file_of_its_own(kind: RepresentationKind, tmp_path: Path) -> None:
    assert what_is_wrong(tmp_path, Representation(kind, "", 1)) is None
