"""WMS GetFeatureInfo of the whole server: real features, and nothing of a collection that is not this client's to see."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import orjson


def question(layer: str, box: tuple[float, float, float, float], **changes: str) -> str:
    return "/t/demo/maps/service?" + urlencode(
        {
            "SERVICE": "WMS",
            "VERSION": "1.3.0",
            "REQUEST": "GetFeatureInfo",
            "LAYERS": layer,
            "QUERY_LAYERS": layer,
            "STYLES": "",
            "CRS": "CRS:84",
            "BBOX": ",".join(map(str, box)),
            "WIDTH": "256",
            "HEIGHT": "256",
            "I": "128",
            "J": "128",
            "INFO_FORMAT": "application/json",
        }
        | changes
    )


def around(feature: Any) -> tuple[float, float, float, float]:
    """A box with the middle of the feature (a square) in its middle."""
    ring = feature["geometry"]["coordinates"][0]
    x, y = (sum(point[axis] for point in ring[:4]) / 4 for axis in (0, 1))
    return x - 0.001, y - 0.001, x + 0.001, y + 0.001


def test_the_pixel_on_a_feature_answers_with_that_feature(client: Any) -> None:
    feature = client.get("/t/demo/ogc/collections/boxes/items/7").json
    reply = client.get(question("boxes", around(feature), FEATURE_COUNT="50"))
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    found = {one["id"]: one for one in reply.json["features"]}
    assert found[feature["id"]]["properties"] == feature["properties"]
    assert found[feature["id"]]["layer"] == "boxes"
    page = client.get(question("boxes", around(feature), FEATURE_COUNT="50", INFO_FORMAT="text/html"))
    assert feature["properties"]["name"] in page.body.decode()


def test_a_pixel_beside_everything_answers_with_nothing(client: Any) -> None:
    reply = client.get(question("boxes", (10.0, 10.0, 10.1, 10.1)))
    assert orjson.loads(reply.body) == {"type": "FeatureCollection", "features": []}


def test_a_private_layer_is_the_operators(client: Any, city: Any) -> None:
    headers = {"authorization": f"Bearer {city.token}"}
    feature = client.get("/t/demo/ogc/collections/secret/items/7", **headers).json
    url = question("secret", around(feature))
    refused = client.get(url)
    assert refused.status == 400
    assert b"LayerNotDefined" in refused.body
    assert refused.body.replace(b"secret", b"nothing") == client.get(url.replace("secret", "nothing")).body
    assert [one["id"] for one in client.get(url, **headers).json["features"]] == [feature["id"]]


def test_capabilities_offer_it(client: Any) -> None:
    url = "/t/demo/maps/service?service=WMS&request=GetCapabilities&version=1.3.0"
    text = client.get(url).body.decode()
    assert 'queryable="1"' in text
    assert "<Abstract>Demo: 1 layers</Abstract>" in text
    assert "secret" not in text
