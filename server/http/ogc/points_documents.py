"""What documents say of points: the links of a collection, and queryables, sortables and schema of a cloud."""

from __future__ import annotations

from typing import Any

from server.registry.catalogue import Collection, RepresentationKind

Document = dict[str, Any]
_REL = "http://www.opengis.net/def/rel/ogc/1.0/"
_GEOJSON, _SCHEMA = "application/geo+json", "application/schema+json"


def point_item_links(collection: Collection, url: str, *, whole: bool = True) -> list[Document]:
    """The links to the points of a collection at `url`; they are its items where it has no features."""
    from providers.points.items import FORMS  # writers of formats, which other documents need not

    own = RepresentationKind.FEATURES not in collection.representations
    links = [_link(f"{url}/{'items' if own else 'points'}", "items", _GEOJSON, "Points as GeoJSON")]
    if whole:
        links += [
            _link(f"{url}/points?f={form.name}", "items", form.media_type, f"Points as {form.name}")
            for form in FORMS.values()
            if form.media_type != _GEOJSON
        ]
        links.append(
            _link(
                f"{url}/points/statistics",
                f"{_REL}statistics",
                "application/json",
                "Statistics of the points",
            )
        )
    if own:
        links += [
            _link(f"{url}/queryables", f"{_REL}queryables", _SCHEMA, "Queryables"),
            _link(f"{url}/sortables", f"{_REL}sortables", _SCHEMA, "Sortables"),
            _link(f"{url}/schema", f"{_REL}schema", _SCHEMA, "Schema"),
        ]
    return links


def _link(href: str, relation: str, media_type: str, title: str) -> Document:
    return {"href": href, "rel": relation, "type": media_type, "title": title}
