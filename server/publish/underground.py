"""From the options of a publish to the recipe of what lies under the ground, and what was found out about the fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from providers.three_d.object_features import FeaturesAt, ObjectFeatures
from server.publish.errors import OptionError
from server.publish.request import SceneOptions
from server.publish.underground_options import SIZE_UNITS, UndergroundOptions
from tiles.errors import TilesError
from tiles.three_d.underground.measures import sizes_of, unit_of
from tiles.three_d.underground.names import Recognised, measured_to, plain_name, recognise

if TYPE_CHECKING:
    from providers.three_d.boreholes import BoreholeRules
    from providers.three_d.pipes import PipeRules
    from providers.three_d.recipes import StoredRecipe
    from providers.three_d.underground import Setting

_LINE_MEANINGS = (
    "diameter", "section", "shape", "width", "height", "end_level", "start_level", "end_depth", "start_depth", "kind",
    "well_depth", "bottom", "top",
)  # fmt: skip
_BOREHOLE_MEANINGS = ("intervals", "hole", "from", "to", "thickness", "lithology", "top")
_BODY_MEANINGS = ("top_depth", "bottom_depth", "top", "bottom")
_GIVEN_ONLY = ("width", "height", "shape")
"""Words too common to be taken for a section without being told; a tunnel's may be."""
_GEOMETRIES = {
    "pipes": ("LineString", "Point"),
    "tunnels": ("LineString",),
    "boreholes": ("Point",),
    "bodies": ("Polygon",),
    "geology": ("Point",),
}
_WORDS = {"LineString": "lines", "Point": "points", "Polygon": "polygons"}
_TUNNEL_SIZE = (6.0, 6.0)
_TUNNEL_WALL = 0.3
_HOLE_DIAMETER = 1.0


class Prepared(NamedTuple):
    """The recipe of a collection, and sentences for its publisher."""

    recipe: StoredRecipe
    warnings: tuple[str, ...]


def kind_asked(scene: SceneOptions) -> str | None:
    """What of the underground the options ask for, None for nothing. A diameter alone makes pipes."""
    if scene.underground.kind is not None:
        return scene.underground.kind
    return "pipes" if scene.diameter_field or scene.default_diameter is not None else None


def prepare_underground(
    kind: str, scene: SceneOptions, features: FeaturesAt, setting: Setting, geometry_type: str
) -> Prepared:
    """The recipe that scene options describe. `setting`: where heights count from, with the ground in the generation.

    Raises OptionError where an option does not fit the data.
    """
    if not _fits(geometry_type, _GEOMETRIES[kind]):
        needed = " or ".join(_WORDS[word] for word in _GEOMETRIES[kind])
        raise OptionError(f"A 3D tileset of {kind} needs {needed}; these are {geometry_type}.")
    given = _Given(scene, features, setting)
    given.only_points = "Point" in geometry_type
    return _MAKERS[kind](given)


def _fits(geometry_type: str, words: Sequence[str]) -> bool:
    """Of mixed geometries some may fit; if none does, the build says so."""
    return geometry_type.startswith("Geometry") or any(word in geometry_type for word in words)


class _Given:
    """What was asked, and what the collection has."""

    def __init__(self, scene: SceneOptions, features: FeaturesAt, setting: Setting) -> None:
        self.scene = scene
        self.options: UndergroundOptions = scene.underground
        self.features = features
        self.setting = setting
        self.opened: ObjectFeatures = features.open()
        self.names = [field.name for field in self.opened.fields]
        self.warnings: list[str] = []
        self.only_points = False
        """Wells alone have a usual diameter; lines have none."""

    def fields(self, meanings: Sequence[str]) -> dict[str, Recognised]:
        """The field of each meaning: as given, else, where the kind was asked for by its name, recognised by its name."""
        given = dict(self.options.fields)
        for meaning, name in (
            ("diameter", self.scene.diameter_field),
            ("start_depth", self.scene.depth_field),
        ):
            if name is not None:
                given[meaning] = name
        chosen = {}
        for meaning, name in given.items():
            if meaning not in meanings:
                raise OptionError(
                    f"--field-means {meaning}={name} does nothing here. Allowed: {', '.join(meanings)}."
                )
            if name not in self.names:
                raise OptionError(
                    f"There is no field {name!r} for {meaning}. The fields: {', '.join(sorted(self.names))}."
                )
            chosen[meaning] = Recognised(name, plain_name(name)[1])
        if self.options.kind is not None:
            left = [name for name in self.names if name not in {item.field for item in chosen.values()}]
            asked = [meaning for meaning in meanings if meaning not in chosen]
            found = recognise(left, asked)
            self._say(found)
            chosen = {**found, **chosen}
        return chosen

    def _say(self, found: Mapping[str, Recognised]) -> None:
        if found:
            taken = ", ".join(f"{item.field} ({meaning})" for meaning, item in found.items())
            self.warnings.append(
                f"Fields recognised by their names: {taken}. Say otherwise with --field-means."
            )

    def prepared(self, recipe: StoredRecipe) -> Prepared:
        return Prepared(recipe, tuple(self.warnings))


def _name(fields: Mapping[str, Recognised], meaning: str) -> str | None:
    return fields[meaning].field if meaning in fields else None


def _depth_unit(fields: Mapping[str, Recognised], *meanings: str) -> float:
    """Metres per unit of depths: what their names say, else metres."""
    units = {fields[meaning].unit or 1.0 for meaning in meanings if meaning in fields}
    if len(units) > 1:
        named = ", ".join(fields[meaning].field for meaning in meanings if meaning in fields)
        raise OptionError(f"The fields {named} have different units; bring them to one unit first.")
    return units.pop() if units else 1.0


# --- lines -------------------------------------------------------------------------------------------------------------


def _pipes(given: _Given) -> Prepared:
    from providers.three_d.pipes import PipeRecipe

    return given.prepared(PipeRecipe(given.features, given.setting, _pipe_rules(given, wall=0.0)))


def _tunnels(given: _Given) -> Prepared:
    from providers.three_d.tunnels import TunnelRecipe

    rules = _pipe_rules(given, wall=given.options.wall or _TUNNEL_WALL)
    return given.prepared(TunnelRecipe(given.features, given.setting, rules))


def _pipe_rules(given: _Given, *, wall: float) -> PipeRules:
    from providers.three_d.pipes import PipeRules

    options, is_tunnel = given.options, wall > 0.0
    meanings = _LINE_MEANINGS
    fields = given.fields(meanings)
    if not is_tunnel:
        fields = {
            meaning: item
            for meaning, item in fields.items()
            if meaning not in _GIVEN_ONLY or meaning in options.fields or "section" in plain_name(item.field)[0]
            or "断面" in item.field or "沟" in item.field
        }  # fmt: skip
    width, height = _default_size(given.scene, is_tunnel=is_tunnel)
    unit = _size_unit(given, fields)
    if width is None and not given.only_points and not {"diameter", "section", "width"} & fields.keys():
        raise OptionError(
            "No field of diameters was found. Name one with --diameter-field, or give --default-diameter."
        )
    heights = {"start_depth", "end_depth", "start_level", "end_level", "well_depth", "bottom"}
    if not heights & fields.keys() and options.default_depth is None and len(given.opened.bbox) != 6:
        raise OptionError("Pipes need a depth field (--depth-field), or lines with heights of their own.")
    return PipeRules(
        diameter_field=_name(fields, "diameter"),
        size_field=_name(fields, "section"),
        shape_field=_name(fields, "shape"),
        width_field=_name(fields, "width"),
        height_field=_name(fields, "height"),
        size_unit=unit,
        default_width=width,
        default_height=height,
        default_shape=options.section or ("horseshoe" if is_tunnel else "circle"),
        wall=wall,
        start_depth_field=_name(fields, "start_depth"),
        end_depth_field=_name(fields, "end_depth"),
        start_level_field=_name(fields, "start_level"),
        end_level_field=_name(fields, "end_level"),
        default_depth=options.default_depth,
        depth_unit=_depth_unit(fields, "start_depth", "end_depth", "well_depth"),
        depth_to=_depth_to(given, fields, "start_depth", is_tunnel=is_tunnel),
        level_to=_depth_to(given, fields, "start_level", is_tunnel=is_tunnel),
        z_to=options.depth_to or ("bottom" if is_tunnel else "axis"),
        kind_field=_name(fields, "kind"),
        network_kind=options.network_kind,
        colours=_network_colours(options, is_tunnel=is_tunnel),
        top_field=_name(fields, "top"),
        bottom_field=_name(fields, "bottom"),
        well_depth_field=_name(fields, "well_depth"),
    )


def _default_size(scene: SceneOptions, *, is_tunnel: bool) -> tuple[float | None, float | None]:
    if scene.underground.section_size is not None:
        return scene.underground.section_size
    if scene.default_diameter is not None:
        return scene.default_diameter, scene.default_diameter
    return _TUNNEL_SIZE if is_tunnel else (None, None)


def _network_colours(options: UndergroundOptions, *, is_tunnel: bool) -> dict[str, str]:
    from tiles.three_d.errors import ThreeDError
    from tiles.three_d.underground.kinds import palette

    colours = dict(options.colours)
    if is_tunnel:
        colours.setdefault("other", "#A8A39A")
    try:
        palette(colours)
    except ThreeDError as error:
        raise OptionError(f"--colour-of: {error}.") from error
    return colours


def _size_unit(given: _Given, fields: Mapping[str, Recognised]) -> float:
    """Metres per unit of sizes: as given, as a name says, else by the median of the first features."""
    if given.options.size_unit is not None:
        return SIZE_UNITS[given.options.size_unit]
    named = [fields[meaning] for meaning in ("diameter", "section", "width") if meaning in fields]
    if not named:
        return 1.0
    for item in named:
        if item.unit is not None:
            return item.unit
    found = np.concatenate([sizes_of(given.opened.values(item.field))[0] for item in named])
    unit = unit_of(found)
    word = "millimetres (their median is above 20)" if unit < 1.0 else "metres (their median is at most 20)"
    given.warnings.append(f"{named[0].field} was taken as {word}. Say otherwise with --size-unit.")
    return unit


def _depth_to(given: _Given, fields: Mapping[str, Recognised], meaning: str, *, is_tunnel: bool) -> str:
    """What depths, or heights, are measured to."""
    if given.options.depth_to is not None:
        return given.options.depth_to
    if meaning not in fields:
        return "axis"
    said = measured_to(fields[meaning].field)
    if said is not None:
        return said
    if given.options.kind is None or meaning in given.options.fields:
        return "axis"
    if is_tunnel:
        return "bottom"
    if given.scene.depth_field is not None and meaning == "start_depth":
        return "axis"
    given.warnings.append(
        f"{fields[meaning].field} was taken as measured to the bottom of gravity lines (sewage, storm water) and to the top of "
        "others, as CJJ 61 has it. Say otherwise with --depth-to."
    )
    return "kind"


# --- points ------------------------------------------------------------------------------------------------------------


def _borehole_rules(given: _Given) -> BoreholeRules:
    from providers.three_d.boreholes import BoreholeRules

    fields = given.fields(_BOREHOLE_MEANINGS)
    if "intervals" not in fields and not ("to" in fields and ("from" in fields or "thickness" in fields)):
        raise OptionError(
            "Boreholes need a field with lists of intervals (--field-means intervals=FIELD), or fields of the depths from and "
            "to of an interval (--field-means from=FIELD, to=FIELD)."
        )
    return BoreholeRules(
        intervals_field=_name(fields, "intervals"),
        hole_field=_name(fields, "hole"),
        from_field=_name(fields, "from"),
        to_field=_name(fields, "to"),
        thickness_field=_name(fields, "thickness"),
        lithology_field=_name(fields, "lithology"),
        top_field=_name(fields, "top"),
        depth_unit=_depth_unit(fields, "from", "to", "thickness"),
        diameter=given.scene.default_diameter or _HOLE_DIAMETER,
        colours=dict(given.options.colours),
    )


def _boreholes(given: _Given) -> Prepared:
    from providers.three_d.boreholes import BoreholeRecipe

    return given.prepared(BoreholeRecipe(given.features, given.setting, _borehole_rules(given)))


def _bodies(given: _Given) -> Prepared:
    from providers.three_d.bodies import BODY_COLOUR, BodyRecipe, BodyRules

    fields = given.fields(_BODY_MEANINGS)
    if not {"bottom", "bottom_depth"} & fields.keys():
        raise OptionError(
            "Bodies need a field of the height or the depth of their bottom (--field-means bottom=FIELD or bottom_depth=FIELD)."
        )
    rules = BodyRules(
        top_field=_name(fields, "top"),
        bottom_field=_name(fields, "bottom"),
        top_depth_field=_name(fields, "top_depth"),
        bottom_depth_field=_name(fields, "bottom_depth"),
        unit=_depth_unit(fields, "top", "bottom", "top_depth", "bottom_depth"),
        colour=given.options.colours.get("body", BODY_COLOUR),
    )
    return given.prepared(BodyRecipe(given.features, given.setting, rules))


def _geology(given: _Given) -> Prepared:
    from providers.three_d.geology import GRID_FILE, GeologyRecipe
    from providers.three_d.geology_grids import grid_of_boreholes
    from providers.three_d.placing import chosen_path
    from tiles.three_d.underground.interpolation import Interpolation

    rules = _borehole_rules(given)
    if rules.intervals_field is None and rules.lithology_field is None:
        raise OptionError(
            "Layers between boreholes need a field of their names (--field-means lithology=FIELD)."
        )
    generation = given.features.generation
    path = chosen_path(given.opened.crs, given.opened.bbox)
    placing = given.setting.placing(given.opened, generation, path)
    how = Interpolation(given.options.interpolation or "idw")
    try:
        made = grid_of_boreholes(given.opened, rules, placing, how, given.options.layers)
    except TilesError as error:
        raise OptionError(f"No layers can be made: {error}.") from error
    (generation / GRID_FILE).parent.mkdir(parents=True, exist_ok=True)
    made.grid.save(generation / GRID_FILE)
    given.warnings += made.warnings
    return given.prepared(GeologyRecipe(generation, made.said, dict(given.options.colours)))


_MAKERS: Mapping[str, Callable[[_Given], Prepared]] = {
    "pipes": _pipes,
    "tunnels": _tunnels,
    "boreholes": _boreholes,
    "bodies": _bodies,
    "geology": _geology,
}


def prepare_layers(files: Sequence[Path], scene: SceneOptions, generation: Path) -> Prepared:
    """The recipe of layers of which rasters have the surfaces, from above. Raises OptionError."""
    from providers.three_d.geology import GRID_FILE, GeologyRecipe
    from providers.three_d.geology_grids import grid_of_rasters
    from server.publish.scenes import vertical_reference

    try:
        made = grid_of_rasters(files, vertical_reference(scene), scene.underground.layers)
    except TilesError as error:
        raise OptionError(f"No layers can be made: {error}.") from error
    (generation / GRID_FILE).parent.mkdir(parents=True, exist_ok=True)
    made.grid.save(generation / GRID_FILE)
    return Prepared(GeologyRecipe(generation, made.said, dict(scene.underground.colours)), made.warnings)
