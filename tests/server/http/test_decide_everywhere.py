"""Every route of every protocol asks `decide`: where it denies everything, nothing of a collection is answered."""

from __future__ import annotations

from typing import Any

import pytest

from server.http.app import create_flask, make_services
from server.identity.decision import Decision

# What belongs to the server itself and shows no data.
OPEN = {"live", "ready", "metrics", "robots", "static", "vendor", "favicon", "fonts", "sprites"}
VALUES = {
    "tenant": "demo",
    "public_id": "boxes",
    "feature_id": "1",
    "point_id": "pointcloud.0-0-0-0.0",
    "grid_id": "WebMercatorQuad",
    "zoom": "10",
    "row": "445",
    "column": "835",
    "name": "boxes.gpkg",
    "path": "tileset.json",
    "location": "x",
    "process_id": "buffer-clip",
    "protocol": "service",
    "style_id": "polygon",
    "tms": "WebMercatorQuad",
    "tile_matrix": "10",
    "tile_row": "445",
    "tile_column": "835",
    "form": "i3s",
    "node": "1",
    "page": "0",
    "key": "f_0",
}
# Styles of the installation are the server's own: they name no collection, and who may write them is asked of the server.
STYLES = {
    f"{view}.{name}"
    for view in ("city", "tenant")
    for name in ("styles", "style", "style_metadata", "style_legend")
}


def deny(*_: object) -> Decision:
    return Decision(False, key="denied")


@pytest.fixture
def denied(city: Any, wsgi_client: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The server, with a policy that allows nobody anything."""
    for room in ("services", "context", "map_view", "health"):
        monkeypatch.setattr(f"server.http.{room}.decide", deny)
    return wsgi_client(create_flask(make_services(city.settings)))


def test_each_route_is_closed(denied: Any) -> None:
    rules = [rule for rule in denied.application.url_map.iter_rules() if rule.endpoint not in OPEN | STYLES]
    assert len(rules) > 50
    for rule in rules:
        values = {name: VALUES[name] for name in rule.arguments if name not in (rule.defaults or {})}
        adapter = denied.application.url_map.bind("city.example")
        path = adapter.build(rule.endpoint, values | (rule.defaults or {}), method=None)
        method = next((one for one in ("GET", "DELETE") if one in rule.methods), "POST")
        reply = denied.request(method, path)
        assert reply.status == 404, (rule.rule, path, reply.status)
        assert b"Boxes of" not in reply.body


def test_open_routes_name_no_collection(denied: Any) -> None:
    for path in ("/health/live", "/health/ready", "/metrics", "/robots.txt"):
        reply = denied.get(path)
        assert reply.status == 200
        assert b"boxes" not in reply.body


def test_the_hot_lane_asks_too(city: Any, wsgi_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from server.http.app import create_app

    open_server = wsgi_client(create_app(city.settings))
    paths = ("items", "items/1", "tiles/WebMercatorQuad/10/445/835", "map/tiles/WebMercatorQuad/10/445/835")
    for path in paths:
        assert open_server.get(f"/t/demo/ogc/collections/boxes/{path}").status == 200
    monkeypatch.setattr("server.http.services.decide", deny)
    for path in paths:
        assert open_server.get(f"/t/demo/ogc/collections/boxes/{path}").status == 404
