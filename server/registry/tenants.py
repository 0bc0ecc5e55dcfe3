"""Organisations and tenants."""

from __future__ import annotations

from types import MappingProxyType

from sqlalchemy import Engine, select

from server.errors import DuplicateTenant, TenantNotEmpty
from server.registry.catalogue import Tenant
from server.registry.identifiers import check_tenant_id
from server.registry.models import CollectionRow, GenerationRow, GenerationState, OrganisationRow, TenantRow
from server.registry.writing import tenant_row, writing


def add_tenant(
    engine: Engine, tenant: str, title_en: str, title_zh: str | None, organisation: str | None
) -> Tenant:
    """Add a tenant, and its organisation where that is new. Raises DuplicateTenant, InvalidIdentifier."""
    check_tenant_id(tenant)
    organisation_id = check_tenant_id(organisation or tenant)
    with writing(engine, "add-tenant", tenant) as write:
        session = write.session
        if session.get(OrganisationRow, organisation_id) is None:
            session.add(
                OrganisationRow(id=organisation_id, title_en=title_en, title_zh=title_zh, created=write.time)
            )
            session.flush()
        row = session.get(TenantRow, tenant)
        if row is not None and row.removed is None:
            raise DuplicateTenant(f"tenant {tenant!r} is there already, titled {row.title_en!r}")
        if row is None:
            row = TenantRow(id=tenant, created=write.time)
            session.add(row)
        row.organisation_id, row.title_en, row.title_zh, row.removed = (
            organisation_id,
            title_en,
            title_zh,
            None,
        )
        row.map_watermark = row.map_clip = None  # of one that was removed and comes back
    return Tenant(
        tenant, organisation_id, MappingProxyType({"en": title_en, **({"zh": title_zh} if title_zh else {})})
    )


def remove_tenant(engine: Engine, tenant: str, force: bool) -> list[str]:
    """Remove a tenant; with `force` its collections are unpublished too, and their ids returned.

    Raises UnknownTenant, TenantNotEmpty.
    """
    with writing(engine, "remove-tenant", tenant) as write:
        row = tenant_row(write.session, tenant)
        published = write.session.execute(
            select(CollectionRow, GenerationRow)
            .join(GenerationRow, GenerationRow.collection_key == CollectionRow.key)
            .where(CollectionRow.tenant_id == tenant, GenerationRow.state == GenerationState.CURRENT)
            .order_by(CollectionRow.id)
        ).all()
        if published and not force:
            ids = ", ".join(collection.id for collection, _ in published[:10])
            raise TenantNotEmpty(
                f"tenant {tenant!r} has {len(published)} published collections ({ids}{', ...' if len(published) > 10 else ''}); "
                "unpublish them first, or remove the tenant with --force"
            )
        for collection, generation in published:
            generation.state, generation.retired = GenerationState.KEPT, write.time
            collection.revision, collection.updated = write.revision, write.time
        row.removed = write.time
        return [collection.id for collection, _ in published]
