"""The map on a collection page: styles to choose from, instants, legends, and how to use it in other programs."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from server.pages import Pages, StyleChoice
from server.registry.catalogue import Catalogue

STYLES = (StyleChoice("dem", "Heights"), StyleChoice("slope/5", "Slopes"))
INSTANTS = tuple(f"2024-{month:02}-05T00:00:00Z" for month in range(1, 5))


def settings_of(page: str) -> Any:
    found = re.search(r'id="map-settings">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])["choices"]


def test_styles_come_with_tiles_legend_and_page(pages: Pages, catalogue: Catalogue, ask: Any) -> None:
    ortho = catalogue.collections["helsinki", "ortho"]
    page = pages.collection(ask("/x"), ortho, catalogue.tenants["helsinki"], styles=STYLES)
    first, second = settings_of(page)["styles"]
    base = "/t/helsinki/ogc/collections/ortho"
    assert first["tiles"] == f"{base}/map/tiles/WebMercatorQuad/{{z}}/{{y}}/{{x}}?f=png"
    assert second["tiles"].startswith(f"{base}/styles/slope/5/map/tiles/WebMercatorQuad/")
    assert second["legend"] == f"{base}/styles/slope/5/legend?f=png&lang=en"
    assert '<option value="dem">Heights</option>' in page
    assert 'id="map-time"' not in page


@pytest.mark.parametrize("count", [1, 4])
def test_a_series_has_a_slider_at_its_latest_instant(
    pages: Pages, catalogue: Catalogue, ask: Any, count: int
) -> None:
    ortho = catalogue.collections["helsinki", "ortho"]
    page = pages.collection(ask("/x"), ortho, instants=INSTANTS[:count])
    assert settings_of(page)["instants"] == list(INSTANTS[:count])
    assert f'min="0" max="{count - 1}" step="1" value="{count - 1}"' in page


def test_features_start_with_attributes_and_no_map_has_no_controls(
    pages: Pages, catalogue: Catalogue, ask: Any
) -> None:
    buildings = pages.collection(ask("/x"), catalogue.collections["helsinki", "buildings"], styles=STYLES[:1])
    assert '<option value="-" selected>' in buildings
    lidar = pages.collection(ask("/x"), catalogue.collections["helsinki", "lidar"])
    assert settings_of(lidar) is None
    for part in ("map-style", "map-time", "map-legend", "/map?f=html", "<pre>"):
        assert part not in lidar, part


def test_examples_name_the_layer_and_stay_text(
    pages: Pages, catalogue: Catalogue, ask: Any, new_collection: Any
) -> None:
    page = pages.collection(ask("/x"), catalogue.collections["helsinki", "ortho"])
    assert "LAYERS=helsinki.ortho" in page
    assert "; layer helsinki.ortho" in page
    assert "/position?coords=POINT(24.94000%2060.17000)" in page
    quoted = new_collection(
        "helsinki", "q", ("Q", "Q"), {"map": {"style": "grey"}}, attribution='</script><b>"\\'
    )
    assert "<b>" not in pages.collection(ask("/x"), quoted)


def test_only_one_file_is_offered_as_one(
    pages: Pages, catalogue: Catalogue, ask: Any, new_collection: Any
) -> None:
    ortho = pages.collection(ask("/x"), catalogue.collections["helsinki", "ortho"])
    assert "/download/ortho.tif" in ortho
    assert "/vsicurl/" in ortho
    index = {"store": "mosaic", "bands": [{"name": "1"}], "resolution": [1, 1]}
    mosaic = new_collection("helsinki", "city", ("City", "城市"), {"coverage": index, "map": {}})
    page = pages.collection(ask("/x"), mosaic)
    assert "/download/" not in page
    assert "/vsicurl/" not in page
    for form in ("gtiff", "netcdf"):
        assert f"/ogc/collections/helsinki.city/coverage?f={form}" in page
