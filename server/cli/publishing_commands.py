"""`chengtu publish`, `unpublish` and `restore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.options import Config, Home, settings_of, split_qualified

if TYPE_CHECKING:
    from server.publish import PublishResult

Qualified = Annotated[
    str, typer.Argument(metavar="TENANT.COLLECTION", help="The collection", show_default=False)
]


def publish(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Files of one dataset, zipped ones too", show_default=False),
    ],
    tenant: Annotated[str, typer.Option("--tenant", help="Its tenant", show_default=False)],
    id_: Annotated[str, typer.Option("--id", help="Its id, unique in the tenant", show_default=False)],
    title: Annotated[str, typer.Option("--title", help="Title in English", show_default=False)],
    title_zh: Annotated[str | None, typer.Option("--title-zh", help="Title in Chinese")] = None,
    description: Annotated[str | None, typer.Option("--description", help="Description in English")] = None,
    description_zh: Annotated[
        str | None, typer.Option("--description-zh", help="Description in Chinese")
    ] = None,
    keyword: Annotated[list[str] | None, typer.Option("--keyword", help="Keyword; may be repeated")] = None,
    attribution: Annotated[str, typer.Option("--attribution", help="Credit shown with the data")] = "",
    licence: Annotated[
        str, typer.Option("--licence", help="Licence, best as SPDX id such as CC-BY-4.0")
    ] = "",
    licence_url: Annotated[
        str | None, typer.Option("--licence-url", help="Address of the licence's text")
    ] = None,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="The data are not observed but made up")
    ] = False,
    style: Annotated[str | None, typer.Option("--style", help="Name of a map style")] = None,
    private: Annotated[
        bool | None,
        typer.Option(
            "--private/--public",
            help="Who sees it [default: as before; a new one is public]",
            show_default=False,
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the collection of this id")] = False,
    format_: Annotated[
        str | None, typer.Option("--format", help="Format, where its content does not tell")
    ] = None,
    crs: Annotated[
        str | None, typer.Option("--crs", help="CRS of the files, such as EPSG:4547; overrides theirs")
    ] = None,
    layer: Annotated[str | None, typer.Option("--layer", help="Layer, of files with several")] = None,
    encoding: Annotated[str | None, typer.Option("--encoding", help="Text encoding, such as GB18030")] = None,
    x_column: Annotated[
        str | None, typer.Option("--x-column", help="CSV: column of longitude or easting")
    ] = None,
    y_column: Annotated[
        str | None, typer.Option("--y-column", help="CSV: column of latitude or northing")
    ] = None,
    wkt_column: Annotated[
        str | None, typer.Option("--wkt-column", help="CSV: column of WKT geometries")
    ] = None,
    id_field: Annotated[
        str | None, typer.Option("--id-field", help="Field that becomes the feature id")
    ] = None,
    time_field: Annotated[
        str | None, typer.Option("--time-field", help="Field of the features' time")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="OpenStreetMap key to keep; may be repeated")
    ] = None,
    where: Annotated[
        str | None, typer.Option("--where", help="Only these features, as an SQL condition")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair invalid polygons instead of refusing")
    ] = False,
    height_field: Annotated[
        str | None, typer.Option("--height-field", help="Field of building height, metres")
    ] = None,
    levels_field: Annotated[
        str | None, typer.Option("--levels-field", help="Field of the number of storeys")
    ] = None,
    default_height: Annotated[
        float | None, typer.Option("--default-height", help="Height where none is known, metres")
    ] = None,
    base_field: Annotated[
        str | None, typer.Option("--base-field", help="Field of ground height, metres")
    ] = None,
    diameter_field: Annotated[
        str | None, typer.Option("--diameter-field", help="Field of pipe diameter, metres")
    ] = None,
    depth_field: Annotated[
        str | None, typer.Option("--depth-field", help="Field of pipe depth, metres")
    ] = None,
    terrain: Annotated[
        bool, typer.Option("--terrain", help="The raster is an elevation model: make a terrain of it")
    ] = False,
    home: Home = None,
    config: Config = None,
) -> None:
    """Publish files as one collection. A running server shows it at once; nothing has to be restarted."""
    from server.cli.console import progress, stopping_cleanly
    from server.publish import PublishRequest, ReadingOptions, SceneOptions
    from server.publish import publish as publish_files
    from server.registry.catalogue import Access
    from server.registry.registry import open_registry

    settings = settings_of(home, config)
    request = PublishRequest(
        files=tuple(files),
        tenant=tenant,
        id=id_,
        titles=_texts(title, title_zh),
        descriptions=_texts(description, description_zh),
        keywords=tuple(keyword or ()),
        attribution=attribution,
        licence=licence,
        licence_url=licence_url,
        simulated=simulated,
        access=None if private is None else Access.PRIVATE if private else Access.PUBLIC,
        replace=replace,
        style=style,
        reading=ReadingOptions(
            format=format_,
            crs=crs,
            layer=layer,
            encoding=encoding,
            x_column=x_column,
            y_column=y_column,
            wkt_column=wkt_column,
            id_field=id_field,
            time_field=time_field,
            tags=tuple(tag or ()),
            where=where,
            repair=repair,
        ),
        scene=SceneOptions(
            height_field=height_field,
            levels_field=levels_field,
            default_height=default_height,
            base_field=base_field,
            diameter_field=diameter_field,
            depth_field=depth_field,
            terrain=terrain,
        ),
    )
    title_of_work = f"Publishing {tenant}.{id_}"
    with stopping_cleanly(), open_registry(settings) as registry, progress(title_of_work) as report:
        result = publish_files(request, registry, settings, report)
    _say_result(result)


def unpublish(collection: Qualified, home: Home = None, config: Config = None) -> None:
    """Take a collection out of service at once."""
    from server.cli.console import say
    from server.registry.registry import open_registry

    tenant, id_ = split_qualified(collection)
    with open_registry(settings_of(home, config)) as registry:
        registry.unpublish(tenant, id_)
        last = max(one.generation for one in registry.generations(tenant, id_) if one.state == "kept")
    say(
        f"{collection} is not served any more. `chengtu restore {collection} {last}` brings it back, "
        "as long as `chengtu sweep` has not removed its files."
    )


def restore(
    collection: Qualified,
    generation: Annotated[
        int | None, typer.Argument(help="Which one; without it they are listed", show_default=False)
    ] = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Serve an earlier generation of a collection again, or list its generations."""
    from server.cli.console import say, show_table
    from server.registry.registry import open_registry

    tenant, id_ = split_qualified(collection)
    with open_registry(settings_of(home, config)) as registry:
        if generation is None:
            show_table(
                ("generation", "state", "published"),
                [
                    (str(one.generation), one.state, one.committed or "")
                    for one in registry.generations(tenant, id_)
                ],
            )
            return
        restored = registry.restore_generation(tenant, id_, generation)
    say(f"{collection} is served in generation {restored.generation} again.")


def _texts(en: str | None, zh: str | None) -> dict[str, str]:
    return {language: text for language, text in (("en", en), ("zh", zh)) if text}


def _say_result(result: PublishResult) -> None:
    from server.cli.console import say

    for warning in result.warnings:
        say(f"Warning: {warning}")
    collection = result.collection
    count = "" if result.count is None else f", {result.count} of them"
    kinds = ", ".join(kind.value for kind in result.kinds)
    say(
        f"Published {collection.qualified_id} (generation {result.generation}: {kinds}{count}) in {result.seconds:.1f} s. "
        f"It is at /t/{collection.tenant}/ogc/collections/{collection.id}"
    )
