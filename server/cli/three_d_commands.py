"""`chengtu build-3d`: the 3D tileset of a collection that is served already."""

from __future__ import annotations

from typing import Annotated

import typer

from server.cli import publishing_options as given
from server.cli.options import Config, Home, settings_of, split_qualified

Footprints = Annotated[
    str,
    typer.Argument(metavar="TENANT.COLLECTION", help="A collection of footprints", show_default=False),
]


def build_three_d(
    collection: Footprints,
    height_field: given.HeightField = None,
    levels_field: given.LevelsField = None,
    default_height: given.DefaultHeight = None,
    min_height_field: given.MinHeightField = None,
    base_field: given.BaseField = None,
    ground: given.Ground = None,
    height_reference: given.HeightReference = None,
    compress_3d: given.Compress3D = "none",
    home: Home = None,
    config: Config = None,
) -> None:
    """Make buildings in 3D of the footprints of a collection, published or registered (PostGIS, GeoParquet, a service ...).

    A running server shows them at once. A build that was stopped goes on where it was when the same command is run again.
    """
    from server.cli.console import progress, say, stopping_cleanly
    from server.publish import SceneOptions
    from server.publish.option_checks import check_scene_values
    from server.publish.scene_building import build_scene_of
    from server.registry.registry import open_registry_that_is_there

    tenant, id_ = split_qualified(collection)
    settings = settings_of(home, config)
    options = SceneOptions(
        height_field=height_field,
        levels_field=levels_field,
        default_height=default_height,
        min_height_field=min_height_field,
        base_field=base_field,
        ground=ground,
        vertical=height_reference,
        compression=compress_3d,
    )
    check_scene_values(options)
    with (
        stopping_cleanly(),
        open_registry_that_is_there(settings) as registry,
        progress(f"Building {collection}") as report,
    ):
        built = build_scene_of(registry, settings, tenant, id_, options, report)
    for warning in built.warnings:
        say(f"Note: {warning}")
    say(f"{collection} has {built.feature_count} buildings in 3D now.")
