"""Hostile and careless clients against features: what broke once, and must not again."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from server.http import hot_lane

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
