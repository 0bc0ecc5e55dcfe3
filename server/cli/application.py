"""The commands' command line. Each command's work, and what that imports, is loaded when it runs."""

from __future__ import annotations

import typer

from server.cli import (
    cache_commands,
    listing_commands,
    operating_commands,
    points_commands,
    points_derive,
    publishing_commands,
    publishing_options,
    registering_commands,
    scenes_commands,
    serving_commands,
    tenant_commands,
    three_d_commands,
)
from server.cli.style_commands import styles

application = typer.Typer(
    name="chengtu",
    help="Chengtu (城图): the open spatio-temporal data server for cities.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
tenants = typer.Typer(help="Add, list and remove tenants.", no_args_is_help=True, rich_markup_mode=None)
cache = typer.Typer(help="Look after kept tiles and seedings.", no_args_is_help=True, rich_markup_mode=None)

application.command("serve")(serving_commands.serve)
application.command("demo")(serving_commands.demo)
application.command("publish", cls=publishing_options.GroupedOptions)(publishing_commands.publish)
application.command("register", cls=publishing_options.GroupedOptions)(registering_commands.register)
application.command("build-3d", cls=publishing_options.GroupedOptions)(three_d_commands.build_three_d)
application.command("unpublish")(publishing_commands.unpublish)
application.command("restore")(publishing_commands.restore)
application.command("collections")(listing_commands.list_collections)
application.add_typer(tenants, name="tenants")
tenants.command("add")(listing_commands.add_tenant)
tenants.command("list")(listing_commands.list_tenants)
tenants.command("remove")(listing_commands.remove_tenant)
tenants.command("set-map-policy")(tenant_commands.set_map_policy)
application.command("check")(operating_commands.check)
application.command("sweep")(operating_commands.sweep)
application.command("seed")(cache_commands.seed)
application.add_typer(cache, name="cache")
cache.command("list")(cache_commands.list_tilesets)
cache.command("stats")(cache_commands.show_statistics)
cache.command("clean")(cache_commands.clean)
cache.command("seedings")(cache_commands.list_seedings)
cache.command("pause")(cache_commands.pause)
cache.command("resume")(cache_commands.resume_seeding)
cache.command("stop")(cache_commands.stop)
application.add_typer(styles, name="style")
scenes = typer.Typer(
    help="List, add and remove the scenes of a mosaic of rasters.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
application.add_typer(scenes, name="scenes")
scenes.command("list")(scenes_commands.list_scenes)
scenes.command("add")(scenes_commands.add_scenes)
scenes.command("remove")(scenes_commands.remove_scenes)
points = typer.Typer(
    help="List, add, remove and reclassify the files and points of a point cloud.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
application.add_typer(points, name="points")
points.command("list")(points_commands.list_tiles)
points.command("add")(points_commands.add_tiles)
points.command("remove")(points_commands.remove_tiles)
points.command("reclassify")(points_commands.reclassify)
points.command("report")(points_commands.report)
points.command("info")(points_commands.info)
points.command("derive")(points_derive.derive)
