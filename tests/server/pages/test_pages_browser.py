"""The pages in a real browser, over a server of one file: a small sample of what tests/clients/browser tries at length."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from server.pages import PageRequest, Pages, StyleChoice, choose_language, language_cookie
from server.registry.catalogue import Catalogue

ORTHO = "/ogc/collections/helsinki.ortho"
SERIES = "/ogc/collections/auckland.pedestrian-counts"
STYLES = (StyleChoice("ortho", "Imagery"), StyleChoice("grey", "Grey"))
INSTANTS = ("2024-01-05T00:00:00Z", "2024-04-05T12:30:00Z")
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TIMES = [f"2025-12-31T{hour:02}:00:00Z" for hour in range(24)]
READINGS = [None if hour == 5 else hour * 10 for hour in range(24)]


class Quiet(WSGIRequestHandler):
    """Says nothing about requests."""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


class Threads(WSGIServer):
    """A thread per request: browsers open several connections at once."""

    def process_request(self, request: Any, client_address: Any) -> None:
        threading.Thread(target=self._answer, args=(request, client_address), daemon=True).start()

    def _answer(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except (BrokenPipeError, ConnectionResetError):
            return  # the browser left
        finally:
            self.shutdown_request(request)


def make_app(pages: Pages, catalogue: Catalogue) -> Callable[..., Iterable[bytes]]:
    """The portal, one collection with readings, the assets; empty tiles."""
    everything = list(catalogue.collections.values())
    collection = catalogue.collections["auckland", "pedestrian-counts"]
    ortho = catalogue.collections["helsinki", "ortho"]
    location = {
        "type": "Feature",
        "id": "s1",
        "properties": {"name": "Queen Street"},
        "geometry": {"type": "Point", "coordinates": [174.765, -36.85]},
    }
    documents = {
        f"{SERIES}/locations": {"type": "FeatureCollection", "features": [location]},
        f"{SERIES}/locations/s1": {
            "type": "Coverage",
            "domain": {"axes": {"t": {"values": TIMES}}},
            "parameters": {"pedestrians": {"observedProperty": {"label": {"en": "Pedestrians"}}}},
            "ranges": {"pedestrians": {"values": READINGS}},
        },
    }

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        query = dict(part.split("=", 1) for part in environ["QUERY_STRING"].split("&") if "=" in part)
        language = choose_language(environ.get("HTTP_ACCEPT_LANGUAGE"), query.get("lang"))
        request = PageRequest(language, path, f"http://{environ['HTTP_HOST']}", query)
        kind, _, rest = path.removeprefix("/").partition("/")
        if kind in ("static", "vendor"):
            asset = pages.static(rest) if kind == "static" else pages.vendor(rest)
            if asset is None:
                start("404 Not Found", [])
                return [b""]
            start("200 OK", [("Content-Type", asset.media_type)])
            return [asset.file.read_bytes()]
        if path in documents:
            start("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(documents[path]).encode()]
        if "/map/tiles/" in path or path.endswith("/legend"):
            start("200 OK", [("Content-Type", "image/png")])
            return [PIXEL]
        page = {
            ORTHO: lambda: pages.collection(request, ortho, styles=STYLES, instants=INSTANTS),
            "/": lambda: pages.portal(request, catalogue, everything),
            SERIES: lambda: pages.collection(request, collection, None, everything),
        }.get(path)
        if page is None:
            start("204 No Content", [])
            return []
        cookie = language_cookie(query.get("lang"))
        start("200 OK", [*pages.headers().items(), *([("Set-Cookie", cookie)] if cookie else [])])
        return [page().encode()]

    return app


@pytest.fixture(scope="module")
def address(pages: Pages, catalogue: Catalogue) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, make_app(pages, catalogue), Threads, Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def browser(chromium_flags: list[str]) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=chromium_flags)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page that must stay free of errors and never ask another host."""
    context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    problems: list[str] = []
    opened.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on(
        "request",
        lambda r: problems.append(r.url) if not r.url.startswith((address, "data:", "blob:")) else None,
    )
    yield opened
    context.close()
    assert problems == []


def test_the_portal_draws_its_map_and_works_by_keyboard(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_function("() => window.chengtuMap && window.chengtuMap.loaded()")
    assert page.locator(".maplibregl-canvas").count() == 1
    assert page.locator(".map-marker").all_inner_texts() == ["Auckland", "Helsinki"]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip-link"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("buildings")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=buildings*")
    assert page.locator("[data-collection]").count() == 1


def test_the_language_switch_changes_the_page_and_is_kept(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("link", name="中文").click()
    page.wait_for_url("**lang=zh*")
    assert page.locator("html").get_attribute("lang") == "zh-Hans"
    assert page.get_by_role("heading", level=1).inner_text() == "城图 城市数据"
    assert {"name": "chengtu_language", "value": "zh"}.items() <= page.context.cookies()[0].items()


def test_readings_are_drawn_with_their_gap(page: Page, address: str) -> None:
    page.goto(address + SERIES)
    page.wait_for_function("() => window.chengtuChart?.getOption()?.series?.length === 1")
    data = page.evaluate("chengtuChart.getOption().series[0].data")
    assert [value for _, value in data] == READINGS
    assert page.evaluate("chengtuChart.getOption().series[0].connectNulls") is False
    assert page.locator("#series-summary").inner_text() == "23 readings, 1 missing, highest 230"
    page.wait_for_function("() => window.chengtuMap.loaded()")
    assert page.locator("#series-location option").all_inner_texts() == ["Queen Street"]


def test_the_reader_chooses_style_and_instant(page: Page, address: str) -> None:
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url) if "/map/tiles/" in r.url else None)
    page.goto(address + ORTHO)
    page.wait_for_function("() => window.chengtuMap?.loaded() && chengtuMap.getSource('picture')")
    assert page.locator("#map-instant").inner_text() == "2024-04-05 12:30 UTC"
    assert all(url.endswith("datetime=2024-04-05T12%3A30%3A00Z") for url in asked)
    assert all("/styles/" not in url for url in asked)
    asked.clear()
    with page.expect_request("**/styles/grey/legend*"):
        page.locator("#map-style").select_option("grey")
    with page.expect_request("**/styles/grey/map/tiles/**datetime=2024-01-05T00%3A00%3A00Z"):
        page.get_by_role("button", name="One step back in time").click()
    assert page.locator("#map-instant").inner_text() == "2024-01-05"
    assert page.locator("#map-legend img").get_attribute("alt") == "Legend: Grey"
    page.locator("#map-time").focus()
    with page.expect_request("**datetime=2024-04-05T12%3A30%3A00Z"):
        page.keyboard.press("ArrowRight")
    assert page.locator("#map-time").get_attribute("aria-valuetext") == "2024-04-05 12:30 UTC"


def test_a_series_plays_until_it_is_paused(page: Page, address: str) -> None:
    page.goto(address + ORTHO)
    page.wait_for_function("() => window.chengtuMap?.loaded() && chengtuMap.getSource('picture')")
    play = page.locator("#map-time-play")
    play.click()
    page.wait_for_function("() => document.getElementById('map-time').value === '0'")
    page.wait_for_function("() => document.getElementById('map-time').value === '1'")
    play.click()
    assert (play.inner_text(), play.get_attribute("aria-pressed")) == ("Play", "false")


def test_an_address_is_copied_or_left_selected(page: Page, address: str) -> None:
    page.goto(address + SERIES)
    page.get_by_role("button", name="Copy the address: OGC API - EDR, locations").click()
    page.wait_for_function("() => document.querySelector('[data-copy]').textContent !== 'Copy'")
    said = page.locator("[data-copy]").first.inner_text()
    assert said in ("Copied", "Select and copy")
    if said == "Select and copy":
        assert page.evaluate("getSelection().toString()") == f"{address}{SERIES}/locations"


def test_nothing_runs_over_the_edge_of_a_phone(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    for path in ("/", "/?lang=zh", SERIES, ORTHO):
        page.goto(address + path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
