"""Hostile and careless clients against features: what broke once, and must not again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from providers.errors import UnsupportedQuery
from providers.features.query import ItemQuery
from providers.features.source import Ability, refuse_what_it_cannot
from server.http import hot_lane, services
from server.http.app import create_app
from server.http.errors import members_of
from server.identity.decision import Decision, decide
from server.publish.registering import RegisterRequest, register
from server.registry.registry import open_registry
from server.settings import load_settings

ITEMS = "/t/demo/ogc/collections/boxes/items"


def test_a_defect_in_the_hot_lane_is_a_problem_document(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(hot_lane, "items_answer", broken)
    reply = client.get(ITEMS)
    assert reply.status == 500
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert "ZeroDivision" not in reply.body.decode()


def test_a_line_that_crosses_itself_millions_of_times_is_refused(client: Any) -> None:
    # Every worker thread would be at it for minutes, whoever asks.
    line = [[113.8 + (i * 7919 % 4999) / 5e4, 22.6 + (i * 104729 % 4993) / 5e4] for i in range(5000)]
    for operator in ("s_intersects", "s_crosses"):
        filter_ = {
            "op": operator,
            "args": [{"property": "geometry"}, {"type": "LineString", "coordinates": line}],
        }
        reply = client.request("POST", ITEMS, orjson.dumps(filter_), content_type="application/cql2+json")
        assert reply.status == 400
        assert reply.json["parameter"] == "filter"
        assert "cross each other less often" in reply.json["allowed"]


def test_what_a_store_cannot_answer_names_parameter_value_and_what_it_can() -> None:
    query = ItemQuery(asof="2024-01-01T00:00:00Z")
    source = SimpleNamespace(abilities=frozenset(Ability) - {Ability.ASOF, Ability.EQUALS}, kind="wfs")
    for asked, name, value in ((query, "asof", query.asof), (ItemQuery(equals={"kind": "x"}), "kind", "x")):
        with pytest.raises(UnsupportedQuery) as caught:
            refuse_what_it_cannot(asked, source)  # type: ignore[arg-type]  # of a source it looks at these two only
        members = members_of(caught.value, {name: value})
        assert members["parameter"] == name
        assert members["value"] == value
        assert "wfs" in str(members["allowed"])


AREA = {"type": "Polygon", "coordinates": [[[113.8, 22.6], [114.1, 22.6], [114.1, 22.8], [113.8, 22.6]]]}


def run(client: Any, process: str, **inputs: Any) -> Any:
    body = orjson.dumps({"inputs": inputs})
    address = f"/t/demo/ogc/processes/{process}/execution"
    return client.request("POST", address, body, content_type="application/json")


def test_processes_show_no_hidden_fields(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(client, "area-statistics", collection="boxes", area=AREA, fields=["height"]).status == 200

    def hiding(*arguments: Any) -> Decision:
        return replace(decide(*arguments), hidden_fields=frozenset({"height"}))

    monkeypatch.setattr(services, "decide", hiding)
    reply = run(client, "area-statistics", collection="boxes", area=AREA, fields=["height"])
    assert reply.status == 400
    assert b"mean" not in reply.body
    reply = run(client, "buffer-clip", collection="boxes", clip=AREA, distance=1)
    assert reply.status == 200
    assert reply.json["features"]
    assert b"height" not in reply.body


def test_processes_compute_with_features_that_are_stored_elsewhere(
    client: Any, wsgi_client: Any, tmp_path: Path
) -> None:
    file = tmp_path / "two.geojson"
    boxes = client.json("/t/demo/ogc/collections/boxes/items?limit=2")
    file.write_bytes(orjson.dumps({"type": "FeatureCollection", "features": boxes["features"]}))
    given = {"data.home": tmp_path / "home", "sources.file_roots": [tmp_path]}
    settings = load_settings((), {}, given)
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", "示例")
        request = RegisterRequest(source=f"ogr:{file}", tenant="demo", id="two", titles={"en": "Two"})
        register(request, registry, settings)
    other = wsgi_client(create_app(settings))
    reply = run(other, "area-statistics", collection="two", area=AREA, fields=["height"])
    assert reply.status == 200, reply.body
    reply = run(other, "buffer-clip", collection="two", clip=AREA, distance=1)
    assert reply.status == 200
