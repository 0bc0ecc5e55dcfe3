"""Layered ground: surfaces of layers, from rasters or between boreholes, as volumes.

The surfaces are gridded once, at publish, into `scene/geology.npz`; objects are blocks of layers, whose keys say layer, row and
column (`tiles.three_d.underground.geology`). Edits of the boreholes do not change them: publish again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from providers.three_d.recipes import SCENE_FOLDER
from tiles.three_d.attributes import PropertyTable
from tiles.three_d.objects import Detail, Keys, MeshPart, Outlines
from tiles.three_d.placement import LocalFrame
from tiles.three_d.report import ProblemLog
from tiles.three_d.schema import Column, PropertySpec, SchemaBuilder, TableSchema
from tiles.three_d.underground.boreholes import lithology_colour
from tiles.three_d.underground.geology import LayerBlocks, LayerGrid

GRID_FILE = f"{SCENE_FOLDER}/geology.npz"
_CHUNK = 512
_SPECS = (
    PropertySpec("layer", {"en": "Layer", "zh": "地层"}, None, "string"),
    PropertySpec("lithology", {"en": "Lithology", "zh": "岩性"}, None, "string"),
    PropertySpec("order", {"en": "Order from above", "zh": "自上而下序号"}, None, "integer"),
    PropertySpec("thickness", {"en": "Mean thickness", "zh": "平均厚度"}, "m", "number"),
    PropertySpec("least_thickness", {"en": "Least thickness", "zh": "最小厚度"}, "m", "number"),
    PropertySpec("greatest_thickness", {"en": "Greatest thickness", "zh": "最大厚度"}, "m", "number"),
)


@dataclass(frozen=True, slots=True)
class GeologyRecipe:
    """The layers of a generation. `said` is what was done to their heights."""

    kind: ClassVar[str] = "geology"

    generation: Path
    said: str
    colours: Mapping[str, str] = field(default_factory=dict, hash=False)

    def open(self) -> GeologySource:
        """The source. Raises ThreeDError."""
        return GeologySource(self)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs, without the folder."""
        return {"said": self.said, "colours": dict(self.colours)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], generation: Path) -> Self:
        """The recipe of a generation."""
        return cls(generation, document["said"], document["colours"])


class GeologySource:
    """Blocks of layers as an `ObjectSource`."""

    content = "geology"
    details: tuple[Detail, ...] = (Detail.FULL,)

    def __init__(self, recipe: GeologyRecipe) -> None:
        """Raises ThreeDError where the layers cannot be read."""
        self._grid = LayerGrid.open(recipe.generation / GRID_FILE)
        colours = tuple(lithology_colour(name, recipe.colours) for name in self._grid.lithologies)
        self._blocks = LayerBlocks(self._grid, colours)
        self.height_reference = recipe.said
        self.problems = ProblemLog()
        # Rows of all blocks are few: their types are found at each opening.
        schema = SchemaBuilder(self.content, _SPECS)
        schema.add(self._columns(self._blocks.keys))
        self._schema: TableSchema = schema.finish()

    def count(self) -> int | None:
        """Blocks."""
        return len(self._blocks.keys)

    def outlines(self) -> Iterator[Outlines]:
        """Where the blocks are."""
        keys = self._blocks.keys
        for begin in range(0, len(keys), _CHUNK):
            yield self._blocks.outlines(keys[begin : begin + _CHUNK])

    def load(self, keys: Keys) -> LoadedBlocks:
        """These blocks; keys without a block are left out."""
        here = keys[np.isin(keys, self._blocks.keys)]
        return LoadedBlocks(here, self._blocks, self._schema, self._columns(here), self._ids(here))

    def _ids(self, keys: Keys) -> list[str]:
        names = [self._grid.names[layer] for layer in self._blocks.layer_of(keys).tolist()]
        return [
            f"{name} {key % 2**40 // 2**20}-{key % 2**20}"
            for name, key in zip(names, keys.tolist(), strict=True)
        ]

    def _columns(self, keys: Keys) -> dict[str, Column]:
        layers = self._blocks.layer_of(keys)
        thick = np.round(self._blocks.thickness(keys), 3)
        return {
            "layer": [self._grid.names[layer] for layer in layers.tolist()],
            "lithology": [self._grid.lithologies[layer] for layer in layers.tolist()],
            "order": (layers + 1).tolist(),
            "thickness": thick[:, 0],
            "least_thickness": thick[:, 1],
            "greatest_thickness": thick[:, 2],
        }


class LoadedBlocks:
    """Some blocks in memory."""

    def __init__(
        self,
        keys: Keys,
        blocks: LayerBlocks,
        schema: TableSchema,
        columns: Mapping[str, Column],
        ids: Sequence[str],
    ) -> None:
        self.keys = keys
        self._blocks = blocks
        self._schema = schema
        self._columns = columns
        self._ids = ids

    @property
    def table(self) -> PropertyTable:
        """Layer, lithology and thickness of each."""
        return self._schema.table(self._ids, self._columns)

    def outlines(self) -> Outlines:
        """Where they are."""
        return self._blocks.outlines(self.keys)

    def parts(self, frame: LocalFrame, _detail: Detail) -> list[MeshPart]:
        """Their closed volumes."""
        return self._blocks.parts(self.keys, frame)
