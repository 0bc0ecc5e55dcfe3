"""Constraints of fields: what is a constraint, and what keeps it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jsonschema
import pytest

from providers.errors import InvalidFeature, StoreBuildError
from providers.features.crs import reference_system
from providers.features.edits import parse_feature, parse_merge_patch, receivable
from providers.features.edits.constraints import check_definition, fault_of
from providers.features.query import CRS84
from providers.features.schema import CollectionSchema, FieldDefinition
from providers.features.source import EditKind

TEXT, NUMBER = FieldDefinition("a", "string"), FieldDefinition("a", "number")
DAY = FieldDefinition("a", "string", "date")


def with_(field: FieldDefinition, **constraints: Any) -> FieldDefinition:
    return dataclasses.replace(field, constraints=constraints)


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        (with_(TEXT, required=True), "", None),
        (with_(TEXT, enum=["a", "b"]), "a", "c"),
        (with_(TEXT, minLength=2), "ab", "a"),
        (with_(TEXT, maxLength=2), "ab", "abc"),
        (with_(TEXT, maxLength=2), "城图", "城图图"),
        (with_(TEXT, pattern="^[A-Z]{2}-[0-9]+$"), "GD-17", "GD-"),
        (with_(TEXT, pattern="管"), "雨水管线", "线"),
        (with_(NUMBER, minimum=0), 0, -0.001),
        (with_(NUMBER, maximum=10), 10, 10.001),
        (with_(NUMBER, exclusiveMinimum=0), 0.001, 0),
        (with_(NUMBER, exclusiveMaximum=10), 9.999, 10),
        (with_(NUMBER, enum=[1, 2]), 1.0, 3),
        (with_(DAY, minimum="2000-01-01"), "2000-01-01", "1999-12-31"),
        (with_(FieldDefinition("a", "boolean"), enum=[True]), True, False),
    ],
)
def test_a_constraint_is_kept_up_to_its_limit(field: FieldDefinition, good: Any, bad: Any) -> None:
    check_definition(field)
    assert fault_of(field, good) is None
    assert fault_of(field, bad) is not None
    if bad is not None:
        assert fault_of(field, None) is None


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (with_(TEXT, colour=1), "possible"),
        (with_(TEXT, minimum=1), "does not fit"),
        (with_(NUMBER, pattern="a"), "does not fit"),
        (with_(DAY, maxLength=3), "does not fit"),
        (with_(TEXT, required="yes"), "true or false"),
        (with_(TEXT, enum=[]), "list"),
        (with_(TEXT, enum="abc"), "list"),
        (with_(TEXT, maxLength=-1), "number"),
        (with_(TEXT, maxLength=True), "number"),
        (with_(NUMBER, minimum="1"), "value"),
        (with_(NUMBER, minimum=True), "value"),
        (with_(TEXT, pattern="("), "not a regular expression"),
        (with_(TEXT, pattern="x" * 201), "200"),
        (with_(TEXT, pattern="(a+)+$"), "repeated groups"),
        (with_(TEXT, pattern="(a|aa)*$"), "repeated groups"),
        (with_(TEXT, pattern=r"(a)\1"), "references back"),
        (with_(TEXT, pattern="(?=a)b"), "extensions"),
        (with_(TEXT, pattern=".*.*.*=.*"), "two repeats"),
        (with_(TEXT, pattern="a{1,50}a{1,50}a{1,50}b"), "two repeats"),
        (with_(TEXT, pattern="a?" * 9), "eight optional"),
    ],
)
def test_what_is_no_constraint_is_refused_when_it_is_defined(field: FieldDefinition, message: str) -> None:
    with pytest.raises(StoreBuildError, match=message):
        check_definition(field)


def test_payloads_are_held_to_constraints() -> None:
    schema = CollectionSchema(
        (with_(TEXT, required=True, maxLength=3), with_(dataclasses.replace(NUMBER, name="n"), minimum=0))
    )
    storage = reference_system(CRS84)

    def faults(properties: Any, *, patch: bool = False) -> list[str]:
        document = {"type": "Feature", "geometry": None, "properties": properties}
        try:
            if patch:
                parse_merge_patch(document, schema, storage, feature_id="1")
            else:
                parse_feature(document, schema, storage, EditKind.CREATE)
        except InvalidFeature as error:
            return [pointer for pointer, _ in error.faults]
        return []

    assert faults({"a": "abc", "n": 0}) == []
    assert faults({"a": "abcd", "n": -1}) == ["/properties/a", "/properties/n"]
    assert faults({}) == faults({"a": None}) == ["/properties/a"]
    assert faults({"n": 1}, patch=True) == []
    assert faults({"a": None}, patch=True) == ["/properties/a"]


def test_the_schema_of_what_may_be_sent_says_the_same() -> None:
    schema = CollectionSchema(
        (
            with_(TEXT, required=True, maxLength=3, unique=True),
            with_(dataclasses.replace(NUMBER, name="n"), minimum=0, enum=[1, 2]),
            dataclasses.replace(DAY, name="d", title="日期"),
            FieldDefinition("secret", "string"),
        ),
        geometry_type="Polygon",
    )
    document = receivable(schema, frozenset({"secret"}))
    jsonschema.Draft202012Validator.check_schema(document)
    properties = document["properties"]
    assert properties["geometry"]["format"] == "geometry-polygon"
    assert document["required"] == ["a"]
    assert properties["a"] == {"type": "string", "maxLength": 3}
    assert properties["n"] == {"type": ["number", "null"], "minimum": 0, "enum": [1, 2, None]}
    assert properties["d"] == {"type": ["string", "null"], "format": "date", "title": "日期"}
    assert "secret" not in properties
    validator = jsonschema.Draft202012Validator(document)
    assert validator.is_valid({"a": "abc", "n": None})
    assert not validator.is_valid({"n": 1})
    assert not validator.is_valid({"a": "abc", "secret": "x"})
