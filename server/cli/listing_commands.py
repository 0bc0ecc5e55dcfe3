"""`chengtu collections` and `chengtu tenants`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli.options import Config, Home, Json, settings_of

if TYPE_CHECKING:
    from server.registry.catalogue import Collection

Tenant = Annotated[str, typer.Argument(help="Id of the tenant", show_default=False)]


def list_collections(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only those of this tenant")] = None,
    json: Json = False,
    home: Home = None,
    config: Config = None,
) -> None:
    """List all published collections, private ones too."""
    from server.cli.console import show_table
    from server.errors import UnknownTenant
    from server.registry.reader import open_catalogue_reader

    reader = open_catalogue_reader(settings_of(home, config))
    catalogue = reader.current()
    reader.close()
    if tenant is not None and tenant not in catalogue.tenants:
        known = ", ".join(catalogue.tenants) or "none"
        raise UnknownTenant(f"there is no tenant {tenant!r} (tenants: {known})")
    chosen = [one for one in catalogue.collections.values() if tenant in (None, one.tenant)]
    if json:
        _show_json([_document(one) for one in chosen])
        return
    show_table(
        ("collection", "title", "access", "generation", "updated", "representations"),
        [
            (
                one.qualified_id,
                one.title("en"),
                one.access.value,
                str(one.generation),
                one.updated,
                " ".join(kind.value for kind in one.representations),
            )
            for one in chosen
        ],
    )


def list_tenants(json: Json = False, home: Home = None, config: Config = None) -> None:
    """List all tenants."""
    from server.cli.console import show_table
    from server.registry.reader import open_catalogue_reader

    reader = open_catalogue_reader(settings_of(home, config))
    catalogue = reader.current()
    reader.close()
    counts = dict.fromkeys(catalogue.tenants, 0)
    for one in catalogue.collections.values():
        counts[one.tenant] += 1
    if json:
        _show_json(
            [
                {
                    "id": one.id,
                    "titles": dict(one.titles),
                    "organisation": one.organisation,
                    "collections": counts[one.id],
                }
                for one in catalogue.tenants.values()
            ]
        )
        return
    show_table(
        ("tenant", "title", "organisation", "collections"),
        [
            (one.id, one.titles["en"], one.organisation, str(counts[one.id]))
            for one in catalogue.tenants.values()
        ],
    )


def add_tenant(
    tenant: Tenant,
    title: Annotated[str, typer.Option("--title", help="Title in English", show_default=False)],
    title_zh: Annotated[str | None, typer.Option("--title-zh", help="Title in Chinese")] = None,
    organisation: Annotated[
        str | None, typer.Option("--organisation", help="Id of its organisation [default: the tenant's]")
    ] = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Add a tenant: an owner of collections that others do not see into."""
    from server.cli.console import say
    from server.registry.registry import open_registry

    with open_registry(settings_of(home, config)) as registry:
        registry.add_tenant(tenant, title, title_zh, organisation)
    say(f"Tenant {tenant} is there. Next: chengtu publish FILE --tenant {tenant} --id ID --title TITLE")


def remove_tenant(
    tenant: Tenant,
    force: Annotated[bool, typer.Option("--force", help="Unpublish all its collections too")] = False,
    home: Home = None,
    config: Config = None,
) -> None:
    """Remove a tenant; one with collections only with --force."""
    from server.cli.console import say
    from server.registry.registry import open_registry_that_is_there

    with open_registry_that_is_there(settings_of(home, config)) as registry:
        unpublished = registry.remove_tenant(tenant, force)
    ending = f" and {len(unpublished)} collections of it ({', '.join(unpublished)})" if unpublished else ""
    say(f"Removed tenant {tenant}{ending}.")


def _document(collection: Collection) -> dict[str, Any]:
    return {
        "id": collection.qualified_id,
        "tenant": collection.tenant,
        "collection": collection.id,
        "titles": dict(collection.titles),
        "access": collection.access.value,
        "simulated": collection.simulated,
        "generation": collection.generation,
        "created": collection.created,
        "updated": collection.updated,
        "bbox": list(collection.bbox),
        "interval": None if collection.interval is None else list(collection.interval),
        "storageCrs": collection.storage_crs,
        "attribution": collection.attribution,
        "licence": collection.licence,
        "representations": [kind.value for kind in collection.representations],
        "directory": str(collection.directory),
    }


def _show_json(document: Any) -> None:
    import orjson

    from server.cli.console import show

    show(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
