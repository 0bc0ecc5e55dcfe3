"""Buildings out of footprints: polygons of a collection, raised from the ground to their height."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import shapely
from numpy.typing import NDArray

from providers.three_d.ground import Ground
from providers.three_d.numbers import numbers_of
from providers.three_d.object_features import FeatureRows, FeaturesAt, property_specs, take
from providers.three_d.placing import chosen_path
from providers.three_d.source_state import SourceState
from tiles.three_d.buildings import LoadedBuildings, building_outlines, sizes_of
from tiles.three_d.footprints import clean_footprints
from tiles.three_d.objects import Detail, Keys, Outlines
from tiles.three_d.placement import horizontal_paths
from tiles.three_d.report import ProblemLog, Survivors
from tiles.three_d.schema import PropertySpec, SchemaBuilder, TableSchema
from tiles.three_d.vertical import VerticalReference, to_ellipsoid

STOREY_METRES = 3.2
_HEIGHT = PropertySpec("height", {"en": "Height", "zh": "高度"}, "m", "number", source=":height")
# What no building on Earth reaches: a number in millimetres, a code for "unknown", a typing error.
_HIGHEST = 2_000.0
_DEEPEST_GROUND, _HIGHEST_GROUND = -12_000.0, 10_000.0
_WIDEST = 20_000.0


@dataclass(frozen=True, slots=True)
class FootprintRecipe:
    """How footprints become buildings; all lengths in metres.

    `height_field` is the height above the ground; where a value is missing or not above 0, `levels_field` times
    `STOREY_METRES`; where that is too, `default_height`; a footprint with none is reported and left out. `min_height_field` is the
    height above the ground at which it begins (building parts that stand above a passage). The ground is `base_field`, or
    `ground` (a raster of the generation), or 0, in `vertical`.
    """

    kind: ClassVar[str] = "footprints"

    features: FeaturesAt
    height_field: str | None = None
    levels_field: str | None = None
    default_height: float | None = None
    min_height_field: str | None = None
    base_field: str | None = None
    ground: str | None = None
    default_ground: float | None = None
    vertical: VerticalReference = field(default_factory=VerticalReference.ellipsoidal)
    titles: Mapping[str, str] = field(default_factory=dict, hash=False)

    def open(self) -> FootprintSource:
        """The source. Raises ThreeDError and ProviderError where it cannot be read."""
        return FootprintSource(self)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs."""
        return {
            "features": self.features.to_json(),
            "height_field": self.height_field,
            "levels_field": self.levels_field,
            "default_height": self.default_height,
            "min_height_field": self.min_height_field,
            "base_field": self.base_field,
            "ground": self.ground,
            "default_ground": self.default_ground,
            "vertical": vertical_to_json(self.vertical),
            "titles": dict(self.titles),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any], generation: Path) -> Self:
        """The recipe of a generation."""
        names = (
            "height_field", "levels_field", "default_height", "min_height_field", "base_field", "ground",
            "default_ground", "titles",
        )  # fmt: skip
        return cls(
            features=FeaturesAt.from_json(document["features"], generation),
            vertical=vertical_from_json(document["vertical"], generation),
            **{name: document[name] for name in names},
        )


def vertical_to_json(vertical: VerticalReference) -> dict[str, Any]:
    """A vertical reference as a JSON object. Its grid, where it has one, lies in the generation's `scene` folder."""
    document = {"kind": vertical.kind, "metres": vertical.metres, "name": vertical.name}
    return document if vertical.path is None else {**document, "grid": f"scene/{vertical.path.name}"}


def vertical_from_json(document: Mapping[str, Any], generation: Path) -> VerticalReference:
    """The vertical reference of a recipe."""
    grid = generation / document["grid"] if document.get("grid") else None
    return VerticalReference(document["kind"], document["metres"], grid, document["name"])


class FootprintSource:
    """The buildings of one collection."""

    content = "buildings"
    details: tuple[Detail, ...] = (Detail.LOD1,)

    def __init__(self, recipe: FootprintRecipe) -> None:
        self._recipe = recipe
        self._generation = recipe.features.generation
        self._features = recipe.features.open()
        self._state = SourceState.read(self._generation)
        self._ground: Ground | None = None
        self.problems = ProblemLog()

    @property
    def height_reference(self) -> str:
        """What was done to the heights."""
        return self._known().height_reference

    def count(self) -> int | None:
        """Footprints, with those that cannot be drawn."""
        return self._features.count()

    def outlines(self) -> Iterator[Outlines]:
        """Where the buildings are. What cannot be drawn goes to `problems`."""
        schema = SchemaBuilder("building", self._specs())
        state = self._state or self._begun(schema)
        self._state = state
        for rows in self._features.chunks():
            built = self._built(rows, state, self.problems)
            schema.add({_HEIGHT.key: built.rise, **built.rows.columns})
            yield built.outlines()
        if SourceState.read(self._generation) is None:
            self._state = SourceState(schema.finish(), state.path, state.height_reference, state.ground)
            self._state.save(self._generation)

    def load(self, keys: Keys) -> LoadedBuildings:
        """The buildings of these keys."""
        state = self._known()
        return self._built(self._features.rows(keys), state, ProblemLog()).loaded(state.schema)

    def _specs(self) -> list[PropertySpec]:
        recipe = self._recipe
        specs = property_specs(self._features.fields, recipe.titles)
        only_field = recipe.levels_field is None and recipe.default_height is None
        drawn = next((spec for spec in specs if spec.name == recipe.height_field == _HEIGHT.name), None)
        if drawn is None or not only_field or drawn.type not in ("number", "integer"):
            return [_HEIGHT, *specs]
        # The field is the height that is drawn: twice in every tile would only cost bytes.
        same = replace(drawn, titles=drawn.titles or _HEIGHT.titles, unit=drawn.unit or _HEIGHT.unit)
        return [same if spec is drawn else spec for spec in specs]

    def _known(self) -> SourceState:
        if self._state is None:
            for _ in self.outlines():
                pass
        if self._state is None:  # pragma: no cover - outlines() has set it
            raise AssertionError("the first reading leaves its state")
        return self._state

    def _begun(self, schema: SchemaBuilder) -> SourceState:
        """What is decided before the first building is looked at."""
        crs, bbox = self._features.crs, self._features.bbox
        path = chosen_path(crs, bbox)
        ground = self._recipe.default_ground
        if ground is None and self._recipe.base_field:
            known = numbers_of(self._features.values(self._recipe.base_field))
            known = known[np.isfinite(known)]
            ground = float(np.median(known)) if len(known) else 0.0
        _, said = to_ellipsoid(crs, np.empty((0, 2)), np.empty(0), self._recipe.vertical)
        reference = f"{said}; {horizontal_paths(crs)[path].description}"
        return SourceState(schema.finish(), path, reference, ground or 0.0)

    def _built(self, rows: FeatureRows, state: SourceState, log: ProblemLog) -> _Buildings:
        """Rows as buildings; those that cannot be drawn are told to `log` and left out."""
        survivors = Survivors.all_of(rows.ids, log)
        rise = self._rise(rows, survivors)
        lowest = self._lowest(rows, rise, survivors)
        base = self._base(rows, state, survivors)
        path = horizontal_paths(self._features.crs)[state.path]
        clean = clean_footprints(rows.geometries, self._features.crs, survivors, path)
        boxes = shapely.bounds(clean.geometries).reshape(-1, 4)
        kept = clean.kept
        wide = sizes_of(boxes, np.zeros(len(kept))) > _WIDEST
        if wide.any():
            marked = np.zeros(len(rows), dtype=np.bool_)
            marked[kept[wide]] = True
            survivors.drop(marked, f"a footprint wider than {_WIDEST / 1000:.0f} km")
            kept, boxes = kept[~wide], boxes[~wide]
        geometries = clean.geometries[~wide]
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2.0
        ground, _ = to_ellipsoid(self._features.crs, middles, base[kept], self._recipe.vertical)
        return _Buildings(
            take(rows, kept), geometries, ground + lowest[kept], ground + rise[kept],
            rise[kept], lowest[kept] > 0.0,
        )  # fmt: skip

    def _rise(self, rows: FeatureRows, survivors: Survivors) -> NDArray[np.float64]:
        """Height above the ground (m, (n,))."""
        recipe = self._recipe
        heights = np.full(len(rows), np.nan)
        if recipe.height_field:
            heights = numbers_of(rows.columns[recipe.height_field])
        if recipe.levels_field:
            storeys = numbers_of(rows.columns[recipe.levels_field]) * STOREY_METRES
            heights = np.where(heights > 0.0, heights, storeys)
        if recipe.default_height is not None:
            heights = np.where(heights > 0.0, heights, recipe.default_height)
        survivors.drop(~(heights > 0.0), "no height above 0 is given")
        survivors.drop(~(heights <= _HIGHEST), f"a height above {_HIGHEST:.0f} m")
        return heights

    def _lowest(
        self, rows: FeatureRows, rise: NDArray[np.float64], survivors: Survivors
    ) -> NDArray[np.float64]:
        """Height above the ground at which a building begins (m, (n,)); 0 where nothing is said."""
        if not self._recipe.min_height_field:
            return np.zeros(len(rows))
        lowest = numbers_of(rows.columns[self._recipe.min_height_field])
        lowest = np.where(np.isfinite(lowest) & (lowest > 0.0), lowest, 0.0)
        impossible = survivors.alive & (lowest >= rise)
        for row in np.flatnonzero(impossible).tolist():
            survivors.log.add(
                rows.ids[row], "its lowest height is not below its height: drawn from the ground", "repaired"
            )
        return np.where(impossible, 0.0, lowest)

    def _base(self, rows: FeatureRows, state: SourceState, survivors: Survivors) -> NDArray[np.float64]:
        """Height of the ground (m, (n,)) in the recipe's vertical reference."""
        if self._recipe.base_field:
            base = numbers_of(rows.columns[self._recipe.base_field])
            base = np.where(np.isfinite(base), base, state.ground)
        elif self._recipe.ground is not None:
            base = self._sampled(rows.geometries, state)
        else:
            return np.zeros(len(rows))
        impossible = ~((base >= _DEEPEST_GROUND) & (base <= _HIGHEST_GROUND))
        survivors.drop(impossible, "the height of its ground cannot be")
        return base

    def _sampled(self, geometries: NDArray[np.object_], state: SourceState) -> NDArray[np.float64]:
        if self._ground is None:
            raster = self._generation / str(self._recipe.ground)
            self._ground = Ground(raster, self._features.crs, state.ground)
        middles = shapely.bounds(geometries).reshape(-1, 4)
        places = (middles[:, :2] + middles[:, 2:]) / 2.0
        base = np.full(len(geometries), state.ground)
        known = np.isfinite(places).all(axis=1)
        base[known] = self._ground.heights(places[known])
        return base


@dataclass(frozen=True, slots=True)
class _Buildings:
    """n buildings: their rows, polygons in longitude and latitude, ellipsoidal heights, height above ground (m, (n,))."""

    rows: FeatureRows
    geometries: NDArray[np.object_]
    bottoms: NDArray[np.float64]
    tops: NDArray[np.float64]
    rise: NDArray[np.float64]
    lifted: NDArray[np.bool_]

    def outlines(self) -> Outlines:
        """Where they are."""
        return building_outlines(self.rows.keys, self.geometries, self.bottoms, self.tops)

    def loaded(self, schema: TableSchema) -> LoadedBuildings:
        """With their attributes, ready to be drawn."""
        rows = self.rows
        table = schema.table(rows.ids, {_HEIGHT.key: self.rise, **rows.columns})
        return LoadedBuildings(rows.keys, self.geometries, self.bottoms, self.tops, table, lifted=self.lifted)
