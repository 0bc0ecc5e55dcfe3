"""Which map source draws a collection: in a style, for a decision, at an instant, within its tenant's map policy."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.http.features import source_description
from server.identity.decision import Decision
from server.registry.catalogue import Catalogue, CatalogueReader, Collection, RepresentationKind, Tenant
from server.registry.style_choice import ResolvedStyle, resolve_style, shows_hidden, style_ids
from tiles.cache import TileName, Tileset
from tiles.cache.areas import form_with_reach
from tiles.errors import TilesError, UnknownStyle
from tiles.grids import TileId, grid
from tiles.maps import MapSource
from tiles.maps.style_model import LabelSymbol, Style

Kind = RepresentationKind
OPEN = Decision(True)
SIMULATED = "simulated 模拟"
_KEPT_DRAWINGS = 4096
_KEPT_SOURCES = 256
_LABELLED_BLOCK = 2
"""Labels of neighbouring tiles are placed together: 2 x 2 tiles, as 4 x 4 cost the first client 16 times a tile."""
_WIDEST_BLOCK = 2048
_RASTER_REACH = 8
"""Pixels beyond a raster that resampling and shading may look at and change."""
_NOT_PLAIN = re.compile(r"[^0-9TZ._-]")
_log = logging.getLogger(__name__)


class HiddenStyle(UnknownStyle):
    """A style that draws what this client may not see: for it there is none, be it the default."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What limits a picture beside its style. Equal policies give equal pictures."""

    hidden_fields: frozenset[str] = frozenset()
    areas: tuple[str, ...] = ()
    """Polygons as WKT in CRS84: nothing is shown outside any of them."""
    watermark: str | None = None

    @property
    def digest(self) -> str:
        """Eight letters; "" where nothing is limited."""
        if not (self.hidden_fields or self.areas or self.watermark):
            return ""
        parts = (*sorted(self.hidden_fields), "", *self.areas, "", self.watermark or "")
        return hashlib.blake2s("\0".join(parts).encode(), digest_size=4).hexdigest()


def policy_of(decision: Decision, tenant: Tenant | None) -> Policy:
    """What this decision and the tenant's map policy leave to be seen."""
    clip, watermark = (None, None) if tenant is None else (tenant.map_clip, tenant.map_watermark)
    areas = tuple(dict.fromkeys(area for area in (decision.area, clip) if area))
    return Policy(decision.hidden_fields, areas, watermark)


def instant_part(instant: str) -> str:
    """An instant or interval as part of a name: "2025-01-01T00:00:00Z" is "20250101T000000Z", "A/B" is "A_B"."""
    return _NOT_PLAIN.sub("", instant.replace("-", "").replace("/", "_"))


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """One look of a collection: what draws it, and the name under which its tiles are kept.

    `style_id` is the id of `style`, also where the client named none; `margin` the pixels around a tile from which something
    may reach into it; `labelled` the scale denominators (from, below) at which it has labels; `slow` says that another server
    has to be asked.
    """

    collection: Collection
    style_id: str
    style: Style
    instant: str | None
    form: str
    source: MapSource
    margin: int
    labelled: tuple[tuple[float, float], ...]
    slow: bool

    def tileset(self, grid_id: str, extension: str) -> Tileset:
        """The pyramid of its tiles. Raises TileCacheError for an extension that is not kept."""
        one = self.collection
        return Tileset(one.tenant, one.id, one.generation, self.form, grid_id, extension)

    def block_name(self, tileset: Tileset, tile: TileId) -> TileName:
        """The upper left tile of the block that is drawn with a tile: what single flight is by."""
        edge = self._edge(tileset, tile)
        return TileName(tileset, tile.z, tile.x - tile.x % edge, tile.y - tile.y % edge)

    def draw(self, tileset: Tileset, tile: TileId) -> list[tuple[TileName, bytes]]:
        """The block of a tile as images: the tile itself first, then its neighbours in the block.

        Raises UnknownTileMatrixSet, TileOutOfRange, and what `source.render` and `encode_image` raise.
        """
        from tiles.maps import encode_image

        tiling = grid(tileset.grid)
        tiling.check(tile)
        edge = self._edge(tileset, tile)
        columns, rows = tiling.matrix_size(tile.z)
        matrix = tiling.matrix(tile.z)
        left, top = tile.x - tile.x % edge, tile.y - tile.y % edge
        across, down = min(edge, columns - left), min(edge, rows - top)
        first = tiling.bounds(TileId(tile.z, left, top))
        last = tiling.bounds(TileId(tile.z, left + across - 1, top + down - 1))
        box = (first.minx, last.miny, last.maxx, first.maxy)
        width, height = matrix.tile_width, matrix.tile_height
        pixels = self.source.render(
            box, tiling.authority_code, across * width, down * height, instant=self.instant
        )
        media_type = self.tile_media_type(tileset.extension)
        drawn = []
        for row in range(down):
            for column in range(across):
                part = pixels[row * height : (row + 1) * height, column * width : (column + 1) * width]
                name = TileName(tileset, tile.z, left + column, top + row)
                drawn.append((name, encode_image(part, media_type)))
        drawn.sort(key=lambda one: (one[0].x, one[0].y) != (tile.x, tile.y))
        return drawn

    def tile_media_type(self, extension: str) -> str:
        """How tiles are encoded: drawn shapes as PNG with a palette, a fifth of the bytes and no difference to be seen."""
        if extension == "png" and Kind.FEATURES in self.collection.representations and not self.slow:
            return "image/png; mode=8bit"
        return f"image/{extension}"

    def _edge(self, tileset: Tileset, tile: TileId) -> int:
        tiling = grid(tileset.grid)
        scale = tiling.scale_denominator(tile.z)
        if not any(low <= scale < high for low, high in self.labelled):
            return 1
        matrix = tiling.matrix(tile.z)
        fits = _LABELLED_BLOCK * max(matrix.tile_width, matrix.tile_height) <= _WIDEST_BLOCK
        return _LABELLED_BLOCK if fits and not matrix.from_bottom else 1


class MapSources:
    """The drawings of a worker: made when first asked for, a bounded number kept, the last good one of each held back.

    Opens nothing before the first map is drawn. Safe in threads.
    """

    def __init__(self, reader: CatalogueReader, styles_dir: Path) -> None:
        self._reader = reader
        self._styles_dir = styles_dir
        self._drawings: OrderedDict[object, Drawing] = OrderedDict()
        self._sources: OrderedDict[object, MapSource] = OrderedDict()
        self._last_good: OrderedDict[object, Drawing] = OrderedDict()
        self._lock = threading.RLock()

    def drawing(
        self,
        collection: Collection,
        decision: Decision = OPEN,
        style_id: str | None = None,
        instant: str | None = None,
        *,
        catalogue: Catalogue | None = None,
    ) -> Drawing:
        """What draws a collection as this decision may see it; a dictionary look-up where it was asked before.

        Where the present style cannot be read or drawn, the last good drawing of the same style and rights goes on, and the
        log says so. Raises KeyError where the collection has no map, tiles.errors.UnknownStyle, StyleError, MapSourceError.
        """
        now = catalogue or self._reader.current()
        seen = (decision.hidden_fields, decision.area, style_id, instant)
        key = (now.instance, now.revision, collection.tenant, collection.id, collection.generation, *seen)
        with self._lock:
            drawing = self._drawings.get(key)
            if drawing is None:
                drawing = self._good(now, collection, decision, style_id, instant)
                _keep(self._drawings, key, drawing, _KEPT_DRAWINGS)
            else:
                self._drawings.move_to_end(key)
            return drawing

    def _good(
        self,
        catalogue: Catalogue,
        collection: Collection,
        decision: Decision,
        style_id: str | None,
        instant: str | None,
    ) -> Drawing:
        policy = policy_of(decision, catalogue.tenants.get(collection.tenant))
        same = (collection.qualified_id, collection.generation, style_id, policy, instant)
        try:
            resolved = resolve_style(catalogue, collection, style_id, self._styles_dir)
            if shows_hidden(resolved.style, collection, policy.hidden_fields):
                resolved = self._seen(catalogue, collection, policy, style_id)
            drawing = self._make(collection, policy, resolved, instant)
        except TilesError as error:
            last = self._last_good.get(same)
            if last is None:
                raise
            _log.warning(
                "a map cannot be drawn as it should; the last good look goes on",
                extra={"collection": collection.qualified_id, "style": style_id, "reason": str(error)},
            )
            return last
        _keep(self._last_good, same, drawing, _KEPT_DRAWINGS)
        return drawing

    def _seen(
        self, catalogue: Catalogue, collection: Collection, policy: Policy, style_id: str | None
    ) -> ResolvedStyle:
        """In place of a default that shows hidden dimensions the first style that does not. Raises HiddenStyle: none, or one was named."""
        hidden = policy.hidden_fields
        offered = () if style_id else style_ids(catalogue, collection, self._styles_dir, hidden=hidden)
        if not offered:
            raise HiddenStyle(
                f"collection {collection.id!r} has no style {(style_id or 'that may be seen')[:80]!r} for this client: it shows "
                "dimensions of the points that are hidden; the list of styles has those that may be seen"
            )
        return resolve_style(catalogue, collection, offered[0], self._styles_dir)

    def _make(
        self, collection: Collection, policy: Policy, resolved: ResolvedStyle, instant: str | None
    ) -> Drawing:
        from tiles.maps.style_zooms import drawing_margin

        properties = collection.representations[Kind.MAP].properties
        remote = "remote" in properties
        look = resolved.digest[:8] if not collection.simulated else f"{resolved.digest[:8]}s"
        rights = f"-{policy.digest}" if policy.digest else ""
        at = "" if instant is None else f"@{instant_part(instant)}"
        margin = drawing_margin(resolved.style)
        if resolved.style.raster is not None:
            margin = max(margin, _RASTER_REACH)
        labelled = () if remote else tuple(_label_scales(resolved.style))
        form = f"map-{resolved.id}-{look}{rights}{at}"
        return Drawing(
            collection,
            resolved.id,
            resolved.style,
            instant,
            form_with_reach(form, margin, _LABELLED_BLOCK if labelled else 1),
            self._source(collection, policy, resolved),
            margin,
            labelled,
            remote,
        )

    def _source(self, collection: Collection, policy: Policy, resolved: ResolvedStyle) -> MapSource:
        key = (
            collection.qualified_id,
            collection.generation,
            collection.directory,
            resolved.style,
            policy,
            collection.simulated,
        )
        source = self._sources.get(key)
        if source is None:
            source = within_policy(bare_source(collection, policy, resolved.style), collection, policy)
            _keep(self._sources, key, source, _KEPT_SOURCES)
        return source


def _keep[Value](kept: OrderedDict[object, Value], key: object, value: Value, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)


def _label_scales(style: Style) -> Iterator[tuple[float, float]]:
    """The scale denominators at which a style writes labels."""
    from tiles.maps.style_zooms import scale_range

    for rules in style.passes:
        for rule in rules:
            if any(isinstance(symbol, LabelSymbol) for symbol in rule.symbols):
                yield scale_range(rule)


def within_policy(source: MapSource, collection: Collection, policy: Policy) -> MapSource:
    """The source as it may be seen: cut, and marked. Raises MapSourceError where an area cannot be read."""
    from tiles.maps.clip import ClippedMapSource
    from tiles.maps.watermark import WatermarkedMapSource

    if collection.simulated:
        source = WatermarkedMapSource(source, SIMULATED)
    if policy.watermark:
        # On every tile, where the mark of simulated data is not.
        source = WatermarkedMapSource(source, policy.watermark, shifted=True)
    for area in policy.areas:
        source = ClippedMapSource(source, area)
    return source


def bare_source(collection: Collection, policy: Policy, style: Style) -> MapSource:
    """What draws a collection, without marks: a cascaded service, features of any store, or a raster.

    Raises KeyError where the collection has nothing to draw, StyleError for a style that does not fit, MapSourceError.
    """
    kinds = collection.representations
    remote = kinds[Kind.MAP].properties.get("remote") if Kind.MAP in kinds else None
    if remote is not None:
        from providers.maps.remote import open_remote_map

        cascaded: MapSource = open_remote_map(remote)
        return cascaded
    if Kind.FEATURES not in kinds:
        return _raster_source(collection, style)
    description = source_description(collection)
    if description is None:
        return _embedded_source(collection, policy, style)
    return _feature_source(lambda: _opened(description), policy, style)


def _opened(description: Any) -> Any:
    from providers.features.sources import open_source

    return open_source(None, description)


def _feature_source(opener: Callable[[], Any], policy: Policy, style: Style) -> MapSource:
    from providers.maps.feature_map import LazyFeatureMap

    drawn: MapSource = LazyFeatureMap(opener, style=style, hidden=policy.hidden_fields)
    return drawn


def _embedded_source(collection: Collection, policy: Policy, style: Style) -> MapSource:
    from tiles.maps.vector_source import TimeColumn, VectorMapSource

    name = collection.representations[Kind.FEATURES].properties.get("time_field")
    time = next(
        (TimeColumn(one.column, one.format == "date") for one in collection.fields if one.name == name), None
    )
    return VectorMapSource(
        collection.path_of(Kind.FEATURES),
        crs=collection.storage_crs,
        style=style,
        columns={
            field.name: field.column for field in collection.fields if field.name not in policy.hidden_fields
        },
        hidden=policy.hidden_fields,
        time=None if name in policy.hidden_fields else time,
    )


def _raster_source(collection: Collection, style: Style) -> MapSource:
    from tiles.maps.raster_source import RasterMapSource
    from tiles.rasters import open_raster

    coverage = collection.representations[Kind.COVERAGE]
    return RasterMapSource(open_raster(collection.directory, coverage.path, coverage.properties), style=style)
