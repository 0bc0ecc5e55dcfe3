"""A cloud of one COPC and a mosaic of four, small, never to be changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointclouds.build.build import build_copc
from pointclouds.build.layout import common_layout
from pointclouds.cloud.cloud import INDEX_FILE, TILES_FOLDER, Cloud, open_cloud, write_index
from pointclouds.copc.reader import CopcFile
from pointclouds.mosaic.building import description_of, tile_path
from pointclouds.mosaic.overview import write_overview
from pointclouds.mosaic.tiles import described_tile
from pointclouds.sources import LasSource

WEST, SOUTH, SIZE = 84900.0, 447500.0, 60.0


@pytest.fixture(scope="session")
def fine_copc(tmp_path_factory: pytest.TempPathFactory, scan: Path) -> Path:
    """60,000 points in many nodes: leaves of 3,000."""
    path = tmp_path_factory.mktemp("fine") / "fine.copc.laz"
    build_copc([LasSource(scan, "EPSG:7415")], path, leaf_points=3_000, processes=1)
    return path


@pytest.fixture(scope="session")
def mosaic(tmp_path_factory: pytest.TempPathFactory, make_scan: Any) -> Cloud:
    """Two by two tiles of 60 m, 5,000 points each."""
    folder = tmp_path_factory.mktemp("mosaic")
    (folder / TILES_FOLDER).mkdir()
    sources = [
        LasSource(
            make_scan(
                folder / f"t{column}{row}.laz",
                5_000,
                point_format=3,
                origin=(WEST + SIZE * column, SOUTH + SIZE * row, 2.0),
                size=SIZE,
                seed=10 * column + row,
            )
        )
        for column in range(2)
        for row in range(2)
    ]
    layout = common_layout(sources)
    tiles = []
    for source in sources:
        name = source.path.stem
        out = tile_path(folder / TILES_FOLDER, name)
        build_copc([source], out, layout=layout, leaf_points=1_000, processes=1)
        tiles.append(described_tile(name, out, {"source": source.path.name}))
    overview = write_overview(tiles, tile_path(folder / TILES_FOLDER, "overview"), folder / "work")
    write_index(folder / INDEX_FILE, description_of(layout), [*tiles, overview])
    return open_cloud(folder / INDEX_FILE)


@pytest.fixture(scope="session")
def all_records() -> Any:
    """All points of a COPC, nodes in the order of its entries."""

    def read(path: Path) -> Any:
        with CopcFile(path) as copc:
            return np.concatenate([copc.read_node(entry) for entry in copc.entries])

    return read
