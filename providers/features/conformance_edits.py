"""How the self-test tries edits (OGC API - Features Part 4): on a copy where one is cheap, else in ways that change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from providers.errors import ItemNotFound, VersionConflict
from providers.features.source import Edit, EditableSource, EditKind, FeatureColumns, FeatureSource

_COPIED = 5
_NOBODY = "chengtu-no-such-item-0"


def edit_a_copy(source: FeatureSource, part: FeatureColumns, folder: Path) -> str | None:
    """Create, replace, update and delete in a store of a few of the source's features; what went wrong, None where nothing."""
    from providers.features.store import FeatureStore, FeatureStoreWriter

    path = folder / "features.gpkg"
    schema, count = source.schema, min(_COPIED, len(part))
    if not count:
        return None
    with FeatureStoreWriter(
        path, fields=schema.fields, storage_crs=source.storage.crs, time_field=schema.time_field
    ) as writer:
        columns = {name: values[:count] for name, values in part.columns.items()}
        writer.add(part.geometries[:count], columns, part.ids[:count])
        writer.finish()
    return _life_of_a_feature(FeatureStore(path), part)


def _life_of_a_feature(copy: EditableSource, part: FeatureColumns) -> str | None:
    shape = part.geometries[0]
    values = {name: column[0] for name, column in part.columns.items()}
    (made,) = copy.edit([Edit(EditKind.CREATE, None, shape, values)])
    (replaced,) = copy.edit([Edit(EditKind.REPLACE, made.feature_id, shape, values, made.version)])
    (updated,) = copy.edit([Edit(EditKind.UPDATE, made.feature_id, version=replaced.version)])
    if len({made.version, replaced.version, updated.version}) != 3:
        return "an edit does not change the version"
    for stale in (EditKind.UPDATE, EditKind.DELETE):
        try:
            copy.edit([Edit(stale, made.feature_id, version=made.version)])
        except VersionConflict:
            continue
        return f"{stale.value} of a stale version is taken"
    copy.edit([Edit(EditKind.DELETE, made.feature_id, version=updated.version)])
    return edit_in_vain(copy, [made.feature_id])


def edit_in_vain(source: EditableSource, ids: Sequence[str]) -> str | None:
    """Edits that have to be refused; what went wrong, None where nothing."""
    for kind in (EditKind.UPDATE, EditKind.DELETE):
        try:
            source.edit([Edit(kind, _NOBODY)])
        except ItemNotFound:
            continue
        return f"{kind.value} of a feature that does not exist is taken"
    for feature_id in ids:
        with suppress(VersionConflict, ItemNotFound):
            source.edit([Edit(EditKind.UPDATE, feature_id, version="chengtu-no-such-version")])
            return "update of a version that never was is taken"
    return None
