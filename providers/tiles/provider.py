"""A pygeoapi plugin for vector tiles made on request from a feature store (OGC API - Tiles Part 1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pygeoapi.models.provider.base import TileMatrixSetEnumType, TileSetMetadata
from pygeoapi.provider.base import ProviderConnectionError
from pygeoapi.provider.base_mvt import BaseMVTProvider
from pygeoapi.provider.tile import ProviderTileNotFoundError, ProviderTilesetIdNotFoundError
from pygeoapi.util import url_join

from providers.errors import StoreError
from providers.features.context import current_hidden
from providers.features.store import open_store
from providers.tiles.vector import vector_tile
from tiles.errors import TileOutOfRange, UnknownTileMatrixSet

_OFFERED = ("WebMercatorQuad", "WorldCRS84Quad")
_NOTHING: frozenset[str] = frozenset()
_MEDIA_TYPE = "application/vnd.mapbox-vector-tile"


class ChengtuMVTProvider(BaseMVTProvider):  # type: ignore[misc] # pygeoapi carries no types
    """Vector tiles of one store. `data` is the path of the file, `options.zoom` {min, max}, `options.layer` the name."""

    def __init__(self, provider_def: dict[str, Any]) -> None:
        super().__init__({**provider_def, "options": provider_def.get("options") or {}})
        self.options.setdefault("zoom", {"min": 0, "max": 22})
        self._service_url = ""
        self._service_metadata_url = ""

    def get_layer(self) -> str:
        """Name of the layer in every tile."""
        return str(self.options.get("layer", "features"))

    def get_fields(self) -> dict[str, dict[str, Any]]:
        """The visible fields as JSON Schema properties."""
        hidden = current_hidden.get() or _NOTHING
        with _pygeoapi_errors():
            fields = open_store(self.data).schema.fields
        return {field.name: {"type": field.type} for field in fields if field.name not in hidden}

    def get_tiling_schemes(self) -> list[TileMatrixSetEnumType]:
        """The tile matrix sets offered."""
        return [
            scheme
            for scheme in super().get_tiling_schemes()
            if scheme.tileMatrixSet in (self.schemes or _OFFERED)
        ]

    def get_tiles_service(
        self,
        baseurl: str | None = None,
        servicepath: str | None = None,
        dirpath: str | None = None,
        tile_type: str | None = None,
    ) -> dict[str, Any]:
        """Links to the tiles and their metadata."""
        self._service_url = servicepath or ""
        links: dict[str, Any] = self.get_tms_links()
        return links

    def get_tiles(
        self,
        layer: str = "features",
        tileset: str | None = None,
        z: int | str | None = None,
        y: int | str | None = None,
        x: int | str | None = None,
        format_: str | None = None,
    ) -> bytes | None:
        """The tile in row `y` and column `x`; None where nothing lies in it (pygeoapi answers 204)."""
        hidden = current_hidden.get() or _NOTHING
        with _pygeoapi_errors():
            zoom, row, column = _whole_numbers(z, y, x)
            tile = vector_tile(open_store(self.data), str(tileset), zoom, row, column, layer, hidden)
        return tile or None

    def get_default_metadata(
        self,
        dataset: str,
        server_url: str,
        layer: str,
        tileset: str,
        title: str,
        description: str,
        keywords: list[str] | None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """OGC tile set metadata (17-083r4, clause 9)."""
        scheme = self._scheme(tileset)
        definition = {
            "href": scheme.tileMatrixSetURI,
            "rel": "http://www.opengis.net/def/rel/ogc/1.0/tiling-scheme",
            "type": "application/json",
            "title": f"{scheme.tileMatrixSet} tile matrix set definition",
        }
        item = {
            "href": _template(server_url, dataset, tileset),
            "rel": "item",
            "type": _MEDIA_TYPE,
            "title": f"{tileset} vector tiles of {layer}",
        }
        content = TileSetMetadata(
            title=title,
            description=description,
            keywords=keywords,
            crs=scheme.crs,
            tileMatrixSetURI=scheme.tileMatrixSetURI,
        ).model_dump(exclude_none=True, by_alias=True, mode="json")
        return {**content, "links": [definition, item]}

    def get_vendor_metadata(
        self,
        dataset: str,
        server_url: str,
        layer: str,
        tileset: str,
        title: str,
        description: str,
        keywords: list[str] | None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """TileJSON 3.0.0."""
        self._scheme(tileset)
        template = _template(server_url, dataset, tileset)
        template = template.replace("{tileMatrix}/{tileRow}/{tileCol}", "{z}/{y}/{x}")
        fields = {name: field["type"] for name, field in self.get_fields().items()}
        with _pygeoapi_errors():
            extent = open_store(self.data).bbox
        half = len(extent) // 2
        zoom = self.options["zoom"]
        return {
            "tilejson": "3.0.0",
            "name": title,
            "description": description,
            "tiles": [template],
            "minzoom": zoom["min"],
            "maxzoom": zoom["max"],
            "bounds": [*extent[:2], *extent[half : half + 2]],
            "vector_layers": [
                {"id": layer, "fields": fields, "minzoom": zoom["min"], "maxzoom": zoom["max"]}
            ],
        }

    def get_html_metadata(
        self,
        dataset: str,
        server_url: str,
        layer: str,
        tileset: str,
        title: str,
        description: str,
        keywords: list[str] | None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """What pygeoapi's page of a tile set shows."""
        metadata_url = url_join(server_url, f"collections/{dataset}/tiles/{tileset}/metadata")
        return {
            "id": dataset,
            "title": title,
            "tileset": tileset,
            "collections_path": _template(server_url, dataset, tileset),
            "json_url": f"{metadata_url}?f=json",
        }

    def _scheme(self, tileset: str) -> TileMatrixSetEnumType:
        for scheme in self.get_tiling_schemes():
            if scheme.tileMatrixSet == tileset:
                return scheme
        message = f"There is no tile set {tileset!r}; there are {', '.join(_OFFERED)}"
        raise ProviderTilesetIdNotFoundError(message, user_msg=message)

    def __repr__(self) -> str:
        return f"<ChengtuMVTProvider> {self.data}"


def _template(server_url: str, dataset: str, tileset: str) -> str:
    path = f"collections/{dataset}/tiles/{tileset}"
    return str(url_join(server_url, path, "{tileMatrix}/{tileRow}/{tileCol}?f=mvt"))


def _whole_numbers(*values: int | str | None) -> list[int]:
    try:
        return [int(str(value)) for value in values]
    except ValueError:
        raise TileOutOfRange(f"zoom, row and column are whole numbers; asked was {values}") from None


@contextmanager
def _pygeoapi_errors() -> Iterator[None]:
    """Our errors as those that pygeoapi knows the HTTP status of."""
    try:
        yield
    except UnknownTileMatrixSet as error:
        raise ProviderTilesetIdNotFoundError(str(error), user_msg=str(error)) from error
    except TileOutOfRange as error:
        raise ProviderTileNotFoundError(str(error), user_msg=str(error)) from error
    except StoreError as error:
        raise ProviderConnectionError(str(error), user_msg=str(error)) from error
