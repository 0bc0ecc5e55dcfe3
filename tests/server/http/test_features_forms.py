"""Formats of the registry: what a writer is given, for a page and for one item, as bodies and as columns."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from providers.features.source import FeatureColumns
from providers.formatters.registry import ITEM_FORMATS, Batch, ItemFormat, WritingContext
from server.http.feature_links import link_headers
from server.http.features import FeatureRequest, find_item, parse_items
from server.http.ogc.features_forms import written_item, written_page
from server.identity.decision import ANONYMOUS, Action, decide
from server.registry.catalogue import Collection
from server.registry.reader import open_catalogue_reader

URL = "http://city.example/ogc/collections/demo.boxes"


def write_facts(context: WritingContext, batches: Iterator[Batch]) -> Iterator[bytes]:
    """A writer that tells what it was given."""
    yield orjson.dumps({"fields": [field.name for field in context.fields], "item": context.item}) + b"\n"
    for batch in batches:
        if isinstance(batch, FeatureColumns):
            told = {"ids": batch.ids, "columns": sorted(batch.columns), "west": batch.geometries[0].bounds[0]}
        else:
            told = {"ids": [orjson.loads(body)["id"] for body in batch]}
        yield orjson.dumps(told) + b"\n"


@pytest.fixture
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ItemFormat:
    module = types.ModuleType("a_writer_of_this_test")
    module.__dict__["write_facts"] = write_facts
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    return ItemFormat(
        "facts", "application/x-facts", "facts", request.param, f"{module.__name__}:write_facts"
    )


@pytest.fixture
def boxes(city: Any) -> Collection:
    found = open_catalogue_reader(city.settings).current().find("demo", "boxes")
    assert found is not None
    return found


def asked(collection: Collection, *parameters: tuple[str, str]) -> FeatureRequest:
    return FeatureRequest(collection, decide(ANONYMOUS, Action.READ, collection), URL, parameters)


def lines(body: bytes) -> list[Any]:
    return [orjson.loads(line) for line in body.splitlines()]


@pytest.mark.parametrize("form", ["bodies", "columns"], indirect=True)
def test_a_page(form: ItemFormat, boxes: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    from providers.features.parser import QueryLimits
    from server.http import feature_links

    monkeypatch.setattr(feature_links, "FORMS", {**feature_links.FORMS, "facts": form.media_type})
    request = asked(boxes, ("limit", "150"), ("properties", "name,height"))
    query = parse_items(request, QueryLimits())
    answer = written_page(request, query, form, "en")
    head, *batches = lines(answer.body)
    assert head == {"fields": ["name", "height"], "item": False}
    ids = [feature_id for batch in batches for feature_id in batch["ids"]]
    assert len(set(ids)) == 150
    headers = dict(answer.headers)
    assert headers["OGC-NumberReturned"] == "150"
    assert headers["Content-Disposition"] == 'attachment; filename="boxes.facts"'
    assert 'rel="next"' in headers["Link"]
    assert 'rel="self"' in headers["Link"]
    assert answer.content_type == "application/x-facts"


@pytest.mark.parametrize("form", ["bodies", "columns"], indirect=True)
def test_an_item(form: ItemFormat, boxes: Collection) -> None:
    request = asked(boxes)
    found, query = find_item(request, "17")
    here = types.SimpleNamespace(language="en")
    answer = written_item(here, request, query, form, "17", found.body, [])  # type: ignore[arg-type] # of it only the language is read
    head, batch = lines(answer.body)
    assert head["item"] is True
    assert batch["ids"] == ["17"]
    if form.batches == "columns":
        ring = orjson.loads(found.body)["geometry"]["coordinates"][0]
        assert batch["west"] == pytest.approx(min(x for x, _ in ring), abs=1e-7)


@pytest.mark.parametrize("name", sorted(ITEM_FORMATS))
def test_every_format_is_there_and_answers(client: Any, name: str) -> None:
    form = ITEM_FORMATS[name]
    assert callable(form.load())
    if not form.items:
        return
    for url in ("/t/demo/ogc/collections/boxes/items?limit=2&", "/t/demo/ogc/collections/boxes/items/17?"):
        reply = client.get(f"{url}f={name}")
        assert reply.status == 200, reply.body[:300]
        assert reply.headers["Content-Type"] == form.media_type
        assert reply.body
    empty = client.get(f"/t/demo/ogc/collections/boxes/items?bbox=0,0,1,1&f={name}")
    assert empty.status == 200, empty.body[:300]


def test_links_too_long_for_proxies_are_left_to_the_body() -> None:
    long = {"rel": "next", "type": "application/geo+json", "href": "http://a/" + "x" * 5000}
    short = {"rel": "collection", "type": "application/json", "href": "http://a/c"}
    assert link_headers([long, short]) == [
        ("Link", '<http://a/c>; rel="collection"; type="application/json"')
    ]
    assert 'rel="next"' in link_headers([long, short], in_body=False)[0][1]
