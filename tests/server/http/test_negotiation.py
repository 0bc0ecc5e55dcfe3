"""Formats by `f` and Accept."""

from __future__ import annotations

import pytest

from server.http.errors import NotAcceptable
from server.http.hot_lane import match
from server.http.negotiation import accepted_names, choose_format, wants_geojson

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("f", "accept", "expected"),
    [
        (None, "", "geojson"),
        (None, "*/*", "geojson"),
        (None, BROWSER, "html"),
        (None, "application/json", "geojson"),
        (None, "application/geo+json", "geojson"),
        (None, "text/csv", "csv"),
        (None, "text/html;q=0.1, text/csv", "csv"),
        (None, "image/png", "geojson"),
        ("json", BROWSER, "geojson"),
        ("html", "application/json", "html"),
        ("csv", "", "csv"),
    ],
)
def test_choice(f: str | None, accept: str, expected: str) -> None:
    assert choose_format(f, accept, ("geojson", "html", "csv")) == expected


def test_an_unknown_format_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(NotAcceptable, match=r"'gml'.*geojson, html"):
        choose_format("gml", "", ("geojson", "html"))


def test_broken_quality_counts_as_none() -> None:
    assert accepted_names("text/html;q=x, text/csv") == ["csv"]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", True),
        ("*/*", True),
        (BROWSER, False),
        ("application/geo+json, */*;q=0.1", True),
        ("text/csv", False),
    ],
)
def test_the_hot_lane_leaves_html_to_flask(accept: str, expected: bool) -> None:
    assert wants_geojson(accept) is expected


def test_paths_of_the_hot_lane() -> None:
    city = match("/ogc/collections/helsinki.streets/items")
    assert city is not None
    assert (city.scope.tenant, city.public_id, city.rest) == (None, "helsinki.streets", ["items"])
    tenant = match("/t/helsinki/ogc/collections/streets/tiles/WebMercatorQuad/1/2/3")
    assert tenant is not None
    assert (tenant.scope.tenant, tenant.public_id, len(tenant.rest)) == ("helsinki", "streets", 5)
    for path in (
        "/",
        "/ogc",
        "/ogc/collections",
        "/ogc/collections/a",
        "/t/a/ogc/collections/b",
        "/t/a/b/c/d/e/f",
    ):
        assert match(path) is None
