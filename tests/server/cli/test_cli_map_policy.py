"""`chengtu tenants set-map-policy`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from server.cli import run
from server.registry.registry import open_registry
from server.settings import load_settings

SQUARE = "POLYGON ((24 60, 25 60, 25 61, 24 61, 24 60))"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    assert run(["tenants", "add", "port", "--title", "Port", "--home", str(tmp_path)]) == 0
    return tmp_path


def policy(home: Path) -> tuple[str | None, str | None]:
    with open_registry(load_settings((), {}, {"data.home": home})) as registry:
        tenant = registry.tenant("port")
        return tenant.map_watermark, tenant.map_clip


def command(home: Path, *options: str) -> int:
    return run(["tenants", "set-map-policy", "port", *options, "--home", str(home)])


def test_what_is_not_named_stays(home: Path) -> None:
    assert command(home, "--watermark", " 城市 ") == 0
    assert policy(home) == ("城市", None)
    assert command(home, "--clip", SQUARE) == 0
    assert policy(home) == ("城市", SQUARE)
    assert command(home, "--no-watermark") == 0
    assert policy(home) == (None, SQUARE)
    assert command(home, "--no-clip") == 0
    assert policy(home) == (None, None)


def test_a_clip_from_a_file_of_wkt(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "clip.wkt"
    file.write_text(f"{SQUARE}\n")
    assert command(home, "--clip", str(file)) == 0
    assert policy(home)[1] == SQUARE


def test_a_clip_from_geojson(home: Path, tmp_path: Path) -> None:
    ring = [[24, 60], [25, 60], [25, 61], [24, 61], [24, 60]]
    polygon = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "geometry": polygon, "properties": {}}
    file = tmp_path / "area.geojson"
    for document in (polygon, feature, {"type": "FeatureCollection", "features": [feature, feature]}):
        file.write_text(json.dumps(document))
        assert command(home, "--clip", str(file)) == 0
        clip = policy(home)[1]
        assert clip is not None
        assert clip.startswith("POLYGON")


@pytest.mark.parametrize(
    "options",
    [
        ("--clip", "no such file"),
        ("--clip", "POINT (1 1)"),
        ("--clip", "POLYGON ((24 60, 25 60"),
        ("--watermark", "x" * 81),
        ("--watermark", "a", "--no-watermark"),
        ("--clip", SQUARE, "--no-clip"),
    ],
)
def test_what_cannot_be(home: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(home, *options) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert policy(home) == (None, None)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"type": "Point", "coordinates": [1, 1]}', "not json"])
def test_files_that_are_no_area(home: Path, tmp_path: Path, content: str) -> None:
    file = tmp_path / "bad.geojson"
    file.write_text(content)
    assert command(home, "--clip", str(file)) == 1


def test_a_tenant_that_comes_back_has_no_policy(home: Path) -> None:
    assert command(home, "--watermark", "old", "--clip", SQUARE) == 0
    assert run(["tenants", "remove", "port", "--home", str(home)]) == 0
    assert command(home, "--watermark", "new") == 1
    assert run(["tenants", "add", "port", "--title", "Port", "--home", str(home)]) == 0
    assert policy(home) == (None, None)
