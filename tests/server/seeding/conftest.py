"""A small published collection with vector tiles, and a home of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from server.cli import run
from server.registry.registry import open_registry
from server.settings import Settings, load_settings

WEST, SOUTH = 114.0, 22.5


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("CHENGTU_DATA_HOME", str(tmp_path / "home"))
    return load_settings((), None, {"data.home": tmp_path / "home"})


@pytest.fixture
def command(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `chengtu ARGUMENTS` on that home: (exit code, standard output, standard error)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def published(tmp_path: Path, settings: Settings, command: Callable[..., tuple[int, str, str]]) -> str:
    """Squares over a twentieth of a degree, published with tiles and a map."""
    features = [
        {
            "type": "Feature",
            "properties": {"name": f"{column} {row}"},
            "geometry": {
                "type": "Polygon",
                "coordinates": [
                    [
                        [x, y],
                        [x + 0.004, y],
                        [x + 0.004, y + 0.004],
                        [x, y + 0.004],
                        [x, y],
                    ]
                ],
            },
        }
        for column in range(10)
        for row in range(10)
        for x, y in [(WEST + column / 200, SOUTH + row / 200)]
    ]
    file = tmp_path / "squares.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", None)
    code, _, said = command("publish", str(file), "--tenant", "demo", "--id", "squares", "--title", "Squares")
    assert code == 0, said
    return "demo.squares"
