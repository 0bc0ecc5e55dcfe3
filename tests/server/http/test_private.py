"""What is private cannot be noticed by who may not see it, and is kept out of shared caches."""

from __future__ import annotations

from typing import Any

import pytest

from server.registry.catalogue import Access

PUBLIC_PATHS = [
    "/",
    "/t/hidden/",
    "/t/hidden/ogc/collections",
    "/ogc",
    "/ogc/collections",
    "/ogc/collections/catalogue/items",
    "/ogc/collections/demo.boxes",
    "/ogc/api",
    "/health/ready",
    "/metrics",
    "/maps/service?SERVICE=WMS&REQUEST=GetCapabilities",
    "/maps/wmts/1.0.0/WMTSCapabilities.xml",
    "/maps/tms/1.0.0",
    "/t/hidden/maps/service?SERVICE=WMS&REQUEST=GetCapabilities",
    "/t/hidden/maps/tms/1.0.0",
]


def visible(client: Any) -> list[Any]:
    """What anyone sees of these paths, without the parts that are new in every answer."""
    seen = []
    for path in PUBLIC_PATHS:
        reply = client.get(path)
        body = b"\n".join(
            line for line in reply.body.split(b"\n") if b"nonce" not in line and b"timeStamp" not in line
        )
        headers = {k: v for k, v in reply.headers.items() if k != "Content-Security-Policy"}
        seen.append((path, reply.status, body, headers))
    return seen


def test_publishing_something_private_changes_nothing_that_others_see(city: Any, client: Any) -> None:
    city.registry.add_tenant("hidden", "Hidden", "隐")
    before = visible(client)
    city.publish("hush", tenant="hidden", access=Access.PRIVATE, count=5)
    assert visible(client) == before
    token = f"Bearer {city.token}"
    reply = client.get("/t/hidden/maps/service?SERVICE=WMS&REQUEST=GetCapabilities", authorization=token)
    assert reply.status == 200
    assert b"hush" in reply.body
    assert reply.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/items",
        "/items?x=1",
        "/items/1",
        "/schema",
        "/tiles",
        "/tiles/WebMercatorQuad/0/0/0",
        "/map",
        "/map?width=x",
        "/map/tiles/WebMercatorQuad/0/0/0",
        "/coverage",
        "/locations",
        "/3dtiles/tileset.json",
        "/pointcloud.copc.laz",
        "/download/x.gpkg",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_private_and_absent_are_answered_alike(client: Any, method: str, path: str) -> None:
    answers = []
    for name in ("secret", "absent"):
        reply = client.request(method, f"/ogc/collections/demo.{name}{path}", if_none_match="*")
        answers.append((reply.status, reply.body.replace(name.encode(), b"?")))
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "path", ["/tiles", "/schema", "/download/secret.geojson", "/items?f=csv", "/map?width=4"]
)
def test_private_answers_are_kept_out_of_shared_caches(city: Any, client: Any, path: str) -> None:
    reply = client.get(f"/ogc/collections/demo.secret{path}", authorization=f"Bearer {city.token}")
    assert reply.status == 200
    assert "no-store" in reply.headers["Cache-Control"] or "private" in reply.headers["Cache-Control"]
