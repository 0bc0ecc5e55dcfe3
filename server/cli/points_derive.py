"""`chengtu points derive`: a new collection made of a point cloud by PDAL: another point cloud, or a raster of it."""

from __future__ import annotations

from typing import Annotated

import typer

from server.cli.options import Config, Home, settings_of, split_qualified


def derive(
    collection: Annotated[
        str, typer.Argument(metavar="TENANT.COLLECTION", help="A published point cloud", show_default=False)
    ],
    new_id: Annotated[
        str, typer.Option("--as", metavar="ID", help="Id of the new collection", show_default=False)
    ],
    step: Annotated[
        list[str] | None,
        typer.Option(
            "--step",
            metavar="STEP|FILE.json",
            help="A ready step (NAME or NAME:OPTION=VALUE,...), or a PDAL pipeline of filters; in the order of their doing",
        ),
    ] = None,
    raster: Annotated[
        str | None,
        typer.Option("--raster", metavar="dtm|dsm|chm|intensity", help="Make this raster, not a point cloud"),
    ] = None,
    cell: Annotated[
        float, typer.Option("--cell", metavar="SIZE", help="Cell of the raster, units of the CRS", min=0.01)
    ] = 1.0,
    title: Annotated[
        str | None, typer.Option("--title", help="English title [default: of the point cloud and the steps]")
    ] = None,
    title_zh: Annotated[str | None, typer.Option("--title-zh", help="Chinese title")] = None,
    private: Annotated[
        bool | None,
        typer.Option(
            "--private/--public", help="Who may see it [default: as the point cloud]", show_default=False
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a collection of this id")] = False,
    home: Home = None,
    config: Config = None,
) -> None:
    """Make a new collection of a published point cloud by PDAL. A running server shows it at once."""
    from server.cli.console import progress, stopping_cleanly
    from server.cli.publishing_commands import say_result
    from server.publish.point_derive import Derivation, derive_collection
    from server.registry.registry import open_registry_that_is_there

    tenant, id_ = split_qualified(collection)
    settings = settings_of(home, config)
    wanted = Derivation(
        tenant=tenant,
        source=id_,
        id=new_id,
        steps=tuple(step or ()),
        raster=raster,
        cell=cell,
        titles={language: text for language, text in (("en", title), ("zh", title_zh)) if text},
        private=private,
        replace=replace,
    )
    with (
        stopping_cleanly(),
        open_registry_that_is_there(settings) as registry,
        progress(f"Making {tenant}.{new_id} of {collection}") as report,
    ):
        result = derive_collection(wanted, registry, settings, report)
    say_result(result)
