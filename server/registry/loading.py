"""Reads the registry's tables into a `Catalogue`, by plain SQL: 10,000 collections in well under a second.

Workers use this without SQLAlchemy, whose import alone takes longer than the server may need to open its port.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from server.registry.catalogue import (
    Access,
    Catalogue,
    Collection,
    Field,
    Interval,
    PastGeneration,
    Representation,
    RepresentationKind,
    StyleRecord,
    Tenant,
)
from server.registry.folders import generation_directory

Rows = Callable[[str, tuple[Any, ...]], Iterable[tuple[Any, ...]]]
"""Runs a SELECT with `?` parameters inside one read transaction and gives its rows."""

_STATE = "SELECT revision, instance FROM registry_state WHERE id = 1"
_TENANTS = """
    SELECT id, organisation_id, title_en, title_zh, map_watermark, map_clip
    FROM tenant WHERE removed IS NULL ORDER BY id"""
_STYLES = """
    SELECT tenant_id, id, removed, titles, descriptions, keywords, collections, format, document, version, created, updated
    FROM style WHERE revision > ?"""
_TOKENS = "SELECT token_hash FROM api_key WHERE revoked IS NULL AND role = 'operator' ORDER BY token_hash"
_COLLECTIONS = """
    SELECT c.tenant_id, c.id, c.access, c.created, c.updated, g.key, g.number, g.titles, g.descriptions, g.keywords,
           g.bbox, g.time_interval, g.storage_crs, g.attribution, g.licence, g.licence_url, g.simulated, g.fields,
           c.default_style
    FROM collection AS c LEFT JOIN generation AS g ON g.collection_key = c.key AND g.state = 'current'
    WHERE c.revision > ?"""
_REPRESENTATIONS = """
    SELECT r.generation_key, r.kind, r.path, r.built_generation, r.built_change, r.properties
    FROM collection AS c
    JOIN generation AS g ON g.collection_key = c.key AND g.state = 'current'
    JOIN representation AS r ON r.generation_key = g.key
    WHERE c.revision > ? ORDER BY r.generation_key, r.kind"""
_PAST = """
    SELECT c.tenant_id, c.id, g.number, g.committed, g.retired
    FROM collection AS c JOIN generation AS g ON g.collection_key = c.key AND g.state = 'kept'
    WHERE c.revision > ? AND g.committed IS NOT NULL AND g.retired IS NOT NULL ORDER BY g.number DESC"""
_KINDS = {kind.value: kind for kind in RepresentationKind}


def load_catalogue(rows: Rows, home: Path, known: Catalogue | None = None) -> Catalogue:
    """The registry as it is now. Of `known`, an older picture, what has not changed since is kept as it is.

    All rows must come from one read transaction. LookupError where the tables are empty.
    """
    revision, instance = _state(rows)
    if known is not None and (known.instance != instance or known.revision > revision):
        known = None  # another registry, or this one from a backup
    if known is not None and known.revision == revision:
        return known
    with _without_garbage_collection():
        return _load(rows, home, known, revision, instance)


def _load(rows: Rows, home: Path, known: Catalogue | None, revision: int, instance: str) -> Catalogue:
    since = -1 if known is None else known.revision
    collections = {} if known is None else dict(known.collections)
    representations = _load_representations(rows, since)
    past = _load_past(rows, home, since)
    for row in rows(_COLLECTIONS, (since,)):
        key = (row[0], row[1])
        if row[5] is None:
            collections.pop(key, None)
        else:
            collections[key] = _collection(
                row, home, representations.get(row[5], {}), tuple(past.get(key, ()))
            )
    tenants = {
        id_: Tenant(id_, organisation, _titles(en, zh), watermark, clip)
        for id_, organisation, en, zh, watermark, clip in rows(_TENANTS, ())
    }
    styles = _load_styles(rows, since, {} if known is None else known.styles)
    return Catalogue(
        revision=revision,
        tenants=MappingProxyType(tenants),
        collections=MappingProxyType(
            {key: collections[key] for key in sorted(collections) if key[0] in tenants}
        ),
        instance=instance,
        styles=MappingProxyType({key: styles[key] for key in sorted(styles) if key[0] in tenants}),
        operator_token_hashes=tuple(bytes.fromhex(token_hash) for (token_hash,) in rows(_TOKENS, ())),
    )


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """A load makes very many objects and no cycles: looking for cycles meanwhile takes twice the time of the load."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _state(rows: Rows) -> tuple[int, str]:
    for revision, instance in rows(_STATE, ()):
        return int(revision), str(instance)
    raise LookupError("the registry's tables are empty")


def _titles(en: str, zh: str | None) -> Mapping[str, str]:
    return MappingProxyType({"en": en, "zh": zh} if zh else {"en": en})


def _json(value: Any) -> Any:
    """A JSON column: text on SQLite, already parsed by the driver on PostgreSQL. Ours hold arrays and objects only."""
    return orjson.loads(value) if isinstance(value, str | bytes) else value


def _load_representations(rows: Rows, since: int) -> dict[int, dict[RepresentationKind, Representation]]:
    found: dict[int, dict[RepresentationKind, Representation]] = defaultdict(dict)
    for generation_key, kind_name, path, built_generation, built_change, properties in rows(
        _REPRESENTATIONS, (since,)
    ):
        kind = _KINDS.get(kind_name)
        if kind is not None:  # a later release's kind, after going back to this one: it is simply not served
            found[generation_key][kind] = Representation(
                kind, path, built_generation, built_change, MappingProxyType(_json(properties) or {})
            )
    return found


def _load_past(rows: Rows, home: Path, since: int) -> dict[tuple[str, str], list[PastGeneration]]:
    found: dict[tuple[str, str], list[PastGeneration]] = defaultdict(list)
    for tenant, id_, number, committed, retired in rows(_PAST, (since,)):
        directory = generation_directory(home, tenant, id_, number)
        found[tenant, id_].append(PastGeneration(number, committed, retired, directory))
    return found


def _load_styles(
    rows: Rows, since: int, known: Mapping[tuple[str, str], StyleRecord]
) -> dict[tuple[str, str], StyleRecord]:
    styles = dict(known)
    for row in rows(_STYLES, (since,)):
        tenant, id_, removed, titles, descriptions, keywords, collections, *rest = row
        if removed is not None:
            styles.pop((tenant, id_), None)
            continue
        styles[tenant, id_] = StyleRecord(
            tenant,
            id_,
            MappingProxyType(_json(titles)),
            MappingProxyType(_json(descriptions)),
            tuple(_json(keywords)),
            tuple(_json(collections)),
            *rest,
        )
    return styles


def _collection(
    row: tuple[Any, ...],
    home: Path,
    representations: Mapping[RepresentationKind, Representation],
    past: tuple[PastGeneration, ...],
) -> Collection:
    (tenant, id_, access, created, updated, _, number, titles, descriptions, keywords) = row[:10]
    (bbox, interval, storage_crs, attribution, licence, licence_url, simulated, fields, style) = row[10:]
    interval = _json(interval)
    return Collection(
        tenant=tenant,
        id=id_,
        titles=MappingProxyType(_json(titles)),
        descriptions=MappingProxyType(_json(descriptions)),
        keywords=tuple(_json(keywords)),
        bbox=tuple(_json(bbox)),
        interval=None if interval is None else Interval(*interval),
        storage_crs=storage_crs,
        access=Access.PUBLIC if access == "public" else Access.PRIVATE,
        attribution=attribution,
        licence=licence,
        licence_url=licence_url,
        simulated=bool(simulated),
        generation=number,
        created=created,
        updated=updated,
        directory=generation_directory(home, tenant, id_, number),
        representations=MappingProxyType(representations),
        fields=tuple(Field(*field) for field in _json(fields)),
        past=past,
        default_style=style,
    )
