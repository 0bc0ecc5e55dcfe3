"""One tile out of its objects: the glb, and the facts that its subtree tells of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.errors import NothingToBuildError
from tiles.three_d.facts import facts_row
from tiles.three_d.glb import Compression, GlbOptions, write_tile
from tiles.three_d.objects import Detail, Keys, LoadedObjects, ObjectSource, Outlines, TileAddress
from tiles.three_d.placement import LocalFrame
from tiles.three_d.plan import unwrapped
from tiles.three_d.quadtree import tile_code


@dataclass(frozen=True, slots=True)
class TileOptions:
    """How tiles are encoded; kept with the tileset, so that a tile made later is like the others."""

    glb: GlbOptions = field(default_factory=GlbOptions)

    def to_json(self) -> dict[str, Any]:
        """The options as a JSON object."""
        return {"attribution": self.glb.attribution, "compression": self.glb.compression.value}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> TileOptions:
        """The options of a JSON object."""
        return cls(GlbOptions(document["attribution"], Compression(document["compression"])))


class MadeTile(NamedTuple):
    """A tile: the bytes of its glb, its facts (1,) of `TILE_FACTS`, and the keys of the objects that are in it."""

    content: bytes
    facts: NDArray[np.void]
    keys: Keys


@runtime_checkable
class KnowsDetailErrors(Protocol):
    """Loaded objects that know how far a coarser detail is from the finest."""

    def detail_errors(self, detail: Detail) -> NDArray[np.float64]:
        """The largest distance (m, (n,)) between an object in this detail and in its finest."""
        ...


@runtime_checkable
class KnowsDetailBoxes(Protocol):
    """Loaded objects that know where a coarser detail reaches: a turned box sticks out beyond what it stands for."""

    def detail_boxes(self, detail: Detail) -> NDArray[np.float64]:
        """West, south, east, north (degrees, (n, 4)) of the objects in this detail and in their finest."""
        ...


def make_tile(
    source: ObjectSource, tile: TileAddress, keys: Keys, detail: Detail, options: TileOptions
) -> MadeTile | None:
    """The tile that shows the objects of these keys, None where none of them is left that can be drawn."""
    if not len(keys):
        return None
    return make_tile_of(source.load(keys), tile, detail, options, finest=source.details[-1])


def make_tile_of(
    loaded: LoadedObjects,
    tile: TileAddress,
    detail: Detail,
    options: TileOptions,
    *,
    finest: Detail = Detail.FULL,
) -> MadeTile | None:
    """The tile that shows objects that are in memory. `finest`: the finest detail of the source."""
    outlines = loaded.outlines()
    if not len(outlines):
        return None
    try:
        frame = frame_of(outlines)
        content = write_tile(loaded.parts(frame, detail), frame, loaded.table, options.glb)
    except NothingToBuildError:
        return None
    errors = (
        loaded.detail_errors(detail) if detail != finest and isinstance(loaded, KnowsDetailErrors) else None
    )
    if detail != finest and isinstance(loaded, KnowsDetailBoxes):
        outlines = replace(outlines, boxes=loaded.detail_boxes(detail))
    code = tile_code(np.array([tile.level]), np.array([tile.x]), np.array([tile.y]))
    return MadeTile(content, facts_row(int(code[0]), outlines, detail, finest, errors), loaded.keys)


def frame_of(outlines: Outlines) -> LocalFrame:
    """The local frame in the middle of what a tile really holds."""
    boxes = unwrapped(outlines.boxes)
    longitude = (boxes[:, 0].min() + boxes[:, 2].max()) / 2.0
    latitude = (boxes[:, 1].min() + boxes[:, 3].max()) / 2.0
    height = (outlines.bottoms.min() + outlines.tops.max()) / 2.0
    return LocalFrame.at(float(longitude), float(latitude), float(height))
