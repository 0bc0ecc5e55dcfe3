"""The two views of the server: the whole city, and one tenant.

In the city's view a collection's public id is `tenant.collection`; in a tenant's own view it is `collection`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from server.registry.catalogue import Catalogue, Collection

IDENTIFIER = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class Scope:
    """A view; `tenant` is None for the city as a whole."""

    tenant: str | None = None

    @property
    def prefix(self) -> str:
        """Path before `/ogc`, `/maps` ...: "" or "/t/{tenant}"."""
        return "" if self.tenant is None else f"/t/{self.tenant}"

    def public_id(self, collection: Collection) -> str:
        """The id under which this view shows the collection."""
        return collection.qualified_id if self.tenant is None else collection.id

    def find(self, catalogue: Catalogue, public_id: str) -> Collection | None:
        """The collection behind an id of this view, None where there is none. Rights are asked by the caller."""
        if self.tenant is not None:
            return catalogue.find(self.tenant, public_id)
        tenant, dot, collection = public_id.partition(".")
        return catalogue.find(tenant, collection) if dot else None

    def collections(self, catalogue: Catalogue) -> Iterator[Collection]:
        """All collections of this view, private ones too, ordered by tenant and id."""
        for (tenant, _), collection in catalogue.collections.items():
            if self.tenant is None or tenant == self.tenant:
                yield collection


CITY = Scope()
