"""Pages of styles: what they show of a style with one collection, with many, with none, and that they escape it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from server.pages import Pages
from server.registry.catalogue import Catalogue

EVIL = "<script>alert(1)</script>\"'&"


def style(**changes: Any) -> dict[str, Any]:
    """The metadata of a style as the server makes it."""
    sheets = [
        {"native": name == "sld11", "title": name, "link": {"href": "http://x/", "type": f"text/{name}"}}
        for name in ("mapbox", "sld10", "sld11", "chengtu")
    ]
    document = {
        "id": "night",
        "title": EVIL,
        "kind": "features",
        "readOnly": False,
        "fields": ["name"],
        "notes": [EVIL],
        "stylesheets": sheets,
        "description": EVIL,
        "keywords": [EVIL],
        "version": "3",
        "dates": {"creation": "2026-01-01", "revision": "2026-02-01"},
    }
    return document | changes


@pytest.mark.parametrize("language", ["en", "zh"])
def test_pages_of_styles_escape_what_a_style_says(
    pages: Pages, catalogue: Catalogue, ask: Any, language: str
) -> None:
    everything = list(catalogue.collections.values())
    one = everything[0]
    request = ask("/ogc/styles/night", language)
    listing = {"styles": [{"id": "night", "title": EVIL}, {"id": "day", "title": "Day"}], "default": "day"}
    made = [
        pages.styles(request, listing),
        pages.styles(request, {"styles": []}, None, one),
        pages.style(request, style(), collection=None, drawn=one, draws=[one], own_id="night"),
        pages.style(request, style(), collection=None, drawn=None, draws=everything, own_id="night"),
        pages.style(request, style(), collection=one, drawn=one, draws=[], own_id="night"),
        pages.style(request, style(readOnly=True), collection=None, drawn=None, draws=[], own_id="night"),
    ]
    for page in made:
        assert "<script>alert" not in page
        assert page.count("<h1>") == 1


def test_the_default_comes_first(pages: Pages, ask: Any) -> None:
    listing = {"styles": [{"id": "night", "title": "Night"}, {"id": "day", "title": "Day"}], "default": "day"}
    page = pages.styles(ask("/ogc/styles"), listing)
    assert re.findall(r"<code>(\w+)</code>", page) == ["day", "night"]
    assert page.index("Default") > page.index("day")


def test_a_style_of_one_collection_shows_its_map_and_of_many_their_addresses(
    pages: Pages, catalogue: Catalogue, ask: Any
) -> None:
    everything = list(catalogue.collections.values())
    one = everything[0]
    request = ask("/ogc/styles/night")
    single = pages.style(request, style(), collection=None, drawn=one, draws=[one], own_id="night")
    assert f"{one.qualified_id}/styles/night/map?f=png" in single
    many = pages.style(request, style(), collection=None, drawn=None, draws=everything, own_id="night")
    assert "/map?f=png" not in many
    for each in everything:
        assert f"{each.qualified_id}/styles/night?f=mapbox" in many
