"""Points in the scene: colours of classes, classes left out, a picked point's attributes, measuring, a section with its profile."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pyproj
import pytest
from PIL import Image
from playwright.sync_api import Page

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1200)]

type OpenPage = Callable[..., AbstractContextManager[Page]]

LAYER = "chengtuScene.city.layer('tileset-lidar')"
VIEW = "view=24.9515,60.1665,170;340,-45&layers=tileset-lidar,-tileset-buildings,-tileset-trees,-tileset-street-furniture"
GROUND, ROOF = (166, 124, 82), (220, 96, 72)
# The first point that is hit, with what the server says of it.
PICK = """async () => {
  const { city, tools, widget } = chengtuScene;
  const { clientWidth: w, clientHeight: h } = widget.scene.canvas;
  for (let y = h * 0.3; y < h * 0.9; y += 9)
    for (let x = w * 0.4; x < w * 0.9; x += 9) {
      const hit = chengtuScene.pick(x, y);
      if (hit?.layer !== 'tileset-lidar') continue;
      await tools.picking.asked;
      const { place, titled } = tools.picking.panel.shown;
      // Between the points of a roof the pixel under the pointer may be the ground: a point next to it was picked.
      const height = titled['Height (its own reference)'] + city.layer('tileset-lidar').points.heightOffset;
      if (!(Math.abs(height - place.height) < 0.6)) continue;
      return { place, titled, x, y };
    }
  return null;
}"""


def canvas(page: Page) -> np.ndarray:
    """The globe as rows x columns x RGB (int), everything in view loaded and textures on the card."""
    page.evaluate("chengtuScene.settled()")
    page.evaluate("new Promise((resolve) => chengtuScene.city.afterFrames(4, resolve))")
    with Image.open(io.BytesIO(page.locator("#globe canvas").screenshot())) as opened:
        return np.asarray(opened.convert("RGB")).astype(int)


def share(picture: np.ndarray, colour: tuple[int, int, int], within: int = 3) -> float:
    """The part of a picture that has a colour."""
    return float((abs(picture - colour) <= within).all(axis=-1).mean())


def restore(page: Page, state: str) -> None:
    page.evaluate("(state) => chengtuScene.restore(state)", state)


def test_points_are_coloured_filtered_picked_and_cut(open_page: OpenPage) -> None:
    with open_page(f"/t/helsinki/scene#{VIEW}", width=900, height=600) as page:
        page.evaluate("chengtuScene.ready")
        page.evaluate("chengtuScene.tools.bar.open(null)")
        carried = set(page.evaluate(f"Object.keys({LAYER}.points.attributes)"))
        assert {
            "Classification",
            "Intensity",
            "ReturnNumber",
            "NumberOfReturns",
            "GpsTime",
            "PointSourceId",
        } <= carried
        own = canvas(page)

        # By class: the colours of the legend are those on the screen.
        page.evaluate(f"chengtuScene.tools.points.choose({LAYER}, 'Classification')")
        classes = canvas(page)
        assert share(classes, GROUND) > 0.02
        assert share(classes, ROOF) > 0.02
        assert share(own, ROOF) < 0.001
        page.locator("[data-tool=layers]").click()
        legend = page.locator(".scene-legend li")
        assert "Ground" in legend.first.inner_text()
        assert legend.count() == page.evaluate(f"{LAYER}.points.facts.classes.length")

        # A class is left out: its colour goes, and the address says so.
        page.get_by_role("button", name="Look Lidar").click()
        page.locator("input[name=class-6]").uncheck()
        page.evaluate("chengtuScene.tools.bar.open(null)")
        without = canvas(page)
        assert share(without, ROOF) < 0.001
        assert share(without, GROUND) > 0.02
        assert "points=tileset-lidar:off.6" in page.evaluate("chengtuScene.tools.address.href()")
        ground = page.evaluate(PICK)
        assert ground["titled"]["Class"] == "Ground (2)"
        restore(page, VIEW)

        # Other dimensions give other pictures, each with a legend of its own.
        pictures = {}
        for field in ("height", "Intensity", "GpsTime", "ReturnNumber"):
            page.evaluate(f"chengtuScene.tools.points.choose({LAYER}, '{field}')")
            pictures[field] = canvas(page)
            assert page.locator(".scene-legend li").count() >= 2, field
            for other in pictures.keys() - {field}:
                assert (abs(pictures[field] - pictures[other]) > 24).any(axis=-1).mean() > 0.05, (
                    field,
                    other,
                )

        # Larger points cover more; smaller ones less.
        covered = []
        for size in (1, 8):
            restore(page, f"{VIEW}&style=tileset-lidar:ff00ff&points=tileset-lidar:size.{size}")
            covered.append(share(canvas(page), (255, 0, 255)))
        assert 0 < covered[0] < 0.7 * covered[1]

        # A picked point is where the server says that it is, and measuring takes the same place.
        restore(page, VIEW)
        page.evaluate("chengtuScene.settled()")
        found = page.evaluate(PICK)
        offset = page.evaluate(f"{LAYER}.points.heightOffset")
        assert offset == pytest.approx(16)
        assert found["titled"]["Height (its own reference)"] + offset == pytest.approx(
            found["place"]["height"], abs=0.6
        )
        assert {"Intensity", "Class", "Return number", "GpsTime"} <= set(found["titled"])
        page.locator("#tool-measure-body #measure-point").evaluate("(button) => button.click()")
        box = page.locator("#globe canvas").bounding_box()
        assert box is not None
        page.keyboard.press("Escape")
        measured = page.evaluate(
            """([x, y]) => { const { Cesium, tools, city } = chengtuScene;
              let place = null;
              const job = tools.drawing.start({ kind: 'point' });
              tools.drawing.add(new Cesium.Cartesian2(x, y));
              return job.then(([point]) => Cesium.Cartographic.fromCartesian(point).height); }""",
            [found["x"], found["y"]],
        )
        assert measured == pytest.approx(found["place"]["height"], abs=0.05)

        # Together with what stands there: the same ground in the terrain and in the points.
        terrain = page.evaluate(
            """({ lon, lat }) => chengtuScene.widget.scene.globe.getHeight(chengtuScene.Cesium.Cartographic.fromDegrees(lon, lat))""",
            ground["place"],
        )
        assert ground["place"]["height"] == pytest.approx(terrain, abs=1.0)

        # A section cuts points too, and shows those along it.
        restore(page, f"{VIEW}&style=tileset-lidar:each:Classification")
        before = canvas(page)
        restore(page, f"{VIEW}&style=tileset-lidar:each:Classification&cut=24.9500,60.1680,340")
        assert share(canvas(page), ROOF) < share(before, ROOF)
        page.evaluate("chengtuScene.tools.bar.open('section')")
        page.locator("#points-along").click()
        page.locator(".points-profile:visible").wait_for()
        drawn = page.evaluate(
            """() => { const canvas = document.querySelector('.points-profile');
              const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
              return data.filter((value, i) => i % 4 === 3 && value > 0).length; }"""
        )
        assert drawn > 500


def test_the_time_slider_shows_what_was_flown_until_then(open_cloud_page: OpenPage, clouds: Any) -> None:
    """The made scan: an hour of adjusted standard GPS time, its points in no order."""
    middle = [corner + clouds.SIDE / 2 for corner in clouds.CORNER]
    east, north = pyproj.Transformer.from_crs(3879, 4326, always_xy=True).transform(*middle)
    view = f"view={east:.6f},{north:.6f},340;0,-90&layers=tileset-scan,-tileset-flights"
    begin = clouds.BEGIN.timestamp()
    with open_cloud_page(
        f"/t/{clouds.TENANT}/scene#{view}&style=tileset-scan:ff00ff&points=tileset-scan:size.1", width=700
    ) as page:
        page.evaluate("chengtuScene.ready")
        assert page.evaluate("chengtuScene.city.layer('tileset-scan').points.dated")
        page.evaluate("chengtuScene.tools.bar.open('time')")
        told = page.evaluate("chengtuScene.tools.timeline.measure()")
        assert told["low"] == pytest.approx(begin, abs=1)
        page.evaluate("chengtuScene.tools.bar.open(null)")
        covered = []
        for seconds in (None, begin + 1800, begin - 1, begin + 3601):
            page.evaluate("(seconds) => chengtuScene.tools.timeline.show(seconds)", seconds)
            covered.append(share(canvas(page), (255, 0, 255)))
        everything, half, nothing, all_flown = covered
        assert everything > 0.02
        assert 0.35 * everything < half < 0.85 * everything
        assert nothing == 0
        assert all_flown == pytest.approx(everything, rel=0.02)


def test_the_points_panel_speaks_chinese_and_fits_a_phone(open_page: OpenPage) -> None:
    with open_page(f"/t/helsinki/scene#{VIEW}", "zh-CN", width=390, height=780) as page:
        page.evaluate("chengtuScene.ready")
        page.locator("[data-tool=layers]").click()
        page.evaluate(f"chengtuScene.tools.layers.open = {LAYER}; chengtuScene.tools.layers.draw()")
        page.locator(".point-classes input").first.wait_for()
        words = page.locator("#tool-layers").inner_text()
        assert "地面" in words
        assert "着色依据" in words
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate(
            """() => { const panel = document.getElementById('tool-layers'); return panel.scrollWidth <= panel.clientWidth; }"""
        )


def test_the_page_of_a_cloud_counts_before_it_downloads(open_page: OpenPage) -> None:
    with open_page("/t/helsinki/ogc/collections/lidar?f=html&lang=en") as page:
        page.locator(".points-bars tr").first.wait_for()
        assert "Ground" in page.locator(".points-bars").inner_text()
        assert not page.locator("#points-download").is_visible()
        page.locator("#points-form input[name=east]").fill("24.9400")
        page.locator("#points-form select[name=class]").select_option("6")
        page.locator("#points-form select[name=f]").select_option("csv")
        page.locator("#points-form button[type=submit]").click()
        page.locator("#points-download:visible").wait_for()
        page.locator("#points-estimate", has_text="points").wait_for()
        counted = int(page.locator("#points-estimate").inner_text().split()[0].replace(",", ""))
        address = page.locator("#points-download").get_attribute("href")
        assert address is not None
        rows = page.request.get(page.url.split("/t/")[0] + address).text().splitlines()
        assert len(rows) - 1 == counted > 0
