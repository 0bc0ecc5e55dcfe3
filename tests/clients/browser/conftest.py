"""A browser that must stay free of errors; the served city and Chromium are fixtures of the folder above."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

type OpenPage = Callable[..., AbstractContextManager[Page]]


def opening(browser: Browser, city: str) -> OpenPage:
    """`with opening(browser, city)("/path", "zh-CN", width=1280) as page:`; on leaving, the page must have been free of errors.

    An error is a console error or warning, an exception nobody caught, an answer of 400 or more, or a request to
    anyone but this server.
    """

    @contextmanager
    def opened(path: str, locale: str = "en-GB", width: int = 1280, height: int = 800) -> Iterator[Page]:
        context = browser.new_context(
            locale=locale, viewport={"width": width, "height": height}, reduced_motion="reduce"
        )
        context.set_default_timeout(180_000)
        page = context.new_page()
        problems: list[str] = []
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "response",
            lambda r: problems.append(f"{r.status} {r.url}") if r.status >= 400 else None,
        )
        page.on(
            "request",
            lambda r: problems.append(r.url) if not r.url.startswith((city, "data:", "blob:")) else None,
        )
        try:
            page.goto(city + path)
            yield page
        finally:
            context.close()
        assert problems == []

    return opened


@pytest.fixture
def open_page(browser: Browser, city: str) -> OpenPage:
    """Opens pages of the demo city."""
    return opening(browser, city)


@pytest.fixture
def open_cloud_page(browser: Browser, few_clouds: Any) -> OpenPage:
    """Opens pages of the made point clouds."""
    return opening(browser, few_clouds.address)
