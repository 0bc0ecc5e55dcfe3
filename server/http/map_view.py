"""The map services of one view for one client: which layers there are, what they may show, and what draws them."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from server.http.legend_values import in_values
from server.http.map_sources import Drawing, policy_of
from server.http.maps import authority_code, bounds84
from server.http.scope import Scope
from server.http.tile_maker import is_elsewhere
from server.identity.decision import Action, Principal, decide
from server.registry.catalogue import Catalogue, Collection, RepresentationKind
from server.registry.style_choice import ResolvedStyle, installed_styles, style_ids
from tiles.errors import TilesError
from tiles.grids import TileId, grid, own_grid_ids
from tiles.mapproxy import InfoPlace, LayerStyle, MapLayer, ServiceMetadata, TileBytes, TimeDimension
from tiles.maps import MapSource

if TYPE_CHECKING:
    from server.http.services import Services
    from server.http.tile_maker import TileMaker

Kind = RepresentationKind
_WORDS = 50
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DrawnLayer:
    """A drawing with the server's tile cache behind it."""

    drawing: Drawing
    maker: TileMaker

    @property
    def source(self) -> MapSource:
        """What draws it."""
        return self.drawing.source

    @property
    def instant(self) -> str | None:
        """The time it shows."""
        return self.drawing.instant

    @property
    def palette(self) -> bool:
        """Drawn shapes need no more than 256 colours."""
        return self.drawing.tile_media_type("png") != "image/png"

    @property
    def slow(self) -> bool:
        """Another server, or a database, is asked for it."""
        return self.drawing.slow or is_elsewhere(self.drawing.collection)

    def place(self) -> AbstractContextManager[None]:
        """Room to draw in."""
        return self.maker.place(self.drawing)

    def tile(self, grid_id: str, tile: TileId, extension: str) -> TileBytes:
        """A tile, from the cache or made now."""
        kept = self.maker.map_tile(self.drawing, grid_id, tile, extension)
        return TileBytes(kept.body, kept.etag, kept.stale)


@dataclass(frozen=True)
class ServerMapView:
    """The layers of a view as one client sees them (tiles.mapproxy.MapView). Made for each request; costs nothing until asked."""

    services: Services
    scope: Scope
    catalogue: Catalogue
    who: Principal
    origin: str
    language: str = "en"

    @cached_property
    def _collections(self) -> list[Collection]:
        visible = self.services.visible(self.catalogue, self.scope, self.who)
        return [one for one in visible if Kind.MAP in one.representations]

    @property
    def key(self) -> Hashable:
        """Revision, view and client; and the state of the series, whose times change without a new revision."""
        series = tuple(self._series_change(one) for one in self._collections if _has_instants(one))
        who = (self.who.id, self.who.operator)
        return (
            self.catalogue.instance,
            self.catalogue.revision,
            self.scope,
            who,
            self.origin,
            self.language,
            series,
        )

    def _series_change(self, collection: Collection) -> object:
        try:
            return collection.qualified_id, _raster(collection).change()
        except TilesError as error:
            return collection.qualified_id, str(error)

    @cached_property
    def metadata(self) -> ServiceMetadata:
        """What the service says about itself."""
        tenant = None if self.scope.tenant is None else self.catalogue.tenants[self.scope.tenant]
        titles = self.services.settings.pages
        title = titles.title_zh if self.language == "zh" else titles.title_en
        if tenant is not None:
            title = tenant.titles.get(self.language) or tenant.titles["en"]
        words = sorted({word for one in self._collections for word in one.keywords})[:_WORDS]
        return ServiceMetadata(
            title=title,
            abstract=f"{title}: {len(self._collections)} layers",
            keywords=tuple(words),
            url=f"{self.origin}{self.scope.prefix}/",
        )

    @property
    def url(self) -> str:
        """Address of the services."""
        return f"{self.origin}{self.scope.prefix}/maps"

    @cached_property
    def zone_crs(self) -> Sequence[str]:
        """The storage CRS of the layers, and the CRS of one's own grids."""
        codes = {authority_code(one.storage_crs) for one in self._collections}
        codes |= {grid(name).authority_code for name in own_grid_ids()}
        always = {"", "EPSG:3857", "EPSG:4326", "OGC:CRS84", "EPSG:4490"}
        return sorted(code for code in codes - always if code.startswith("EPSG:"))

    def layers(self) -> Sequence[MapLayer]:
        """All layers; one that cannot be described is left out with a line in the log, the others go on."""
        found = []
        for collection in self._collections:
            try:
                found.append(self._layer(collection))
            except TilesError as error:
                _log.warning(
                    "collection left out of the maps",
                    extra={"collection": collection.qualified_id, "reason": str(error)},
                )
        return found

    def collection(self, name: str) -> Collection | None:
        """The collection of a layer, by `decide`."""
        collection = self.scope.find(self.catalogue, name)
        if collection is None or Kind.MAP not in collection.representations:
            return None
        return collection if decide(self.who, Action.READ, collection).allowed else None

    def allows(self, name: str) -> bool:
        """Whether there is that layer for this client, by `decide`."""
        return self.collection(name) is not None

    def layer(self, name: str) -> MapLayer | None:
        """One layer."""
        collection = self.collection(name)
        return None if collection is None else self._layer(collection)

    def _layer(self, collection: Collection) -> MapLayer:
        properties = collection.representations[Kind.MAP].properties
        remote = "remote" in properties
        features = Kind.FEATURES in collection.representations and not remote
        title = collection.title(self.language)
        return MapLayer(
            name=self.scope.public_id(collection),
            title=title,
            bbox84=bounds84(collection),
            abstract=_abstract(collection, self.language),
            attribution=collection.attribution,
            attribution_url=collection.licence_url or "",
            crs=authority_code(collection.storage_crs),
            keywords=collection.keywords,
            list_styles=partial(self._styles, collection),
            time=_time(collection),
            queryable=_remote_queryable(properties["remote"]) if remote else True,
            opaque=not remote and _covers_all(collection),
            features=features,
            cascaded=remote,
        )

    @cached_property
    def _installed(self) -> Mapping[str, ResolvedStyle]:
        return installed_styles(self.services.maps.styles_dir)

    def _styles(self, collection: Collection) -> tuple[LayerStyle, ...]:
        folder = self.services.maps.styles_dir
        hidden = decide(self.who, Action.READ, collection).hidden_fields
        return tuple(
            LayerStyle(style, self._style_title(collection, style))
            for style in style_ids(self.catalogue, collection, folder, self._installed, hidden=hidden)
        )

    def _style_title(self, collection: Collection, style: str) -> str:
        record = self.catalogue.styles.get((collection.tenant, style))
        installed = self._installed.get(style)
        titles: Mapping[str, str] = {}
        if record is not None:
            titles = record.titles
        elif installed is not None:
            titles = installed.title
        return titles.get(self.language) or titles.get("en") or style

    def drawn(self, layer: MapLayer, style: str | None, instant: str | None) -> DrawnLayer:
        """What draws a layer."""
        return DrawnLayer(self._drawing(layer, style, instant), self.services.tiles)

    def _drawing(self, layer: MapLayer, style: str | None, instant: str | None) -> Drawing:
        collection = self._found(layer)
        decision = decide(self.who, Action.READ, collection)
        return self.services.maps.drawing(collection, decision, style, instant, catalogue=self.catalogue)

    def _found(self, layer: MapLayer) -> Collection:
        collection = self.collection(layer.name)
        if collection is None:
            raise KeyError(layer.name)
        return collection

    def info(
        self, layer: MapLayer, style: str | None, instant: str | None, place: InfoPlace
    ) -> Sequence[Mapping[str, Any]]:
        """What is at a pixel."""
        from server.http.feature_info import info_at

        collection = self._found(layer)
        decision = decide(self.who, Action.READ, collection)
        policy = policy_of(decision, self.catalogue.tenants.get(collection.tenant))
        return info_at(collection, policy, instant, place)

    def legend(
        self, layer: MapLayer, style: str | None, language: str, rule: str | None, scale: float | None
    ) -> bytes:
        """The legend as PNG; of a cascaded service its own, where it is an image."""
        from tiles.maps.images import encode_image
        from tiles.maps.legend import legend_image

        collection = self._found(layer)
        remote = collection.representations[Kind.MAP].properties.get("remote")
        if remote is not None:
            from providers.maps.remote import open_remote_map

            answer = open_remote_map(remote).legend()
            if answer is not None and answer.media_type == "image/png":
                return answer.body
        zoom = None
        if scale is not None:
            from tiles.maps.style_zooms import zoom_of

            zoom = zoom_of(scale)
        drawing = self._drawing(layer, style, None)
        language = "zh" if language.lower().startswith("zh") else "en"
        shown = in_values(drawing.style, collection)
        return encode_image(legend_image(shown, language, rule=rule, zoom=zoom), "image/png")


def _abstract(collection: Collection, language: str) -> str:
    """The description in that language, else in another one, else the titles."""
    texts = (collection.descriptions.get(language), *collection.descriptions.values())
    return next((text for text in texts if text), " / ".join(dict.fromkeys(collection.titles.values())))


def _covers_all(collection: Collection) -> bool:
    """Whether it is an image without a hole; others that cascade it then ask for it with a background."""
    coverage = collection.representations.get(Kind.COVERAGE)
    if coverage is None or Kind.FEATURES in collection.representations or _has_instants(collection):
        return False
    bands = coverage.properties.get("bands") or ()
    return bool(bands) and all(band.get("valid_share") == 1 for band in bands)


def _has_instants(collection: Collection) -> bool:
    coverage = collection.representations.get(Kind.COVERAGE)
    return coverage is not None and bool(coverage.properties.get("instants"))


def _raster(collection: Collection) -> Any:
    from tiles.rasters import open_raster

    coverage = collection.representations[Kind.COVERAGE]
    return open_raster(collection.directory, coverage.path, coverage.properties)


def _time(collection: Collection) -> TimeDimension | None:
    """The times of a series of images, or the extent of features with a time whose both ends are known."""
    if _has_instants(collection):
        instants: tuple[str, ...] = _raster(collection).description.instants
        return TimeDimension(instants) if instants else None
    features = collection.representations.get(Kind.FEATURES)
    interval = collection.interval
    if features is None or not features.properties.get("time_field") or interval is None:
        return None
    if interval.start is None or interval.end is None:
        return None
    return TimeDimension(start=interval.start, end=interval.end)


def _remote_queryable(remote: Mapping[str, Any]) -> bool:
    from providers.maps.remote import open_remote_map

    return bool(open_remote_map(remote).queryable)
