"""Recipes on disk: how the objects of a published tileset are opened again, for an edit, a filter or an instant of the past.

`<generation>/scene/recipe.json` holds the kind of source and what that kind needs; paths in it are relative to the
generation, so that it can be moved, copied and restored.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import orjson

from tiles.three_d.errors import ThreeDError
from tiles.three_d.objects import ObjectSource

SCENE_FOLDER = "scene"
RECIPE_FILE = "recipe.json"
VERSION = 1

RECIPES: Mapping[str, str] = MappingProxyType(
    {
        "footprints": "providers.three_d.footprints:FootprintRecipe",
        "pipes": "providers.three_d.pipes:PipeRecipe",
        "tunnels": "providers.three_d.tunnels:TunnelRecipe",
        "boreholes": "providers.three_d.boreholes:BoreholeRecipe",
        "bodies": "providers.three_d.bodies:BodyRecipe",
        "geology": "providers.three_d.geology:GeologyRecipe",
        "instances": "providers.three_d.instances:InstanceRecipe",
        "city_models": "providers.three_d.city_models:CityModelRecipe",
    }
)
"""Where the class of a kind of recipe is: loaded when the first one of that kind is read."""


@runtime_checkable
class StoredRecipe(Protocol):
    """A `SourceRecipe` that can be kept."""

    kind: ClassVar[str]

    def open(self) -> ObjectSource:
        """The source."""
        ...

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs, without the folder."""
        ...

    @classmethod
    def from_json(cls, document: Mapping[str, Any], generation: Path) -> Self:
        """The recipe of a generation."""
        ...


def write_recipe(generation: Path, recipe: StoredRecipe) -> None:
    """Keep a recipe, at once or not at all."""
    folder = generation / SCENE_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    document = {"version": VERSION, "kind": recipe.kind, **recipe.to_json()}
    draft = folder / f"{RECIPE_FILE}.new"
    draft.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    draft.replace(folder / RECIPE_FILE)


def read_recipe(generation: Path) -> StoredRecipe:
    """The recipe of a generation's tileset. Raises ThreeDError where there is none that this release can read."""
    path = generation / SCENE_FOLDER / RECIPE_FILE
    try:
        document = orjson.loads(path.read_bytes())
        version, kind = document["version"], document["kind"]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ThreeDError(
            f"the recipe of the 3D tileset cannot be read ({error}); build it again with `chengtu build-3d`"
        ) from error
    if version != VERSION or kind not in RECIPES:
        raise ThreeDError(
            f"the 3D tileset has a recipe of version {version}, kind {kind!r}; this release reads version {VERSION}, kinds "
            f"{', '.join(RECIPES)}: build it again with `chengtu build-3d`"
        )
    module, _, name = RECIPES[kind].partition(":")
    maker: type[StoredRecipe] = getattr(importlib.import_module(module), name)
    return maker.from_json(document, generation)
