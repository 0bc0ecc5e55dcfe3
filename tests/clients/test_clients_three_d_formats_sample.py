"""First tier: some tiles of some kinds of 3D output through Khronos' validator and our checker. The whole set is `make clients`."""

import json
import random
import subprocess

import numpy as np

from tiles.three_d.check import check_content_bytes
from tiles.three_d.plain_glb import plain_glb
from tiles.three_d.subset import property_rows, subset_glb
from tiles.three_d.version10 import version10_tile

TILES_OF_A_KIND = 2


def test_no_error_in_any_form(few_scenes, root, tmp_path):
    chooser = random.Random(20)
    for kind, collection in few_scenes.items():
        files = sorted((collection.directory / "3dtiles").rglob("*.glb"))
        for number, file in enumerate(chooser.sample(files, min(TILES_OF_A_KIND, len(files)))):
            content = file.read_bytes()
            table = property_rows(content)
            assert table is not None
            forms = {
                "whole.glb": content,
                "some.glb": subset_glb(content, np.arange(table.count) % 2 == 0),
                "plain.glb": plain_glb(content),
                "old.cmpt": version10_tile(content, composite=True),
            }
            for name, form in forms.items():
                assert [str(one) for one in check_content_bytes(form)] == [], (kind, name)
                (tmp_path / f"{kind}-{number}-{name}").write_bytes(form)
    script = root / "tests" / "clients" / "gltf_validate.mjs"
    done = subprocess.run(
        ["node", script, tmp_path], capture_output=True, text=True, timeout=120, check=False
    )
    report = json.loads(done.stdout)
    assert report["files"] == len(list(tmp_path.iterdir())) >= 4 * len(few_scenes)
    assert (report["errors"], report["warnings"]) == (0, 0), report["messages"]
