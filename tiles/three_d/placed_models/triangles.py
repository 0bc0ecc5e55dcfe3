"""Triangle meshes as a batch of city objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.city_models.model import (
    NO_COLOUR,
    NO_IMAGE,
    NO_SHELL,
    CityBatch,
    Level,
    ObjectHead,
    TextureImage,
)
from tiles.three_d.placement import Positions
from tiles.three_d.ragged import limits

FULL_LOD = 3.0
type Colour = tuple[float, float, float, float]


@dataclass(frozen=True)
class Piece:
    """Triangles of one look: `corners` (t, 3, 3), x east, y north, z up; `surface` index in the palette of city models; `colour` linear
    red, green, blue, alpha or None; `coordinates` (t, 3, 2) texture coordinates, origin at the upper left. `closed`: they bound a solid."""

    corners: Positions
    surface: int
    colour: Colour | None = None
    texture: TextureImage | None = None
    coordinates: NDArray[np.float32] | None = None
    closed: bool = False


@dataclass(frozen=True)
class Solid:
    """One object: its pieces and what is known of it."""

    id: str
    type: str
    attributes: Mapping[str, Any]
    pieces: Sequence[Piece] = field(default_factory=tuple)


def batch_of(solids: Sequence[Solid]) -> CityBatch:
    """The objects that have triangles, as a batch."""
    drawn = [one for one in solids if any(len(piece.corners) for piece in one.pieces)]
    pieces = [(row, piece) for row, one in enumerate(drawn) for piece in one.pieces if len(piece.corners)]
    counts = np.array([len(piece.corners) for _, piece in pieces], dtype=np.int64)
    textures: dict[TextureImage, int] = {}
    shades: dict[Colour, int] = {}
    images = [
        NO_IMAGE if p.texture is None else textures.setdefault(p.texture, len(textures)) for _, p in pieces
    ]
    colours = [NO_COLOUR if p.colour is None else shades.setdefault(p.colour, len(shades)) for _, p in pieces]
    shells = [number if piece.closed else NO_SHELL for number, (_, piece) in enumerate(pieces)]
    total = int(counts.sum())
    coordinates = None
    if textures:
        coordinates = np.concatenate([_coordinates(piece) for _, piece in pieces])
    sizes = np.bincount(np.repeat([row for row, _ in pieces], counts), minlength=len(drawn))
    return CityBatch(
        heads=tuple(ObjectHead(one.id, one.type, one.attributes) for one in drawn),
        levels=tuple(Level(row, FULL_LOD, True) for row in range(len(drawn))),
        corners=np.concatenate([piece.corners.reshape(-1, 3) for _, piece in pieces])
        if pieces
        else np.empty((0, 3)),
        rings=np.arange(total + 1, dtype=np.int64) * 3,
        surfaces=np.arange(total + 1, dtype=np.int64),
        levels_at=limits(sizes),
        classes=np.repeat(np.array([piece.surface for _, piece in pieces], dtype=np.uint8), counts),
        shells=np.repeat(np.array(shells, dtype=np.int64), counts),
        images=np.repeat(np.array(images, dtype=np.int64), counts),
        colours=np.repeat(np.array(colours, dtype=np.int64), counts),
        coordinates=coordinates,
        textures=tuple(textures),
        shades=tuple(shades),
    )


def _coordinates(piece: Piece) -> NDArray[np.float32]:
    if piece.coordinates is None:
        return np.zeros((len(piece.corners) * 3, 2), dtype=np.float32)
    return piece.coordinates.reshape(-1, 2).astype(np.float32)
