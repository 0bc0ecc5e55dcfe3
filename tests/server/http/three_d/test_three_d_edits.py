"""3D tilesets follow edits, of this process and of others, and survive what may happen meanwhile."""

from __future__ import annotations

import gzip
import json
import math
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from providers.features.source import Edit, EditKind
from providers.features.store import open_store
from server.http.app import create_app
from server.http.three_d_live import close_tilesets
from tiles.three_d import live
from tiles.three_d.glb import Compression


def test_an_edit_over_http_is_in_the_next_answer_and_touches_its_tiles_only(town: Any) -> None:
    before = town.walk("houses")
    identifier = next(iter(before.features))
    items = "/t/demo/ogc/collections/houses/items"
    reply = town.client.request(
        "PATCH",
        f"{items}/{identifier}",
        json.dumps({"properties": {"name": "renamed", "height": 99.5}}).encode(),
        content_type="application/merge-patch+json",
        authorization=f"Bearer {town.token}",
    )
    assert reply.status in (200, 204), reply.body
    after = town.walk("houses")
    assert after.features[identifier]["name"] == "renamed"
    assert after.features.keys() == before.features.keys()
    changed = [
        name
        for name, reply in after.contents.items()
        if reply.headers["ETag"] != before.contents[name].headers["ETag"]
    ]
    assert [
        name
        for name in changed
        if identifier in [one["id"] for one in town.features_in(after.contents[name].body)]
    ]
    assert len(changed) == 1
    for name, answer in after.contents.items():
        assert (answer.body == before.contents[name].body) == (name not in changed)
    # Whoever has an untouched tile is told so.
    kept = next(name for name in after.contents if name not in changed)
    assert (
        town.client.get(town.url("houses", kept), if_none_match=before.contents[kept].headers["ETag"]).status
        == 304
    )
    address = town.url("houses", changed[0])
    packed = town.client.get(address, accept_encoding="gzip")
    assert gzip.decompress(packed.body) == after.contents[changed[0]].body
    assert town.client.get(address, range="bytes=0-3").body == b"glTF"
    assert town.client.request("HEAD", address).body == b""


def test_fifty_random_edits_equal_a_fresh_build(town: Any, tmp_path: Path) -> None:
    other = town.store("houses")
    for turn in range(5):
        town.random_edits(other, 10, turn)
        walked = town.walk("houses", client=town.client if turn % 2 else town.slow)
        assert walked.features.keys() == set(other.read(fields=()).ids)
    fresh = town.features_of_folder(town.built_anew("houses", tmp_path / "anew"))
    town.same_features(town.walk("houses").features, fresh)
    # Another process, which knows nothing of all that, has the same to say.
    again = type(town.client)(create_app(town.settings))
    town.same_features(town.walk("houses", client=again).features, fresh)
    town.check_served("houses", tmp_path / "served")


def test_everything_deleted_and_something_far_away(town: Any, tmp_path: Path) -> None:
    town.publish("emptied", count=20)
    other = town.store("emptied")
    far = other.edit([Edit(EditKind.CREATE, geometry=town.house(25.4, 60.3), properties={"height": 12.0})])[
        0
    ].feature_id
    walked = town.walk("emptied")
    assert len(walked.features) == 21
    assert far in walked.features
    root = town.client.json(town.url("emptied"))["root"]["boundingVolume"]["region"]
    assert root[2] > math.radians(25.4)
    for form in ("explicit", "1.0"):
        tree = town.client.json(town.url("emptied", f"{form}/tileset.json"))
        assert "outside" in json.dumps(tree)
    other.edit([Edit(EditKind.DELETE, one) for one in other.read(fields=()).ids if one != far])
    assert list(town.walk("emptied").features) == [far]
    named = town.walk("emptied").contents
    other.edit([Edit(EditKind.DELETE, far)])
    assert town.walk("emptied").features == {}
    # Whoever holds the documents of a moment ago finds the tile with nothing in it, not missing.
    for name in named:
        late = town.client.get(town.url("emptied", name))
        assert (late.status, late.body[:4]) == (200, b"glTF")
        assert b"meshes" not in late.body
    back = other.edit([Edit(EditKind.CREATE, geometry=town.house(24.91, 60.16), properties={"height": 8.0})])[
        0
    ].feature_id
    assert list(town.walk("emptied").features) == [back]


def test_republishing_and_restoring_take_their_edits_along(town: Any) -> None:
    town.publish("again", count=20)
    first = town.store("again")
    gone = first.read(fields=()).ids[0]
    first.edit([Edit(EditKind.DELETE, gone)])
    assert len(town.walk("again").features) == 19
    town.publish("again", count=25, replace=True, seed=8)
    assert len(town.walk("again").features) == 25
    town.registry.restore_generation("demo", "again", 1)
    restored = town.walk("again").features
    assert len(restored) == 19
    assert gone not in restored


def test_a_folder_of_live_changes_that_is_lost_is_made_again(town: Any) -> None:
    town.publish("lost", count=20)
    other = town.store("lost")
    other.edit([Edit(EditKind.DELETE, other.read(fields=()).ids[0])])
    tags = {name: reply.headers["ETag"] for name, reply in town.walk("lost").contents.items()}
    shutil.rmtree(town.directory("lost") / "scene" / "live")
    again = type(town.client)(create_app(town.settings))

    close_tilesets()
    walked = town.walk("lost", client=again)
    assert len(walked.features) == 19
    assert tags.keys() == walked.contents.keys()


def test_a_store_that_cannot_be_read_keeps_the_last_good_state(town: Any) -> None:
    town.publish("broken", count=20)
    before = town.walk("broken").features
    source = town.directory("broken") / "scene" / "source.json"
    content = source.read_bytes()

    close_tilesets()
    source.write_bytes(b"{")
    other = open_store(town.directory("broken") / "features.gpkg")
    other.edit([Edit(EditKind.DELETE, next(iter(before)))])
    assert town.walk("broken").features.keys() == before.keys()
    source.write_bytes(content)
    close_tilesets()
    assert len(town.walk("broken").features) == 19


def test_both_lanes_answer_alike(town: Any) -> None:
    """The hot lane and the full application, on published and on edited tiles."""
    town.store("houses").edit([Edit(EditKind.DELETE, town.store("houses").read(fields=()).ids[0])])
    walked = town.walk("houses", client=town.slow)
    for name in (*walked.contents, *walked.subtrees):
        hot = town.client.get(town.url("houses", name), accept_encoding="gzip")
        again = town.client.get(town.url("houses", name), accept_encoding="gzip")
        full = town.slow.get(town.url("houses", name), accept_encoding="gzip")
        assert (hot.status, hot.body, hot.headers) == (full.status, full.body, full.headers), name
        assert (again.status, again.body, again.headers) == (full.status, full.body, full.headers), name
        for headers in ({"if_none_match": hot.headers["ETag"]}, {"if_none_match": '"other"'}):
            left = town.client.get(town.url("houses", name), accept_encoding="gzip", **headers)
            right = town.slow.get(town.url("houses", name), accept_encoding="gzip", **headers)
            assert (left.status, left.body, left.headers) == (right.status, right.body, right.headers)


def test_an_edited_tile_is_compressed_like_the_others(town: Any) -> None:
    town.publish("packed", count=60, compression=Compression.DRACO)
    other = town.store("packed")
    chosen = other.read(fields=()).ids[0]
    before = town.walk("packed")
    other.edit([Edit(EditKind.UPDATE, chosen, properties={"height": 70.0})])
    after = town.walk("packed")
    assert after.features[chosen]["height"] == 70.0
    changed = [name for name, reply in after.contents.items() if reply.body != before.contents[name].body]
    assert len(changed) == 1
    for reply in after.contents.values():
        assert b"KHR_draco_mesh_compression" in reply.body
    # Those who ask for the explicit tree (QGIS) cannot read it, and get floats.
    explicit = town.contents_of_tree(town.client, town.url("packed", "explicit/tileset.json"))
    assert len(explicit) == len(after.contents)
    for reply in explicit.values():
        assert b"KHR_draco_mesh_compression" not in reply.body
        assert b"KHR_mesh_quantization" not in reply.body
    found = {one["id"]: one for reply in explicit.values() for one in town.features_in(reply.body)}
    town.same_features(found, after.features)
    shops = town.features("packed", "tileset.json?kind=shop")
    expected = {key: one for key, one in after.features.items() if one["kind"] == "shop"}
    town.same_features(shops, expected)


KILLED = """
import os, signal, sys
from contextlib import contextmanager
from pathlib import Path
from providers.features.store import open_store
from providers.three_d.edits import EmbeddedEdits
from providers.three_d.recipes import read_recipe
from tiles.three_d import live, live_store

directory, moment = Path(sys.argv[1]), sys.argv[2]
real = live_store.LiveStore._writing

@contextmanager
def killed(self):
    with real(self) as connection:
        yield connection
        os.kill(os.getpid(), signal.SIGKILL)  # everything is written, nothing is committed

if moment == "writing":
    live_store.LiveStore._writing = killed
else:
    live._outlines = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
store = open_store(directory / "features.gpkg")
live.LiveTileset(directory / "3dtiles", directory / "scene", read_recipe(directory), EmbeddedEdits(store), 0).current()
"""


@pytest.mark.parametrize("moment", ["writing", "reading"])
def test_killed_while_catching_up(town: Any, moment: str) -> None:
    name = f"killed_{moment}"
    town.publish(name, count=40)
    other = town.store(name)
    ids = other.read(fields=()).ids
    other.edit([Edit(EditKind.DELETE, ids[0])])
    assert len(town.walk(name).features) == 39
    other.edit(
        [Edit(EditKind.DELETE, ids[1]), Edit(EditKind.UPDATE, ids[2], geometry=town.house(24.93, 60.17))]
    )
    command = [sys.executable, "-c", KILLED, str(town.directory(name)), moment]
    assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL
    features = town.walk(name).features
    assert features.keys() == set(ids[2:])


def test_too_many_edits_are_caught_up_with_aside(town: Any, monkeypatch: pytest.MonkeyPatch) -> None:

    town.publish("mass", count=60)
    before = town.walk("mass")
    monkeypatch.setattr(live, "AT_ONCE", 7)
    monkeypatch.setattr(live, "_REST", 0.0)
    other = town.store("mass")
    ids = other.read(fields=()).ids
    other.edit([Edit(EditKind.UPDATE, one, properties={"name": "all"}) for one in ids])
    assert town.client.get(town.url("mass")).status == 200  # the last good state, at once
    deadline = time.monotonic() + 60
    while any(one["name"] != "all" for one in town.walk("mass").features.values()):
        assert time.monotonic() < deadline
    assert town.walk("mass").features.keys() == before.features.keys()
    close_tilesets()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_two_workers_show_every_edit_at_once(town: Any, wsgi_client: Any) -> None:
    """Edits by HTTP, and by a process of their own: the next answer of either worker has them."""
    town.publish("shared", count=60)
    port = free_port()
    command = [str(Path(sys.executable).with_name("chengtu")), "serve", "--home", str(town.home)]
    process = subprocess.Popen([*command, "--port", str(port), "--workers", "2"])
    address = f"http://127.0.0.1:{port}"
    session = requests.Session()

    class Reader:
        """Asks with a connection of its own each time, so that either worker may answer."""

        def get(self, path: str, **headers: str) -> Any:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            reply = requests.get(address + path, headers={"Connection": "close", **named}, timeout=30)
            found = wsgi_client.get.__globals__["Reply"]
            return found(reply.status_code, dict(reply.headers), reply.content)

        def json(self, path: str, **headers: str) -> Any:
            reply = self.get(path, **headers)
            assert reply.status == 200, reply.body[:300]
            return json.loads(reply.body)

    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                if session.get(f"{address}/health/ready", timeout=5).status_code == 200:
                    break
            except requests.ConnectionError:
                pass
            assert time.monotonic() < deadline, "the server did not come up"
            time.sleep(0.1)
        reader, other = Reader(), town.store("shared")
        ids = other.read(fields=()).ids
        for turn in range(6):
            if turn % 2:
                other.edit([Edit(EditKind.DELETE, ids[turn])])
            else:
                reply = requests.delete(
                    f"{address}/t/demo/ogc/collections/shared/items/{ids[turn]}",
                    headers={"Authorization": f"Bearer {town.token}", "If-Match": "*"},
                    timeout=30,
                )
                assert reply.status_code in (200, 204), reply.text
            for _ in range(2):
                assert town.walk("shared", client=reader).features.keys() == set(ids[turn + 1 :]), turn
    finally:
        process.terminate()
        process.wait(20)
