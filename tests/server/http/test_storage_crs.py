"""What a collection says of the CRS it is kept in."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyproj

from server.http.ogc.documents import supported_crs

RD = "http://www.opengis.net/def/crs/EPSG/0/28992"


def test_a_crs_that_nobody_can_ask_for_is_not_in_the_list(city: Any) -> None:
    collection = city.registry.collection("demo", "boxes")
    own = pyproj.CRS(RD).to_wkt().replace("Amersfoort / RD New", "A city's own")
    listed = supported_crs(dataclasses.replace(collection, storage_crs=own))
    assert listed == [uri for uri in listed if uri.startswith("http://www.opengis.net/def/crs/")]
    assert supported_crs(dataclasses.replace(collection, storage_crs=RD)) == [*listed, RD]


def test_every_crs_of_the_list_can_be_asked_for(client: Any) -> None:
    collection = client.json("/ogc/collections/demo.boxes")
    assert collection["storageCrs"] in collection["crs"]
    for crs in collection["crs"]:
        reply = client.get(f"/ogc/collections/demo.boxes/items?limit=1&crs={crs}")
        assert (reply.status, reply.headers["Content-Crs"]) == (200, f"<{crs}>")
