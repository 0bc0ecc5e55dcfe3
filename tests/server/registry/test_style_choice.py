"""Which styles are offered for a collection: none that it cannot be drawn in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from server.registry.catalogue import (
    Access,
    Catalogue,
    Collection,
    Representation,
    RepresentationKind,
    StyleRecord,
)
from server.registry.style_choice import default_style_id, resolve_style, style_ids
from tiles.errors import UnknownStyle

Kind = RepresentationKind
EXPRESSION = """title: {en: Difference}
raster: {kind: ramp, expression: red - nir, span: [-9, 9], ramp: [[0, "#000000"], [1, "#ffffff"]]}"""


def collection(map_: Mapping[str, Any], bands: tuple[str, ...] | None, **more: Any) -> Collection:
    kinds = {Kind.MAP: Representation(Kind.MAP, "", 1, 0, map_)}
    if bands is not None:
        properties = {"bands": [{"name": name} for name in bands]}
        kinds[Kind.COVERAGE] = Representation(Kind.COVERAGE, "coverage.tif", 1, 0, properties)
    titles = {"en": "Image"}
    return Collection(
        *("beijing", "image", titles, {}, (), (116.0, 39.0, 117.0, 40.0), None, ""),
        *(Access.PUBLIC, "", "", None, False, 1, "", "", Path("/nowhere"), kinds),
        **more,
    )


def catalogue(*records: StyleRecord) -> Catalogue:
    return Catalogue(1, {}, {}, styles={(one.tenant, one.id): one for one in records})


@pytest.fixture
def styles(root: Path) -> Path:
    return root / "config" / "styles"


def test_a_raster_is_offered_no_style_that_asks_for_bands_it_has_not(styles: Path) -> None:
    one, three = collection({"style": "dem"}, ("height",)), collection({"style": "ortho"}, ("r", "g", "b"))
    assert {"dem", "grey", "hillshade"} <= set(style_ids(catalogue(), one, styles))
    assert "ortho" not in style_ids(catalogue(), one, styles)
    assert {"dem", "ortho"} <= set(style_ids(catalogue(), three, styles))
    with pytest.raises(UnknownStyle, match="ortho"):
        resolve_style(catalogue(), one, "ortho", styles)
    assert resolve_style(catalogue(), three, "ortho", styles).id == "ortho"


@pytest.mark.parametrize(("bands", "offered"), [(("red", "nir"), True), (("red", "green"), False)])
def test_expressions_need_their_bands(styles: Path, bands: tuple[str, ...], offered: bool) -> None:
    record = StyleRecord("beijing", "difference", {}, {}, (), (), "chengtu", EXPRESSION, 1, "", "")
    drawn = collection({"style": "dem"}, bands)
    assert ("difference" in style_ids(catalogue(record), drawn, styles)) is offered


def test_what_another_server_draws_has_its_own_look_alone(styles: Path) -> None:
    cascade = collection({"remote": {"store": "wms"}}, None, default_style="dem")
    assert style_ids(catalogue(), cascade, styles) == ("default",)
    assert default_style_id(cascade) == "default"
    for wanted in (None, "default"):
        assert resolve_style(catalogue(), cascade, wanted, styles).id == "default"
    with pytest.raises(UnknownStyle, match="only default"):
        resolve_style(catalogue(), cascade, "dem", styles)
