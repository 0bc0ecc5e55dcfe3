"""Which styles a collection has, and which one draws it: those of its tenant, then those of the installation.

Nothing of `tiles` is loaded before a style is asked for: readers of the registry are to start fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from providers.points.opening import hidden_bands
from server.registry.catalogue import Catalogue, Collection, RepresentationKind, StyleRecord

if TYPE_CHECKING:
    from tiles.maps.style_model import RasterStyle, Style

OWN_STYLE = "default"
"""The id of a style that has no other name: its keys were given when the collection was published, or another server draws it."""
_CASCADED = {
    "title": {"en": "As the other server draws it", "zh": "原服务的样式"},
    "raster": {"kind": "rgb", "span": [0, 255]},
}


class ResolvedStyle(NamedTuple):
    """A style that draws a collection. `digest` (16 hex letters) differs where the picture may; `notes` say what is not drawn."""

    style: Style
    id: str
    digest: str
    title: Mapping[str, str]
    notes: tuple[str, ...] = ()


def resolve_style(
    catalogue: Catalogue, collection: Collection, style_id: str | None, styles_dir: Path
) -> ResolvedStyle:
    """The style of that id as it draws the collection; None: the collection's default.

    Raises tiles.errors.UnknownStyle where there is no such style for it, StyleError where it cannot be used.
    """
    from tiles.errors import UnknownStyle

    wanted = style_id if style_id is not None else default_style_id(collection)
    if is_cascaded(collection):
        if wanted != OWN_STYLE:
            raise UnknownStyle(
                f"collection {collection.id!r} is drawn by another server; it has no style {wanted[:80]!r}, only {OWN_STYLE}"
            )
        return _own(orjson.dumps(_CASCADED), styles_dir)
    if wanted == OWN_STYLE:
        keys = _published_keys(collection)
        if keys is not None:
            return _own(orjson.dumps(keys, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS), styles_dir)
    record = catalogue.styles.get((collection.tenant, wanted))
    if record is not None and _is_offered(record, collection):
        return _stored(
            record.document, record.format, wanted, collection.id, styles_dir, tuple(record.titles.items())
        )
    if style_id is not None and wanted not in _installed_for(collection, styles_dir):
        offered = ", ".join(style_ids(catalogue, collection, styles_dir)) or "none"
        raise UnknownStyle(f"collection {collection.id!r} has no style {style_id[:80]!r}; it has {offered}")
    return _installed(wanted, styles_dir)


def default_style_id(collection: Collection) -> str:
    """The id of the style that draws a collection when none is asked for."""
    from tiles.maps.styles import default_style_name

    if is_cascaded(collection):
        return OWN_STYLE
    if collection.default_style is not None:
        return collection.default_style
    named = _map_properties(collection).get("style")
    if isinstance(named, Mapping):
        return OWN_STYLE
    return str(named) if named else default_style_name(_kind(collection))


def style_ids(
    catalogue: Catalogue,
    collection: Collection,
    styles_dir: Path,
    installed: Mapping[str, ResolvedStyle] | None = None,
    *,
    hidden: frozenset[str] = frozenset(),
) -> tuple[str, ...]:
    """Ids of the styles offered for a collection: its default, then its tenant's, then those of the installation that fit.

    `hidden`: fields that whoever asks may not see; styles of a point cloud that draw them are left out.
    A raster is offered none that asks for bands it has not, a map of another server only that server's own look. `installed` are those of `installed_styles`, where they are asked for many collections at once.
    """
    if is_cascaded(collection):
        return (OWN_STYLE,)
    tenant = [
        record.id
        for (owner, _), record in catalogue.styles.items()
        if owner == collection.tenant and _is_offered(record, collection) and _fits(record, collection)
    ]
    own = [OWN_STYLE] if _published_keys(collection) is not None else []
    found = dict.fromkeys(
        [default_style_id(collection), *own, *tenant, *_installed_for(collection, styles_dir, installed)]
    )
    if not hidden_bands_of(collection, hidden):
        return tuple(found)
    return tuple(id_ for id_ in found if _may_be_seen(catalogue, collection, id_, styles_dir, hidden))


def hidden_bands_of(collection: Collection, hidden: frozenset[str]) -> frozenset[str]:
    """Names of the bands of a point cloud's rasters that are made of dimensions which are hidden; none for others."""
    if not hidden or RepresentationKind.FEATURES in collection.representations:
        return frozenset()
    coverage = collection.representations.get(RepresentationKind.COVERAGE)
    return hidden_bands(None if coverage is None else coverage.properties, hidden)


def shows_hidden(style: Style, collection: Collection, hidden: frozenset[str]) -> bool:
    """Whether a style draws bands of a point cloud that are made of dimensions which are hidden."""
    from tiles.errors import StyleError
    from tiles.maps.raster_colours import needed_bands

    left_out = hidden_bands_of(collection, hidden)
    if not left_out or style.raster is None:
        return False
    bands = collection.representations[RepresentationKind.COVERAGE].properties["bands"]
    names = [str(band["name"]) for band in bands]
    try:
        return any(names[number - 1] in left_out for number in needed_bands(style.raster, names))
    except StyleError:
        return False  # it asks for bands that are not there, and says so where it is drawn


def _may_be_seen(
    catalogue: Catalogue, collection: Collection, style_id: str, styles_dir: Path, hidden: frozenset[str]
) -> bool:
    from tiles.errors import StyleError

    try:
        return not shows_hidden(
            resolve_style(catalogue, collection, style_id, styles_dir).style, collection, hidden
        )
    except StyleError:
        return False  # a style that cannot be used shows nothing


def installed_styles(styles_dir: Path) -> Mapping[str, ResolvedStyle]:
    """The styles of the installation that can be used, by id."""
    from tiles.errors import StyleError
    from tiles.maps.styles import style_names

    found = {}
    for name in style_names(styles_dir):
        try:
            found[name] = _installed(name, styles_dir)
        except StyleError:
            continue  # `chengtu check` tells of broken files; the others go on
    return MappingProxyType(found)


def stored_style(record: StyleRecord, styles_dir: Path) -> ResolvedStyle:
    """A tenant's style, for no collection in particular. Raises tiles.errors.StyleError."""
    return _stored(record.document, record.format, record.id, "", styles_dir, tuple(record.titles.items()))


def _is_offered(record: StyleRecord, collection: Collection) -> bool:
    return not record.collections or collection.id in record.collections


def _fits(record: StyleRecord, collection: Collection) -> bool:
    """Whether a style of features is for features, and one of rasters for rasters; a broken one fits nothing."""
    from tiles.errors import StyleError
    from tiles.maps.style_documents import read_document

    try:
        style = read_document(record.document, record.format).style
        return _draws(style, collection) and bool(style.raster or _for_layer(style, collection.id))
    except StyleError:
        return False


def _draws(style: Style, collection: Collection) -> bool:
    """Whether a style is for rasters, and the collection one with the bands that it asks for; or for features, as the collection."""
    if style.raster is None or not is_raster(collection):
        return style.raster is None and not is_raster(collection)
    coverage = collection.representations.get(RepresentationKind.COVERAGE)
    bands = () if coverage is None else coverage.properties.get("bands", ())
    names = tuple(str(band["name"]) for band in bands)
    return not names or _has_bands(style.raster, names)


@lru_cache(maxsize=512)
def _has_bands(style: RasterStyle, names: tuple[str, ...]) -> bool:
    from tiles.errors import StyleError
    from tiles.maps.raster_colours import needed_bands

    try:
        needed_bands(style, names)
    except StyleError:
        return False
    return True


def is_cascaded(collection: Collection) -> bool:
    """Whether another server draws a collection's map."""
    return "remote" in _map_properties(collection)


def is_raster(collection: Collection) -> bool:
    """Whether a collection's map is drawn from numbers, not from features."""
    return RepresentationKind.FEATURES not in collection.representations


def _map_properties(collection: Collection) -> Mapping[str, Any]:
    representation = collection.representations.get(RepresentationKind.MAP)
    return {} if representation is None else representation.properties


def _published_keys(collection: Collection) -> Mapping[str, Any] | None:
    keys = _map_properties(collection).get("style")
    return keys if isinstance(keys, Mapping) else None


def _kind(collection: Collection) -> str:
    """What default_style_name is asked: the type of its geometry, or "image"."""
    features = collection.representations.get(RepresentationKind.FEATURES)
    return "image" if features is None else str(features.properties.get("geometry_type") or "Geometry")


def _installed_for(
    collection: Collection, styles_dir: Path, installed: Mapping[str, ResolvedStyle] | None = None
) -> tuple[str, ...]:
    known = installed_styles(styles_dir) if installed is None else installed
    return tuple(name for name, found in known.items() if _draws(found.style, collection))


def _installed(name: str, styles_dir: Path) -> ResolvedStyle:
    from tiles.maps.style_writing import style_digest
    from tiles.maps.styles import load_style

    style = load_style(name, styles_dir)
    return ResolvedStyle(style, name, style_digest(style), MappingProxyType(dict(style.title)))


@lru_cache(maxsize=256)
def _own(keys: bytes, styles_dir: Path) -> ResolvedStyle:
    from tiles.maps.style_writing import style_digest
    from tiles.maps.styles import load_style

    style = load_style(orjson.loads(keys), styles_dir)
    return ResolvedStyle(style, OWN_STYLE, style_digest(style), MappingProxyType(dict(style.title)))


@lru_cache(maxsize=512)
def _stored(
    document: str,
    format_: str,
    id_: str,
    layer: str,
    styles_dir: Path,
    titles: tuple[tuple[str, str], ...],
) -> ResolvedStyle:
    from dataclasses import replace

    from tiles.errors import StyleError
    from tiles.maps.style_documents import read_document
    from tiles.maps.style_writing import style_digest
    from tiles.maps.styles import with_icons

    style, notes = read_document(document, format_)
    if layer and style.raster is None:
        passes = _for_layer(style, layer)
        if not passes:
            raise StyleError(f"style {id_!r} draws other layers, not {layer!r}")
        style = replace(style, passes=passes)
    style = with_icons(style, styles_dir)
    return ResolvedStyle(
        style, id_, style_digest(style), MappingProxyType(dict(titles) or dict(style.title)), notes
    )


def _for_layer(style: Style, layer: str) -> tuple[tuple[Any, ...], ...]:
    """The passes of a style that are for a collection: those that name it, or all where the style names at most one layer."""
    named = {rule.layer for rules in style.passes for rule in rules if rule.layer}
    if layer not in named and len(named) < 2:
        return style.passes
    chosen = (tuple(rule for rule in rules if rule.layer in ("", layer)) for rules in style.passes)
    return tuple(rules for rules in chosen if any(rule.symbols for rule in rules)) if layer in named else ()
