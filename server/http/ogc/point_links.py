"""Links to the files of a point cloud, in the document of its collection and among its three-dimensional forms."""

from __future__ import annotations

from typing import Any, Final

from server.registry.catalogue import Collection, RepresentationKind

COPC: Final = "application/vnd.laszip+copc"
VPC: Final = "application/geo+json"
"""A virtual point cloud is a STAC FeatureCollection."""


def is_mosaic(collection: Collection) -> bool:
    """Whether the point cloud is kept as many files."""
    return bool(collection.representations[RepresentationKind.POINT_CLOUD].properties.get("mosaic"))


def whole_cloud(collection: Collection, url: str, relation: str) -> dict[str, Any]:
    """The link to the cloud as a whole: its COPC, or the virtual point cloud of a mosaic. `url` is the collection's."""
    if is_mosaic(collection):
        return _link(
            f"{url}/pointcloud.vpc", relation, VPC, "Point cloud (virtual point cloud of COPC files)"
        )
    return _link(f"{url}/pointcloud.copc.laz", relation, COPC, "Point cloud (COPC)")


def point_cloud_links(collection: Collection, url: str, *, whole: bool = True) -> list[dict[str, Any]]:
    """The links to the files; not `whole`, as in a list of collections: only the one to the cloud."""
    links = [whole_cloud(collection, url, "enclosure")]
    if whole:
        links.append(_link(f"{url}/pointcloud", "contents", "application/json", "Files of the point cloud"))
        if not is_mosaic(collection):
            links.append(_link(f"{url}/pointcloud.vpc", "alternate", VPC, "Virtual point cloud (VPC)"))
            links.append(_link(f"{url}/ept/ept.json", "alternate", "application/json", "Point cloud (EPT)"))
    return links


def _link(href: str, relation: str, media_type: str, title: str) -> dict[str, Any]:
    return {"href": href, "rel": relation, "type": media_type, "title": title}
