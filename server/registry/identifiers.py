"""The rule of tenant and collection ids."""

from __future__ import annotations

import re

from server.errors import InvalidIdentifier

IDENTIFIER = re.compile(r"[a-z][a-z0-9_-]{0,62}")

RESERVED_COLLECTION_IDS = frozenset(
    {
        "api",
        "catalogue",
        "collections",
        "conformance",
        "jobs",
        "maps",
        "ogc",
        "processes",
        "queryables",
        "schema",
    }
)
"""Ids that stand for something else: the catalogue of records, and path segments beside collections."""

RESERVED_TENANT_IDS = frozenset(
    {
        *(
            "account",
            "api",
            "city",
            "csw",
            "dcat",
            "develop",
            "health",
            "manage",
            "maps",
            "metrics",
            "oai",
            "ogc",
        ),
        *("operations", "sta", "stac", "static", "system", "t", "vendor", "wfs"),
    }
)
"""Ids that would read like the first segment of one of the server's own addresses."""

_RULE = "a small letter a-z, then up to 62 of a-z, 0-9, _ and -"


def check_tenant_id(tenant: str) -> str:
    """The id itself. Raises InvalidIdentifier where it may not be a tenant's."""
    return _check("tenant", tenant, RESERVED_TENANT_IDS)


def is_tenant_id(tenant: str) -> bool:
    """Whether a tenant may have this id."""
    return IDENTIFIER.fullmatch(tenant) is not None and tenant not in RESERVED_TENANT_IDS


def check_collection_id(collection: str) -> str:
    """The id itself. Raises InvalidIdentifier where it may not be a collection's."""
    return _check("collection", collection, RESERVED_COLLECTION_IDS)


def _check(what: str, identifier: str, reserved: frozenset[str]) -> str:
    if IDENTIFIER.fullmatch(identifier) is None:
        raise InvalidIdentifier(f"{identifier!r} cannot be the id of a {what}; allowed: {_RULE}")
    if identifier in reserved:
        raise InvalidIdentifier(
            f"{identifier!r} cannot be the id of a {what}: it is reserved (reserved: {', '.join(sorted(reserved))})"
        )
    return identifier
