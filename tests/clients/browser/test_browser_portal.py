"""The portal of the demo city in Chromium: pages, maps and charts are really drawn, by mouse and by keyboard."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

type OpenPage = Callable[..., AbstractContextManager[Page]]

OSM = "© OpenStreetMap contributors"
HELSINKI = "/t/helsinki/ogc/collections"
# Accent of drawn data in the light look (css/chengtu.css, --map-data).
DATA_COLOUR = (11, 110, 117)


def picture(page: Page, selector: str) -> np.ndarray:
    """What an element shows, as rows x columns x RGB (uint8)."""
    image = Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB")
    return np.asarray(image)


def share_near(pixels: np.ndarray, colour: tuple[int, int, int], distance: float = 110) -> float:
    """The part of the pixels within an RGB distance of a colour."""
    difference = pixels.astype(float) - np.array(colour, dtype=float)
    return float((np.sqrt((difference**2).sum(axis=2)) < distance).mean())


def wait_for_map(page: Page) -> None:
    page.wait_for_function(
        "() => window.chengtuMap && window.chengtuMap.loaded() && chengtuMap.areTilesLoaded()"
    )


@pytest.mark.parametrize(("locale", "heading"), [("en-GB", "Collections"), ("zh-CN", "数据集")])
def test_the_portal_lists_the_city_with_its_credits(open_page: OpenPage, locale: str, heading: str) -> None:
    with open_page("/", locale) as page:
        wait_for_map(page)
        assert page.locator("#list-heading").inner_text() == heading
        names = page.locator("[data-collection]").evaluate_all("all => all.map(e => e.dataset.collection)")
        assert {"helsinki.buildings", "helsinki.pipes", "auckland.pedestrian-counts"} <= set(names)
        assert page.locator(".map-marker:not(.map-marker-minor)").count() == 2
        assert OSM in page.locator(".site-footer").inner_text()
        # Relief of the world: neither the sea nor the land alone fills the map.
        assert len(np.unique(picture(page, "#map").reshape(-1, 3), axis=0)) > 500


def test_a_search_by_keyboard_leads_to_a_collection(open_page: OpenPage) -> None:
    with open_page("/t/helsinki/") as page:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == "q":
                break
        page.keyboard.type("buildings")
        page.keyboard.press("Enter")
        page.wait_for_url("**q=buildings*")
        card = page.locator('[data-collection="buildings"] h3 a')
        card.focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/collections/buildings*")
        wait_for_map(page)
        assert OSM in page.locator(".site-footer").inner_text()


@pytest.mark.parametrize("name", ["buildings", "streets", "addresses", "pipes"])
def test_features_are_drawn_and_a_click_tells_their_attributes(open_page: OpenPage, name: str) -> None:
    with open_page(f"{HELSINKI}/{name}?f=html") as page:
        wait_for_map(page)
        assert share_near(picture(page, "#map"), DATA_COLOUR) > 0.002
        page.evaluate("chengtuMap.jumpTo({zoom: 17})")
        wait_for_map(page)
        spot = page.evaluate(
            """() => {
              const layers = chengtuMap.getStyle().layers.map(l => l.id).filter(id => id.startsWith("data-"));
              const { clientWidth: w, clientHeight: h } = chengtuMap.getCanvas();
              for (let y = 10; y < h - 10; y += 3) for (let x = 10; x < w - 60; x += 3)
                if (chengtuMap.queryRenderedFeatures([x, y], { layers }).length) return [x, y];
              return null;
            }"""
        )
        assert spot is not None
        page.locator("#map canvas").click(position={"x": spot[0], "y": spot[1]})
        page.locator("#attributes table").wait_for()
        assert page.locator("#attributes tr").count() >= 1


@pytest.mark.parametrize("name", ["ortho", "terrain"])
def test_rasters_are_drawn_as_map_tiles(open_page: OpenPage, name: str) -> None:
    with open_page(f"{HELSINKI}/{name}?f=html") as page:
        wait_for_map(page)
        pixels = picture(page, "#map")
        middle = pixels[
            pixels.shape[0] // 4 : -pixels.shape[0] // 4, pixels.shape[1] // 4 : -pixels.shape[1] // 4
        ]
        assert len(np.unique(middle.reshape(-1, 3), axis=0)) > 200
        assert page.locator(".title-row .badge-simulated").count() == 1


def test_readings_are_drawn_from_the_edr_api(open_page: OpenPage) -> None:
    with open_page("/t/auckland/ogc/collections/pedestrian-counts?f=html", "zh-CN") as page:
        page.wait_for_function("() => window.chengtuChart?.getOption()?.series?.length === 1")
        assert page.locator("#series-location option").count() == 21
        first = page.evaluate("chengtuChart.getOption().series[0].data.length")
        assert first > 24 * 13
        assert share_near(picture(page, "#series-chart"), DATA_COLOUR) > 0.002
        page.locator("#series-from").fill("2025-03-01")
        page.locator("#series-to").fill("2025-03-02")
        with page.expect_response(lambda response: "datetime=2025-03-01" in response.url):
            page.locator("#series-form button").click()
        page.wait_for_function("() => chengtuChart.getOption().series[0].data.length === 48")
        wait_for_map(page)


def test_items_are_listed_mapped_and_paged(open_page: OpenPage) -> None:
    with open_page(f"{HELSINKI}/buildings/items?f=html&limit=5") as page:
        wait_for_map(page)
        assert page.locator(".data tbody tr").count() == 5
        first = page.locator(".data tbody th").all_inner_texts()
        page.locator('a[rel="next"]').first.click()
        page.wait_for_load_state()
        assert not set(first) & set(page.locator(".data tbody th").all_inner_texts())
        page.locator(".data tbody th a").first.click()
        page.locator(".facts").wait_for()
        wait_for_map(page)
        assert share_near(picture(page, "#map"), DATA_COLOUR) > 0.001


@pytest.mark.parametrize(
    "path",
    [
        "/ogc/?f=html",
        "/ogc/conformance?f=html",
        "/ogc/api?f=html",
        "/ogc/collections?f=html",
        f"{HELSINKI}/buildings/queryables?f=html",
        f"{HELSINKI}/buildings/schema?f=html",
        f"{HELSINKI}/buildings/tiles?f=html",
        "/ogc/processes?f=html",
        "/ogc/collections/catalogue/items?f=html",
    ],
)
def test_every_other_page_opens_and_fits_a_phone(open_page: OpenPage, path: str) -> None:
    with open_page(path, "zh-CN", width=390, height=844) as page:
        assert page.locator("html").get_attribute("lang") == "zh-Hans"
        assert page.locator("h1").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_page_that_is_not_there_says_so(open_page: OpenPage, city: str, browser) -> None:  # type: ignore[no-untyped-def]
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    answer = page.goto(f"{city}/t/nowhere/")
    assert answer is not None
    assert answer.status == 404
    assert page.locator("h1").inner_text() == "There is nothing here"
    context.close()
