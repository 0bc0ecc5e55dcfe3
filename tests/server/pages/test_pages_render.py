"""Every page: what it shows, that it escapes what data hold, and that it is whole as HTML."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from server.pages import DOCUMENT_KINDS, Pages, PageSettings, has_scene
from server.pages.views import crs_unit
from server.registry.catalogue import Catalogue, Collection, Field

EVIL = "<script>alert(1)</script>\"'&"
VOID = {"meta", "link", "img", "input", "br"}


class Whole(HTMLParser):
    """Notes unbalanced elements, doubled ids, inline handlers and styles, and ids that labels point to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.wanted: set[str] = set()
        self.problems: list[str] = []
        self.headings: list[int] = []
        self.landmarks: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if attributes.get("id"):
            self.ids.append(str(attributes["id"]))
        for name in ("for", "aria-labelledby", "aria-describedby"):
            self.wanted |= set(str(attributes.get(name) or "").split())
        self.problems += [f"{tag} {name}" for name in attributes if name.startswith("on") or name == "style"]
        if tag == "img" and "alt" not in attributes:
            self.problems.append("img without alt")
        if str(attributes.get("href", "")).startswith("javascript:"):
            self.problems.append("javascript: link")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.landmarks |= {tag} & {"header", "main", "nav", "footer"}

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}>")


def check_whole(page: str) -> Whole:
    parser = Whole()
    parser.feed(page)
    assert parser.problems == []
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    assert parser.wanted <= set(parser.ids)
    assert parser.headings.count(1) == 1
    assert {"header", "main", "nav"} <= parser.landmarks
    assert "{" not in re.sub(
        r"<script.*?</script>|<code.*?</code>|data-copy=\"[^\"]*\"", "", page, flags=re.DOTALL
    )
    return parser


def block(page: str, name: str) -> Any:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.fixture
def render(pages: Pages, catalogue: Catalogue, ask: Any) -> Any:
    """The city portal over some collections and a query."""
    return lambda collections, **query: pages.portal(ask("/", **query), catalogue, collections)


def all_pages(pages: Pages, catalogue: Catalogue, ask: Any, language: str) -> dict[str, str]:
    """One page of every kind."""
    everything = list(catalogue.collections.values())
    tenant = catalogue.tenants["helsinki"]
    mine = [c for c in everything if c.tenant == "helsinki"]
    buildings = catalogue.collections["helsinki", "buildings"]
    feature = {
        "type": "Feature",
        "id": "a/b",
        "properties": {"name": EVIL, "levels": 3, "site": "https://example.org/x", "none": None},
        "geometry": {"type": "Point", "coordinates": [24.9, 60.1]},
    }
    listing = {
        "features": [feature],
        "numberMatched": 20,
        "links": [{"rel": "next", "href": "http://localhost:8000/x?offset=10&f=json&limit=10"}],
    }
    landing = {"title": "City", "links": [{"href": "http://localhost:8000/ogc/api", "rel": "service-desc"}]}
    api = {
        "info": {"version": "1"},
        "paths": {
            "/collections": {
                "get": {
                    "summary": "List",
                    "parameters": [{"$ref": "#/components/parameters/limit"}, {"name": "q"}],
                }
            }
        },
        "components": {"parameters": {"limit": {"name": "limit"}}},
    }
    request = ask("/somewhere", language)
    made = {
        "portal": pages.portal(ask("/", language), catalogue, everything),
        "tenant portal": pages.portal(ask("/t/helsinki/", language), catalogue, mine, tenant),
        "landing": pages.landing(request, landing),
        "conformance": pages.conformance(
            request, {"conformsTo": ["http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core"]}
        ),
        "api": pages.api(request, api, tenant),
        "collections": pages.collections(request, listing, everything, None, catalogue.tenants),
        "items": pages.items(request, buildings, listing, tenant, mine),
        "item": pages.item(request, buildings, feature, tenant),
        "scene": pages.scene(request, tenant, mine),
        "error": pages.error(request, 404, {"title": "Not found", "detail": EVIL, "instance": "urn:x"}),
        "odd error": pages.error(request, 418, {"title": "Teapot"}, tenant),
    }
    for collection in everything:
        owner = catalogue.tenants[collection.tenant]
        made[f"city {collection.id}"] = pages.collection(request, collection, None, everything, owner)
        made[f"tenant {collection.id}"] = pages.collection(request, collection, owner, mine)
    for kind in DOCUMENT_KINDS:
        document = {
            "a": [1, {"b": EVIL}],
            "c": {},
            "d": [],
            "e": "https://example.org/",
            "n": list(range(150)),
        }
        made[f"document {kind}"] = pages.document(request, document, tenant, buildings, kind=kind)
    return made


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_page_is_whole_and_escapes_its_data(
    pages: Pages, catalogue: Catalogue, ask: Any, language: str
) -> None:
    for name, page in all_pages(pages, catalogue, ask, language).items():
        check_whole(page)
        assert "<script>alert" not in page, name
        assert f'<html lang="{"zh-Hans" if language == "zh" else "en"}">' in page, name
        other = "zh" if language == "en" else "en"
        assert f"lang={other}" in page, name


def test_every_page_that_shows_data_credits_them(pages: Pages, catalogue: Catalogue, ask: Any) -> None:
    for name, page in all_pages(pages, catalogue, ask, "en").items():
        shows = not name.startswith(("landing", "conformance", "api", "error", "odd error"))
        auckland = "pedestrian" in name
        assert ("© OpenStreetMap contributors, ODbL" in page) == (shows and not auckland), name
        if auckland:
            assert "Heart of the City Auckland" in page
            assert 'href="https://creativecommons.org/licenses/by/4.0/"' in page


def test_the_portal_searches_filters_and_counts(pages: Pages, catalogue: Catalogue, ask: Any) -> None:
    everything = list(catalogue.collections.values())

    def cards(language: str = "en", **query: str) -> list[str]:
        page = pages.portal(ask("/", language, **query), catalogue, everything)
        return re.findall(r'data-collection="([^"]+)"', page)

    assert len(cards()) == len(everything)
    assert cards(q="BUILDINGS") == ["helsinki.buildings"]
    assert cards("zh", q="道路") == ["helsinki.streets"]
    assert cards(q="helsinki pipe") == ["helsinki.pipes"]
    assert cards(q="nothing at all") == []
    assert cards(kind="series") == ["auckland.pedestrian-counts"]
    assert cards(kind="<b>") == cards()
    assert "No collection matches" in pages.portal(ask("/", q="zzz"), catalogue, everything)


@pytest.mark.parametrize(
    ("count", "page", "shown"),
    [(24, "1", 24), (25, "1", 24), (25, "2", 1), (25, "3", 1), (25, "-1", 24), (25, "x", 24), (0, "1", 0)],
)
def test_the_portal_pages_its_cards(
    render: Any, new_collection: Any, count: int, page: str, shown: int
) -> None:
    many = [new_collection("helsinki", f"c{n:03}", ("Title", "标题"), {}) for n in range(count)]
    text = render(many, page=page)
    check_whole(text)
    assert text.count('class="card') - text.count('class="card-') - text.count('class="cards"') == shown
    assert ('rel="next"' in text) == (count > 24 and page in ("1", "-1", "x"))


def test_simulated_data_say_so_everywhere(pages: Pages, catalogue: Catalogue, ask: Any) -> None:
    simulated = [c for c in catalogue.collections.values() if c.simulated]
    for collection in simulated:
        for language, word in (("en", ">simulated</span>"), ("zh", ">模拟数据</span>")):
            assert word in pages.collection(ask("/x", language), collection)
            assert word in pages.items(ask("/x", language), collection, {"features": []})
            assert word in pages.document(ask("/x", language), {}, None, collection)
            assert word in pages.portal(ask("/", language), catalogue, [collection])
    real = catalogue.collections["helsinki", "buildings"]
    assert ">simulated</span>" not in pages.collection(ask("/x"), real)


def test_a_collection_page_offers_addresses_for_each_form(
    pages: Pages, catalogue: Catalogue, ask: Any
) -> None:
    def offered(name: str, tenant: str | None) -> set[str]:
        collection = catalogue.collections["helsinki", name]
        page = pages.collection(ask("/x"), collection, catalogue.tenants[tenant] if tenant else None)
        return set(re.findall(r'data-copy="([^"]+)"', page))

    city = "http://localhost:8000/ogc/collections/helsinki."
    assert f"{city}buildings/3dtiles/tileset.json" in offered("buildings", None)
    assert f"{city}lidar/pointcloud.copc.laz" in offered("lidar", None)
    assert f"{city}terrain/terrain/layer.json" in offered("terrain", None)
    assert f"{city}ortho/coverage" in offered("ortho", None)
    tenant = offered("buildings", "helsinki")
    assert "http://localhost:8000/t/helsinki/ogc/" in tenant
    assert "http://localhost:8000/t/helsinki/maps/service?service=WMS&amp;request=GetCapabilities" in tenant
    assert (
        "http://localhost:8000/t/helsinki/ogc/collections/buildings/tiles/WebMercatorQuad/{z}/{y}/{x}?f=mvt"
        in tenant
    )


def test_the_preview_draws_the_form_a_collection_has(pages: Pages, catalogue: Catalogue, ask: Any) -> None:
    everything = list(catalogue.collections.values())

    def preview(name: str, tenant: str = "helsinki") -> Any:
        return block(
            pages.collection(ask("/x"), catalogue.collections[tenant, name], None, everything), "map-settings"
        )

    addresses = preview("addresses")
    assert (addresses["layer"]["geometry"], addresses["layer"]["sourceLayer"]) == ("point", "addresses")
    assert [layer["id"] for layer in addresses["backdrop"]] == ["helsinki.buildings", "helsinki.streets"]
    ortho = preview("ortho")["choices"]
    assert ortho["styles"][0]["tiles"].endswith("/map/tiles/WebMercatorQuad/{z}/{y}/{x}?f=png")
    lidar = preview("lidar")
    assert (lidar["layer"], lidar["choices"], lidar["series"]) == (None, None, None)
    series = preview("pedestrian-counts", "auckland")
    assert series["series"]["locations"] == "/ogc/collections/auckland.pedestrian-counts/locations"
    assert series["backdrop"] == []


def test_items_page_by_the_links_of_the_document(pages: Pages, catalogue: Catalogue, ask: Any) -> None:
    buildings = catalogue.collections["helsinki", "buildings"]
    document = {
        "features": [],
        "links": [
            {"rel": "prev", "href": "http://elsewhere.example/a?offset=0&f=json"},
            {"rel": "next", "href": "http://elsewhere.example/a?cursor=x%2By&bbox=1%2C2%2C3%2C4"},
        ],
    }
    page = pages.items(ask("/t/helsinki/ogc/collections/buildings/items"), buildings, document)
    here = "/t/helsinki/ogc/collections/buildings/items"
    assert f'rel="prev" href="{here}?offset=0&amp;f=html"' in page
    assert f'rel="next" href="{here}?cursor=x%2By&amp;bbox=1%2C2%2C3%2C4&amp;f=html"' in page
    assert "elsewhere.example" not in page
    assert "No items here." in page


@pytest.mark.parametrize(("columns", "hidden"), [(12, False), (13, True)])
def test_a_wide_table_is_cut_and_says_so(
    pages: Pages, catalogue: Catalogue, ask: Any, columns: int, hidden: bool
) -> None:
    properties = {f"field{n}": n for n in range(columns)}
    document = {"features": [{"type": "Feature", "id": 1, "properties": properties, "geometry": None}]}
    page = pages.items(ask("/x"), catalogue.collections["helsinki", "buildings"], document)
    assert page.count('<th scope="col">') == 13
    assert ("1 more attributes" in page) is hidden


def test_an_item_is_linked_by_its_escaped_id(pages: Pages, catalogue: Catalogue, ask: Any) -> None:
    document: dict[str, Any] = {
        "features": [{"type": "Feature", "id": "way/1 ?", "properties": {}, "geometry": None}]
    }
    page = pages.items(ask("/x"), catalogue.collections["helsinki", "buildings"], document)
    assert 'href="/ogc/collections/helsinki.buildings/items/way%2F1%20%3F?f=html"' in page


def test_links_of_metadata_are_web_addresses_or_none(pages: Pages, ask: Any, new_collection: Any) -> None:
    bad = new_collection(
        "helsinki", "bad", ("Bad", "坏"), {}, licence_url="javascript:alert(1)", storage_crs="javascript:x"
    )
    page = pages.collection(ask("/x"), bad)
    check_whole(page)
    assert "javascript:alert" not in page


def test_the_scene_orders_layers_and_looks_at_the_buildings(
    pages: Pages, catalogue: Catalogue, ask: Any, new_collection: Any
) -> None:
    mine: list[Collection] = [c for c in catalogue.collections.values() if c.tenant == "helsinki"]
    far = new_collection("helsinki", "far", ("Far", "远"), {"terrain": {}}, bbox=(0.0, 0.0, 90.0, 80.0))
    assert has_scene(mine)
    assert not has_scene(c for c in catalogue.collections.values() if c.tenant == "auckland")
    page = pages.scene(ask("/t/helsinki/scene"), catalogue.tenants["helsinki"], [*mine, far])
    settings = block(page, "map-settings")
    layers = {layer["id"]: layer for layer in settings["layers"]}
    assert [layer["content"] for layer in settings["layers"] if layer["type"] == "tileset"] == [
        "buildings",
        "pipes",
        "points",
    ]
    assert settings["bounds"] == [24.90, 60.15, 24.98, 60.19]
    assert layers["imagery-ortho"]["visible"] is True
    assert layers["imagery-streets"]["visible"] is False
    assert layers["terrain-terrain"]["url"] == "/t/helsinki/ogc/collections/terrain/terrain"
    assert settings["cesiumBase"].startswith("/vendor/cesium@")
    assert settings["cesiumBase"].endswith("/Build/Cesium/")


def test_the_base_path_is_before_every_address(catalogue: Catalogue, ask: Any) -> None:
    pages = Pages(PageSettings(base_path="/city"))
    page = pages.portal(ask("/city/"), catalogue, list(catalogue.collections.values()))
    addresses = re.findall(r'(?:href|src|action)="(/[^"]*)"', page)
    assert addresses
    assert all(address.startswith("/city/") for address in addresses)


def test_lists_of_records_and_processes_link_to_each(pages: Pages, ask: Any) -> None:
    records = {
        "features": [
            {"id": "a.b", "properties": {"title": EVIL, "rights": "© Makers", "license": "CC0-1.0"}}
        ],
        "links": [{"rel": "next", "href": "http://localhost:8000/x?offset=10"}],
    }
    page = pages.document(ask("/ogc/collections/catalogue/items"), records, kind="records")
    check_whole(page)
    assert 'href="/ogc/collections/catalogue/items/a.b?f=html"' in page
    assert "© Makers — CC0-1.0" in page
    assert 'rel="next"' in page
    processes = {"processes": [{"id": "buffer clip", "version": "1", "description": "Cuts."}]}
    page = pages.document(ask("/ogc/processes"), processes, kind="processes")
    assert 'href="/ogc/processes/buffer%20clip?f=html"' in page
    assert "Cuts." in page


@pytest.mark.parametrize(
    ("kind", "document", "heading"),
    [
        ("record", {"properties": {"title": "Streets"}}, "Streets"),
        ("record", {"properties": None}, "Catalogue record"),
        ("process", {"title": "Buffer"}, "Buffer"),
        ("job", {"title": "Not used"}, "Job"),
        ("document", [1, 2], "Document"),
    ],
)
def test_a_record_or_process_is_headed_by_its_title(
    pages: Pages, ask: Any, kind: str, document: Any, heading: str
) -> None:
    page = pages.document(ask("/x"), document, kind=kind)
    check_whole(page)
    assert f"<h1>{heading}</h1>" in page


def test_queryables_are_a_table(pages: Pages, ask: Any) -> None:
    properties = {
        "height": {"type": "number", "title": "Height", "x-ogc-unit": "m"},
        "name": {"type": "string", "title": "name"},
        "odd": True,
    }
    page = pages.document(ask("/x"), {"properties": properties}, kind="queryables")
    check_whole(page)
    rows = re.findall(r"<td><code>(.*?)</code></td><td>(.*?)</td><td>(.*?)</td>", page)
    assert rows == [("height", "Height", "number · m"), ("name", "", "string"), ("odd", "", "")]


def test_coordinates_are_one_line_and_links_can_be_followed(pages: Pages, ask: Any) -> None:
    document = {
        "bbox": [[24.9, 60.1, 25.0, 60.2]],
        "many": list(range(41)),
        "links": [
            {"href": "https://example.org/a", "rel": "self", "type": "application/json"},
            {"href": "javascript:alert(1)", "rel": "evil"},
        ],
    }
    page = pages.document(ask("/x"), document)
    check_whole(page)
    assert "[24.9, 60.1, 25.0, 60.2]" in page
    assert page.count("<li>40</li>") == 1
    assert '<a href="https://example.org/a">self</a>' in page
    assert "javascript:" not in page


def test_an_unknown_document_kind_is_refused(pages: Pages, ask: Any) -> None:
    with pytest.raises(ValueError, match="'nonsense' is unknown; known are document"):
        pages.document(ask("/x"), {}, kind="nonsense")


def test_large_numbers_of_items_are_grouped(pages: Pages, catalogue: Catalogue, ask: Any) -> None:
    buildings = catalogue.collections["helsinki", "buildings"]
    document = {"features": [], "numberMatched": 300000, "numberReturned": 10000, "links": []}
    page = pages.items(ask("/t/helsinki/ogc/collections/buildings/items"), buildings, document)
    assert "10,000 of 300,000" in page


def test_the_attribute_table_has_titles_where_a_field_has_one(
    pages: Pages, catalogue: Catalogue, ask: Any
) -> None:
    buildings = catalogue.collections["helsinki", "buildings"]
    bare = dataclasses.replace(buildings, fields=(Field("name", "string"),))
    column = '<th scope="col">Title</th>'
    assert column in pages.collection(ask("/"), buildings)
    assert column not in pages.collection(ask("/"), bare)
    check_whole(pages.collection(ask("/"), bare))


@pytest.mark.parametrize(
    ("uri", "unit"),
    [
        ("http://www.opengis.net/def/crs/OGC/1.3/CRS84", "°"),
        ("http://www.opengis.net/def/crs/EPSG/0/4490", "°"),
        ("http://www.opengis.net/def/crs/EPSG/0/4547", "m"),
        ("http://www.opengis.net/def/crs/EPSG/0/2263", "US survey foot"),
        ("http://www.opengis.net/def/crs/EPSG/0/999999", ""),
        ("", ""),
    ],
)
def test_the_resolution_has_the_unit_of_its_crs(uri: str, unit: str) -> None:
    assert crs_unit(uri) == unit
