"""`chengtu register`: serve a source where it is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from server.cli import publishing_options as given
from server.cli.options import Config, Home, settings_of
from server.cli.publishing_commands import say_result, texts_of

SOURCE = "The source"

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="postgis:CONNECTION/SCHEMA.TABLE, parquet:/FILE, ogr:/FILE, wfs:URL, features:URL, arcgis:URL; maps: wms:URL#LAYER, "
        "wmts:URL#LAYER, tms:URL, xyz:URL-TEMPLATE, arcgis-map:URL, ogc-maps:URL#COLLECTION",
        show_default=False,
    ),
]


def _member(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier() or not value:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE, such as geometry=geom.")
    return name, value


def register(
    source: Source,
    tenant: given.Tenant,
    id_: given.Id,
    title: given.Title,
    title_zh: given.TitleZh = None,
    description: given.Description = None,
    description_zh: given.DescriptionZh = None,
    keyword: given.Keyword = None,
    attribution: given.Attribution = "",
    licence: given.Licence = "",
    licence_url: given.LicenceUrl = None,
    private: given.Private = None,
    replace: given.Replace = False,
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer", metavar="NAME", help="Layer, where there are several", rich_help_panel=SOURCE
        ),
    ] = None,
    id_field: Annotated[
        str | None,
        typer.Option(
            "--id-field", metavar="FIELD", help="Field with the feature ids", rich_help_panel=SOURCE
        ),
    ] = None,
    time_field: Annotated[
        str | None,
        typer.Option(
            "--time-field", metavar="FIELD", help="Field that `datetime` selects by", rich_help_panel=SOURCE
        ),
    ] = None,
    credentials: Annotated[
        str | None,
        typer.Option(
            "--credentials",
            metavar="CONNECTION",
            help="Connection of the settings whose secret a remote service asks for",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    set_: Annotated[
        list[Any] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            parser=_member,
            help="What else a kind of source knows, such as geometry=geom; may be repeated",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option("--style", metavar="NAME", help="Style of the features' map", rich_help_panel=SOURCE),
    ] = None,
    max_age: Annotated[
        int | None,
        typer.Option(
            "--max-age",
            metavar="SECONDS",
            help="How long kept tiles of another server's map count as current (a day)",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Serve a database table, a file, a remote layer or map where it is, as one collection. Nothing is copied."""
    from server.publish.registering import RegisterRequest
    from server.publish.registering import register as register_source
    from server.registry.catalogue import Access
    from server.registry.registry import open_registry_that_is_there

    settings = settings_of(home, config)
    request = RegisterRequest(
        source=source,
        tenant=tenant,
        id=id_,
        titles=texts_of(title, title_zh),
        descriptions=texts_of(description, description_zh),
        keywords=tuple(keyword or ()),
        attribution=attribution,
        licence=licence,
        licence_url=licence_url,
        access=None if private is None else Access.PRIVATE if private else Access.PUBLIC,
        replace=replace,
        layer=layer,
        id_field=id_field,
        time_field=time_field,
        credentials=credentials,
        options=dict(set_ or ()),
        style=style,
        max_age=max_age,
    )
    with open_registry_that_is_there(settings) as registry:
        say_result(register_source(request, registry, settings))
