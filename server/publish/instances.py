"""From the options of a publish to the recipe of trees and street furniture."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from providers.three_d.ground import GROUND_FILE
from providers.three_d.object_features import FeaturesAt
from server.publish.errors import OptionError
from server.publish.instance_options import MODEL_SUFFIX, InstanceOptions
from server.publish.request import SceneOptions

if TYPE_CHECKING:
    from providers.three_d.instances import InstanceRecipe
    from tiles.three_d import VerticalReference

MODELS_FOLDER = "scene/models"


def instance_recipe(
    scene: SceneOptions,
    features: FeaturesAt,
    geometry_type: str,
    *,
    ground: float | None,
    vertical: VerticalReference,
    titles: Mapping[str, str],
) -> InstanceRecipe:
    """The recipe that scene options describe; models of the user's are copied into the generation.

    `ground`: the median of the ground that was kept there, None without one. Raises OptionError where an option does not
    fit the data or a model cannot be read.
    """
    from providers.three_d.instances import InstanceRecipe

    if not ("Point" in geometry_type or geometry_type.startswith("Geometry")):
        raise OptionError(f"A 3D tileset of models needs points; these are {geometry_type}.")
    options: InstanceOptions = scene.instances
    folder = features.generation
    return InstanceRecipe(
        features,
        model=None if options.model is None else _kept(options.model, folder),
        model_field=options.model_field,
        models={value: _kept(name, folder) for value, name in options.models.items()},
        height_field=options.height_field,
        width_field=options.width_field,
        scale_field=options.scale_field,
        heading_field=options.heading_field,
        base_field=scene.base_field,
        ground=None if ground is None else GROUND_FILE,
        default_ground=ground,
        vertical=vertical,
        titles=titles,
    )


def _kept(name: str, generation: Path) -> str:
    """A built-in model's name, or the copy of a file in the generation, named after its content."""
    if not name.lower().endswith(MODEL_SUFFIX):
        return name
    from tiles.three_d.errors import GlbError
    from tiles.three_d.read_glb import MODEL_LIMITS, read_model

    path = Path(name)
    try:
        with path.open("rb") as file:
            content = file.read(MODEL_LIMITS.bytes + 1)
        read_model(content)
    except OSError as error:
        raise OptionError(f"The model {path.name} cannot be read: {error.strerror}.") from error
    except GlbError as error:
        raise OptionError(f"The model {path.name} cannot be used: {error}.") from error
    target = f"{MODELS_FOLDER}/{hashlib.sha256(content).hexdigest()[:20]}{MODEL_SUFFIX}"
    (generation / MODELS_FOLDER).mkdir(parents=True, exist_ok=True)
    (generation / target).write_bytes(content)
    return target
