"""What the page of a point cloud says and asks: facts, addresses, warnings of the report, and the download of a part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from server.pages.language import Messages
from server.pages.links import Links
from server.pages.views import DownloadLink, Fact, Service, number
from server.registry.catalogue import Collection, Representation, RepresentationKind

Kind = RepresentationKind

FORMATS: Final = {
    "laz": "download.laz",
    "copc": "download.copc",
    "las": "download.las",
    "ply": "download.ply",
    "csv": "download.csv",
    "arrow": "download.arrow",
}
"""Formats of a part, as `f` names them, with their labels."""
_COPC: Final = "pointcloud.copc.laz"
_MOST_WARNINGS: Final = 20


def point_facts(collection: Collection, messages: Messages) -> list[Fact]:
    """Lines of the metadata table; dimensions that this reader may not see (they are not among the collection's fields) stay away."""
    cloud = collection.representations.get(Kind.POINT_CLOUD)
    if cloud is None:
        return []
    properties = cloud.properties
    shown = {field.name for field in collection.fields}
    dimensions = [name for name in properties.get("dimensions", ()) if not shown or name in shown]
    facts: list[Fact] = []
    density = _report(cloud).get("density")
    if isinstance(density, Mapping):
        density = density.get("mean")
    if isinstance(density, int | float) and density > 0:
        facts.append(
            Fact(messages("fact.density"), messages("fact.density_value", density=number(density, 1)))
        )
    if properties.get("mosaic"):
        facts.append(Fact(messages("fact.tiles"), number(int(properties.get("tiles", 0)))))
    facts.append(Fact(messages("fact.point_format"), str(properties.get("point_format", ""))))
    facts.append(Fact(messages("fact.dimensions"), ", ".join(dimensions)))
    if "gps_time" in properties and (not shown or "GpsTime" in shown):
        dated = properties["gps_time"] == "standard"
        words = messages("fact.gps_time_standard") if dated else messages("fact.gps_time_week")
        facts.append(Fact(messages("fact.gps_time"), words))
    return facts


def _report(cloud: Representation) -> Mapping[str, Any]:
    found = cloud.properties.get("report")
    return found if isinstance(found, Mapping) else {}


def point_warnings(collection: Collection) -> list[str]:
    """Sentences of the validation report that a reader of the data should know; those about what he may not see cannot be told apart,
    so a reader with less than everything gets none."""
    cloud = collection.representations.get(Kind.POINT_CLOUD)
    if cloud is None:
        return []
    shown = {field.name for field in collection.fields}
    if shown and not set(cloud.properties.get("dimensions", ())) <= shown:
        return []
    warnings = _report(cloud).get("warnings", ())
    sentences = [one if isinstance(one, str) else str(one.get("text", "")) for one in warnings]
    return [sentence for sentence in sentences if sentence][:_MOST_WARNINGS]


def point_services(collection: Collection, links: Links, origin: str, messages: Messages) -> list[Service]:
    """Addresses of a point cloud for QGIS, PDAL and others; absolute."""
    cloud = collection.representations.get(Kind.POINT_CLOUD)
    if cloud is None:
        return []
    found: list[Service] = []

    def add(key: str, *more: str) -> None:
        address = origin + links.collection(collection, *more)
        found.append(Service(messages(f"service.{key}"), address, messages(f"service.{key}.hint")))

    if not cloud.properties.get("mosaic"):
        add("copc", _COPC)
        add("ept", "ept", "ept.json")
    add("vpc", "pointcloud.vpc")
    add("points", "points")
    return found


def point_downloads(collection: Collection, links: Links, messages: Messages) -> list[DownloadLink]:
    """The whole cloud: its one file, or the list of its tiles."""
    cloud = collection.representations.get(Kind.POINT_CLOUD)
    if cloud is None:
        return []
    if cloud.properties.get("mosaic"):
        address = links.collection(collection, "pointcloud")
        return [DownloadLink(messages("download.tiles"), address, "pointcloud", "application/json")]
    address = links.collection(collection, _COPC)
    return [DownloadLink(messages("download.copc"), address, _COPC, "application/vnd.laszip+copc")]


def point_settings(collection: Collection, links: Links, language: str) -> dict[str, str] | None:
    """What static/js/points.js needs; None for a collection without points."""
    if Kind.POINT_CLOUD not in collection.representations:
        return None
    address = links.collection(collection, "points")
    return {
        "points": address,
        "statistics": links.collection(collection, "points", "statistics", f="json", lang=language),
    }
