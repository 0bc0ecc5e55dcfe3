"""The scene and the light view in a browser, over a city without tiles and over one small block: what the tools do by themselves.

tests/clients/browser tries them over the demo city.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from server.http.app import create_app
from server.pages import PageRequest, Pages, choose_language
from server.publish import PublishRequest, SceneOptions, publish
from server.registry.catalogue import Catalogue, Collection
from server.registry.registry import open_registry
from server.settings import load_settings

SCENE, LIGHT = "/t/helsinki/scene", "/t/helsinki/extrusion"

type OpenPage = Callable[..., AbstractContextManager[Page]]


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
    """Both pages and the assets; every tile is empty."""
    tenant = catalogue.tenants["helsinki"]
    vector: list[Collection] = [
        c
        for c in catalogue.collections.values()
        if c.tenant == "helsinki" and c.id in ("buildings", "streets")
    ]

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
        if path in (SCENE, LIGHT):
            start("200 OK", list(pages.headers(scene=path == SCENE).items()))
            if path == SCENE:
                return [pages.scene(request, tenant, []).encode()]
            return [pages.extrusion(request, tenant, vector).encode()]
        start("204 No Content", [])
        return []

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


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a whole server with houses on the ellipsoid and, 3 m below it, pipes from west to east."""
    folder = tmp_path_factory.mktemp("block")
    settings = load_settings((), {}, {"data.home": folder / "home"})
    house = SceneOptions(height_field="height")
    pipe = SceneOptions(diameter_field="diameter", depth_field="depth")
    with open_registry(settings) as registry:
        registry.add_tenant("block", "Block", "街区")
        for name, scene, features in (("houses", house, houses()), ("pipes", pipe, pipes())):
            file = folder / f"{name}.geojson"
            file.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
            request = PublishRequest(
                files=(file,), tenant="block", id=name, titles={"en": name}, scene=scene,
                attribution="© the makers of this test", field_titles={"name": "Name of it"},
            )  # fmt: skip
            publish(request, registry, settings)
    server = make_server("127.0.0.1", 0, create_app(settings), Threads, Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


WEST, SOUTH = 114.3, 30.6


def houses() -> list[dict[str, Any]]:
    """Ten houses, 100 m apart, of heights that a seed says; none over a pipe."""
    heights = np.random.default_rng(5).uniform(12.0, 40.0, 10).round(1).tolist()
    found = []
    for number, height in enumerate(heights):
        x, y = WEST + number * 1e-3, SOUTH + 6e-4
        ring = [[x, y], [x + 4e-4, y], [x + 4e-4, y + 4e-4], [x, y + 4e-4], [x, y]]
        found.append(feature("Polygon", [ring], name=f"house {number}", height=height))
    return found


def pipes() -> list[dict[str, Any]]:
    """Three pipes 40 m apart, 2 m wide, their axes 3 m below the ground."""
    lines = ([[WEST, SOUTH - n * 4e-4], [WEST + 9e-3, SOUTH - n * 4e-4]] for n in range(3))
    return [
        feature("LineString", line, name=f"pipe {n}", diameter=2.0, depth=3.0) for n, line in enumerate(lines)
    ]


def feature(kind: str, coordinates: Any, **properties: Any) -> dict[str, Any]:
    """GeoJSON."""
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": properties,
    }


@pytest.fixture
def open_page(browser: Browser, address: str) -> OpenPage:
    """`with open_page(path, "zh-CN") as page:`; no error, no warning, nothing from elsewhere."""

    @contextmanager
    def opened(path: str, locale: str = "en-GB", address: str = address) -> Iterator[Page]:
        context = browser.new_context(
            locale=locale, viewport={"width": 700, "height": 500}, reduced_motion="reduce"
        )
        context.set_default_timeout(90_000)
        page = context.new_page()
        problems: list[str] = []
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda r: None if r.url.startswith((address, "data:", "blob:")) else problems.append(r.url),
        )
        try:
            page.goto(address + path)
            page.evaluate("chengtuScene.ready")
            yield page
        finally:
            context.close()
        assert problems == []

    return opened


def until(page: Page, condition: str) -> None:
    """Wait for an expression to hold; the page's policy keeps Playwright from polling a text."""
    page.evaluate(
        f"""async () => {{
          for (let i = 0; i < 400; i += 1) {{
            if ({condition}) return;
            await new Promise((resolve) => setTimeout(resolve, 50));
          }}
          throw new Error("this never came true");
        }}"""
    )


def measured(page: Page, kind: str, places: list[tuple[float, float, float]]) -> list[list[str]]:
    """What the measuring tool says of places (degrees, metres)."""
    rows: list[list[str]] = page.evaluate(
        """([kind, places]) => {
          const { Cesium, tools } = chengtuScene;
          tools.measuring.finish(kind, places.map((p) => Cesium.Cartesian3.fromDegrees(...p)));
          return tools.measuring.rows;
        }""",
        [kind, places],
    )
    return rows


@pytest.mark.timeout(240)
def test_the_tools_of_the_scene(open_page: OpenPage) -> None:
    state = "view=114.3,30.6,800;0,-60&under=40&cut=114.3,30.6,90&box=114.3,30.6,0,500,400,-30,60"
    with open_page(f"{SCENE}#{state}&nonsense=1") as page:
        # What the address says is there; what nobody can read is named, and the rest stays.
        assert "nonsense" in page.locator("#scene-status").inner_text()
        shown = page.evaluate("chengtuScene.state()")
        assert (shown["under"], shown["cut"]["heading"], shown["box"]["width"]) == (0.4, 90, 500)
        assert page.evaluate("chengtuScene.widget.scene.globe.clippingPlanes.length") == 7
        assert page.locator("#view-underground").get_attribute("aria-pressed") == "true"

        # The plane of the section stands where it was said: it keeps the east and takes the west.
        distances = page.evaluate(
            """() => { const { Cesium, tools } = chengtuScene;
              const { frame, planes } = tools.cuts.wanted.get("section");
              const world = Cesium.Plane.transform(new Cesium.Plane(planes[0].normal, planes[0].distance), frame);
              return [114.301, 114.299].map((lon) => Cesium.Plane.getPointDistance(world, Cesium.Cartesian3.fromDegrees(lon, 30.6))); }"""
        )
        assert distances == pytest.approx([95.9, -95.9], abs=0.2)
        page.evaluate("chengtuScene.tools.section.shift(50)")
        moved = page.evaluate("chengtuScene.state().cut")
        assert moved["lon"] == pytest.approx(114.3 + 50 / 95_900, abs=1e-5)

        # A step of the history, and back.
        page.evaluate("chengtuScene.tools.section.set(null)")
        until(page, "!location.hash.includes('cut=')")
        page.go_back()
        until(page, "chengtuScene.state().cut !== null")

        # Known distances: 0.001 degrees of longitude are 95.9 m here.
        rows = measured(page, "distance", [(114.3, 30.6, 20), (114.301, 30.6, 50)])
        assert rows == [
            ["Straight line", "100.48 m"],
            ["Horizontal", "95.9 m"],
            ["Height difference", "+30 m"],
        ]
        area = measured(
            page, "area", [(114.3, 30.6, 0), (114.301, 30.6, 0), (114.301, 30.601, 0), (114.3, 30.601, 0)]
        )
        assert area[0] == ["Area on the map", "1.063 ha"]
        place = dict(map(tuple, measured(page, "point", [(114.3, 30.6, 21.5)])))
        assert place["CGCS2000, 3-degree zone 114°E (EPSG:4547)"] == "E 528770.24  N 3386666.25"
        assert place["Height above the ellipsoid"] == "21.5 m"

        # By keyboard alone: Enter sets a point in the middle, Backspace takes it back, Escape gives up.
        page.evaluate("chengtuScene.restore('view=114.3,30.6,800;0,-60')")
        page.locator("[data-tool=measure]").click()
        page.locator("#measure-distance").click()
        page.keyboard.press("Enter")
        assert page.evaluate("chengtuScene.tools.drawing.job.points.length") == 1
        page.keyboard.press("Backspace")
        assert page.evaluate("chengtuScene.tools.drawing.job.points.length") == 0
        page.keyboard.press("Escape")
        assert page.evaluate("chengtuScene.tools.drawing.job") is None

        # The sun at noon of midsummer stands in the south; a flight ends by Escape.
        page.evaluate("chengtuScene.tools.sun.set('2026-06-21T04:24Z')")
        page.evaluate(
            "chengtuScene.tools.flight.start([0, 1].map((i) => ({ lon: 114.3 + i / 100, lat: 30.6, height: 300, heading: null, pitch: -20 })))"
        )
        until(page, "chengtuScene.state().view.lon > 114.3")
        assert page.evaluate("chengtuScene.state().view.heading") == pytest.approx(90, abs=1)
        page.keyboard.press("Escape")
        assert page.evaluate("chengtuScene.tools.flight.flying") is None
        assert page.evaluate("chengtuScene.tools.sharing.picture().then((blob) => blob.type)") == "image/png"


PICK = """async ([lon, lat, height]) => {
  const { Cesium, widget, tools } = chengtuScene;
  const at = Cesium.SceneTransforms.worldToWindowCoordinates(widget.scene, Cesium.Cartesian3.fromDegrees(lon, lat, height));
  const hit = chengtuScene.pick(at.x, at.y);
  return hit && { ...hit, height: tools.picking.panel.shown.place.height };
}"""


@pytest.mark.timeout(240)
def test_a_house_and_a_pipe_under_the_ground_tell_their_attributes(open_page: OpenPage, block: str) -> None:
    view = f"view={WEST + 4.2e-3},{SOUTH - 1.2e-3},160;0,-45"
    with open_page(f"/t/block/scene#{view}", address=block) as page:
        page.evaluate("chengtuScene.tools.bar.open(null)")
        assert page.evaluate("chengtuScene.layers.map((layer) => [layer.id, layer.group, layer.failed])") == [
            ["tileset-houses", "above", False],
            ["tileset-pipes", "underground", False],
        ]
        tall = houses()[4]["properties"]["height"]
        house = page.evaluate(PICK, [WEST + 4.2e-3, SOUTH + 8e-4, tall])
        assert house["layer"] == "tileset-houses"
        assert house["properties"]["Name of it"] == "house 4"
        assert house["height"] == pytest.approx(tall, abs=1.0)

        # The ground hides the pipes, until it is glass.
        assert page.evaluate(PICK, [WEST + 4.2e-3, SOUTH, -2.0]) is None
        page.evaluate(f"chengtuScene.restore('{view}&under=70')")
        page.evaluate("chengtuScene.settled()")
        pipe = page.evaluate(PICK, [WEST + 4.2e-3, SOUTH, -2.0])
        assert pipe["layer"] == "tileset-pipes"
        assert pipe["properties"]["Name of it"] == "pipe 0"
        assert pipe["height"] == pytest.approx(-2.0, abs=0.6)
        assert "pipe 0" in page.locator("#feature-panel").inner_text()

        # From sky to bedrock, as the server says: this pipe under the ellipsoid.
        page.locator("#feature-panel .links button").click()
        page.locator("#feature-panel .profile li").first.wait_for()
        assert "pipe 0" in page.locator("#feature-panel .profile").inner_text()


@pytest.mark.timeout(120)
def test_a_device_with_little_memory_gets_the_light_view_of_the_same_place(
    browser: Browser, address: str
) -> None:
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(90_000)
    page = context.new_page()
    page.add_init_script("Object.defineProperty(navigator, 'deviceMemory', { get: () => 1 })")
    page.goto(f"{address}{SCENE}#view=24.94,60.17,800;20,-50")
    page.wait_for_url(f"{address}{LIGHT}?light=1#view=*")
    page.evaluate("chengtuScene.ready")
    centre = page.evaluate("chengtuScene.map.getCenter()")
    assert centre["lng"] == pytest.approx(24.94, abs=0.02)
    assert page.locator("#full-view").get_attribute("href").startswith(f"{SCENE}?full=1#view=")
    context.close()


@pytest.mark.timeout(120)
def test_the_light_view_in_both_languages(open_page: OpenPage) -> None:
    with open_page(f"{LIGHT}#layers=imagery-streets&cut=24.9,60.1,90") as page:
        assert page.locator("#layer-list").inner_text().split("\n")[0] == "Above ground"
        assert page.evaluate("chengtuScene.layers.find('imagery-streets').visible") is True
        page.locator("[name=imagery-streets]").click()
        page.evaluate("chengtuScene.map.jumpTo({ center: [24.94, 60.17], zoom: 15, pitch: 40, bearing: 20 })")
        until(page, "location.hash.startsWith('#view=') && !location.hash.includes('streets')")
        assert "cut=24.9,60.1,90" in page.evaluate("location.hash")  # kept for the scene
        view = page.evaluate("chengtuScene.follow.state().view")
        page.evaluate("(view) => chengtuScene.follow.look(view)", view)
        again = page.evaluate("chengtuScene.map.getCenter()")
        assert (again["lng"], again["lat"]) == pytest.approx((24.94, 60.17), abs=2e-4)
        assert page.locator("#full-view").get_attribute("href").startswith(f"{SCENE}?full=1#view=")
    with open_page(LIGHT, "zh-CN") as page:
        assert page.locator("h1").inner_text().startswith("建筑轻量视图")
        assert page.locator("#full-view").inner_text() == "完整三维场景"


def test_settings_are_json(pages: Pages, catalogue: Catalogue, ask: Any) -> None:
    page = pages.extrusion(
        ask(LIGHT, "zh"), catalogue.tenants["helsinki"], list(catalogue.collections.values())
    )
    block = page.partition('id="map-settings">')[2].partition("</script>")[0]
    assert json.loads(block)["messages"]["tool_layers"] == "图层"
