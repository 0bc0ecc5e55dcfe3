"""Our whole jobs of 3D, each in a process of its own: `python -m benchmarks.three_d_jobs buildings|city|pipes|terrain INPUT FOLDER`.

Prints what was made as JSON on the last line. CPU time and memory are measured from outside.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.terrain import LEVEL

PROCESSES = 2


def buildings(store: Path, folder: Path) -> dict[str, Any]:
    """Footprints of an embedded store."""
    from providers.three_d.footprints import FootprintRecipe
    from providers.three_d.object_features import FeaturesAt

    recipe = FootprintRecipe(FeaturesAt(_generation(store, folder)), height_field="height")
    return _tileset(recipe, folder)


def pipes(store: Path, folder: Path) -> dict[str, Any]:
    """Lines of an embedded store."""
    from providers.three_d.object_features import FeaturesAt
    from providers.three_d.pipes import PipeRecipe, PipeRules
    from providers.three_d.underground import Setting

    rules = PipeRules(diameter_field="diameter", start_depth_field="depth", kind_field="kind")
    return _tileset(PipeRecipe(FeaturesAt(_generation(store, folder)), Setting(), rules), folder)


def city(file: Path, folder: Path) -> dict[str, Any]:
    """CityJSON to the store of models, to features, to tiles."""
    from providers.three_d.city_models import MODELS_FILE, CityModelRecipe
    from providers.three_d.object_features import FeaturesAt
    from server.publish.city_model_rows import CityObjectRows
    from server.publish.feature_store import store_features
    from server.publish.request import PublishRequest, never_cancelled
    from tiles.three_d.city_models import ModelStoreWriter, common_crs, import_city_models, open_city_model
    from tiles.three_d.report import ProblemLog
    from tiles.three_d.vertical import VerticalReference

    start = _cpu()
    (folder / MODELS_FILE).parent.mkdir(parents=True, exist_ok=True)
    files = [open_city_model(file, folder)]
    with CityObjectRows(folder / "rows", "city") as rows:
        crs, heights = common_crs(files), VerticalReference.ellipsoidal()
        with ModelStoreWriter(folder / MODELS_FILE) as writer:
            imported = import_city_models(
                files, writer, crs, heights, ProblemLog(), take=rows.add, watch=lambda _: None
            )
        read = _cpu()
        rows.finish(imported.crs)
        request = PublishRequest(files=(file,), tenant="bench", id="city", titles={"en": "City"})
        store_features([rows], folder / "features.gpkg", request, lambda _: None, never_cancelled)
    stored = _cpu()
    made = _tileset(CityModelRecipe(FeaturesAt(folder)), folder)
    return made | {"features_seconds": stored - read, "models_seconds": read - start}


def terrain(model: Path, folder: Path) -> dict[str, Any]:
    """An elevation model to quantized-mesh tiles with normals."""
    from tiles.terrain import build_terrain

    made = build_terrain(folder, model, max_zoom=LEVEL, processes=PROCESSES)
    return {"count": made.tile_count, "bytes": made.bytes, "gzip_bytes": made.gzip_bytes}


def _generation(store: Path, folder: Path) -> Path:
    """A generation's folder with that store."""
    (folder / "features.gpkg").hardlink_to(store)
    return folder


def _tileset(recipe: Any, folder: Path) -> dict[str, Any]:
    from tiles.three_d.build import BuildOptions, build_tileset

    options = BuildOptions(processes=PROCESSES)
    made = build_tileset(folder / "3dtiles", folder / "scene", recipe, options)
    return {"count": made.feature_count, "bytes": made.bytes, "gzip_bytes": made.gzip_bytes}


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


JOBS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "buildings": buildings,
    "city": city,
    "pipes": pipes,
    "terrain": terrain,
}


def main(name: str, source: Path, folder: Path) -> None:
    """Run one job into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(json.dumps(JOBS[name](source, folder)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
