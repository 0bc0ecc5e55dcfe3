"""The addresses that pages link to, in the city view (`/ogc`, ids `tenant.collection`) or a tenant's (`/t/{tenant}/ogc`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote, urlencode

from providers.formatters.registry import DOWNLOAD_FORMATS
from server.registry.catalogue import Collection, RepresentationKind

Kind = RepresentationKind
_LABELS = {"gpkg": "download.geopackage"}
"""Labels of formats that are not `download.` and the format's name."""


class Download(NamedTuple):
    """A file offered below `.../download/`: its name, media type and the message key of what it is."""

    name: str
    media_type: str
    label: str


def is_one_file(collection: Collection) -> bool:
    """Whether a raster is stored as one GeoTIFF: a mosaic is an index of many, of which its coverage gives parts."""
    coverage = collection.representations.get(Kind.COVERAGE)
    return coverage is not None and coverage.properties.get("store", "cog") == "cog"


def downloads(collection: Collection) -> tuple[Download, ...]:
    """The files of a collection that `S/collections/{id}/download/{name}` gives."""
    found: list[Download] = []
    if Kind.FEATURES in collection.representations:
        found += [
            Download(
                f"{collection.id}.{ending}",
                form.media_type.partition(";")[0],
                _LABELS.get(form.name, f"download.{form.name}"),
            )
            for ending, form in DOWNLOAD_FORMATS.items()
        ]
    if is_one_file(collection):
        found.append(
            Download(
                f"{collection.id}.tif",
                "image/tiff; application=geotiff; profile=cloud-optimized",
                "download.cog",
            )
        )
    if Kind.SERIES in collection.representations and Kind.FEATURES not in collection.representations:
        found.append(Download(f"{collection.id}.csv", "text/csv", "download.csv"))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses in one view. `base_path` is where the application is mounted ("" or "/prefix"); `tenant` None is the city."""

    base_path: str
    tenant: str | None

    @property
    def view(self) -> str:
        """The prefix of this view: base path, and `/t/{tenant}` for a tenant's."""
        return f"{self.base_path}/t/{quote(self.tenant)}" if self.tenant else self.base_path

    @property
    def portal(self) -> str:
        """The portal page of this view."""
        return f"{self.view}/"

    @property
    def services(self) -> str:
        """The root of the OGC APIs of this view, without a slash at the end."""
        return f"{self.view}/ogc"

    @property
    def maps(self) -> str:
        """The root of WMS, WMTS and TMS of this view."""
        return f"{self.view}/maps"

    def scene(self, tenant: str) -> str:
        """The 3D scene of a tenant."""
        return f"{self.base_path}/t/{quote(tenant)}/scene"

    def extrusion(self, tenant: str) -> str:
        """The view of a tenant's city for light devices."""
        return f"{self.base_path}/t/{quote(tenant)}/extrusion"

    def id_of(self, collection: Collection) -> str:
        """The collection's id in this view."""
        return collection.id if self.tenant else collection.qualified_id

    def collection(self, collection: Collection, *more: str, **query: str) -> str:
        """The address of a collection or of a resource below it."""
        path = "/".join([self.services, "collections", quote(self.id_of(collection)), *map(quote, more)])
        return f"{path}?{urlencode(query)}" if query else path

    def vector_tiles(self, collection: Collection) -> str:
        """URL template with {z}, {y} (row from the top) and {x} of WebMercatorQuad vector tiles."""
        return self.collection(collection, "tiles", "WebMercatorQuad") + "/{z}/{y}/{x}?f=mvt"

    def map_tiles(self, collection: Collection) -> str:
        """URL template with {z}, {y} (row from the top) and {x} of WebMercatorQuad map tiles."""
        return self.collection(collection, "map", "tiles", "WebMercatorQuad") + "/{z}/{y}/{x}?f=png"
