"""All that is needed to make any tile of a terrain: kept beside its files as terrain.json, never served."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiles.terrain.errors import TerrainError
from tiles.terrain.water import WaterRule
from tiles.three_d.vertical import VerticalReference

RECIPE_FILE = "terrain.json"
_VERSION = 1
_KINDS = ("ellipsoid", "offset", "grid", "egm96", "automatic")


@dataclass(frozen=True, slots=True)
class TerrainRecipe:
    """What a terrain is made of.

    `model` and the files of `vertical` and `water` are paths relative to the terrain's folder. `deepest` is the deepest level in
    EPSG:4326 (EPSG:3857 has one more), `max_error` (m) the largest error of its meshes; `lowest` and `highest` are metres above the
    ellipsoid, `bounds` west, south, east, north of the data. Levels down to `prebuilt` (EPSG:4326) are files; -1 where none is.
    """

    model: str
    vertical: VerticalReference
    deepest: int
    max_error: float
    lowest: float
    highest: float
    bounds: tuple[float, float, float, float]
    height_reference: str
    attribution: str = ""
    water: WaterRule | None = None
    prebuilt: int = -1

    def model_path(self, folder: Path) -> Path:
        """The elevation model."""
        return (folder / self.model).resolve()

    def vertical_in(self, folder: Path) -> VerticalReference:
        """What heights refer to, a grid file by its whole path."""
        vertical = self.vertical
        return vertical if vertical.path is None else VerticalReference.grid(folder / vertical.path)

    def write(self, folder: Path) -> None:
        """Keep it in the terrain's folder."""
        document = {
            "version": _VERSION,
            "model": self.model,
            "vertical": {
                "kind": self.vertical.kind,
                "metres": self.vertical.metres,
                "file": None if self.vertical.path is None else str(self.vertical.path),
                "name": self.vertical.name,
            },
            "deepest": self.deepest,
            "max_error": self.max_error,
            "lowest": self.lowest,
            "highest": self.highest,
            "bounds": list(self.bounds),
            "height_reference": self.height_reference,
            "attribution": self.attribution,
            "water": None if self.water is None else self.water.document(),
            "prebuilt": self.prebuilt,
        }
        (folder / RECIPE_FILE).write_text(json.dumps(document, indent=2, ensure_ascii=False), "utf-8")


def read_recipe(folder: Path) -> TerrainRecipe | None:
    """The recipe of a terrain, None where it has none (one that was built before there were any). Raises TerrainError."""
    path = folder / RECIPE_FILE
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise TerrainError(f"{RECIPE_FILE} of this terrain cannot be read: {error}") from error
    try:
        if document["version"] != _VERSION:
            raise TerrainError(f"{RECIPE_FILE} has version {document['version']!r}; known is {_VERSION}")
        return _recipe(document)
    except (KeyError, TypeError, ValueError) as error:
        raise TerrainError(f"{RECIPE_FILE} of this terrain is damaged: {error!r}") from error


def _recipe(document: dict[str, Any]) -> TerrainRecipe:
    vertical, water = document["vertical"], document["water"]
    if vertical["kind"] not in _KINDS:
        raise ValueError(f"vertical reference {vertical['kind']!r}")
    numbers = [float(document[name]) for name in ("max_error", "lowest", "highest")]
    west, south, east, north = map(float, document["bounds"])
    if not all(map(math.isfinite, (*numbers, west, south, east, north))):
        raise ValueError("a number that is not finite")
    return TerrainRecipe(
        model=str(document["model"]),
        vertical=VerticalReference(
            vertical["kind"],
            float(vertical["metres"]),
            None if vertical["file"] is None else Path(vertical["file"]),
            str(vertical["name"]),
        ),
        deepest=int(document["deepest"]),
        max_error=numbers[0],
        lowest=numbers[1],
        highest=numbers[2],
        bounds=(west, south, east, north),
        height_reference=str(document["height_reference"]),
        attribution=str(document["attribution"]),
        water=None if water is None else WaterRule(water["kind"], float(water["metres"]), str(water["file"])),
        prebuilt=int(document["prebuilt"]),
    )
