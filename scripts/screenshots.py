"""Take the pictures of README and docs from a running demo: `python scripts/screenshots.py [--url URL] [--out FOLDER] [NAME ...]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = Path(__file__).with_name("chromium_flags.txt").read_text().split()
PAGES = {
    "portal": "/?lang=en",
    "collection": "/t/helsinki/ogc/collections/buildings?f=html&lang=en",
    "point-cloud": "/t/helsinki/ogc/collections/lidar?f=html&lang=zh",
    "series": "/t/auckland/ogc/collections/pedestrian-counts?f=html&lang=zh",
}
SCENES = {
    "scene": "",
    "underground": "view=24.9519,60.1665,60;340,-16&under=65",
    # Buildings, terrain, trees and the points of the lidar scan over a cut through soil and rock.
    "section": "view=24.9486,60.1648,150;345,-17&cut=24.947,60.1678,345&layers=tileset-lidar,tileset-geology",
    # All in one: the same above the glass of the ground, and below it pipes, manholes, boreholes and the tunnel.
    # A section through buildings, the ground and the points above it, by class.
    "points-section": "view=24.9486,60.1648,150;345,-17&cut=24.947,60.1678,345&layers=tileset-lidar&style=tileset-lidar:each:Classification",
    "points-height": "view=24.9522,60.1659,150;340,-28&layers=tileset-lidar,-tileset-buildings&style=tileset-lidar:terrain:height:15:60",
    "whole-space": "view=24.9522,60.1659,70;340,-18&under=45&layers=tileset-lidar",
}
PHONES = {
    "phone": "view=24.9519,60.1665,60;340,-16&under=65",
    "points-phone": "view=24.9522,60.1659,150;340,-28&layers=tileset-lidar&style=tileset-lidar:each:Classification",
}
_TIMEOUT_MS = 600_000


def _scene(page: Page, address: str) -> None:
    """The scene with all in view loaded, its panels closed, in full resolution whatever draws it."""
    page.goto(address)
    page.evaluate("chengtuScene.ready")
    page.evaluate("chengtuScene.tools.bar.open(null); chengtuScene.widget.resolutionScale = 1")
    page.evaluate("chengtuScene.settled()")
    page.wait_for_timeout(1000)


def _save(page: Page, file: Path) -> None:
    page.screenshot(path=file, type="jpeg", quality=78)
    print(f"{file} {file.stat().st_size // 1024} kB", flush=True)


def _take(browser: Browser, url: str, name: str, file: Path) -> None:
    """One picture."""
    phone = name in PHONES
    size = {"width": 390, "height": 780} if phone else {"width": 1200, "height": 720}
    context = browser.new_context(
        viewport={"width": size["width"], "height": size["height"]},
        reduced_motion="reduce",
        has_touch=phone,
    )
    context.set_default_timeout(_TIMEOUT_MS)
    page = context.new_page()
    if name in PAGES:
        page.goto(url + PAGES[name])
        page.wait_for_timeout(5000)
    else:
        language = "zh" if phone else "en"
        _scene(page, f"{url}/t/helsinki/scene?lang={language}#{(SCENES | PHONES)[name]}")
    _save(page, file)
    context.close()


def main() -> None:
    """Take all pictures, or those that are named."""
    everything = (*PAGES, *SCENES, *PHONES)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="a running demo")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parent.parent / "docs" / "images"
    )
    parser.add_argument("names", nargs="*", help=f"of {', '.join(everything)}")
    options = parser.parse_args()
    unknown = set(options.names) - set(everything)
    if unknown:
        parser.error(f"there is no picture {', '.join(sorted(unknown))}; there are {', '.join(everything)}")
    options.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for name in options.names or everything:
            _take(browser, options.url, name, options.out / f"{name}.jpg")
        browser.close()


if __name__ == "__main__":
    main()
