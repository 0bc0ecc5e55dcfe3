"""Tables and views of PostGIS databases as feature collections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from providers.errors import StoreError
from providers.features.postgis.changes import change_sql
from providers.features.postgis.describing import TableDescription, describe, list_tables
from providers.features.postgis.facts import Description
from providers.features.postgis.fragments import fragment_sql
from providers.features.postgis.pools import close_pools
from providers.features.postgis.source import PostgisSource

if TYPE_CHECKING:
    from providers.features.sources import SourceSettings

__all__ = [
    "PostgisSource",
    "TableDescription",
    "change_sql",
    "close_pools",
    "describe",
    "fragment_sql",
    "list_tables",
    "open_postgis",
]
_TEXTS = ("schema", "id", "geometry", "time", "fragment", "version")
_MEMBERS = frozenset({"store", "connection", "table", "fields", *_TEXTS})


def open_postgis(description: Mapping[str, Any], settings: SourceSettings) -> PostgisSource:
    """The table or view that a description names.

    Raises StoreError for a description that does not fit the database, SourceUnavailable where the database does not answer.
    """
    checked = _checked(description)
    connection_string = settings.connections.get(checked.connection)
    if connection_string is None:
        known = ", ".join(sorted(settings.connections)) or "none"
        raise StoreError(
            f"The settings name no database connection {checked.connection!r}; there are: {known}"
        )
    return PostgisSource(connection_string, checked)


def _checked(description: Mapping[str, Any]) -> Description:
    unknown = set(description) - _MEMBERS
    if unknown:
        raise StoreError(
            f"A postgis source has no members {sorted(unknown)}; it has: {', '.join(sorted(_MEMBERS))}"
        )
    texts: dict[str, Any] = {}
    for name in ("connection", "table", *_TEXTS):
        value = description.get(name)
        if value is None and name not in ("connection", "table"):
            continue
        if (
            not isinstance(value, str)
            or not value
            or "\0" in value
            or len(value.encode("utf-8", "replace")) > 63
        ):
            raise StoreError(
                f"The member {name!r} of a postgis source has to be a name of 1 to 63 bytes, not {value!r}"
            )
        texts[name] = value
    fields = description.get("fields")
    if fields is not None and not (
        isinstance(fields, list | tuple) and all(isinstance(name, str) for name in fields)
    ):
        raise StoreError(
            f"The member 'fields' of a postgis source has to be a list of column names, not {fields!r}"
        )
    return Description(**texts, fields=None if fields is None else tuple(fields))
