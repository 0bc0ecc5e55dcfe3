"""The OpenAPI definition: valid, small, complete for features, and without references to elsewhere."""

from __future__ import annotations

import re
from typing import Any

import openapi_spec_validator
import pytest

API = "/t/demo/ogc/api"


@pytest.fixture(scope="module")
def document(client: Any) -> Any:
    return client.json(f"{API}?f=json")


def test_it_is_valid(document: Any) -> None:
    openapi_spec_validator.validate(document)


def test_it_is_small_and_refers_to_nothing_elsewhere(client: Any) -> None:
    body = client.get(f"{API}?f=json").body
    assert len(body) < 300_000
    for reference in re.findall(rb'"\$ref":"([^"]*)"', body):
        assert reference.startswith(b"#/")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/items", {"get", "post"}),
        ("/items/{featureId}", {"get", "put", "patch", "delete"}),
        ("/items/{featureId}/history", {"get"}),
        ("/search", {"post"}),
        ("/transactions", {"post"}),
        ("/queryables", {"get"}),
        ("/sortables", {"get"}),
        ("/schema", {"get"}),
    ],
)
def test_every_operation_of_features_is_described(document: Any, path: str, methods: set[str]) -> None:
    assert methods <= document["paths"]["/collections/{collectionId}" + path].keys()


def test_every_parameter_of_items_is_described(document: Any) -> None:
    listed = document["paths"]["/collections/{collectionId}/items"]["get"]["parameters"]
    known = document["components"]["parameters"]
    names = {known[one["$ref"].rpartition("/")[2]]["name"] for one in listed}
    expected = {"bbox", "bbox-crs", "crs", "datetime", "filter", "filter-lang", "filter-crs", "sortby", "q"}
    expected |= {"properties", "skipGeometry", "asof", "resulttype", "limit", "offset", "cursor", "f", "lang"}
    assert expected <= names
