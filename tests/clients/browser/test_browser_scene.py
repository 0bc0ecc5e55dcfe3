"""The 3D scene of the demo city in Chromium: buildings, terrain, points and pipes are really there."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1200)]

type OpenPage = Callable[..., AbstractContextManager[Page]]

# Pick over a grid until something of the wanted layer is hit; the pixel is tried first by a depth-free pick.
PICK = """([layer, step]) => {
  const { clientWidth: w, clientHeight: h } = chengtuScene.widget.scene.canvas;
  for (let y = h * 0.25; y < h * 0.95; y += step)
    for (let x = w * 0.35; x < w * 0.95; x += step) {
      const hit = chengtuScene.pick(x, y);
      if (hit && hit.layer === layer) return hit;
    }
  return null;
}"""


def canvas(page: Page) -> np.ndarray:
    """The globe as rows x columns x RGB (uint8)."""
    return np.asarray(Image.open(io.BytesIO(page.locator("#globe canvas").screenshot())).convert("RGB"))


def only(page: Page, wanted: str) -> None:
    """Show one tileset and hide the others, with everything loaded."""
    page.evaluate(
        """(wanted) => chengtuScene.layers
             .filter((layer) => layer.tileset)
             .forEach((layer) => chengtuScene.setVisible(layer.settings.id, layer.settings.id === wanted))""",
        wanted,
    )
    page.evaluate("chengtuScene.settled()")


def pick(page: Page, layer: str, step: int = 12) -> dict[str, Any] | None:
    found: dict[str, Any] | None = page.evaluate(PICK, [layer, step])
    return found


def test_the_scene_shows_the_city_from_sky_to_underground(open_page: OpenPage) -> None:
    # One page for all steps: on a machine without a graphics card, building the scene is most of the time.
    with open_page("/t/helsinki/scene", width=900, height=600) as page:
        page.evaluate("chengtuScene.ready")
        assert "Could not" not in page.locator("#scene-status").inner_text()
        layers = page.evaluate("chengtuScene.layers.map((l) => [l.settings.id, l.failed])")
        assert not [name for name, failed in layers if failed]
        shown = set(page.evaluate("chengtuScene.layers.filter((l) => l.visible).map((l) => l.id)"))
        underground = {"tileset-pipes", "tileset-manholes", "tileset-boreholes", "tileset-tunnel"}
        assert {"tileset-buildings", "tileset-trees", "tileset-street-furniture", *underground} <= shown
        assert "tileset-geology" not in shown  # it would hide what is buried in it, until something is cut
        assert len(np.unique(canvas(page).reshape(-1, 3), axis=0)) > 1000
        assert "© OpenStreetMap contributors" in page.locator(".scene-credits").inner_text()
        assert page.locator("#layer-list .badge-simulated").count() >= 3

        terrain = page.evaluate("chengtuScene.widget.scene.terrainProvider.availability !== undefined")
        assert terrain

        with_buildings = canvas(page)
        building = pick(page, "tileset-buildings")
        assert building is not None
        assert building["properties"]
        assert page.locator("#feature-panel table tr").count() >= 1
        page.keyboard.press("Escape")
        assert page.locator("#feature-panel").is_hidden()

        only(page, "tileset-lidar")
        points = canvas(page)
        assert (with_buildings != points).any(axis=2).mean() > 0.01
        # Its points fade, and the scene goes on drawing.
        page.evaluate("chengtuScene.tools.layers.fade(chengtuScene.city.layer('tileset-lidar'), 0.3, true)")
        page.evaluate("chengtuScene.settled()")
        assert (canvas(page) != points).any(axis=2).mean() > 0.001
        only(page, "none")
        assert (canvas(page) != points).any(axis=2).mean() > 0.001

        only(page, "tileset-pipes")
        page.locator("#view-underground").click()
        assert page.locator("#view-underground").get_attribute("aria-pressed") == "true"
        page.evaluate("chengtuScene.settled()")
        pipe = pick(page, "tileset-pipes", 5)
        assert pipe is not None
        assert {"Network", "Outer diameter (m)", "Depth of the axis (m)"} <= set(pipe["properties"])
        assert pipe["properties"]["Network"] in ("water", "sewer", "heat")
        assert page.locator("#feature-panel .badge-simulated").count() == 1
        # What was hit lies below the ground that is drawn over it.
        below = page.evaluate(
            """() => { const { Cesium, tools, widget } = chengtuScene;
              const { lon, lat, height } = tools.picking.panel.shown.place;
              return widget.scene.globe.getHeight(Cesium.Cartographic.fromDegrees(lon, lat)) - height; }"""
        )
        assert 0.3 < below < 6.0

        # What the server says of the same place: the ground, and the soil beneath it.
        page.locator("#feature-panel .links button").click()
        page.locator("#feature-panel .profile .ground").wait_for()
        assert "Geological layers" in page.locator("#feature-panel .profile .below").all_inner_texts()[0]

        page.locator("#globe").focus()
        page.keyboard.press("h")
        assert page.locator("#view-underground").get_attribute("aria-pressed") == "false"
        before = page.evaluate("chengtuScene.widget.camera.heading")
        page.keyboard.press("d")
        assert page.evaluate("chengtuScene.widget.camera.heading") != pytest.approx(before)


def test_the_scene_speaks_chinese_on_a_phone(open_page: OpenPage) -> None:
    with open_page("/t/helsinki/scene", "zh-CN", width=390, height=780) as page:
        page.evaluate("chengtuScene.ready")
        assert page.locator("#view-underground").inner_text() == "透视地下"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
