"""The built-in models: small, closed to the light, on the ground, named in two languages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tiles.three_d.errors import UnknownModelError
from tiles.three_d.models import MODELS, ModelType, model
from tiles.three_d.placement import LocalFrame, to_ecef, up_vectors
from tiles.three_d.read_glb import flattened
from tiles.three_d.scattered import Scattered, Shape


@pytest.mark.parametrize("found", MODELS.values(), ids=MODELS)
def test_each_model_is_small_and_well_made(found: ModelType) -> None:
    assert found.titles.keys() == {"en", "zh"}
    assert 1 <= len(found.parts) <= 2
    assert sum(len(part.mesh.positions) for part in found.parts) <= 400
    low = min(float(part.mesh.positions[:, 2].min()) for part in found.parts)
    assert -0.2 <= low <= 0.15
    assert 0.03 <= found.height <= 15.0
    for part in found.parts:
        mesh = part.mesh
        assert np.abs(np.linalg.norm(mesh.normals, axis=1) - 1.0).max() < 1e-9
        corners = mesh.positions[mesh.triangles]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert np.linalg.norm(across, axis=1).min() > 0.0
        assert ((across * mesh.normals[mesh.triangles].mean(axis=1)).sum(axis=1) > 0.0).all()


def test_names_are_known_in_both_languages() -> None:
    assert model("Street lamp") is model("路灯") is MODELS["street_lamp"]
    with pytest.raises(
        UnknownModelError, match=r"no model 'spaceship'; there are broadleaf_tree, .* \.glb file"
    ):
        model("spaceship")


def test_instances_stand_upright_and_face_where_they_should_anywhere_in_a_wide_tile() -> None:
    """A lamp's arm reaches north; headings 0, 90 and 217 degrees, up to 200 km from the tile's origin."""
    frame = LocalFrame.at(10.0, 60.0, 0.0)
    lonlat = np.array([[10.0, 60.0], [13.0, 61.0], [7.0, 59.0]])
    headings = np.array([0.0, 90.0, 217.0])
    shape = Shape.of(MODELS["street_lamp"].parts)
    scattered = Scattered(
        [shape], np.arange(3), np.zeros(3, dtype=np.intp), lonlat, np.array([5.0, 6.0, 7.0]),
        np.tile([1.0, 1.0, 2.0], (3, 1)), headings,
    )  # fmt: skip
    (part,) = scattered.parts(frame)
    pole = flattened([part])[0].mesh
    for number in range(3):
        own = LocalFrame.at(*lonlat[number], [5.0, 6.0, 7.0][number])
        points = own.to_local(frame.to_ecef(pole.positions[pole.feature_ids == number]))
        tip = points[np.argmax(np.hypot(points[:, 0], points[:, 1]))]
        assert points[:, 2].min() == pytest.approx(0.0, abs=1e-6)
        assert points[:, 2].max() == pytest.approx(16.0, abs=1e-6)
        off = np.degrees(np.arctan2(tip[0], tip[1])) - headings[number]
        assert abs((off + 180.0) % 360.0 - 180.0) < 5.0
    outlines = scattered.outlines(np.array([4, 5, 6]))
    assert (outlines.tops - outlines.bottoms).tolist() == pytest.approx([16.0] * 3)
    assert len(up_vectors(lonlat[:, 0], lonlat[:, 1])) == len(to_ecef(*lonlat.T, np.zeros(3)))


def test_every_model_is_documented() -> None:
    text = (Path(__file__).resolve().parents[4] / "docs/reference/models.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| `")]
    assert [[cell.strip(" `") for cell in row[:3]] for row in rows] == [
        [found.id, found.titles["en"], found.titles["zh"]] for found in MODELS.values()
    ]
