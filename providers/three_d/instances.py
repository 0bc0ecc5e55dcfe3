"""Trees, lamps, benches: points of a collection, each drawn as a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import shapely
from numpy.typing import NDArray

from providers.three_d.footprints import vertical_from_json, vertical_to_json
from providers.three_d.ground import Ground
from providers.three_d.numbers import numbers_of
from providers.three_d.object_features import FeatureRows, FeaturesAt, property_specs, take
from providers.three_d.placing import chosen_path
from providers.three_d.source_state import SourceState
from tiles.three_d.attributes import PropertyTable
from tiles.three_d.errors import ThreeDError
from tiles.three_d.models import MODELS, model
from tiles.three_d.objects import Detail, Keys, Outlines, Part
from tiles.three_d.placement import (
    LocalFrame,
    horizontal_paths,
    outside_area_of_use,
    unwrap_longitudes,
)
from tiles.three_d.report import ProblemLog, Survivors
from tiles.three_d.scattered import Scattered, Shape
from tiles.three_d.schema import SchemaBuilder
from tiles.three_d.vertical import VerticalReference, to_ellipsoid

_LARGEST = 500.0
_LARGEST_SCALE = 1_000.0
_DEEPEST_GROUND, _HIGHEST_GROUND = -12_000.0, 10_000.0
# Turning every next one by this share of a circle (the golden section) lets no pattern appear.
_GOLDEN_TURN = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class InstanceRecipe:
    """How points become models; lengths in metres.

    `model` is a built-in model or a .glb of the generation ("scene/models/..."); with `model_field`, `models` says which model a value
    has, a value may be the name of a built-in model itself, and `model` is for all others (None: those are reported and left
    out). `height_field` and `width_field` (of a tree its crown) say how large one is: one of them scales the whole model, both
    stretch it; `scale_field` multiplies; without them a model keeps its own size. `heading_field` is degrees clockwise from
    north; trees without one are turned at will. The ground is `base_field`, or `ground` (a raster of the generation), or the
    points' own z, or 0, in `vertical`.
    """

    kind: ClassVar[str] = "instances"

    features: FeaturesAt
    model: str | None = None
    model_field: str | None = None
    models: Mapping[str, str] = field(default_factory=dict, hash=False)
    height_field: str | None = None
    width_field: str | None = None
    scale_field: str | None = None
    heading_field: str | None = None
    base_field: str | None = None
    ground: str | None = None
    default_ground: float | None = None
    vertical: VerticalReference = field(default_factory=VerticalReference.ellipsoidal)
    titles: Mapping[str, str] = field(default_factory=dict, hash=False)

    def open(self) -> InstanceSource:
        """The source. Raises ThreeDError and ProviderError where it cannot be read."""
        return InstanceSource(self)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs."""
        return {
            "features": self.features.to_json(),
            "vertical": vertical_to_json(self.vertical),
            "models": dict(self.models),
            "titles": dict(self.titles),
            **{name: getattr(self, name) for name in _PLAIN_FIELDS},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any], generation: Path) -> Self:
        """The recipe of a generation."""
        return cls(
            features=FeaturesAt.from_json(document["features"], generation),
            vertical=vertical_from_json(document["vertical"], generation),
            models=document["models"],
            titles=document["titles"],
            **{name: document[name] for name in _PLAIN_FIELDS},
        )


_PLAIN_FIELDS = (
    "model", "model_field", "height_field", "width_field", "scale_field", "heading_field", "base_field", "ground",
    "default_ground",
)  # fmt: skip


class InstanceSource:
    """The trees or the furniture of one collection."""

    content = "instances"
    details: tuple[Detail, ...] = (Detail.FULL,)

    def __init__(self, recipe: InstanceRecipe) -> None:
        """Raises StoreMissing, and ThreeDError where a model cannot be read."""
        self._recipe = recipe
        self._generation = recipe.features.generation
        self._features = recipe.features.open()
        self._state = SourceState.read(self._generation)
        self._ground: Ground | None = None
        self._shapes = _Shapes(recipe, self._generation)
        self.problems = ProblemLog()

    @property
    def height_reference(self) -> str:
        """What was done to the heights."""
        return self._known().height_reference

    def count(self) -> int | None:
        """Features, with those that cannot be drawn."""
        return self._features.count()

    def outlines(self) -> Iterator[Outlines]:
        """Where the objects are. What cannot be drawn goes to `problems`."""
        schema = SchemaBuilder("instance", property_specs(self._features.fields, self._recipe.titles))
        state = self._state or self._begun(schema)
        self._state = state
        for rows in self._features.chunks():
            built = self._built(rows, state, self.problems)
            schema.add(built.rows.columns)
            yield built.scattered.outlines(built.rows.keys)
        if SourceState.read(self._generation) is None:
            self._state = replace(state, schema=schema.finish())
            self._state.save(self._generation)

    def load(self, keys: Keys) -> LoadedInstances:
        """The objects of these keys."""
        state = self._known()
        return LoadedInstances(self._built(self._features.rows(keys), state, ProblemLog()), state)

    def _known(self) -> SourceState:
        if self._state is None:
            for _ in self.outlines():
                pass
        if self._state is None:  # pragma: no cover - outlines() has set it
            raise AssertionError("the first reading leaves its state")
        return self._state

    def _begun(self, schema: SchemaBuilder) -> SourceState:
        """What is decided before the first point is looked at."""
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

    def _built(self, rows: FeatureRows, state: SourceState, log: ProblemLog) -> _Instances:
        """Rows as instances; those that cannot be drawn are told to `log` and left out."""
        survivors = Survivors.all_of(rows.ids, log)
        points, owner = _points(rows, survivors)
        lonlat = horizontal_paths(self._features.crs)[state.path].forward(points)
        lonlat[outside_area_of_use(self._features.crs, lonlat)] = np.nan
        survivors.drop_owners(owner, ~np.isfinite(lonlat).all(axis=1), "it lies outside its CRS")
        shape = self._shapes.of_rows(rows, survivors)
        base = self._base(rows, points, owner, state)
        impossible = ~((base >= _DEEPEST_GROUND) & (base <= _HIGHEST_GROUND))
        survivors.drop_owners(owner, impossible, "the height of its ground cannot be")
        scales = self._scales(rows, shape, survivors)
        kept = np.flatnonzero(survivors.alive)
        new_rows = np.cumsum(survivors.alive) - 1
        here = survivors.alive[owner]
        owner = owner[here]
        height, _ = to_ellipsoid(self._features.crs, lonlat[here], base[here], self._recipe.vertical)
        lonlat = lonlat[here]
        lonlat[:, 0] = unwrap_longitudes(lonlat[:, 0])
        scattered = Scattered(
            self._shapes.shapes, new_rows[owner], shape[owner], lonlat, height, scales[owner],
            self._headings(rows, shape)[owner],
        )  # fmt: skip
        return _Instances(take(rows, kept), scattered)

    def _base(
        self, rows: FeatureRows, points: NDArray[np.float64], owner: NDArray[np.intp], state: SourceState
    ) -> NDArray[np.float64]:
        """Height of the ground at each point (m, (p,)) in the recipe's vertical reference."""
        recipe = self._recipe
        if recipe.base_field:
            base = numbers_of(rows.columns[recipe.base_field])
            return np.where(np.isfinite(base), base, state.ground)[owner]
        if recipe.ground is not None:
            if self._ground is None:
                self._ground = Ground(self._generation / recipe.ground, self._features.crs, state.ground)
            base = np.full(len(points), state.ground)
            known = np.isfinite(points[:, :2]).all(axis=1)
            base[known] = self._ground.heights(points[known, :2])
            return base
        return np.where(np.isfinite(points[:, 2]), points[:, 2], state.ground)

    def _scales(
        self, rows: FeatureRows, shape: NDArray[np.intp], survivors: Survivors
    ) -> NDArray[np.float64]:
        """Factors (n, 3) east, north, up."""
        recipe, shapes = self._recipe, self._shapes.shapes
        rise = self._measure(rows, recipe.height_field, _LARGEST, "height", survivors)
        across = self._measure(rows, recipe.width_field, _LARGEST, "width", survivors)
        factor = self._measure(rows, recipe.scale_field, _LARGEST_SCALE, "scale", survivors)
        rise = rise / np.array([max(one.height, 1e-3) for one in shapes])[shape]
        across = across / np.array([max(one.width, 1e-3) for one in shapes])[shape]
        up = np.where(np.isfinite(rise), rise, across)
        beside = np.where(np.isfinite(across), across, rise)
        found = np.column_stack((beside, beside, up))
        found = np.where(np.isfinite(found), found, 1.0)
        return found * np.where(np.isfinite(factor), factor, 1.0)[:, None]

    def _measure(
        self, rows: FeatureRows, name: str | None, most: float, said: str, survivors: Survivors
    ) -> NDArray[np.float64]:
        """A column of numbers above 0 (n,), NaN where there is none; one that cannot be is told, and left out of account."""
        if name is None:
            return np.full(len(rows), np.nan)
        numbers = numbers_of(rows.columns[name])
        impossible = ~np.isnan(numbers) & ~((numbers > 0.0) & (numbers <= most))
        for row in np.flatnonzero(impossible & survivors.alive).tolist():
            survivors.log.add(
                rows.ids[row],
                f"its {said} {numbers[row]:g} is not above 0 and up to {most:g}: drawn in the model's own size",
                "repaired",
            )
        return np.where(impossible, np.nan, numbers)

    def _headings(self, rows: FeatureRows, shape: NDArray[np.intp]) -> NDArray[np.float64]:
        """Degrees clockwise from north (n,)."""
        at_will = np.modf(rows.keys * _GOLDEN_TURN)[0] * 360.0
        usual = np.where(np.array([one.round for one in self._shapes.shapes])[shape], at_will, 0.0)
        if not self._recipe.heading_field:
            return usual
        given = numbers_of(rows.columns[self._recipe.heading_field])
        return np.where(np.isfinite(given), np.mod(given, 360.0), usual)


class _Instances(NamedTuple):
    rows: FeatureRows
    scattered: Scattered


class LoadedInstances:
    """Some trees or furniture in memory."""

    def __init__(self, built: _Instances, state: SourceState) -> None:
        self._built = built
        self._state = state

    @property
    def keys(self) -> Keys:
        """The keys of those that are here."""
        return self._built.rows.keys

    @property
    def table(self) -> PropertyTable:
        """Their attributes."""
        return self._state.schema.table(self._built.rows.ids, self._built.rows.columns)

    def outlines(self) -> Outlines:
        """Where they are."""
        return self._built.scattered.outlines(self._built.rows.keys)

    def parts(self, frame: LocalFrame, detail: Detail) -> Sequence[Part]:
        """Their models, in any detail the same."""
        return self._built.scattered.parts(frame)


def _points(rows: FeatureRows, survivors: Survivors) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The points (p, 3; z NaN where there is none) of the features, and which row each belongs to."""
    kinds = shapely.get_type_id(rows.geometries)
    survivors.drop(kinds == -1, "it has no geometry")
    usable = np.isin(kinds, (0, 4))
    survivors.drop((kinds != -1) & ~usable, "it is no point")
    survivors.drop(usable & shapely.is_empty(rows.geometries), "its geometry is empty")
    geometries = rows.geometries.copy()
    geometries[~usable] = None
    points, owner = shapely.get_coordinates(geometries, include_z=True, return_index=True)
    survivors.drop_owners(owner, ~np.isfinite(points[:, :2]).all(axis=1), "a coordinate is not a number")
    return points, owner


class _Shapes:
    """The models of a recipe, and which of them each feature has."""

    def __init__(self, recipe: InstanceRecipe, generation: Path) -> None:
        self.shapes: list[Shape] = []
        self._generation = generation
        self._field = recipe.model_field
        self._numbers: dict[str, int] = {}
        self._by_value = {value.casefold(): self._number(name) for value, name in recipe.models.items()}
        self._default = None if recipe.model is None else self._number(recipe.model)
        if self._field is not None:
            for found in MODELS.values():
                for name in (found.id, *found.titles.values()):
                    self._by_value.setdefault(name.casefold(), self._number(found.id))
        if not self.shapes:
            raise ThreeDError("no model is named: give one, or a field whose values name them")

    def of_rows(self, rows: FeatureRows, survivors: Survivors) -> NDArray[np.intp]:
        """The number of the shape of each row (n,); rows without one drop out."""
        if self._field is None:
            return np.full(len(rows), self._default or 0, dtype=np.intp)
        unknown = -1 if self._default is None else self._default
        values = rows.columns[self._field]
        by_value = {value: self._by_value.get(value.casefold(), unknown) for value in set(map(_key, values))}
        shape = np.array([by_value[_key(value)] for value in values], dtype=np.intp)
        for row in np.flatnonzero((shape < 0) & survivors.alive).tolist():
            survivors.log.add(
                rows.ids[row], f"there is no model for {self._field} = {str(values[row])[:60]!r}", "skipped"
            )
        survivors.alive[shape < 0] = False
        return np.maximum(shape, 0)

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            self._numbers[name] = len(self.shapes)
            self.shapes.append(self._shape(name))
        return self._numbers[name]

    def _shape(self, name: str) -> Shape:
        if not name.endswith(".glb"):
            found = model(name)
            return Shape.of(found.parts, round_=found.round)
        from tiles.three_d.read_glb import read_model

        path = self._generation / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ThreeDError(f"the model {path.name} cannot be read: {error.strerror}") from error
        return Shape.of(read_model(content))


def _key(value: object) -> str:
    return "" if value is None else str(value)
