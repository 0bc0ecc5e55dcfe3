"""A publish that is killed, stopped or starved leaves nothing behind, and the old generation is served."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from server.publish import STAGES, ExtraRepresentation, sweep_staging
from server.publish.errors import BuildError, PublishCancelled, StorageFull
from server.registry.catalogue import Interval, RepresentationKind
from server.settings import load_settings

CHILDREN = """
import json, os, signal, sys
from pathlib import Path
from server.publish import PublishRequest, SceneOptions, publish
import server.publish.features, server.publish.rasters, server.publish.ogr_source, tiles.three_d, tiles.terrain
from server.registry.registry import Registry, open_registry
from server.settings import load_settings

settings = load_settings((), {}, {"data.home": Path(sys.argv[1])})
plan = json.loads(sys.argv[2])

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def run(job):
    if job["stage"] == "commit":
        Registry.commit_generation = lambda *_arguments: die()
    request = PublishRequest(
        files=(Path(job["file"]),), tenant="beijing", id=job["id"], titles={"en": "x"}, replace=True,
        scene=SceneOptions(**job["scene"]),
    )
    def report(stage, fraction):
        if stage == job["stage"] and fraction >= job["fraction"]:
            die()
    with open_registry(settings) as registry:
        publish(request, registry, settings, report)

for job in plan:
    child = os.fork()
    if child == 0:
        try:
            run(job)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status))
"""


def dem(path: Path, size: int = 64) -> Path:
    heights = np.fromfunction(lambda y, x: (x + y) / 10, (size, size)).astype("float32")
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=size,
        height=size,
        count=1,
        dtype="float32",
        crs="EPSG:4326",
        transform=from_origin(116.38, 39.93, 0.05 / size, 0.05 / size),
    ) as file:
        file.write(heights, 1)
    return path


def test_killed_at_every_stage(publisher: Any, data: Path, tmp_path: Path) -> None:
    publisher.publish(data / "blocks.geojson")
    heights = dem(tmp_path / "dem.tif")
    publisher.publish(heights, collection="terrain")
    vector = {"id": "blocks", "file": str(data / "blocks.geojson"), "scene": {"height_field": "height"}}
    grid = {"id": "terrain", "file": str(heights), "scene": {"terrain": True}}
    plan = [
        {**vector, "stage": stage, "fraction": fraction}
        for stage in ("checking", "reading", "features", "3dtiles", "syncing", "switching", "commit")
        for fraction in ((0.0, 1.0) if stage in ("checking", "features", "3dtiles") else (0.0,))
    ]
    plan += [
        {**grid, "stage": stage, "fraction": fraction}
        for stage, fraction in (
            ("coverage", 0.0),
            ("coverage", 1.0),
            ("terrain", 0.0),
            ("terrain", 1.0),
            ("syncing", 0.0),
        )
    ]

    done = subprocess.run(
        [sys.executable, "-c", CHILDREN, str(publisher.home), json.dumps(plan)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.stdout.split() == ["-9"] * len(plan), done.stderr
    assert len(list((publisher.home / "staging").iterdir())) >= 1
    for name in ("blocks", "terrain"):
        assert publisher.collection(name).generation == 1
        assert all(
            publisher.collection(name).path_of(kind).exists()
            for kind in publisher.collection(name).representations
        )

    again = publisher.publish(data / "blocks.geojson", replace=True)

    assert list((publisher.home / "staging").iterdir()) == []
    assert again.generation > 1
    assert publisher.store(again).count() == 3
    publisher.registry.sweep(grace_seconds=0)
    assert publisher.leftovers() == []


def test_a_sweep_leaves_the_living_alone(publisher: Any, data: Path) -> None:
    swept: list[list[Path]] = []
    publisher.publish(
        data / "blocks.geojson",
        callbacks={"report": lambda _stage, _fraction: swept.append(sweep_staging(publisher.home))},
    )
    assert swept
    assert not any(swept)


@pytest.mark.parametrize("stage", ["checking", "reading", "features", "3dtiles", "syncing", "switching"])
def test_stopped_at_every_stage(publisher: Any, data: Path, stage: str) -> None:
    publisher.publish(data / "blocks.geojson")
    reached: list[str] = []
    with pytest.raises(PublishCancelled, match="nothing was changed"):
        publisher.publish(
            data / "blocks.geojson",
            replace=True,
            scene={"height_field": "height"},
            callbacks={
                "report": lambda name, _fraction: reached.append(name),
                "cancelled": lambda: reached[-1] == stage,
            },
        )
    assert reached[-1] == stage
    assert publisher.collection().generation == 1
    assert publisher.leftovers() == []


def test_control_c(publisher: Any, data: Path) -> None:
    def report(stage: str, _fraction: float) -> None:
        if stage == "features":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publisher.publish(data / "blocks.geojson", callbacks={"report": report})
    assert publisher.collection() is None
    assert publisher.leftovers() == []


def test_stages_come_in_their_order(publisher: Any, data: Path, tmp_path: Path) -> None:
    heard: list[tuple[str, float]] = []

    def callbacks() -> dict[str, Any]:
        return {"report": lambda stage, fraction: heard.append((stage, fraction))}

    publisher.publish(data / "blocks.geojson", scene={"height_field": "height"}, callbacks=callbacks())
    publisher.publish(
        dem(tmp_path / "dem.tif"), collection="t", scene={"terrain": True}, callbacks=callbacks()
    )
    assert {stage for stage, _ in heard} <= set(STAGES)
    assert all(0.0 <= fraction <= 1.0 for _, fraction in heard)
    first = [stage for stage, _ in heard[: heard.index(("switching", 1.0)) + 1]]
    assert [STAGES.index(stage) for stage in first] == sorted(STAGES.index(stage) for stage in first)


LIMITED = """
import json, resource, signal, sys
from pathlib import Path
from server.errors import ChengtuError
from server.publish import PublishRequest, ReadingOptions, publish
import server.publish.features, server.publish.rasters, server.publish.ogr_source, server.publish.point_clouds
from server.registry.registry import open_registry
from server.settings import load_settings

settings = load_settings((), {}, {"data.home": Path(sys.argv[1])})
with open_registry(settings) as registry:
    for name in sys.argv[2:]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        try:
            request = PublishRequest(files=(Path(name),), tenant="beijing", id="blocks", titles={"en": "x"}, replace=True)
            publish(request, registry, settings)
            print(json.dumps(["published", ""]))
        except ChengtuError as error:
            print(json.dumps([type(error).__name__, str(error)]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


def test_disk_full(publisher: Any, data: Path, tmp_path: Path) -> None:
    publisher.publish(data / "blocks.geojson")
    many = tmp_path / "many.geojson"
    read = json.loads((data / "blocks.geojson").read_text())
    read["features"] = [{**read["features"][number % 3], "id": str(number)} for number in range(2_000)]
    many.write_text(json.dumps(read))
    noise = tmp_path / "noise.tif"
    values = np.random.default_rng(1).integers(0, 255, (600, 600), dtype="uint8")
    with rasterio.open(
        noise, "w", driver="GTiff", width=600, height=600, count=1, dtype="uint8", crs="EPSG:32650",
        transform=from_origin(500000, 4400000, 1, 1),
    ) as file:  # fmt: skip
        file.write(values, 1)

    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(publisher.home), str(many), str(noise)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, _ in answers] == ["StorageFull", "StorageFull"], (answers, done.stderr)
    assert all("free some space" in message for _, message in answers)
    assert publisher.collection().generation == 1
    assert publisher.leftovers() == []


def test_too_little_space_is_seen_before_the_work(
    publisher: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.publish.failures._WORK_FACTOR", 1e15)
    with pytest.raises(StorageFull, match="MB free; publishing these files needs about"):
        publisher.publish(data / "blocks.geojson")


def test_extra_representations(publisher: Any, data: Path) -> None:
    def counts(folder: Path) -> ExtraRepresentation:
        (folder / "series.sqlite").write_bytes(b"series")
        return ExtraRepresentation(
            kind=RepresentationKind.SERIES,
            path="series.sqlite",
            properties={"count": 7},
            interval=Interval("1999-01-01T00:00:00Z", None),
            warnings=("Seven only.",),
        )

    def failing(_folder: Path) -> ExtraRepresentation:
        raise OSError("no such sensor")

    result = publisher.publish(
        data / "blocks.geojson", reading={"time_field": "built"}, extra_representations=(counts,)
    )
    collection = result.collection
    assert collection.path_of(RepresentationKind.SERIES).read_bytes() == b"series"
    assert collection.representations[RepresentationKind.SERIES].properties["count"] == 7
    assert collection.interval is not None
    assert (collection.interval.start, collection.interval.end) == ("1999-01-01T00:00:00Z", None)
    assert "Seven only." in result.warnings
    with pytest.raises(BuildError, match="no such sensor"):
        publisher.publish(data / "blocks.geojson", replace=True, extra_representations=(failing,))
    assert publisher.collection().generation == 1


def test_two_settings_of_the_limits(tmp_path: Path, data: Path, publisher: Any) -> None:
    settings = load_settings((), {}, {"data.home": publisher.home, "publish.max_archive_files": 1})
    from server.publish import PublishRequest, publish
    from server.publish.errors import ArchiveTooLarge

    request = PublishRequest(
        files=(data / "places_gb18030.zip",), tenant="beijing", id="places", titles={"zh": "地名"}
    )
    with pytest.raises(ArchiveTooLarge, match="4 files; at most 1"):
        publish(request, publisher.registry, settings)
    done = publish(request, publisher.registry, publisher.settings)
    assert dict(done.collection.titles) == {"en": "地名", "zh": "地名"}
