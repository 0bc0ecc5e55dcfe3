"""Queryables, sortables, schema and functions: ours, complete, and honest about what is refused."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from providers.features.schema import CollectionSchema, FieldDefinition
from server.http.ogc.features_schema import geometry_format, queryables_of, schema_of, sortables_of

C = "/t/demo/ogc/collections/boxes"
KINDS = ("queryables", "sortables", "schema")
SCHEMA = CollectionSchema(
    fields=(
        FieldDefinition("id", "integer"),
        FieldDefinition("geometry", "string"),
        FieldDefinition("height", "number", constraints={"minimum": 0, "required": True}),
        FieldDefinition("seen", "string", "date-time"),
        FieldDefinition("secret", "string"),
    ),
    time_field="seen",
    geometry_type="MultiPoint",
)


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_a_json_schema(client: Any, kind: str) -> None:
    reply = client.get(f"{C}/{kind}")
    assert reply.headers["Content-Type"] == "application/schema+json"
    document = reply.json
    jsonschema.Draft202012Validator.check_schema(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["$id"] == f"http://city.example:8000{C}/{kind}"
    assert document["type"] == "object"
    assert document["additionalProperties"] is False
    positions = [described["x-ogc-propertySeq"] for described in document["properties"].values()]
    assert positions == sorted(set(positions))
    assert all(described["title"] for described in document["properties"].values())
    assert client.get(f"{C}/{kind}", if_none_match=reply.headers["ETag"]).status == 304
    assert client.get(f"{C}/{kind}?f=html").headers["Content-Type"].startswith("text/html")


def test_roles_and_formats(client: Any) -> None:
    properties = client.json(f"{C}/schema")["properties"]
    assert properties["id"]["x-ogc-role"] == "id"
    assert properties["id"]["readOnly"] is True
    assert properties["geometry"] == {
        "title": "Geometry",
        "format": "geometry-polygon",
        "x-ogc-role": "primary-geometry",
        "x-ogc-propertySeq": 2,
    }
    assert properties["built"]["x-ogc-role"] == "primary-instant"
    assert (properties["built"]["type"], properties["built"]["format"]) == ("string", "date")
    assert properties["height"]["type"] == "number"


def test_titles_follow_the_language(client: Any) -> None:
    assert client.json(f"{C}/schema?lang=zh")["title"] == "方块"
    assert client.json(f"{C}/queryables?lang=zh")["properties"]["geometry"]["title"] == "几何"


def test_every_queryable_and_sortable_is_one(client: Any) -> None:
    for name, described in client.json(f"{C}/queryables")["properties"].items():
        expression = f"{name}%20IS%20NULL"
        assert client.get(f"{C}/items?filter={expression}").status == 200, (name, described)
    for name in client.json(f"{C}/sortables")["properties"]:
        assert client.get(f"{C}/items?sortby={name}").status == 200
    assert client.get(f"{C}/items?sortby=geometry").status == 400


def test_fields_named_like_members_of_ours_keep_their_names() -> None:
    shown = schema_of(SCHEMA, frozenset(), "en")
    assert shown["_id"]["x-ogc-role"] == "id"
    assert shown["_geometry"]["x-ogc-role"] == "primary-geometry"
    assert shown["id"]["type"] == "integer"
    asked = queryables_of(SCHEMA, frozenset(), "en")
    assert "format" not in asked["geometry"]
    assert asked["geom"]["x-ogc-role"] == "primary-geometry"


def test_hidden_fields_are_left_out() -> None:
    hidden = frozenset({"secret"})
    for listed in (
        queryables_of(SCHEMA, hidden, "en"),
        sortables_of(SCHEMA, hidden, "en"),
        schema_of(SCHEMA, hidden, "en"),
    ):
        assert "secret" not in listed
        assert "height" in listed


def test_constraints_are_shown_and_what_cannot_be_edited_is_read_only() -> None:
    assert schema_of(SCHEMA, frozenset(), "en")["height"]["minimum"] == 0
    assert "readOnly" not in schema_of(SCHEMA, frozenset(), "en")["height"]
    frozen = schema_of(SCHEMA, frozenset(), "en", editable=False)
    assert all(described["readOnly"] is True for described in frozen.values())


@pytest.mark.parametrize(
    ("geometry_type", "expected"),
    [
        ("Point", "geometry-point"),
        ("MultiPolygon", "geometry-multipolygon"),
        ("GeometryCollection", "geometry-geometrycollection"),
        ("Geometry", "geometry-any"),
        ("PolyhedralSurface", "geometry-any"),
    ],
)
def test_geometry_formats(geometry_type: str, expected: str) -> None:
    assert geometry_format(geometry_type) == expected


def test_functions_are_listed(client: Any) -> None:
    document = client.json("/t/demo/ogc/functions")
    names = {function["name"].lower() for function in document["functions"]}
    assert {"casei", "accenti"} <= names or "lower" in names
    assert all(function["returns"] for function in document["functions"])
    assert client.get("/t/demo/ogc/functions?f=html").status == 200


def test_a_collection_links_to_all_of_them(client: Any) -> None:
    rels = {link["rel"].rpartition("/")[2] for link in client.json(C)["links"]}
    assert {"queryables", "sortables", "schema", "items"} <= rels


@pytest.mark.parametrize("kind", KINDS)
def test_a_private_collection_tells_nothing(client: Any, kind: str) -> None:
    assert client.get(f"/t/demo/ogc/collections/secret/{kind}").status == 404
