"""`chengtu style list`, `show`, `put`, `remove` and `set-default`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from server.cli.options import Config, Home, Json, settings_of, split_qualified
from server.errors import ChengtuError

styles = typer.Typer(help="Keep, show and remove map styles.", no_args_is_help=True, rich_markup_mode=None)

Qualified = Annotated[str, typer.Argument(metavar="TENANT.STYLE", help="The style", show_default=False)]
_SUFFIXES = {".json": "maplibre", ".sld": "sld-1.0", ".xml": "sld-1.0", ".yml": "chengtu", ".yaml": "chengtu"}


class StyleCommandError(ChengtuError):
    """A style cannot be read, or is not there."""


@styles.command("list")
def list_styles(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only those of this tenant")] = None,
    json: Json = False,
    home: Home = None,
    config: Config = None,
) -> None:
    """List the styles of tenants and of the installation."""
    import orjson

    from server.cli.console import show, show_table
    from server.registry.reader import open_catalogue_reader
    from server.registry.style_choice import installed_styles

    settings = settings_of(home, config)
    reader = open_catalogue_reader(settings)
    catalogue = reader.current()
    reader.close()
    rows: list[tuple[str, ...]] = [
        (
            f"{one.tenant}.{one.id}",
            one.titles.get("en", ""),
            one.format,
            str(one.version),
            ",".join(one.collections),
        )
        for one in catalogue.styles.values()
        if tenant in (None, one.tenant)
    ]
    if tenant is None:
        found = installed_styles(settings.styles_directory)
        rows += [(id_, one.title.get("en", ""), "chengtu", "", "") for id_, one in found.items()]
    heads = ("style", "title", "format", "version", "collections")
    if json:
        show(
            orjson.dumps(
                [dict(zip(heads, row, strict=True)) for row in rows], option=orjson.OPT_INDENT_2
            ).decode()
        )
        return
    show_table(heads, rows)


@styles.command("show")
def show_style(
    style: Annotated[str, typer.Argument(metavar="[TENANT.]STYLE", help="The style", show_default=False)],
    format_: Annotated[
        str | None,
        typer.Option("--format", help="maplibre, sld-1.0, sld-1.1 or chengtu; without it as it was given"),
    ] = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Print a style, as it was given or converted; notes on what is lost go to standard error."""
    from server.cli.console import say, show
    from server.registry.reader import open_catalogue_reader
    from server.registry.style_choice import installed_styles, stored_style
    from tiles.errors import StyleError
    from tiles.maps.style_documents import write_document

    settings = settings_of(home, config)
    reader = open_catalogue_reader(settings)
    catalogue = reader.current()
    reader.close()
    tenant, dot, id_ = style.partition(".")
    record = catalogue.styles.get((tenant, id_)) if dot else None
    if record is not None and format_ in (None, record.format):
        show(record.document)
        return
    found = installed_styles(settings.styles_directory).get(style)
    try:
        resolved = stored_style(record, settings.styles_directory) if record is not None else found
        if resolved is None:
            raise StyleCommandError(f"there is no style {style!r}; `chengtu style list` tells what there is")
        text, notes = write_document(resolved.style, format_ or "chengtu", resolved.id)
    except StyleError as error:
        raise StyleCommandError(f"style {style!r} cannot be shown: {error}") from error
    for note in (*resolved.notes, *notes):
        say(f"Note: {note}")
    show(text)


@styles.command("put")
def put(
    style: Qualified,
    file: Annotated[
        Path,
        typer.Argument(help="MapLibre JSON, SLD or YAML", exists=True, dir_okay=False, show_default=False),
    ],
    title: Annotated[str | None, typer.Option("--title", help="Title in English")] = None,
    title_zh: Annotated[str | None, typer.Option("--title-zh", help="Title in Chinese")] = None,
    collection: Annotated[
        list[str] | None,
        typer.Option("--collection", help="Offer it only for this collection; several times"),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="maplibre, sld-1.0, sld-1.1 or chengtu")
    ] = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Keep a style, or replace the one of this id. A running server draws with it at once."""
    from server.cli.console import say
    from server.registry.styles import StyleDraft, put_style, style_engine
    from tiles.errors import StyleError
    from tiles.maps.style_documents import read_document

    tenant, id_ = split_qualified(style)
    try:
        document = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise StyleCommandError(f"{file.name} is not UTF-8") from error
    chosen = format_ or _SUFFIXES.get(file.suffix.lower(), "maplibre")
    if chosen == "sld-1.0" and 'version="1.1' in document[:2000].partition("?>")[2]:
        chosen = "sld-1.1"
    try:
        parsed, notes = read_document(document, chosen)
    except StyleError as error:
        raise StyleCommandError(f"{file.name} cannot be used: {error}") from error
    titles = {language: text for language, text in (("en", title), ("zh", title_zh)) if text} or dict(
        parsed.title
    )
    draft = StyleDraft(
        tenant, id_, chosen, document, titles=titles or {"en": id_}, collections=tuple(collection or ())
    )
    with style_engine(settings_of(home, config)) as engine:
        version, is_new = put_style(engine, draft)
    for note in notes:
        say(f"Note: {note}")
    say(f"{'Added' if is_new else 'Replaced'} style {style} (version {version}).")


@styles.command("remove")
def remove(style: Qualified, home: Home = None, config: Config = None) -> None:
    """Remove a style. Collections it was the default of are drawn as they were published."""
    from server.cli.console import say
    from server.registry.styles import remove_style, style_engine

    tenant, id_ = split_qualified(style)
    with style_engine(settings_of(home, config)) as engine:
        changed = remove_style(engine, tenant, id_)
    after = f" It drew {', '.join(changed)}." if changed else ""
    say(f"Removed style {style}.{after}")


@styles.command("set-default")
def set_default(
    collection: Annotated[
        str, typer.Argument(metavar="TENANT.COLLECTION", help="The collection", show_default=False)
    ],
    style: Annotated[
        str | None, typer.Argument(help="Id of the style; without it the one it was published with")
    ] = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Let a style draw a collection."""
    from server.cli.console import say
    from server.registry.reader import open_catalogue_reader
    from server.registry.style_choice import resolve_style
    from server.registry.styles import set_default_style, style_engine
    from tiles.errors import StyleError

    settings = settings_of(home, config)
    tenant, id_ = split_qualified(collection)
    reader = open_catalogue_reader(settings)
    catalogue = reader.current()
    reader.close()
    found = catalogue.find(tenant, id_)
    if found is not None and style is not None:
        try:
            resolve_style(catalogue, found, style, settings.styles_directory)
        except StyleError as error:
            raise StyleCommandError(str(error)) from error
    with style_engine(settings) as engine:
        set_default_style(engine, tenant, id_, style)
    say(f"{collection} is drawn in {'the style it was published with' if style is None else style} now.")
