"""`chengtu style list`, `show`, `put`, `remove` and `set-default`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.options import Config, Home, Json, settings_of, split_qualified
from server.errors import ChengtuError, InvalidIdentifier, UnknownTenant

if TYPE_CHECKING:
    from server.registry.catalogue import Catalogue
    from server.settings import Settings

styles = typer.Typer(help="Keep, show and remove map styles.", no_args_is_help=True, rich_markup_mode=None)

Qualified = Annotated[str, typer.Argument(metavar="TENANT.STYLE", help="The style", show_default=False)]
_SUFFIXES = {".json": "maplibre", ".sld": "sld-1.0", ".xml": "sld-1.0", ".yml": "chengtu", ".yaml": "chengtu"}


_LIST = "`chengtu style list` tells what there is"


class StyleCommandError(ChengtuError):
    """A style cannot be read, or is not there."""


def _split(style: str) -> tuple[str, str]:
    """Tenant and id of `tenant.style`. Raises InvalidIdentifier."""
    try:
        return split_qualified(style)
    except InvalidIdentifier as error:
        raise InvalidIdentifier(f"{style!r} does not name a tenant's style; allowed: TENANT.STYLE") from error


def _catalogue(settings: Settings) -> Catalogue:
    from server.registry.reader import open_catalogue_reader

    reader = open_catalogue_reader(settings)
    try:
        return reader.current()
    finally:
        reader.close()


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
    from server.registry.style_choice import installed_styles

    settings = settings_of(home, config)
    catalogue = _catalogue(settings)
    if tenant is not None and tenant not in catalogue.tenants:
        known = ", ".join(sorted(catalogue.tenants)) or "none"
        raise UnknownTenant(f"there is no tenant {tenant!r} (tenants: {known})")
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
    from server.registry.style_choice import installed_styles, stored_style
    from tiles.errors import StyleError
    from tiles.maps.style_documents import write_document

    settings = settings_of(home, config)
    catalogue = _catalogue(settings)
    tenant, dot, id_ = style.partition(".")
    record = catalogue.styles.get((tenant, id_)) if dot else None
    if record is not None and format_ in (None, record.format):
        show(record.document)
        return
    found = installed_styles(settings.styles_directory).get(style)
    try:
        resolved = stored_style(record, settings.styles_directory) if record is not None else found
        if resolved is None:
            raise StyleCommandError(f"there is no style {style!r}; {_LIST}")
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
    any_collection: Annotated[
        bool, typer.Option("--any-collection", help="Offer it for every collection that it fits, again")
    ] = False,
    format_: Annotated[
        str | None, typer.Option("--format", help="maplibre, sld-1.0, sld-1.1 or chengtu")
    ] = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Keep a style, or replace the one of this id. A running server draws with it at once.

    Titles and collections of the one replaced stay where none are given.
    """
    from server.cli.console import say
    from server.registry.style_choice import installed_styles
    from server.registry.styles import StyleDraft, check_style_id, put_style, style_engine
    from tiles.errors import StyleError
    from tiles.maps.style_documents import read_document

    tenant, id_ = _split(style)
    check_style_id(id_)
    if collection and any_collection:
        raise StyleCommandError("--collection and --any-collection exclude each other")
    settings = settings_of(home, config)
    catalogue = _catalogue(settings)
    _check_collections(catalogue, tenant, collection or ())
    document, chosen = _read(file, format_)
    try:
        parsed, notes = read_document(document, chosen)
    except StyleError as error:
        raise StyleCommandError(f"{file.name} cannot be used: {error}") from error
    present = catalogue.styles.get((tenant, id_))
    titles = {language: text for language, text in (("en", title), ("zh", title_zh)) if text}
    if present is not None:
        titles = titles or dict(present.titles)
        collection = list(present.collections) if collection is None and not any_collection else collection
    draft = StyleDraft(
        tenant,
        id_,
        chosen,
        document,
        titles=titles or dict(parsed.title) or {"en": id_},
        descriptions=dict(present.descriptions) if present is not None else {},
        keywords=present.keywords if present is not None else (),
        collections=tuple(collection or ()),
    )
    with style_engine(settings) as engine:
        version, is_new = put_style(engine, draft)
    if id_ in installed_styles(settings.styles_directory):
        notes = (*notes, f"for tenant {tenant} it takes the place of the installation's style {id_}")
    for note in notes:
        say(f"Note: {note}")
    say(f"{'Added' if is_new else 'Replaced'} style {style} (version {version}).")


def _check_collections(catalogue: Catalogue, tenant: str, collections: Sequence[str]) -> None:
    """Refuse collections that are not there; a tenant that is not is refused where the style is written."""
    for one in collections:
        if tenant in catalogue.tenants and catalogue.find(tenant, one) is None:
            raise StyleCommandError(
                f"tenant {tenant!r} has no collection {one!r}; `chengtu collections --tenant {tenant}` tells what there is"
            )


def _read(file: Path, format_: str | None) -> tuple[str, str]:
    """The text of a file and the format it is in: as said, else by its name, and for SLD by the version it begins with."""
    try:
        document = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise StyleCommandError(f"{file.name} is not UTF-8") from error
    chosen = format_ or _SUFFIXES.get(file.suffix.lower())
    if chosen is None:
        raise StyleCommandError(
            f"{file.name} does not end in {', '.join(_SUFFIXES)}; say what it is with --format"
        )
    if chosen == "sld-1.0" and 'version="1.1' in document[:2000].rpartition("?>")[2]:
        chosen = "sld-1.1"
    return document, chosen


@styles.command("remove")
def remove(style: Qualified, home: Home = None, config: Config = None) -> None:
    """Remove a style. Collections it was the default of are drawn as they were published."""
    from server.cli.console import say
    from server.registry.styles import UnknownStyleRecord, remove_style, style_engine

    tenant, id_ = _split(style)
    settings = settings_of(home, config)
    _catalogue(settings)  # refuses a home that is not there, before one is made
    with style_engine(settings) as engine:
        try:
            changed = remove_style(engine, tenant, id_)
        except UnknownStyleRecord as error:
            raise StyleCommandError(f"{error}; {_LIST}") from error
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
    """Let a style draw a collection. Kept tiles of it are drawn anew."""
    from server.cli.console import say
    from server.registry.catalogue import RepresentationKind
    from server.registry.style_choice import OWN_STYLE, resolve_style
    from server.registry.styles import set_default_style, style_engine
    from tiles.errors import StyleError

    settings = settings_of(home, config)
    tenant, id_ = split_qualified(collection)
    catalogue = _catalogue(settings)
    found = catalogue.find(tenant, id_)
    if found is None or RepresentationKind.MAP not in found.representations:
        what = "is not there" if found is None else "has no map"
        raise StyleCommandError(f"{collection} {what}; `chengtu collections` tells what there is")
    style = None if style == OWN_STYLE else style
    if style is not None:
        try:
            resolve_style(catalogue, found, style, settings.styles_directory)
        except StyleError as error:
            raise StyleCommandError(str(error)) from error
    with style_engine(settings) as engine:
        set_default_style(engine, tenant, id_, style)
    say(f"{collection} is drawn in {'the style it was published with' if style is None else style} now.")
