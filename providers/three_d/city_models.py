"""City objects as a source of 3D tiles: surfaces from the models store, attributes and plans from the collection's features.

An object is found by its feature's key; its id leads to its surfaces. So an edit of an attribute is seen, a deleted feature is gone, and
one whose geometry was edited, or that is new, is drawn as its raised plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from providers.three_d.numbers import numbers_of
from providers.three_d.object_features import FeatureRows, FeaturesAt, property_specs, take
from providers.three_d.placing import chosen_path
from providers.three_d.source_state import SourceState
from tiles.three_d.attributes import PropertyTable
from tiles.three_d.buildings import sizes_of
from tiles.three_d.city_models.classes import ROOF_SURFACE, STANDING_TYPES, object_class
from tiles.three_d.city_models.raised import raised
from tiles.three_d.city_models.shapes import SURFACE_MATERIAL, ModelTriangles
from tiles.three_d.city_models.stand_ins import boxes_as_polygons
from tiles.three_d.city_models.store import ModelStore, Records, plan_digest
from tiles.three_d.extrude import VERTICES_PER_CORNER
from tiles.three_d.footprints import RaggedPolygons, clean_footprints, to_ragged
from tiles.three_d.objects import Detail, Keys, MeshPart, Outlines, Part
from tiles.three_d.placement import HorizontalPath, LocalFrame, horizontal_paths
from tiles.three_d.report import ProblemLog, Survivors
from tiles.three_d.schema import PropertySpec, SchemaBuilder

MODELS_FILE = "scene/models.sqlite"
HEIGHT_FIELD = "height"
# Below level 2 of detail a building is a block: nothing between it and a box is worth a tile.
_BLOCKS_BELOW = 2.0


@dataclass(frozen=True, slots=True)
class CityModelRecipe:
    """City objects of a generation: its features and, at `models` (relative to the generation's folder), their surfaces."""

    kind: ClassVar[str] = "city_models"

    features: FeaturesAt
    models: str = MODELS_FILE
    titles: Mapping[str, str] = field(default_factory=dict, hash=False)

    def open(self) -> CityModelSource:
        """The source. Raises ThreeDError and ProviderError where it cannot be read."""
        return CityModelSource(self)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs."""
        return {"features": self.features.to_json(), "models": self.models, "titles": dict(self.titles)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], generation: Path) -> Self:
        """The recipe of a generation."""
        return cls(
            FeaturesAt.from_json(document["features"], generation), document["models"], document["titles"]
        )


class CityModelSource:
    """The city objects of one collection."""

    content = "cityobjects"
    details: tuple[Detail, ...] = (Detail.BLOCK, Detail.LOD1, Detail.FULL)

    def __init__(self, recipe: CityModelRecipe) -> None:
        self._recipe = recipe
        self._generation = recipe.features.generation
        self._features = recipe.features.open()
        self._models = ModelStore(self._generation / recipe.models)
        self._state = SourceState.read(self._generation)
        # Plans of compound systems are flat.
        self._crs = self._features.crs
        self._ways: tuple[HorizontalPath, ...] | None = None
        self.problems = ProblemLog()

    @property
    def height_reference(self) -> str:
        """What was done to the heights."""
        return str(self._models.facts["height_reference"])

    def count(self) -> int | None:
        """Objects, with those that cannot be drawn."""
        return self._features.count()

    def outlines(self) -> Iterator[Outlines]:
        """Where the objects are. What cannot be drawn goes to `problems`."""
        schema = SchemaBuilder("cityobject", self._specs())
        path = chosen_path(self._crs, self._features.bbox) if self._state is None else self._state.path
        crossing = self._crosses_antimeridian()
        for rows in self._features.chunks():
            found = self._joined(rows, path, self.problems)
            schema.add(found.rows.columns)
            outlines = found.outlines()
            if crossing:
                outlines.boxes[outlines.boxes[:, 0] < 0.0, ::2] += 360.0
            yield outlines
        if SourceState.read(self._generation) is None:
            self._state = SourceState(schema.finish(), path, self.height_reference, self._ground())
            self._state.save(self._generation)

    def load(self, keys: Keys) -> LoadedCityObjects:
        """The objects of these keys."""
        state = self._known()
        rows = self._features.rows(keys)
        found = self._joined(rows, state.path, ProblemLog())
        outlines = found.outlines()
        if self._crosses_antimeridian():
            found.boxes[outlines.boxes[:, 0] < 0.0, ::2] += 360.0
        return LoadedCityObjects(found, self._models, state)

    def _specs(self) -> list[PropertySpec]:
        specs = property_specs(self._features.fields, self._recipe.titles)
        height = PropertySpec(HEIGHT_FIELD, {"en": "Height", "zh": "高度"}, "m", "number")
        titled = self._recipe.titles.get(HEIGHT_FIELD) is not None
        return [height if spec.name == HEIGHT_FIELD and not titled else spec for spec in specs]

    def _known(self) -> SourceState:
        if self._state is None:
            for _ in self.outlines():
                pass
        if self._state is None:  # pragma: no cover - outlines() has set it
            raise AssertionError("the first reading leaves its state")
        return self._state

    def _ground(self) -> float:
        return float(self._models.facts["ground"])

    def _crosses_antimeridian(self) -> bool:
        box = self._features.bbox
        return bool(box) and box[0] > box[len(box) // 2]

    def _joined(self, rows: FeatureRows, path: int, log: ProblemLog) -> _Objects:
        """Rows with their models; those that cannot be drawn are told to `log` and left out."""
        stored = self._models.objects(rows.ids)
        modelled = stored["known"] & (stored["digest"] == plan_digest(rows.geometries))
        if self._ways is None:
            self._ways = horizontal_paths(self._crs)
        way = self._ways[path]
        found = _Objects(
            rows, stored, modelled, self._crs, way, stored["box"], stored["bottom"], stored["top"]
        )
        return found if modelled.all() else found.with_raised(self._ground(), log)


@dataclass(slots=True)
class _Objects:
    """n objects. `modelled` (n,): drawn from the store, the others as their raised plan; boxes (n, 4) and ellipsoidal heights (n,) of
    both."""

    rows: FeatureRows
    stored: Records
    modelled: NDArray[np.bool_]
    crs: pyproj.CRS
    path: HorizontalPath
    boxes: NDArray[np.float64]
    bottoms: NDArray[np.float64]
    tops: NDArray[np.float64]

    def with_raised(self, ground: float, log: ProblemLog) -> _Objects:
        """These objects with heights and boxes of those that are raised; what cannot be is left out."""
        others = np.flatnonzero(~self.modelled)
        known = self.stored["known"]
        heights = numbers_of(list(self.rows.columns.get(HEIGHT_FIELD) or [None] * len(self.rows)))
        rise = np.where(
            heights > 0.0, heights, np.where(known, self.stored["top"] - self.stored["bottom"], np.nan)
        )
        bottoms = np.where(known, self.stored["bottom"], ground)
        survivors = Survivors.all_of([self.rows.ids[row] for row in others.tolist()], log)
        survivors.drop(~(rise[others] > 0.0), "no model, and no height above 0 to raise its plan to")
        clean = clean_footprints(self.rows.geometries[others], self.crs, survivors, self.path)
        drawn = others[clean.kept]
        boxes, tops = self.boxes.copy(), self.tops.copy()
        boxes[drawn] = shapely.bounds(clean.geometries).reshape(-1, 4)
        tops[drawn] = bottoms[drawn] + rise[drawn]
        kept = np.sort(np.concatenate((np.flatnonzero(self.modelled), drawn)))
        return _Objects(
            take(self.rows, kept), self.stored[kept], self.modelled[kept], self.crs, self.path,
            boxes[kept], bottoms[kept], tops[kept],
        )  # fmt: skip

    def sizes(self) -> NDArray[np.float64]:
        return sizes_of(self.boxes, self.tops - self.bottoms)

    def outlines(self) -> Outlines:
        weights = self.stored["weight"].astype(np.int64)
        if not self.modelled.all():
            corners = shapely.get_num_coordinates(self.rows.geometries).astype(np.int64)
            weights = np.where(self.modelled, weights, corners * VERTICES_PER_CORNER)
        return Outlines(self.rows.keys, self.boxes.copy(), self.bottoms, self.tops, self.sizes(), weights)

    def edited_plans(self) -> tuple[NDArray[np.intp], NDArray[np.object_]]:
        """(rows, plans in longitude and latitude) of the objects that are not drawn from the store."""
        rows = np.flatnonzero(~self.modelled)
        survivors = Survivors.all_of([self.rows.ids[row] for row in rows.tolist()], ProblemLog())
        clean = clean_footprints(self.rows.geometries[rows], self.crs, survivors, self.path)
        return rows[clean.kept], clean.geometries


class LoadedCityObjects:
    """Some city objects in memory."""

    def __init__(self, objects: _Objects, models: ModelStore, state: SourceState) -> None:
        self._objects = objects
        self._models = models
        self._state = state
        standing = np.array([kind in STANDING_TYPES for kind in models.types], dtype=np.bool_)
        self._standing = standing[objects.stored["type"]] if len(standing) else objects.modelled
        # A standing object without a plan (a wall alone) has nothing that could stand for it.
        self._coarse = objects.modelled & self._standing & np.isfinite(objects.stored["beyond"])

    @property
    def keys(self) -> Keys:
        """The keys of those that are here."""
        return self._objects.rows.keys

    @property
    def table(self) -> PropertyTable:
        """Their attributes."""
        rows = self._objects.rows
        return self._state.schema.table(rows.ids, rows.columns)

    def outlines(self) -> Outlines:
        """Where they are."""
        return self._objects.outlines()

    def detail_errors(self, detail: Detail) -> NDArray[np.float64]:
        """How far (m, (n,)) what is drawn in this detail may be from the finest.

        Of a raised plan or block the distance from its flat top to the highest point; of a box also the side of the square by which it is
        larger than the plan.
        """
        found = self._objects
        errors = np.zeros(len(found.rows))
        if detail is Detail.FULL:
            return errors
        flat = self._coarse & (found.stored["lod"] >= _BLOCKS_BELOW)
        errors[flat] = (found.tops - found.stored["roof"])[flat]
        if detail is Detail.BLOCK:
            beyond = found.stored["beyond"][self._coarse]
            errors[self._coarse] = np.maximum(errors[self._coarse], beyond)
        return errors

    def detail_boxes(self, detail: Detail) -> NDArray[np.float64]:
        """West, south, east, north (degrees, (n, 4)) of the objects with what stands for them in this detail."""
        boxes = self._objects.boxes.copy()
        if detail is Detail.BLOCK:
            corners = self._objects.stored["block"][self._coarse] + boxes[self._coarse, None, :2]
            boxes[self._coarse, :2] = np.minimum(boxes[self._coarse, :2], corners.min(axis=1))
            boxes[self._coarse, 2:] = np.maximum(boxes[self._coarse, 2:], corners.max(axis=1))
        return boxes

    def parts(self, frame: LocalFrame, detail: Detail) -> Sequence[Part]:
        """Their surfaces, raised plans, or boxes."""
        found = self._objects
        if not len(found.rows):
            return ()
        parts: list[MeshPart] = []
        done = np.zeros(len(found.rows), dtype=np.bool_)
        if detail is Detail.BLOCK:
            done = self._coarse
            parts += self._boxes(frame)
        elif detail is Detail.LOD1:
            simpler = found.modelled & self._standing & (found.stored["lod"] >= _BLOCKS_BELOW)
            parts, given = self._surfaces(frame, simpler, _BLOCKS_BELOW)
            lifted = simpler & self._coarse & ~given
            parts += self._plans(frame, lifted)
            done = given | lifted
        parts += self._surfaces(frame, found.modelled & ~done, None)[0]
        parts += self._edited(frame)
        return parts

    def _surfaces(
        self, frame: LocalFrame, chosen: NDArray[np.bool_], lod_below: float | None
    ) -> tuple[list[MeshPart], NDArray[np.bool_]]:
        """Stored surfaces of the objects chosen, and which (n,) have some."""
        found = self._objects
        rows = np.flatnonzero(chosen)
        drawn = np.zeros(len(chosen), dtype=np.bool_)
        if not len(rows):
            return [], drawn
        stored = self._models.surfaces(found.stored["number"][rows], lod_below)
        if not len(stored.owner):
            return [], drawn
        drawn[rows[stored.owner]] = True
        return ModelTriangles(stored, rows, found.stored["origin"][rows], frame).parts(self._models), drawn

    def _boxes(self, frame: LocalFrame) -> list[MeshPart]:
        """Turned boxes of the objects that have one."""
        found = self._objects
        rows = np.flatnonzero(self._coarse)
        if not len(rows):
            return []
        corners = found.stored["block"][rows] + found.boxes[rows, None, :2]
        return [self._raised(boxes_as_polygons(corners), rows, found.stored["roof"], frame)]

    def _plans(self, frame: LocalFrame, chosen: NDArray[np.bool_]) -> list[MeshPart]:
        """Raised plans of the objects chosen, which have one."""
        found = self._objects
        rows = np.flatnonzero(chosen)
        if not len(rows):
            return []
        stored = self._models.plans(found.stored["number"][rows])
        rows = rows[stored.owner]
        return [self._raised(stored.placed(found.boxes[rows, :2]), rows, found.stored["roof"], frame)]

    def _edited(self, frame: LocalFrame) -> list[MeshPart]:
        """Raised plans of the objects that are not drawn from the store."""
        found = self._objects
        if found.modelled.all():
            return []
        rows, plans = found.edited_plans()
        return [self._raised(to_ragged(plans), rows, found.tops, frame)] if len(rows) else []

    def _raised(
        self, plans: RaggedPolygons, rows: NDArray[np.intp], tops: NDArray[np.float64], frame: LocalFrame
    ) -> MeshPart:
        found = self._objects
        numbers = [ROOF_SURFACE if kind == "Building" else object_class(kind) for kind in self._models.types]
        known = found.stored["known"][rows]
        classes = np.array([*numbers, ROOF_SURFACE], dtype=np.uint8)[
            np.where(known, found.stored["type"][rows], len(numbers))
        ]
        mesh = raised(plans, found.bottoms[rows], tops[rows], rows, classes, frame)
        return MeshPart(mesh, SURFACE_MATERIAL)
