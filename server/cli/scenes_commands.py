"""`chengtu scenes`: the scenes of a mosaic of rasters, listed, added and removed while it is served."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.options import Config, Home, Json, settings_of, split_qualified

if TYPE_CHECKING:
    from server.publish.raster_scenes import ListedScene
    from server.registry.catalogue import Collection

Mosaic = Annotated[
    str, typer.Argument(metavar="TENANT.COLLECTION", help="A collection that is a mosaic", show_default=False)
]


def list_scenes(
    collection: Mosaic,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only so many, the uppermost first")
    ] = None,
    json: Json = False,
    home: Home = None,
    config: Config = None,
) -> None:
    """List the scenes of a mosaic, the uppermost first."""
    from server.cli.console import show, show_table
    from server.publish.raster_scenes import bring_up_to_date, published_collection
    from server.publish.raster_scenes import list_scenes as scenes_of
    from server.registry.registry import open_registry_that_is_there

    tenant, id_ = split_qualified(collection)
    with open_registry_that_is_there(settings_of(home, config)) as registry:
        found = published_collection(registry, tenant, id_)
        scenes = scenes_of(found, -1 if limit is None else limit)
        bring_up_to_date(registry, found)
    if json:
        import orjson

        show(orjson.dumps([_document(scene) for scene in scenes], option=orjson.OPT_INDENT_2).decode())
        return
    show_table(
        ("scene", "time", "CRS", "pixels", "west, south, east, north"),
        [
            (
                scene.name,
                scene.instant or "",
                scene.crs if len(scene.crs) < 20 else "own",
                f"{scene.width} x {scene.height}",
                ", ".join(f"{value:.5f}" for value in scene.bbox),
            )
            for scene in scenes
        ],
    )


def _document(scene: ListedScene) -> dict[str, object]:
    return {
        "name": scene.name,
        "instant": scene.instant,
        "crs": scene.crs,
        "width": scene.width,
        "height": scene.height,
        "bbox": scene.bbox,
    }


def add_scenes(
    collection: Mosaic,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Rasters, or folders of them", show_default=False)
    ],
    time: Annotated[
        str | None, typer.Option("--time", metavar="TIME", help="When they are of, as for `chengtu publish`")
    ] = None,
    crs: Annotated[
        str | None, typer.Option("--crs", metavar="CRS", help="CRS of the files; overrides theirs")
    ] = None,
    nodata: Annotated[
        float | None, typer.Option("--nodata", metavar="VALUE", help="Value of pixels without data")
    ] = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Add rasters to a mosaic. A running server shows them at once."""
    from server.cli.console import progress, say, stopping_cleanly
    from server.publish import ReadingOptions
    from server.publish.raster_scenes import add_files
    from server.registry.registry import open_registry_that_is_there

    tenant, id_ = split_qualified(collection)
    settings = settings_of(home, config)
    with (
        stopping_cleanly(),
        open_registry_that_is_there(settings) as registry,
        progress(f"Adding to {collection}") as report,
    ):
        reading = ReadingOptions(time=time, crs=crs, nodata=nodata)
        changed = add_files(registry, settings, tenant, id_, files, reading, report)
    say(f"{collection} has {_scenes_of(changed)} scenes now.")


def remove_scenes(
    collection: Mosaic,
    names: Annotated[
        list[str], typer.Argument(metavar="SCENE", help="Names, as `list` shows them", show_default=False)
    ],
    home: Home = None,
    config: Config = None,
) -> None:
    """Take scenes out of a mosaic, and remove their files."""
    from server.cli.console import progress, say
    from server.publish.raster_scenes import remove_names
    from server.registry.registry import open_registry_that_is_there

    tenant, id_ = split_qualified(collection)
    settings = settings_of(home, config)
    with (
        open_registry_that_is_there(settings) as registry,
        progress(f"Removing from {collection}") as report,
    ):
        stems = [
            Path(name).stem if Path(name).suffix.lower() in (".tif", ".tiff") else name for name in names
        ]
        changed = remove_names(registry, settings, tenant, id_, stems, report)
    say(f"{collection} has {_scenes_of(changed)} scenes now.")


def _scenes_of(collection: Collection) -> int:
    from server.registry.catalogue import RepresentationKind

    return int(collection.representations[RepresentationKind.COVERAGE].properties["scenes"])
