"""3D tilesets over HTTP as they were published: files, rights, explicit and 1.0 trees, hidden fields."""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np
import pytest

from server.http.app import create_app
from server.http.three_d_subset import ids_of
from server.registry.catalogue import Access
from tiles.three_d.subset import property_rows

COUNT = 400


def test_files_with_validators_codings_and_ranges(town: Any) -> None:
    walked = town.walk("houses")
    assert len(walked.features) == COUNT
    assert len(walked.contents) > 4
    name, plain = next(iter(walked.contents.items()))
    address = town.url("houses", name)
    assert plain.headers["Content-Type"] == "model/gltf-binary"
    for client in (town.client, town.slow):
        packed = client.get(address, accept_encoding="gzip")
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain.body
        assert client.get(address, if_none_match=packed.headers["ETag"], accept_encoding="gzip").status == 304
        part = client.get(address, range="bytes=4-7")
        assert (part.status, part.body) == (206, plain.body[4:8])
        assert client.get(address, range=f"bytes={len(plain.body)}-").status == 416
        head = client.request("HEAD", address)
        assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(plain.body)))
        assert client.get(town.url("houses", "content/9/600/0.glb")).status == 404
        assert client.get(town.url("houses", "../features.gpkg")).status == 404
        assert client.get(town.url("houses", "tileset.json.gz")).status == 404
        assert client.get(town.url("houses", "../scene/plan/plan.json")).status == 404
    subtree = next(iter(walked.subtrees.values()))
    assert subtree.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("accept", "served"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/3dtiles+json", "application/3dtiles+json"),
        ("application/json+3dtiles", "application/json+3dtiles"),
    ],
)
def test_both_media_types_of_geovolumes(town: Any, accept: str, served: str) -> None:
    for address in (
        town.url("houses"),
        "/t/demo/ogc/3dtiles/tileset.json",
        town.url("houses").rpartition("/")[0],
    ):
        reply = town.client.get(address, accept=accept)
        assert reply.headers["Content-Type"] == served
        assert "Accept" in reply.headers["Vary"].split(", ")


def test_private_tilesets(town: Any) -> None:
    town.publish("secret", count=30, access=Access.PRIVATE)
    walked = town.walk("secret", authorization=f"Bearer {town.token}")
    assert len(walked.features) == 30
    assert all(reply.headers["Cache-Control"].startswith("private") for reply in walked.contents.values())
    for name in (
        "tileset.json",
        *walked.contents,
        *walked.subtrees,
        "explicit/tileset.json",
        "1.0/tileset.json",
    ):
        assert town.client.get(town.url("secret", name)).status == 404, name
        assert town.client.get(town.url("absent", name)).status == 404, name


@pytest.mark.parametrize("query", ["", "?kind=shop"])
def test_explicit_tree_and_version_1_0(town: Any, query: str) -> None:
    whole = town.walk("houses", f"tileset.json{query}")
    explicit = town.contents_of_tree(town.client, town.url("houses", f"explicit/tileset.json{query}"))
    assert {
        one["id"] for reply in explicit.values() for one in town.features_in(reply.body)
    } == whole.features.keys()
    old = town.contents_of_tree(town.client, town.url("houses", f"1.0/tileset.json{query}"))
    assert town.client.json(town.url("houses", f"1.0/tileset.json{query}"))["asset"]["version"] == "1.0"
    ids: list[str] = []
    for name, reply in old.items():
        assert reply.status == 200, (name, reply.body[:300])
        assert reply.body[:4] == b"b3dm"
        table_json, table_binary = np.frombuffer(reply.body, "<u4", 2, 20).tolist()
        feature_json, feature_binary = np.frombuffer(reply.body, "<u4", 2, 12).tolist()
        start = 28 + feature_json + feature_binary
        batch = json.loads(reply.body[start : start + table_json] or b"{}")
        del table_binary
        ids += batch.get("id", [])
    assert sorted(ids) == sorted(whole.features)
    for form in ("explicit", "1.0"):
        assert town.client.get(town.url("houses", f"{form}/9-9-9.json")).status == 404
        assert town.client.get(town.url("houses", f"{form}/other.json")).status == 404
    assert town.client.get(town.url("houses", "1.0/content/9/1/1.b3dm")).status == 404


def test_hidden_fields_are_in_no_table(town: Any, monkeypatch: pytest.MonkeyPatch, wsgi_client: Any) -> None:
    from server.http import services
    from server.identity import decision as decisions

    real = decisions.decide

    def hiding(who: Any, action: Any, resource: Any) -> Any:
        found = real(who, action, resource)
        if resource is None or who.operator:
            return found
        return decisions.Decision(found.allowed, frozenset({"name", "built"}), None, "part")

    monkeypatch.setattr(services, "decide", hiding)
    client = wsgi_client(create_app(town.settings))
    walked = town.walk("houses", client=client)
    assert len(walked.features) == COUNT
    shown = set(next(iter(walked.features.values())))
    assert {"id", "kind", "height"} <= shown
    assert not shown & {"name", "built", "built_epoch"}
    assert all("private" in reply.headers["Cache-Control"] for reply in walked.contents.values())
    assert client.get(town.url("houses", "tileset.json?name=x")).status == 400
    assert client.get(town.url("houses", "tileset.json?filter=built%20IS%20NULL")).status == 400
    old = town.contents_of_tree(client, town.url("houses", "1.0/tileset.json"))
    assert all(b'"name"' not in reply.body[28:4096] for reply in old.values())
    whole = town.walk("houses", client=client, authorization=f"Bearer {town.token}")
    assert "name" in next(iter(whole.features.values()))


def test_ids_of_a_table(town: Any) -> None:
    reply = next(iter(town.walk("houses").contents.values()))
    table = property_rows(reply.body)
    assert table is not None
    assert ids_of(table) == [one["id"] for one in town.features_in(reply.body)]
