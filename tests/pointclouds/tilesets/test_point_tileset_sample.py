"""Real scans: counts and classes of the source, of all tiles and of all nodes of the EPT are equal."""

import io

import laspy
import numpy as np
import pytest

from pointclouds.cloud.cloud import open_cloud
from pointclouds.copc.writer import write_copc
from pointclouds.ept import EptView
from pointclouds.tilesets.octree import Address
from pointclouds.tilesets.plan import PLAN_FILE, read_point_plan, write_point_plan
from pointclouds.tilesets.tileset import Look, PointTileset

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize(
    ("name", "crs"),
    [
        ("pointcloud/autzen_trim.laz", None),
        ("delft/ahn3/ahn3_cropped_1.laz", "EPSG:28992+5709"),
        ("delft/ahn3/ahn3_cropped_2.laz", "EPSG:28992+5709"),
    ],
)
def test_every_point_comes_by_every_way(sample_data, tmp_path, name, crs):
    source = laspy.read(sample_data / name)
    expected = np.bincount(np.asarray(source.classification), minlength=256)
    path = tmp_path / "in.copc.laz"
    write_copc(sample_data / name, path, **({"crs": crs} if crs else {}))
    cloud = open_cloud(path)
    write_point_plan(cloud, tmp_path)
    tileset, (tile,) = PointTileset(cloud, read_point_plan(tmp_path / PLAN_FILE)), cloud.tiles
    view = EptView(cloud.file(tile), cloud.nodes(tile))
    by_tile, by_node = np.zeros(256, np.int64), np.zeros(256, np.int64)
    pages = view.hierarchy((0, 0, 0, 0))
    assert sum(pages.values()) == len(source)
    for key, count in pages.items():
        depth, *cell = map(int, key.split("-"))
        las = laspy.read(io.BytesIO(view.node((depth, *cell))))
        assert len(las) == count
        by_node += np.bincount(np.asarray(las.classification), minlength=256)
        glb = tileset.content(tile, Address(depth, *cell), Look("class", ("Classification",)), None)
        by_tile += np.bincount(_classes(glb, count), minlength=256)
    assert by_node.tolist() == by_tile.tolist() == expected.tolist()


def _classes(glb, count):
    """The classification at the end of a tile: the last attribute, each in four bytes."""
    return np.frombuffer(glb, np.uint8)[-4 * count :: 4]
