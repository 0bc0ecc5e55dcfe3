"""CesiumJS as the server serves it, in Chromium, on an empty page: one thing drawn on white, looked at and picked."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import requests
from PIL import Image
from playwright.sync_api import Browser, Page

WIDTH, HEIGHT = 500, 400
_BASE = re.compile(r'(/vendor/cesium@[^"\\]*?/)(?:index\.js|Widgets)')
_START = """async (base) => {
  window.CESIUM_BASE_URL = base;
  window.Cesium = await import(base + 'index.js');
  document.head.innerHTML = '<style>body { margin: 0 } #globe, .cesium-widget, canvas { width: 100%; height: 100% }</style>';
  window.seen = { failed: [], ids: new Set() };
  window.open3d = (extra = {}) => {
    window.widget?.destroy();
    document.body.innerHTML = '<div id="globe" style="width:SIZE_Xpx;height:SIZE_Ypx"></div>';
    const widget = new Cesium.CesiumWidget('globe', { baseLayer: false, scene3DOnly: true, useDefaultRenderLoop: false,
      skyBox: false, skyAtmosphere: false, contextOptions: { webgl: { preserveDrawingBuffer: true } }, ...extra });
    widget.scene.backgroundColor = Cesium.Color.WHITE;
    widget.scene.globe.show = Boolean(extra.terrainProvider);
    widget.scene.fog.enabled = false;
    window.widget = widget;
    window.seen = { failed: [], ids: new Set() };
    widget.scene.renderError.addEventListener((_, error) => seen.failed.push(String(error)));
    return widget;
  };
  // Renders until `done()` has been true for so many frames, at most `seconds`.
  window.settled = async (done, frames = 8, seconds = 90) => {
    let quiet = 0;
    for (const until = performance.now() + 1000 * seconds; quiet < frames && performance.now() < until;) {
      widget.render();
      await new Promise((resolve) => setTimeout(resolve, 40));
      quiet = done() ? quiet + 1 : 0;
    }
    return quiet >= frames;
  };
  window.watch = (tileset) => {
    tileset.tileFailed.addEventListener((event) => seen.failed.push(`${event.url} ${event.message}`));
    const noted = (content) => {
      for (const inner of content.innerContents ?? []) noted(inner);
      for (let number = 0; number < content.featuresLength; number += 1) {
        const feature = content.getFeature(number);
        seen.ids.add(String(feature.getProperty('id')));
      }
    };
    tileset.tileVisible.addEventListener((tile) => noted(tile.content));
  };
  window.lookAt = (sphere, pitch, times) => {
    const range = Math.max(sphere.radius, 5) * times;
    widget.camera.lookAt(sphere.center, new Cesium.HeadingPitchRange(0.3, pitch, range));
  };
}""".replace("SIZE_X", str(WIDTH)).replace("SIZE_Y", str(HEIGHT))
_TILESET = """async ([url, pitch, times, error, again]) => {
  open3d();
  const tileset = await Cesium.Cesium3DTileset.fromUrl(url, { maximumScreenSpaceError: error });
  widget.scene.primitives.add(tileset);
  watch(tileset);
  if (!again) window.sphere = tileset.boundingSphere;
  lookAt(sphere, pitch, times);
  const loaded = await settled(() => tileset.tilesLoaded);
  return { loaded, failed: seen.failed, ids: [...seen.ids].sort() };
}"""
_SCENE_LAYER = """async ([url, pitch, times, options]) => {
  open3d();
  const provider = await Cesium.I3SDataProvider.fromUrl(url, options);
  widget.scene.primitives.add(provider);
  const [layer] = provider.layers;
  watch(layer.tileset);
  lookAt(layer.tileset.boundingSphere, pitch, times);
  // While a node's buffers are on their way, CesiumJS counts no request: nothing new for some time, and something drawn.
  let last = -1;
  const loaded = await settled(() => {
    const { numberOfTilesWithContentReady: ready, geometryByteLength: bytes } = layer.tileset.statistics;
    const same = ready === last;
    last = ready;
    return same && bytes > 0 && layer.tileset.tilesLoaded;
  }, 40);
  return { loaded, failed: seen.failed, layers: provider.layers.length,
    extent: Object.values(provider.extent).slice(0, 4).map(Cesium.Math.toDegrees) };
}"""
_PICK = """async ([x, y]) => {
  const hit = widget.scene.pick(new Cesium.Cartesian2(x, y));
  if (!hit) return null;
  const node = hit.content?.tile?.i3sNode;
  if (node) {
    const position = widget.scene.pickPosition(new Cesium.Cartesian2(x, y));
    await node.loadFields();
    return position ? node.getFieldsForPickedPosition(position) : {};
  }
  if (!hit.getPropertyIds) return {};
  return Object.fromEntries(hit.getPropertyIds().map((name) => [name, hit.getProperty(name)]));
}"""


@dataclass
class CesiumPage:
    """A page with `Cesium` in it. `problems` has what went wrong: errors of the console, answers of 400 and more, foreign servers."""

    page: Page
    problems: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def tileset(
        self, url: str, *, pitch: float = -0.7, times: float = 2.0, error: float = 4.0, again: bool = False
    ) -> dict[str, Any]:
        """A tileset alone, seen from `times` its radius away, or with `again` from where the last one was seen. `loaded`, `failed`, and
        `ids`: those of features that were visible."""
        result: dict[str, Any] = self.page.evaluate(_TILESET, [url, pitch, times, error, again])
        return result

    def scene_layer(
        self, url: str, *, pitch: float = -0.7, times: float = 2.0, **options: Any
    ) -> dict[str, Any]:
        """An I3S scene layer alone."""
        result: dict[str, Any] = self.page.evaluate(_SCENE_LAYER, [url, pitch, times, options])
        return result

    def picture(self) -> np.ndarray:
        """What is on the canvas: rows x columns x RGB, uint8."""
        with Image.open(io.BytesIO(self.page.locator("#globe canvas").screenshot())) as opened:
            return np.asarray(opened.convert("RGB"))

    def picked(self, most: int = 12) -> list[dict[str, Any]]:
        """The attributes of what is picked at some of the pixels that are not white."""
        rows, columns = np.nonzero((self.picture() < 250).any(axis=2))
        chosen = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)
        hits = [self.page.evaluate(_PICK, [int(columns[one]), int(rows[one])]) for one in chosen]
        return [hit for hit in hits if hit]


@contextmanager
def cesium_page(browser: Browser, address: str, view: str) -> Iterator[CesiumPage]:
    """A page on `address`, whose CesiumJS is that of the scene page of the tenant `view`."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    context.set_default_timeout(180_000)
    page = context.new_page()
    made = CesiumPage(page)
    page.on("console", lambda m: made.problems.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: made.problems.append(str(error)))
    page.on("response", lambda r: made.problems.append(f"{r.status} {r.url}") if r.status >= 400 else None)

    def asked(request: Any) -> None:
        made.asked.append(request.url)
        if not request.url.startswith((address, "data:", "blob:")):
            made.problems.append(request.url)

    page.on("request", asked)
    try:
        found = _BASE.search(requests.get(f"{address}/t/{view}/scene", timeout=60).text)
        assert found is not None, "the scene page names no CesiumJS"
        page.goto(f"{address}/robots.txt")
        page.evaluate(_START, found[1])
        yield made
    finally:
        context.close()
