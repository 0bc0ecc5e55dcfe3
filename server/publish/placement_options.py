"""Options that say where a model stands that was drawn in coordinates of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from server.publish.errors import OptionError

if TYPE_CHECKING:
    from tiles.three_d.placed_models import ModelPlacement


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementOptions:
    """`place` is longitude, latitude (degrees, CRS84) and maybe the height of the model's origin (m, in what `SceneOptions.vertical` says;
    without it that of the ground raster, else 0). `heading`: where the model's y axis points, degrees clockwise from north. `scale`: metres of
    one of its units."""

    place: tuple[float, ...] | None = None
    heading: float = 0.0
    scale: float = 1.0


def check_placement(options: PlacementOptions) -> None:
    """Refuse numbers that place nothing. Raises OptionError."""
    if options.place is not None:
        model_placement(options, None)
    elif options != PlacementOptions():
        raise OptionError(
            "--heading and --model-scale are about a model that --place puts somewhere; give --place LON,LAT too."
        )


def model_placement(options: PlacementOptions, ground: Path | None) -> ModelPlacement | None:
    """The placement, None where none is given; on the raster `ground` where it has no height. Raises OptionError."""
    from tiles.three_d.errors import PlacementError
    from tiles.three_d.placed_models import ModelPlacement

    if options.place is None:
        return None
    if len(options.place) not in (2, 3):
        raise OptionError(f"A place is longitude, latitude and maybe a height, not {options.place}.")
    longitude, latitude, *rest = options.place
    height = rest[0] if rest else 0.0
    if not rest and ground is not None:
        from tiles.terrain import sample_heights

        height = float(sample_heights(ground, np.array([[longitude, latitude]]), "OGC:CRS84")[0])
        if not np.isfinite(height):
            raise OptionError(
                f"The raster {ground.name} has no height at {longitude:g}, {latitude:g}; give the height with --place."
            )
    try:
        return ModelPlacement(longitude, latitude, height, options.heading, options.scale)
    except PlacementError as error:
        raise OptionError(f"{error}.") from error
