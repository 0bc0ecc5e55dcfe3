"""A tile of every kind of part: houses of two materials, one textured and see-through, with classes, and turned trees."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from tiles.three_d.attributes import PropertyTable
from tiles.three_d.mesh import Mesh, SurfaceClass
from tiles.three_d.models import MODELS
from tiles.three_d.objects import InstancePart, Material, MeshPart, Part, Texture
from tiles.three_d.placement import LocalFrame
from tiles.three_d.schema import PropertySpec, SchemaBuilder

PALETTE = (SurfaceClass("RoofSurface", (1.0, 0.0, 0.0)), SurfaceClass("WallSurface", (0.0, 0.0, 1.0)))
FACES = ((0, 1, 5, 4), (1, 3, 7, 5), (3, 2, 6, 7), (2, 0, 4, 6), (4, 5, 7, 6))


class Tile(NamedTuple):
    """The input of `write_tile`."""

    parts: list[Part]
    frame: LocalFrame
    table: PropertyTable


def boxes(count: int, reach: float = 150.0) -> Mesh:
    """`count` boxes without a floor, flat-shaded, with classes: 5 faces of 4 vertices and 2 triangles each."""
    generator = np.random.default_rng(count)
    corner = np.array([[n & 1, n >> 1 & 1, n >> 2] for n in range(8)], dtype=np.float64)
    points = corner[np.array(FACES)].reshape(1, 20, 3) * generator.uniform(5.0, 20.0, (count, 1, 3))
    places = generator.uniform(-reach, reach, (count, 1, 3)) * [1.0, 1.0, 0.0]
    normals = np.repeat(
        np.array([(0, -1, 0), (1, 0, 0), (0, 1, 0), (-1, 0, 0), (0, 0, 1)], dtype=float), 4, axis=0
    )
    quads = np.arange(0, 20, 4)[:, None, None] + np.array([[0, 1, 2], [0, 2, 3]])
    triangles = np.arange(count)[:, None, None] * 20 + quads.reshape(1, -1, 3)
    classes = np.tile(np.repeat(np.array([1, 1, 1, 1, 0], dtype=np.uint8), 4), count)
    return Mesh(
        (points + places).reshape(-1, 3),
        np.tile(normals, (count, 1)),
        np.repeat(np.arange(count), 20),
        triangles.reshape(-1, 3),
        classes,
        PALETTE,
    )


def attributes(count: int) -> PropertyTable:
    """Text with gaps and Chinese, numbers with gaps and NaN, booleans."""
    columns = {
        "height": np.where(np.arange(count) % 4 == 3, np.nan, np.arange(count) * 0.5),
        "名称": [None if number % 3 == 0 else f"楼{number}" for number in range(count)],
        "levels": [None if number % 5 == 4 else number for number in range(count)],
        "listed": [number % 2 == 0 for number in range(count)],
    }
    builder = SchemaBuilder("building", [PropertySpec(name) for name in columns])
    builder.add(columns)
    return builder.finish().table([f"way/{number}" for number in range(count)], columns)


@pytest.fixture(scope="session")
def make_boxes() -> Callable[..., Mesh]:
    return boxes


@pytest.fixture(scope="session")
def make_table() -> Callable[[int], PropertyTable]:
    return attributes


@pytest.fixture(scope="session")
def image() -> Texture:
    """A PNG of 4 x 4 pixels with an alpha channel."""
    stream = io.BytesIO()
    Image.new("RGBA", (4, 4), (200, 100, 50, 128)).save(stream, "PNG")
    return Texture("image/png", stream.getvalue())


@pytest.fixture(scope="session")
def tile(image: Texture) -> Tile:
    """12 features: 0-5 houses with classes, 6-8 textured, 9-11 trees (one twice), and glass over houses 0-5."""
    classed = boxes(6)
    textured = boxes(3)
    textured = replace(textured, feature_ids=textured.feature_ids + 6, classes=None, palette=())
    coordinates = np.tile([[0.0, 0.0], [2.0, 0.0], [2.0, 3.0], [0.0, 3.0]], (15, 1)) - 0.5
    glass = replace(boxes(6), classes=None, palette=())
    turns = np.random.default_rng(3).normal(size=(4, 4))
    trees = InstancePart(
        MODELS["broadleaf_tree"].parts,
        np.random.default_rng(4).uniform(-100.0, 100.0, (4, 3)),
        turns / np.linalg.norm(turns, axis=1, keepdims=True),
        np.array([[1.0, 1.0, 1.5], [1.0, 1.0, 1.0], [0.5, 0.5, 0.5], [1.2, 1.2, 0.9]]),
        np.array([9, 10, 11, 10]),
    )
    parts: list[Part] = [
        MeshPart(classed, Material()),
        MeshPart(textured, Material((1.0, 1.0, 1.0, 1.0), texture=image), coordinates),
        MeshPart(glass, Material((0.5, 0.7, 0.9, 0.4), double_sided=True)),
        trees,
    ]
    return Tile(parts, LocalFrame.at(114.3, 30.6, 25.0), attributes(12))
