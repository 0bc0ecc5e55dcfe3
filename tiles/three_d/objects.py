"""What a tileset is made of, wherever it is stored: the protocol between sources of objects and the builder.

A source knows where its objects are (`outlines`), how their attributes are typed (`schema`), and gives the geometry and the
attributes of any few of them (`load`). The builder decides which tile holds which object, and asks for a tile's objects when it
writes that tile; so a tileset of millions is never in memory, and a tile can be made again after an edit, for a filter, or for
an instant of the past, by a source that holds other rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.attributes import PropertyTable
from tiles.three_d.mesh import Mesh
from tiles.three_d.placement import LocalFrame

type Keys = NDArray[np.int64]


class Detail(IntEnum):
    """A level of detail of an object, coarse to fine."""

    BLOCK = 0
    """A box around it, turned to fit."""
    LOD1 = 1
    """Its plan, raised to its height."""
    FULL = 2
    """All surfaces that the source has."""


@dataclass(frozen=True, slots=True)
class Outlines:
    """Where n objects are and how large; what tiling needs.

    `keys` (n,) int64, by which `ObjectSource.load` finds them; unique in the source, the same as long as the object exists.
    `boxes` (n, 4) west, south, east, north in degrees (east above 180 where the data cross the antimeridian); `bottoms`, `tops`
    (n,) ellipsoidal heights (m); `sizes` (n,) diagonals (m); `weights` (n,) vertices of the finest detail.
    """

    keys: Keys
    boxes: NDArray[np.float64]
    bottoms: NDArray[np.float64]
    tops: NDArray[np.float64]
    sizes: NDArray[np.float64]
    weights: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class Texture:
    """An image: `content` as the file's bytes, `media_type` "image/png", "image/jpeg" or "image/webp"."""

    media_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Material:
    """How a part is drawn. `colour` is linear red, green, blue, alpha (0-1), multiplied with the texture where there is one."""

    colour: tuple[float, float, float, float] = (0.72, 0.70, 0.66, 1.0)
    metallic: float = 0.0
    roughness: float = 0.9
    double_sided: bool = False
    texture: Texture | None = None


@dataclass(frozen=True, slots=True)
class MeshPart:
    """Triangles of one material. `texture_coordinates` (v, 2) float, origin at the upper left as in glTF, None without a texture."""

    mesh: Mesh
    material: Material
    texture_coordinates: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class InstancePart:
    """One model drawn many times (EXT_mesh_gpu_instancing).

    `model` lies in metres around its own origin, x east, y north, z up, feature ids all 0. Over the n instances: `positions`
    (n, 3) east, north, up in the tile's frame; `rotations` (n, 4) unit quaternions x, y, z, w in the same axes; `scales` (n, 3);
    `feature_ids` (n,) rows of the tile's table.
    """

    model: tuple[MeshPart, ...]
    positions: NDArray[np.float64]
    rotations: NDArray[np.float64]
    scales: NDArray[np.float64]
    feature_ids: NDArray[np.int64]


type Part = MeshPart | InstancePart


class LoadedObjects(Protocol):
    """Some objects in memory, in the order in which their keys were asked; those that are gone or broken are left out."""

    @property
    def keys(self) -> Keys:
        """The keys of those that are here."""
        ...

    @property
    def table(self) -> PropertyTable:
        """Their attributes, a row each, in the columns of the source's schema."""
        ...

    def outlines(self) -> Outlines:
        """Where they are."""
        ...

    def parts(self, frame: LocalFrame, detail: Detail) -> Sequence[Part]:
        """Their geometry in a tile's frame; feature ids are rows of `table`."""
        ...


class ObjectSource(Protocol):
    """The objects of one tileset. Opened in each process for itself, after a fork."""

    @property
    def content(self) -> str:
        """What they are: "buildings", "cityobjects", "pipes", "instances", "boreholes", "geology", "models" ..."""
        ...

    @property
    def details(self) -> tuple[Detail, ...]:
        """The levels of detail it can give, coarse to fine. One: tiles refine by adding. Several: by replacing."""
        ...

    @property
    def height_reference(self) -> str:
        """What was done to its heights, in words."""
        ...

    def outlines(self) -> Iterator[Outlines]:
        """All objects that can be drawn, some thousands at a time; what cannot is reported, once, by the source."""
        ...

    def load(self, keys: Keys) -> LoadedObjects:
        """The objects of these keys (n,)."""
        ...


class SourceRecipe(Protocol):
    """How a source is opened: a small value that pickles, so that every process of a build opens its own."""

    def open(self) -> ObjectSource:
        """The source. Raises ThreeDError where it cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class TileAddress:
    """A tile of the implicit quadtree; rows count from the south."""

    level: int
    x: int
    y: int
