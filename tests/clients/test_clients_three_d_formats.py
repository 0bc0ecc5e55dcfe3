"""Every kind of 3D output, in every form in which it is served, through Khronos' validator, our checker and 3d-tiles-tools."""

import json
import time
from urllib.parse import quote, urlsplit

import pytest

from tiles.three_d.check import CallFiles, check_content_bytes, inspect_tileset

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

KINDS = (
    "houses", "parts", "pipes", "tunnel", "boreholes", "between", "geology", "trees", "signs", "city", "house-ifc", "hall-glb",
    "hall-obj", "rooms",
)  # fmt: skip
CQL = quote("height > 40 AND 用途 = '商业'")
# Name of the form: address below the API.
FORMS = {
    "property": "collections/houses/3dtiles/tileset.json?year=1960",
    "cql": f"collections/houses/3dtiles/tileset.json?filter={CQL}",
    "bbox": "collections/houses/3dtiles/tileset.json?bbox=114.295,30.495,114.3,30.5",
    "datetime": "collections/houses/3dtiles/tileset.json?datetime=1990-01-01/1999-12-31",
    "nothing": "collections/houses/3dtiles/tileset.json?code=none",
    "explicit houses": "collections/houses/3dtiles/explicit/tileset.json",
    "explicit some": "collections/houses/3dtiles/explicit/tileset.json?year=1960",
    "explicit pipes": "collections/pipes/3dtiles/explicit/tileset.json",
    "explicit trees": "collections/trees/3dtiles/explicit/tileset.json",
    "explicit city": "collections/city/3dtiles/explicit/tileset.json",
    "1.0 houses": "collections/houses/3dtiles/1.0/tileset.json",
    "1.0 some": "collections/houses/3dtiles/1.0/tileset.json?year=1960",
    "1.0 geology": "collections/geology/3dtiles/1.0/tileset.json",
    "1.0 trees": "collections/trees/3dtiles/1.0/tileset.json",
    "1.0 city": "collections/city/3dtiles/1.0/tileset.json",
    "dataset": "3dtiles/tileset.json",
}


@pytest.fixture(scope="module")
def validated(root, run):
    """Runs Khronos' validator over folders; the summary."""

    def call(*folders):
        script = root / "tests" / "clients" / "gltf_validate.mjs"
        return json.loads(run("node", str(script), *map(str, folders)))

    return call


@pytest.fixture(scope="module")
def followed(http, tmp_path_factory):
    """Follows a served tileset by our checker, and keeps its files: (report, folder of the files without queries)."""

    def call(address):
        parts = urlsplit(address)
        folder = tmp_path_factory.mktemp("followed")

        def fetch(path):
            reply = http.get(f"{parts.scheme}://{parts.netloc}/{path}", timeout=120)
            if reply.status_code == 404:
                return None
            assert reply.status_code == 200, f"{reply.status_code} {path}: {reply.text[:300]}"
            file = folder / path.partition("?")[0].partition("/ogc/")[2]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(reply.content)
            return reply.content

        start = parts.path.lstrip("/") + (f"?{parts.query}" if parts.query else "")
        return inspect_tileset(CallFiles(fetch), start), folder

    return call


def findings(report):
    return [str(finding) for finding in report.findings]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_published(every_scene, validated, kind):
    folder = every_scene.folder(kind)
    report = inspect_tileset(folder)
    assert findings(report) == []
    summary = validated(folder)
    assert summary["files"] == len(list(folder.rglob("*.glb"))) > 0
    assert (summary["errors"], summary["warnings"]) == (0, 0), summary["messages"]


@pytest.mark.parametrize("form", FORMS)
def test_what_is_served(every_scene, validated, followed, form):
    report, folder = followed(f"{every_scene.ogc}/{FORMS[form]}")
    assert findings(report) == []
    summary = validated(folder)
    assert summary["files"] > 0 or form == "nothing"
    assert (summary["errors"], summary["warnings"]) == (0, 0), summary["messages"]


@pytest.fixture(scope="module")
def edited(every_scene, http):
    """The collection `edited` after a house was torn down and one built; when it was before."""
    before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    time.sleep(1.1)
    items = f"{every_scene.collection('edited')}/items"
    headers = {"Authorization": f"Bearer {every_scene.token}"}
    gone = http.get(f"{items}/H7", timeout=30)
    done = http.delete(f"{items}/H7", headers={**headers, "If-Match": gone.headers["ETag"]}, timeout=60)
    assert done.status_code == 204, done.text
    house = gone.json()
    house["properties"] |= {"code": "H9999", "height": 99.0}
    feature = {"type": "Feature", "geometry": house["geometry"], "properties": house["properties"]}
    done = http.post(
        items, json=feature, headers={**headers, "Content-Type": "application/geo+json"}, timeout=60
    )
    assert done.status_code == 201, done.text
    return before


@pytest.mark.parametrize("path", ["", "explicit/", "1.0/"])
@pytest.mark.parametrize("then", [False, True])
def test_what_was_edited(every_scene, validated, followed, edited, path, then):
    query = f"?asof={edited}" if then else ""
    report, folder = followed(f"{every_scene.collection('edited')}/3dtiles/{path}tileset.json{query}")
    assert findings(report) == []
    summary = validated(folder)
    assert summary["files"] > 0
    assert (summary["errors"], summary["warnings"]) == (0, 0), summary["messages"]
    contents = b"".join(file.read_bytes() for file in folder.rglob("*.*") if file.suffix in (".glb", ".b3dm"))
    assert (b"H9999" in contents) != then


def test_a_pit(every_scene, validated, followed, http, tmp_path):
    polygon = "POLYGON((114.3 30.5,114.301 30.5,114.301 30.501,114.3 30.501,114.3 30.5))"
    address = (
        f"{every_scene.collection('hills')}/terrain/excavation?depth=8&slope=60&polygon={quote(polygon)}"
    )
    (tmp_path / "pit.glb").write_bytes(http.get(f"{address}&f=glb", timeout=60).content)
    summary = validated(tmp_path)
    assert (summary["files"], summary["errors"], summary["warnings"]) == (1, 0, 0), summary["messages"]
    assert check_content_bytes((tmp_path / "pit.glb").read_bytes()) == []
    report, _ = followed(f"{address}&f=3dtiles")
    assert findings(report) == []


@pytest.fixture(scope="module")
def tools(root, run):
    """3d-tiles-tools by its own command line."""
    program = root / "node_modules" / "3d-tiles-tools" / "build" / "src" / "cli" / "main.js"
    return lambda *arguments: run("node", str(program), *map(str, arguments))


@pytest.mark.parametrize("kind", ["houses", "trees", "city"])
def test_tools_turn_the_old_into_the_new(every_scene, validated, followed, tools, tmp_path, kind):
    """`upgrade` goes through the tree of version 1.0 and makes glTF of each content."""
    _, folder = followed(f"{every_scene.collection(kind)}/3dtiles/1.0/tileset.json")
    old = folder / "collections" / kind / "3dtiles" / "1.0" / "tileset.json"
    tools("upgrade", "-f", "-i", old, "-o", tmp_path / "new", "--targetVersion", "1.1")
    made = sorted((tmp_path / "new").rglob("*.gl*"))
    assert len(made) >= len(sorted(folder.rglob("*.b3dm")))
    assert validated(tmp_path / "new")["errors"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_tools_analyse_contents(every_scene, tools, tmp_path, kind):
    content = next(every_scene.folder(kind).glob("content/**/*.glb"))
    tools("analyze", "-f", "-i", content, "-o", tmp_path)
    (made,) = tmp_path.glob("*.glb.json")
    assert json.loads(made.read_text())["asset"]["version"] == "2.0"


def test_tools_pack_it(every_scene, tools, tmp_path):
    """`convert` makes one archive (3TZ) of the published folder, and a folder of that again: every content is the same."""
    folder = every_scene.folder("city")
    tools("convert", "-f", "-i", folder / "tileset.json", "-o", tmp_path / "city.3tz")
    tools("convert", "-f", "-i", tmp_path / "city.3tz", "-o", tmp_path / "again")
    for file in folder.rglob("content/**/*.glb"):
        assert (tmp_path / "again" / file.relative_to(folder)).read_bytes() == file.read_bytes()
