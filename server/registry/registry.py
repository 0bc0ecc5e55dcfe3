"""The registry for those who write: the command line, publishing, the demo. Workers read by `server.registry.reader`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from server.errors import UnknownTenant
from server.registry import coverages, generations, map_policy, scenes, sweeping, tenants
from server.registry.catalogue import Catalogue, Collection, Interval, Representation, Tenant
from server.registry.database import open_engine
from server.registry.drafts import CollectionDraft, GenerationRecord, GenerationTicket, SweepReport
from server.registry.homes import check_home_is_there
from server.registry.loading import load_catalogue
from server.registry.locks import waiting_lock
from server.registry.operator_token import ensure_operator_token
from server.registry.schema import HEAD, present_version, upgrade
from server.registry.writing import database_errors, reading, tenant_row
from server.settings import Settings

KEEP_GENERATIONS = 3
GRACE_SECONDS = 600.0


class Registry:
    """All tenants, collections and generations of one data home; safe to use from several processes at once.

    Methods raise the subclasses of `server.errors.RegistryError` that they name, and RegistryUnavailable.
    """

    def __init__(
        self, url: str, home: Path, keep_generations: int = KEEP_GENERATIONS, caches: Sequence[Path] = ()
    ) -> None:
        """`caches` keep something made from generations, at TENANT/COLLECTION/gNNNNNN: `sweep` removes it with them."""
        self.home = home
        self._caches = caches
        self._keep = keep_generations
        self._engine = open_engine(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def initialise(self) -> None:
        """Make the home's folders, the tables and the operator's token, as far as they are not there.

        Raises RegistryOutOfDate where the tables are of a newer release; OSError where the home cannot be written.
        """
        for folder in ("collections", "staging", "locks"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        with waiting_lock(self.home / "locks" / "registry.lock"), database_errors():
            if present_version(self._engine) != HEAD:
                upgrade(self._engine)
            ensure_operator_token(self._engine, self.home)

    def version(self) -> str | None:
        """The migration the tables are at (`server.registry.schema.HEAD` is right), None where there are none."""
        with database_errors():
            return present_version(self._engine)

    def catalogue(self) -> Catalogue:
        """The registry as it is now."""
        with reading(self._engine) as session:
            connection = session.connection()
            placeholder = "%s" if connection.dialect.name == "postgresql" else "?"

            def rows(sql: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
                result = connection.exec_driver_sql(sql.replace("?", placeholder), parameters)
                return [tuple(row) for row in result]

            return load_catalogue(rows, self.home)

    def list_tenants(self) -> list[Tenant]:
        """All tenants, by id."""
        return list(self.catalogue().tenants.values())

    def tenant(self, tenant: str) -> Tenant:
        """One tenant. Raises UnknownTenant."""
        found = self.catalogue().tenants.get(tenant)
        if found is None:
            with reading(self._engine) as session:
                tenant_row(session, tenant)
            raise UnknownTenant(f"tenant {tenant!r} was added at this moment; ask again")
        return found

    def add_tenant(
        self, tenant: str, title_en: str, title_zh: str | None = None, organisation: str | None = None
    ) -> Tenant:
        """Add a tenant. Its organisation (default: one of the tenant's own id) is made where it is new.

        Raises DuplicateTenant, InvalidIdentifier.
        """
        return tenants.add_tenant(self._engine, tenant, title_en, title_zh, organisation)

    def set_map_policy(self, tenant: str, watermark: str | None, clip: str | None) -> None:
        """Set the text on a tenant's maps and the area (WKT, CRS84) they show; None for none.

        Raises UnknownTenant, InvalidMapPolicy.
        """
        map_policy.set_map_policy(self._engine, tenant, watermark, clip)

    def remove_tenant(self, tenant: str, force: bool = False) -> list[str]:
        """Remove a tenant; with `force` its collections too, whose ids are returned. Raises UnknownTenant, TenantNotEmpty."""
        return tenants.remove_tenant(self._engine, tenant, force)

    def collection(self, tenant: str, collection: str) -> Collection | None:
        """A published collection, None where there is none of that id. Raises UnknownTenant."""
        self.tenant(tenant)
        return self.catalogue().find(tenant, collection)

    def check_publishable(self, tenant: str, collection: str, replace: bool) -> None:
        """Raise what `begin_generation` would raise now; to be asked before the long work of building."""
        generations.check_publishable(self._engine, self.home, tenant, collection, replace)

    def begin_generation(self, tenant: str, collection: str, replace: bool) -> GenerationTicket:
        """Reserve the next generation of an id, and the right to switch it in.

        Raises UnknownTenant, InvalidIdentifier, DuplicateCollection (published, and not `replace`), PublishInProgress.
        """
        return generations.begin_generation(self._engine, self.home, tenant, collection, replace)

    def commit_generation(
        self, ticket: GenerationTicket, draft: CollectionDraft, representations: Sequence[Representation]
    ) -> Collection:
        """Switch a generation in, by one transaction: requests that start after this returns see it.

        Its files are to be in `ticket.directory` and on the disk (fsync) already. Raises InvalidRepresentation,
        PublishLost, UnknownTenant; the ticket then still stands and is to be abandoned.
        """
        generations.commit_generation(self._engine, ticket, draft, representations)
        return self._present(ticket.tenant, ticket.collection)

    def abandon_generation(self, ticket: GenerationTicket) -> None:
        """Give a generation up; its folder is removed. Does nothing where it was switched in or given up before."""
        generations.abandon_generation(self._engine, ticket)

    def publish(
        self,
        draft: CollectionDraft,
        representations: Sequence[Representation],
        staged: Path,
        replace: bool = False,
    ) -> Collection:
        """Switch in what was built in the folder `staged`, which becomes the generation's folder.

        Where anything fails, what was served before still is, and `staged` or its new place is removed.
        Raises what `begin_generation` and `commit_generation` raise, and OSError.
        """
        ticket = None
        try:
            ticket = self.begin_generation(draft.tenant, draft.id, replace)
            return self.switch_generation(ticket, draft, representations, staged)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            if ticket is not None:
                self.abandon_generation(ticket)
            raise

    def switch_generation(
        self,
        ticket: GenerationTicket,
        draft: CollectionDraft,
        representations: Sequence[Representation],
        staged: Path,
    ) -> Collection:
        """Switch in what the holder of a ticket built in the folder `staged`, which becomes the generation's folder.

        Raises what `commit_generation` raises, and OSError; the ticket then still stands and is to be abandoned.
        """
        staged.rename(ticket.directory)
        _sync_folder(ticket.directory.parent)
        return self.commit_generation(ticket, draft, representations)

    def update_coverage(
        self,
        tenant: str,
        collection: str,
        generation: int,
        bbox: Sequence[float],
        interval: Interval | None,
        properties: Mapping[str, Any],
    ) -> Collection:
        """Tell of a coverage whose scenes came or went. Raises PublishLost where another generation is current."""
        coverages.update_coverage(self._engine, tenant, collection, generation, bbox, interval, properties)
        return self._present(tenant, collection)

    def attach_tileset(
        self, tenant: str, collection: str, generation: int, bbox: Sequence[float], tileset: Representation
    ) -> Collection:
        """Give a collection a 3D tileset while it is served. Raises PublishLost where another generation is current."""
        scenes.attach_tileset(self._engine, tenant, collection, generation, bbox, tileset)
        return self._present(tenant, collection)

    def unpublish(self, tenant: str, collection: str) -> None:
        """Take a collection out of service; its files stay until `sweep`. Raises UnknownTenant, UnknownCollection."""
        generations.unpublish(self._engine, tenant, collection)

    def restore_generation(self, tenant: str, collection: str, generation: int) -> Collection:
        """Serve a kept generation again, also of an unpublished collection. Raises UnknownCollection, UnknownGeneration."""
        generations.restore_generation(self._engine, self.home, tenant, collection, generation)
        return self._present(tenant, collection)

    def generations(self, tenant: str, collection: str) -> list[GenerationRecord]:
        """Every generation the id ever had, oldest first. Raises UnknownTenant, UnknownCollection."""
        return generations.generation_records(self._engine, self.home, tenant, collection)

    def sweep(self, grace_seconds: float = GRACE_SECONDS) -> SweepReport:
        """Remove leftovers of killed publishes, generations beyond those kept, and files of unpublished collections."""
        return sweeping.sweep(self._engine, self.home, self._keep, grace_seconds, self._caches)

    def orphaned_generations(self) -> list[Path]:
        """Generation folders that no row names; `sweep` removes them."""
        return sweeping.orphaned_generations(self._engine, [self.home / "collections"])

    def _present(self, tenant: str, collection: str) -> Collection:
        return self.catalogue().collections[tenant, collection]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_registry_that_is_there(settings: Settings) -> Registry:
    """As `open_registry`, but makes no new data home. Raises RegistryUnavailable where there is none."""
    check_home_is_there(settings.registry_url, settings.home)
    return open_registry(settings)


def open_registry(settings: Settings) -> Registry:
    """The registry that the settings name, made where it is not there. Close it, or use it in a `with` statement."""
    registry = Registry(
        settings.registry_url,
        settings.home,
        settings.publish.keep_generations,
        caches=(settings.tile_cache_directory,),
    )
    try:
        registry.initialise()
    except BaseException:
        registry.close()
        raise
    return registry
