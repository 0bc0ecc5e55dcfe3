"""A style with the data it draws: MapLibre styles that work as they are, links to those that do, pages to look at."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from PIL import Image

ORIGIN = "http://city.example:8000"
MAPBOX = "application/vnd.mapbox.style+json"
SLD = b"""<StyledLayerDescriptor version="1.0.0" xmlns="http://www.opengis.net/sld"><NamedLayer><Name>plots</Name><UserStyle>
<FeatureTypeStyle><Rule><PolygonSymbolizer><Fill><CssParameter name="fill">#0000ff</CssParameter></Fill></PolygonSymbolizer>
</Rule></FeatureTypeStyle></UserStyle></NamedLayer></StyledLayerDescriptor>"""
STYLE = "/t/demo/ogc/styles/blue-plots"


@pytest.fixture(scope="module")
def blue(editing_client: Any, editing_city: Any) -> Iterator[str]:
    """An SLD that is offered for one collection."""
    token = {"AUTHORIZATION": f"Bearer {editing_city.token}"}
    created = editing_client.request(
        "PUT",
        f"{STYLE}?collections=plots&title=Blue%20plots&title_zh=%E8%93%9D",
        SLD,
        CONTENT_TYPE="application/vnd.ogc.sld+xml",
        **token,
    )
    assert created.status == 201
    yield STYLE
    assert editing_client.request("DELETE", STYLE, **token).status == 204


@pytest.mark.parametrize("url", [STYLE, "/ogc/styles/demo.blue-plots"])
def test_a_style_of_one_collection_has_its_tiles(blue: str, editing_client: Any, url: str) -> None:
    style = editing_client.json(f"{url}?f=mapbox")
    root, public_id = (ORIGIN + "/ogc", "demo.plots") if "demo." in url else (ORIGIN + "/t/demo/ogc", "plots")
    (template,) = style["sources"]["collection"]["tiles"]
    assert template.startswith(f"{root}/collections/{public_id}/tiles/")
    assert {one["source-layer"] for one in style["layers"] if "source" in one} == {"plots"}
    zoom = style["sources"]["collection"]["minzoom"]
    tile = template.format(z=zoom, y=0, x=0).removeprefix(ORIGIN)
    assert editing_client.get(tile).status in (200, 204)
    etag = editing_client.get(f"{url}?f=mapbox").headers["ETag"]
    assert editing_client.get(f"{url}?f=mapbox", IF_NONE_MATCH=etag).status == 304


def test_a_style_of_many_says_where_it_has_data(editing_client: Any) -> None:
    style = editing_client.json("/t/demo/ogc/styles/any?f=mapbox")
    assert style["sources"] == {}
    address = re.search(r"http\S+/metadata", style["metadata"]["chengtu:use"])
    assert address
    document = editing_client.json(address[0].removeprefix(ORIGIN))
    related = [one["href"] for one in document["links"] if one["rel"] == "related"]
    assert len(related) > 1
    assert not any("secret" in one for one in related)
    for href in related:
        assert editing_client.json(href.removeprefix(ORIGIN))["sources"]["collection"]["tiles"]


def test_metadata_of_a_style_below_a_collection_relates_to_no_other(editing_client: Any) -> None:
    document = editing_client.json("/t/demo/ogc/collections/plots/styles/any/metadata")
    assert not [one for one in document["links"] if one["rel"] == "related"]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    "url",
    [
        "/t/demo/ogc/styles",
        "/ogc/styles",
        "/t/demo/ogc/styles/blue-plots",
        "/ogc/styles/any",
        "/ogc/styles/any/metadata",
        "/t/demo/ogc/collections/plots/styles",
        "/t/demo/ogc/collections/plots/styles/blue-plots",
        "/ogc/collections/demo.plots/styles/buildings/metadata",
    ],
)
def test_every_link_and_image_of_a_page_answers(
    blue: str, editing_client: Any, url: str, language: str
) -> None:
    page = editing_client.get(f"{url}?f=html&lang={language}")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    text = page.body.decode()
    main = text[text.index("<main") : text.index("</main>")]
    images = [unescape(one) for one in re.findall(r'<img[^>]* src="([^"]+)"', main)]
    assert any("/legend?" in one for one in images)
    for address in images:
        reply = editing_client.get(address)
        assert (reply.status, reply.headers["Content-Type"]) == (200, "image/png")
        assert Image.open(io.BytesIO(reply.body)).width > 10
    for address in {unescape(one) for one in re.findall(r'<a [^>]*href="([^"#]+)"', main)} - {
        "/",
        "/t/demo/",
    }:
        assert editing_client.get(address).status == 200, address


def test_the_page_of_a_collection_leads_to_its_styles(editing_client: Any) -> None:
    page = editing_client.get("/t/demo/ogc/collections/plots?f=html").body.decode()
    assert 'href="/t/demo/ogc/collections/plots/styles?f=html"' in page


def test_the_page_of_a_style_offers_every_encoding_the_given_one_first(
    blue: str, editing_client: Any
) -> None:
    text = editing_client.get(f"{STYLE}?f=html&lang=zh").body.decode()
    downloads = re.findall(r'href="([^"]+)" type="[^"]+" download="([^"]+)"', text)
    assert [name for _, name in downloads] == [
        *("blue-plots.1.0.sld", "blue-plots.json", "blue-plots.1.1.sld", "blue-plots.yml")
    ]
    assert editing_client.get(downloads[0][0]).body == SLD
    assert "<h1>蓝</h1>" in text
