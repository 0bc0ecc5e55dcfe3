"""3D Tiles of points over HTTP: every point in a tile that holds it, whatever form is asked for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

BASE = "/ogc/collections/demo.{}/3dtiles"


@pytest.fixture(scope="module")
def get(points: Any) -> Any:
    def fetch(url: str) -> bytes:
        reply = points.get(url)
        assert reply.status == 200, (url, reply.status, reply.body[:300])
        return reply.body

    return fetch


def classes_of(cloud: Any) -> Counter[int]:
    found: Counter[int] = Counter()
    for tile in cloud.tiles:
        file = cloud.file(tile)
        for entry in file.entries:
            found.update(file.read_node(entry)["Classification"].tolist())
    return found


def inside(local: Any, box: list[float], slack: float) -> bool:
    centre, half = np.array(box[:3]), np.array(box)[[3, 7, 11]]
    return bool((np.abs(local - centre) <= half + slack).all())


@pytest.mark.parametrize("name", ["scan", "mosaic"])
def test_implicit_tiles_hold_every_point_once(
    name: str, get: Any, walker: Any, read_glb: Any, point_city: Any
) -> None:
    found = walker(get).walk(f"{BASE.format(name)}/tileset.json")
    classes: Counter[int] = Counter()
    for tile in found.tiles:
        glb = read_glb(tile.data)
        classes.update(glb.column("_CLASSIFICATION").tolist())
        step = np.array(glb.document["nodes"][0]["scale"]).max()
        assert inside(glb.local(), tile.box, step)
    cloud = point_city.clouds[name]
    assert classes == classes_of(cloud)
    assert sum(classes.values()) == cloud.count
    assert len(found.tiles) == sum(
        int((cloud.file(tile).entries["point_count"] > 0).sum()) for tile in cloud.tiles
    )
