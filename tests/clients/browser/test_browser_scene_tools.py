"""The tools of the scene over the demo city: cuts, pits, time, comparison, colours, search, and the light view."""

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

PIT = "pit=6;24.9440,60.1700;24.9454,60.1700;24.9450,60.1708;24.9440,60.1705"


def canvas(page: Page) -> np.ndarray:
    """The globe as rows x columns x RGB (uint8), everything in view loaded."""
    page.evaluate("chengtuScene.settled()")
    return np.asarray(Image.open(io.BytesIO(page.locator("#globe canvas").screenshot())).convert("RGB"))


def changed(before: np.ndarray, after: np.ndarray) -> float:
    """The part of the picture that is clearly another."""
    return float((np.abs(before.astype(int) - after) > 24).any(axis=2).mean())


def restore(page: Page, state: str) -> None:
    page.evaluate("(state) => chengtuScene.restore(state)", state)


def shown(page: Page, layer: str) -> int:
    """How many loaded features of a layer are shown; its style has reached them."""
    page.evaluate("chengtuScene.settled()")
    count: int = page.evaluate(
        """(id) => { let n = 0;
          for (const content of chengtuScene.city.layer(id).fields.contents)
            for (let i = 0; i < content.featuresLength; i += 1) n += content.getFeature(i).show ? 1 : 0;
          return n; }""",
        layer,
    )
    return count


def test_cuts_time_and_comparison_change_what_is_seen(open_page: OpenPage) -> None:
    with open_page("/t/helsinki/scene", width=900, height=600) as page:
        page.evaluate("chengtuScene.ready")
        page.evaluate("chengtuScene.tools.bar.open(null)")  # the panel lies over half of the picture
        whole = canvas(page)

        # The section takes away what is nearer to the reader, of the ground and of the buildings.
        page.evaluate("chengtuScene.tools.section.acrossView()")
        view = "view=24.9486,60.1615,900;348,-38"
        restore(page, f"{view}&cut=24.9444,60.1713,348")
        assert changed(whole, canvas(page)) > 0.1
        assert page.evaluate("chengtuScene.city.tilesets.every((t) => t.clippingPlanes?.length === 1)")
        # Volumes of soil show as long as something is cut, without the lid that would come through the ground.
        page.evaluate("chengtuScene.tools.section.set({ lon: 24.9444, lat: 60.1713, heading: 348 })")
        assert page.evaluate("chengtuScene.city.layer('tileset-geology').visible")
        assert page.evaluate("Boolean(chengtuScene.city.layer('tileset-geology').tileset.customShader)")
        # Its frame is taken by the pointer and pulled: the section follows.
        spot = page.evaluate(
            """() => { const { Cesium, tools, widget } = chengtuScene;
              const [a, b] = tools.section.handle.outline().slice(1, 3);
              const top = Cesium.Cartesian3.midpoint(a, b, new Cesium.Cartesian3());
              widget.scene.render();
              const { x, y } = Cesium.SceneTransforms.worldToWindowCoordinates(widget.scene, top);
              const box = widget.canvas.getBoundingClientRect();
              return [x + box.left, y + box.top]; }"""
        )
        page.mouse.move(*spot)
        page.mouse.down()
        page.mouse.move(spot[0], spot[1] - 20)
        page.mouse.move(spot[0], spot[1] - 40)
        page.mouse.up()
        assert page.evaluate("chengtuScene.tools.section.offset") > 10
        page.evaluate("chengtuScene.tools.section.set(null)")
        assert not page.evaluate("chengtuScene.city.layer('tileset-geology').visible")
        restore(page, view)
        assert page.evaluate("chengtuScene.city.tilesets.every((t) => !t.clippingPlanes)")
        plain = canvas(page)

        # The time slider hides what was not yet built, and gives it back.
        every = shown(page, "tileset-pipes")
        restore(page, f"{view}&time=1900-01-01")
        early = shown(page, "tileset-pipes")
        assert 0 <= early < every
        restore(page, view)
        assert shown(page, "tileset-pipes") == every

        # Colours by an attribute, with a legend of its values.
        page.evaluate(
            "chengtuScene.tools.colours.choose(chengtuScene.city.layer('tileset-buildings'), 'height')"
        )
        assert changed(plain, canvas(page)) > 0.05
        assert page.locator(".scene-legend li").count() == 5
        assert "style=tileset-buildings:viridis:height:" in page.evaluate("chengtuScene.tools.address.href()")
        page.evaluate("chengtuScene.tools.colours.set(chengtuScene.city.layer('tileset-buildings'), null)")

        # Two sides: left without buildings, and each at its own instant.
        restore(page, f"{view}&compare=50;-tileset-buildings;")
        half = canvas(page)
        width = half.shape[1] // 2
        left, right = np.s_[:, 130 : width - 20], np.s_[:, width + 20 :]
        assert changed(plain[left], half[left]) > 0.1 > changed(plain[right], half[right])
        restore(page, f"{view}&compare=50;datetime=1900-01-01;datetime=2020-01-01")
        assert page.evaluate("chengtuScene.city.layer('tileset-pipes').twin.instant.seconds") == 1577836800
        restore(page, view)
        assert page.evaluate("chengtuScene.layers.every((layer) => layer.twin === null)")


def test_a_pit_shows_what_is_buried(open_page: OpenPage) -> None:
    with open_page(
        f"/t/helsinki/scene#view=24.9449,60.1684,190;358,-40&layers=-tileset-buildings&{PIT}",
        width=800,
        height=600,
    ) as page:
        page.evaluate("chengtuScene.ready")
        page.locator("[data-tool=underground]").click()
        rows = page.locator("#tool-pit-body table tr").all_inner_texts()
        assert len(rows) == 3
        dug = canvas(page)
        assert page.evaluate("chengtuScene.tools.excavation.walls !== null")
        restore(page, "view=24.9449,60.1684,190;358,-40&layers=-tileset-buildings")
        assert changed(dug, canvas(page)) > 0.03
        assert page.evaluate("chengtuScene.widget.scene.globe.clippingPolygons === undefined")


def test_a_building_is_found_by_its_name_and_shines(open_page: OpenPage) -> None:
    with open_page("/t/helsinki/scene", "zh-CN", width=800, height=600) as page:
        page.evaluate("chengtuScene.ready")
        page.locator("[data-tool=search]").click()
        page.locator("#tool-search-body input").fill("tuomiokirkko")
        page.keyboard.press("Enter")
        hit = page.locator(".hits button").first
        hit.wait_for()
        hit.click()
        page.evaluate("chengtuScene.settled()")
        marked: list[Any] = page.evaluate(
            "[...chengtuScene.tools.highlights.features.keys()].map((f) => f.getProperty('name'))"
        )
        assert marked
        assert all("tuomiokirkko" in name for name in marked)
        assert "赫爾辛基座堂" in page.locator("#feature-panel").inner_text()
        assert page.locator("#feature-panel .links a").first.get_attribute("href").endswith("?f=html")


def test_the_light_view_raises_buildings_and_tells_of_them(open_page: OpenPage) -> None:
    with open_page("/t/helsinki/extrusion", width=1000, height=700) as page:
        page.evaluate("chengtuScene.ready")
        found = page.evaluate(
            """() => { const { map } = chengtuScene;
              return map.queryRenderedFeatures(undefined, { layers: ['tileset-buildings'] }).length; }"""
        )
        assert found > 100
        assert page.evaluate("chengtuScene.map.getTerrain() !== null")
        page.evaluate("chengtuScene.layers.show(1850)")
        page.evaluate("chengtuScene.settled()")
        assert page.evaluate("chengtuScene.map.getFilter('tileset-buildings')[0]") == "all"
        page.evaluate("chengtuScene.layers.show(null)")
        page.mouse.click(560, 475)
        page.locator("#feature-panel table").wait_for()
        assert "Height above ground (m)" in page.locator("#feature-panel").inner_text()
