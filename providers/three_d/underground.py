"""What the sources of things under the ground have in common: features in, placed shapes out, a table row for each shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from providers.three_d.footprints import vertical_from_json, vertical_to_json
from providers.three_d.ground import Ground
from providers.three_d.object_features import FeatureRows, FeaturesAt, ObjectFeatures, property_specs
from providers.three_d.placing import chosen_path
from providers.three_d.source_state import SourceState
from tiles.three_d.attributes import PropertyTable
from tiles.three_d.objects import Detail, Keys, MeshPart, Outlines
from tiles.three_d.placement import LocalFrame, horizontal_paths
from tiles.three_d.report import ProblemLog, Survivors
from tiles.three_d.schema import Column, PropertySpec, SchemaBuilder
from tiles.three_d.underground.axes import GroundHeights, Placing
from tiles.three_d.vertical import VerticalReference, to_ellipsoid


class PlacedShapes(Protocol):
    """Shapes on the globe. `rows` (m,) are those of the features that can be drawn, ascending."""

    @property
    def rows(self) -> NDArray[np.intp]: ...

    @property
    def said(self) -> str: ...

    def outlines(self, keys: Keys) -> Outlines: ...

    def parts(self, frame: LocalFrame) -> list[MeshPart]: ...


@dataclass(frozen=True, slots=True)
class Shaped:
    """Shapes and what the table says of them.

    `table_rows` (t,) is the feature of each row of the table: `shapes.rows`, or more where a feature has several parts that are
    picked by themselves. `measures` have t values each, in metres, or text.
    """

    shapes: PlacedShapes
    table_rows: NDArray[np.intp]
    measures: Mapping[str, Column]


class Shaper(Protocol):
    """Makes shapes of features by the rules of one kind."""

    @property
    def content(self) -> str:
        """What they are, in one word."""
        ...

    @property
    def measures(self) -> Sequence[PropertySpec]:
        """The columns that it adds to those of the features; their sources begin with ":", so that no field has their name."""
        ...

    def shape(self, rows: FeatureRows, survivors: Survivors, placing: Placing) -> Shaped:
        """The shapes of some features; what cannot be drawn drops out of `survivors`. Raises PlacementError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the heights of features count from, and how fields are called; the part of a recipe that all kinds share.

    `ground` is a raster of the generation, by its path relative to that; None where the ground is not known.
    """

    vertical: VerticalReference = field(default_factory=VerticalReference.ellipsoidal)
    ground: str | None = None
    default_ground: float = 0.0
    titles: Mapping[str, str] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Any]:
        """As it stands in a recipe."""
        return {
            "vertical": vertical_to_json(self.vertical),
            "ground": self.ground,
            "default_ground": self.default_ground,
            "titles": dict(self.titles),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any], generation: Path) -> Setting:
        """That of a recipe of a generation."""
        return cls(
            vertical=vertical_from_json(document["vertical"], generation),
            ground=document["ground"],
            default_ground=document["default_ground"],
            titles=document["titles"],
        )

    def placing(self, features: ObjectFeatures, generation: Path, path: int) -> Placing:
        """What places features of this generation on the globe; `path` numbers their way to WGS 84."""
        heights: GroundHeights | None = None
        if self.ground is not None:
            heights = Ground(generation / self.ground, features.crs, self.default_ground).heights
        return Placing(features.crs, self.vertical, heights, horizontal_paths(features.crs)[path])


class UndergroundSource:
    """The shapes of a collection as an `ObjectSource`: keys are those of the features."""

    details: tuple[Detail, ...] = (Detail.FULL,)

    def __init__(self, features: FeaturesAt, setting: Setting, shaper: Shaper) -> None:
        """Raises StoreMissing, ThreeDError."""
        self._generation = features.generation
        self._features = features.open()
        self._setting = setting
        self._shaper = shaper
        self._state = SourceState.read(self._generation)
        self._placing: Placing | None = None
        self.problems = ProblemLog()

    @property
    def content(self) -> str:
        """What they are, in one word."""
        return self._shaper.content

    @property
    def height_reference(self) -> str:
        """What was done to the heights."""
        return self._known().height_reference

    def count(self) -> int | None:
        """Features, with those that cannot be drawn."""
        return self._features.count()

    def outlines(self) -> Iterator[Outlines]:
        """Where all objects are. What cannot be drawn goes to `problems`; the types of the columns are kept for the tiles."""
        specs = [*self._shaper.measures, *property_specs(self._features.fields, self._setting.titles)]
        schema = SchemaBuilder(self._shaper.content, specs)
        state = self._state or self._begun(schema)
        self._state = state
        for rows in self._features.chunks():
            shaped = self._shaped(rows, state, self.problems)
            schema.add({**shaped.measures, **rows.columns})
            yield shaped.shapes.outlines(rows.keys[shaped.shapes.rows])
        if SourceState.read(self._generation) is None:
            self._state = SourceState(schema.finish(), state.path, state.height_reference)
            self._state.save(self._generation)

    def load(self, keys: Keys) -> LoadedShapes:
        """The objects of these keys; those that are gone or broken are left out."""
        state = self._known()
        rows = self._features.rows(keys)
        return LoadedShapes(rows, self._shaped(rows, state, ProblemLog()), state)

    def _begun(self, schema: SchemaBuilder) -> SourceState:
        """What is decided before the first object is looked at."""
        crs = self._features.crs
        path = chosen_path(crs, self._features.bbox)
        _, said = to_ellipsoid(crs, np.empty((0, 2)), np.empty(0), self._setting.vertical)
        return SourceState(schema.finish(), path, f"{said}; {horizontal_paths(crs)[path].description}")

    def _known(self) -> SourceState:
        if self._state is None:
            for _ in self.outlines():
                pass
        if self._state is None:  # pragma: no cover - outlines() has set it
            raise AssertionError("the first reading leaves its state")
        return self._state

    def _shaped(self, rows: FeatureRows, state: SourceState, log: ProblemLog) -> Shaped:
        if self._placing is None:
            self._placing = self._setting.placing(self._features, self._generation, state.path)
        return self._shaper.shape(rows, Survivors.all_of(rows.ids, log), self._placing)


class LoadedShapes:
    """Some objects in memory."""

    def __init__(self, rows: FeatureRows, shaped: Shaped, state: SourceState) -> None:
        self._rows = rows
        self._shaped = shaped
        self._state = state

    @property
    def keys(self) -> Keys:
        """The keys of those that are here."""
        return self._rows.keys[self._shaped.shapes.rows]

    @property
    def table(self) -> PropertyTable:
        """Their attributes; more rows than keys where objects have parts."""
        at = self._shaped.table_rows
        chosen = at.tolist()
        whole = len(at) == len(self._rows) and bool((at == np.arange(len(at))).all())
        columns: dict[str, Column] = {
            name: values if whole else [values[row] for row in chosen]
            for name, values in self._rows.columns.items()
        }
        ids = self._rows.ids if whole else [self._rows.ids[row] for row in chosen]
        return self._state.schema.table(ids, {**self._shaped.measures, **columns})

    def outlines(self) -> Outlines:
        """Where they are."""
        return self._shaped.shapes.outlines(self.keys)

    def parts(self, frame: LocalFrame, _detail: Detail) -> list[MeshPart]:
        """Their geometry; feature ids are rows of `table`."""
        return self._shaped.shapes.parts(frame)
