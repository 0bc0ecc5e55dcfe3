"""Take the pictures of README and docs from a running demo: `python scripts/screenshots.py [--url URL] [--out FOLDER]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = Path(__file__).with_name("chromium_flags.txt").read_text().split()
_SCENE_READY = "window.chengtuScene && window.chengtuScene.ready"


def _scene(page: Page, url: str) -> None:
    page.goto(f"{url}/t/helsinki/scene?lang=en")
    page.wait_for_function("() => window.chengtuScene !== undefined", timeout=120_000)
    page.evaluate(f"async () => {{ await ({_SCENE_READY}); }}")
    page.wait_for_timeout(4000)


def _save(page: Page, file: Path) -> None:
    page.screenshot(path=file, type="jpeg", quality=78)
    print(f"{file} {file.stat().st_size // 1024} kB")


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="a running demo")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parent.parent / "docs" / "images"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 720})
        page.set_default_timeout(240_000)
        for name, path in (
            ("portal", "/?lang=en"),
            ("collection", "/t/helsinki/ogc/collections/buildings?f=html&lang=en"),
            ("series", "/t/auckland/ogc/collections/pedestrian-counts?f=html&lang=zh"),
        ):
            page.goto(options.url + path)
            page.wait_for_timeout(5000)
            _save(page, options.out / f"{name}.jpg")
        _scene(page, options.url)
        _save(page, options.out / "scene.jpg")
        page.get_by_role("button", name="Look under the ground").click()
        page.wait_for_timeout(8000)
        _save(page, options.out / "underground.jpg")
        browser.close()


if __name__ == "__main__":
    main()
