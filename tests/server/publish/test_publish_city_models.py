"""Publishing city models: CityJSON, CityGML, archives with textures, and what edits of the features do to the 3D objects."""

from __future__ import annotations

import copy
import gzip
import io
import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import shapely
from PIL import Image

from providers.features.source import Edit, EditKind
from providers.features.store import open_store
from providers.three_d.recipes import read_recipe
from server.publish.errors import CrsError, DamagedFile, EmptyDataset, SchemaMismatch
from server.registry.catalogue import RepresentationKind
from tiles.three_d.check import check_tileset
from tiles.three_d.objects import Detail
from tiles.three_d.placement import LocalFrame, to_ecef
from tiles.three_d.read_glb import read_glb

FACES = [[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]]
CORNERS = [[0, 0, 0], [10, 0, 0], [10, 20, 0], [0, 20, 0], [0, 0, 6], [10, 0, 6], [10, 20, 6], [0, 20, 6]]


def city(names: tuple[str, ...] = ("a", "b"), *, lod: str = "2.2") -> dict[str, Any]:
    """Boxes of 10 x 20 x 6 m in a row, in EPSG:7415."""
    objects, vertices = {}, []
    for number, name in enumerate(names):
        first = len(vertices)
        vertices += [[1000 * (x + 30 * number), 1000 * y, 1000 * z] for x, y, z in CORNERS]
        boundaries = [[[corner + first for corner in face]] for face in FACES]
        geometry = {"type": "Solid", "lod": lod, "boundaries": [boundaries]}
        objects[name] = {
            "type": "Building",
            "attributes": {"storeys": number, "built": "1990-05-01"},
            "geometry": [geometry],
        }
    return {
        "type": "CityJSON",
        "version": "2.0",
        "metadata": {"referenceSystem": "https://www.opengis.net/def/crs/EPSG/0/7415"},
        "transform": {"scale": [0.001] * 3, "translate": [85_000.0, 447_500.0, 0.0]},
        "CityObjects": objects,
        "vertices": vertices,
    }


def written(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def source_of(result: Any) -> Any:
    return read_recipe(result.collection.directory).open()


def loaded(result: Any, *ids: str) -> Any:
    """The objects of these features."""
    store = open_store(result.collection.directory / "features.gpkg")
    keys = {name: key for part in store.slices() for name, key in zip(part.ids, part.keys, strict=True)}
    return source_of(result).load(np.array([keys[name] for name in ids], dtype=np.int64))


def edit(result: Any, *edits: Edit) -> None:
    store = open_store(result.collection.directory / "features.gpkg")
    store.edit(edits)


def volume(found: Any, detail: Detail, row: int = 0) -> float:
    outlines = found.outlines()
    frame = LocalFrame.at(*outlines.boxes[row, :2], outlines.bottoms[row])
    total = 0.0
    for part in found.parts(frame, detail):
        mine = part.mesh.triangles[part.mesh.feature_ids[part.mesh.triangles[:, 0]] == row]
        a, b, c = (part.mesh.positions[mine[:, corner]] for corner in range(3))
        total += float(np.sum(a * np.cross(b, c))) / 6.0
    return total


@pytest.fixture
def published(publisher: Any, tmp_path: Path) -> Any:
    return publisher.publish(written(tmp_path / "city.json", city()))


def test_a_city_model(published: Any) -> None:
    folder = published.collection.directory
    assert published.count == 2
    assert check_tileset(folder / "3dtiles") == []
    representation = published.collection.representations[RepresentationKind.TILESET_3D]
    assert representation.properties["content"] == "cityobjects"
    fields = {field.name: (field.type, field.format) for field in published.collection.fields}
    assert fields == {
        "type": ("string", None), "lod": ("string", None), "height": ("number", None),
        "storeys": ("integer", None), "built": ("string", "date"),
    }  # fmt: skip
    tiles = [read_glb(path.read_bytes()) for path in (folder / "3dtiles/content").rglob("*.glb")]
    assert sum(tile.table.count for tile in tiles if tile.table is not None) >= 2
    assert (folder / "scene/problems.jsonl").read_bytes() == b""


def test_details(published: Any) -> None:
    source = source_of(published)
    assert source.details == (Detail.BLOCK, Detail.LOD1, Detail.FULL)
    found = loaded(published, "a", "b")
    assert volume(found, Detail.FULL) == pytest.approx(1200.0, rel=1e-3)
    # Blocks have no floor; from a frame at their bottom it would add nothing.
    assert volume(found, Detail.LOD1) == pytest.approx(1200.0, rel=1e-3)
    assert volume(found, Detail.BLOCK) == pytest.approx(1200.0, rel=1e-2)
    assert found.detail_errors(Detail.FULL).tolist() == [0.0, 0.0]
    assert (found.detail_errors(Detail.BLOCK) < 0.5).all()


def test_a_box_that_sticks_out_is_inside_the_tile(publisher: Any, tmp_path: Path) -> None:
    document = city(("a",))
    # An L turned by 45 degrees: the missing corner of its box lies beyond its own extent.
    plan = [(0, 0), (20, 20), (15, 25), (5, 15), (-5, 25), (-10, 20)]
    count = len(plan)
    document["vertices"] = [[1000 * x, 1000 * y, 1000 * z] for z in (0, 6) for x, y in plan]
    walls = [[[k, (k + 1) % count, (k + 1) % count + count, k + count]] for k in range(count)]
    faces = [[list(range(count))[::-1]], [list(range(count, 2 * count))], *walls]
    document["CityObjects"]["a"]["geometry"][0]["boundaries"] = [faces]
    found = loaded(publisher.publish(written(tmp_path / "city.json", document)), "a")
    (own,), (shown,) = found.detail_boxes(Detail.FULL), found.detail_boxes(Detail.BLOCK)
    assert found.outlines().boxes.tolist() == [own.tolist()]
    assert (shown[:2] <= own[:2]).all()
    assert (shown[2:] >= own[2:]).all()
    assert (shown != own).any()
    frame = LocalFrame.at(own[0], own[1], found.outlines().bottoms[0])
    corners_of = to_ecef(shown[[0, 2]], shown[[1, 3]], np.repeat(found.outlines().bottoms, 2))
    low, high = frame.to_local(corners_of)
    (part,) = found.parts(frame, Detail.BLOCK)
    assert (part.mesh.positions[:, :2] > low[:2] - 0.01).all()
    assert (part.mesh.positions[:, :2] < high[:2] + 0.01).all()


def test_a_given_level_1_stands_for_it(publisher: Any, tmp_path: Path) -> None:
    document = city(("a",))
    low = copy.deepcopy(document["CityObjects"]["a"]["geometry"][0])
    low["lod"] = "1"
    low["boundaries"][0] = low["boundaries"][0][:2]
    document["CityObjects"]["a"]["geometry"].append(low)
    found = loaded(publisher.publish(written(tmp_path / "city.json", document)), "a")
    outlines = found.outlines()
    frame = LocalFrame.at(*outlines.boxes[0, :2], outlines.bottoms[0])
    assert [len(part.mesh.triangles) for part in found.parts(frame, Detail.LOD1)] == [4]
    assert [len(part.mesh.triangles) for part in found.parts(frame, Detail.FULL)] == [12]


def test_an_edited_attribute_and_a_deletion_are_seen(published: Any) -> None:
    edit(published, Edit(EditKind.UPDATE, "a", properties={"storeys": 77}), Edit(EditKind.DELETE, "b"))
    found = loaded(published, "a")
    columns = {column.name: column.values[0] for column in found.table.columns if column.offsets is None}
    assert columns["storeys"] == 77
    assert volume(found, Detail.FULL) == pytest.approx(1200.0, rel=1e-3)
    assert sum(len(outlines) for outlines in source_of(published).outlines()) == 1


def test_an_edited_footprint_is_raised(published: Any) -> None:
    moved = shapely.box(85_000.0, 447_500.0, 85_005.0, 447_510.0)
    edit(published, Edit(EditKind.UPDATE, "a", geometry=moved))
    found = loaded(published, "a", "b")
    assert volume(found, Detail.FULL) == pytest.approx(5 * 10 * 6, rel=1e-2)
    assert volume(found, Detail.BLOCK) == pytest.approx(5 * 10 * 6, rel=1e-2)
    assert volume(found, Detail.FULL, row=1) == pytest.approx(1200.0, rel=1e-2)
    outlines = found.outlines()
    assert outlines.tops[0] - outlines.bottoms[0] == pytest.approx(6.0, abs=0.01)


def test_a_new_feature_is_raised_by_its_height(published: Any) -> None:
    box = shapely.box(85_000.0, 447_550.0, 85_010.0, 447_560.0)
    edit(
        published,
        Edit(EditKind.CREATE, "new", geometry=box, properties={"height": 9.0}),
        Edit(EditKind.CREATE, "low", geometry=box, properties={}),
    )
    found = loaded(published, "new", "low")
    assert found.keys.tolist() == loaded(published, "new").keys.tolist()
    assert volume(found, Detail.FULL) == pytest.approx(900.0, rel=1e-2)


def test_broken_objects_are_told(publisher: Any, tmp_path: Path) -> None:
    document = city()
    document["CityObjects"]["b"]["geometry"][0]["boundaries"] = [[[[0, 1, 999]]]]
    document["CityObjects"]["a"]["geometry"][0]["boundaries"][0][0][0].reverse()
    result = publisher.publish(written(tmp_path / "city.json", document))
    assert result.count == 1
    lines = (result.collection.directory / "scene/problems.jsonl").read_bytes().splitlines()
    told = {(item["id"], item["action"]) for item in map(orjson.loads, lines)}
    assert {("a", "repaired"), ("b", "skipped")} <= told
    assert any("faced into their solid" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda document: document.pop("metadata"), CrsError, "--crs"),
        (lambda document: document.update(CityObjects={}), EmptyDataset, "no city object"),
        (lambda document: document.update(version="0.5"), DamagedFile, "version"),
        (lambda document: document.update(vertices=[[1, 2]]), DamagedFile, "three numbers"),
    ],
)
def test_files_that_cannot_be_published(
    publisher: Any, tmp_path: Path, change: Any, error: type[Exception], said: str
) -> None:
    document = city()
    change(document)
    with pytest.raises(error, match=said):
        publisher.publish(written(tmp_path / "city.json", document))


def test_several_files_make_one_collection(publisher: Any, tmp_path: Path) -> None:
    one = written(tmp_path / "one.json", city(("a",)))
    two = tmp_path / "two.json.gz"
    two.write_bytes(gzip.compress(json.dumps(city(("b", "a"))).encode()))
    result = publisher.publish(one, two)
    assert sorted(publisher.columns(result)) == ["a", "b"]
    assert any("is there already" in warning for warning in result.warnings)
    other = city(("c",))
    other["metadata"]["referenceSystem"] = "EPSG:28992"
    with pytest.raises((DamagedFile, SchemaMismatch), match="one by one"):
        publisher.publish(one, written(tmp_path / "three.json", other), collection="two")


def png(colour: tuple[int, int, int], side: int = 8) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(content, "PNG")
    return content.getvalue()


def textured(images: tuple[str, ...]) -> dict[str, Any]:
    """The first faces have textures, one image each."""
    document = city(("a",))
    corners = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
    document["appearance"] = {
        "textures": [{"type": "PNG", "image": image, "wrapMode": "none"} for image in images],
        "vertices-texture": corners,
        "materials": [{"name": "red", "diffuseColor": [1.0, 0.0, 0.0], "transparency": 0.5}],
    }
    values = [[[number, 0, 1, 2, 3]] if number < len(images) else [[None]] for number in range(6)]
    geometry = document["CityObjects"]["a"]["geometry"][0]
    geometry["texture"] = {"summer": {"values": [values]}}
    geometry["material"] = {"theme": {"values": [[None, None, None, None, None, 0]]}}
    return document


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return path


def test_textures_of_an_archive(publisher: Any, tmp_path: Path) -> None:
    document = textured(
        ("appearances/red.png", "appearances/green.png", "appearances/gone.png", "../secret.png")
    )
    (tmp_path / "secret.png").write_bytes(png((1, 2, 3)))
    path = archive(
        tmp_path / "city.zip",
        {
            "city.city.json": json.dumps(document).encode(),
            "appearances/red.png": png((255, 0, 0)),
            "appearances/green.png": png((0, 255, 0), side=3000),
        },
    )
    result = publisher.publish(path)
    folder = result.collection.directory
    assert check_tileset(folder / "3dtiles") == []
    (tile,) = [
        read_glb(path.read_bytes()) for path in sorted((folder / "3dtiles/content").rglob("*.glb"))[-1:]
    ]
    drawn = [part for part in tile.parts if part.material.texture is not None]
    assert len(drawn) == 1, "both images share one sheet"
    sheet = Image.open(io.BytesIO(drawn[0].material.texture.content)).convert("RGB")
    coordinates = drawn[0].texture_coordinates
    assert coordinates is not None
    # The middle of each face shows its image: red on the ground, green on the roof.
    shown = []
    for triangle in drawn[0].mesh.triangles:
        u, v = coordinates[triangle].mean(axis=0)
        shown.append(sheet.getpixel((int(u * sheet.width), int(v * sheet.height))))
    up = drawn[0].mesh.normals[drawn[0].mesh.triangles[:, 0], 2] > 0
    for colour, looks_up in zip(shown, up, strict=True):
        wanted = (0, 255, 0) if looks_up else (255, 0, 0)
        assert max(abs(a - b) for a, b in zip(colour, wanted, strict=True)) < 40
    assert max(sheet.size) <= 2048
    assert any(part.material.colour[3] == 0.5 for part in tile.parts)
    told = (folder / "scene/problems.jsonl").read_text()
    assert "texture gone.png" in told
    assert "texture secret.png" in told


GML = """<?xml version="1.0"?><CityModel xmlns="http://www.opengis.net/citygml/2.0" xmlns:bldg="http://www.opengis.net/citygml/building/2.0"
 xmlns:app="http://www.opengis.net/citygml/appearance/2.0" xmlns:gml="http://www.opengis.net/gml">
<gml:boundedBy><gml:Envelope srsName="EPSG:7415"/></gml:boundedBy>
<cityObjectMember><bldg:Building gml:id="hut"><bldg:function>shed</bldg:function><bldg:lod1MultiSurface><gml:MultiSurface>{}</gml:MultiSurface>
</bldg:lod1MultiSurface></bldg:Building></cityObjectMember>
<app:appearanceMember><app:Appearance><app:surfaceDataMember><app:ParameterizedTexture><app:imageURI>roof.png</app:imageURI>
<app:target uri="#p1"><app:TexCoordList><app:textureCoordinates ring="#r1">0 0 1 0 1 1 0 1 0 0</app:textureCoordinates></app:TexCoordList></app:target>
</app:ParameterizedTexture></app:surfaceDataMember></app:Appearance></app:appearanceMember></CityModel>"""


def citygml() -> str:
    members = []
    for number, face in enumerate(FACES):
        places = [CORNERS[corner] for corner in (*face, face[0])]
        text = " ".join(f"{85_000 + x} {447_500 + y} {z}" for x, y, z in places)
        members.append(
            f'<gml:surfaceMember><gml:Polygon gml:id="p{number}"><gml:exterior><gml:LinearRing gml:id="r{number}"><gml:posList>{text}'
            "</gml:posList></gml:LinearRing></gml:exterior></gml:Polygon></gml:surfaceMember>"
        )
    return GML.format("".join(members))


def test_citygml(publisher: Any, tmp_path: Path) -> None:
    path = archive(tmp_path / "city.zip", {"model.xml": citygml().encode(), "roof.png": png((0, 0, 255))})
    result = publisher.publish(path)
    assert publisher.columns(result)["hut"]["function"] == "shed"
    found = loaded(result, "hut")
    assert volume(found, Detail.FULL) == pytest.approx(1200.0, rel=1e-3)
    outlines = found.outlines()
    frame = LocalFrame.at(*outlines.boxes[0, :2], outlines.bottoms[0])
    (drawn,) = [part for part in found.parts(frame, Detail.FULL) if part.material.texture is not None]
    assert len(drawn.mesh.triangles) == 2
    # v counts from the top in glTF, from the bottom in CityGML.
    assert sorted(map(tuple, np.unique(drawn.texture_coordinates, axis=0).tolist())) == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]


def test_gml_that_is_no_citygml_is_read_by_gdal(publisher: Any, tmp_path: Path) -> None:
    from server.publish.formats import recognise_format

    path = tmp_path / "plain.gml"
    path.write_text(
        '<?xml version="1.0"?><ogr:FeatureCollection xmlns:ogr="http://ogr" xmlns:gml="http://www.opengis.net/gml"/>'
    )
    assert recognise_format(path).key == "gml"
    path.write_text(citygml())
    assert recognise_format(path).key == "citygml"


def validated(root: Path, folder: Path) -> dict[str, int]:
    """Messages of Khronos' validator over every tile below `folder`."""
    script = root / "tests" / "clients" / "gltf_validate.mjs"
    done = subprocess.run(
        ["node", str(script), str(folder)], capture_output=True, text=True, timeout=120, check=False
    )
    found = json.loads(done.stdout)
    assert found["files"] > 0
    messages: dict[str, int] = found["messages"]
    return messages if found["errors"] else {}


@pytest.mark.clients
def test_the_glb_validator_finds_no_error_in_textures(publisher: Any, tmp_path: Path, root: Path) -> None:
    document = textured(("red.png", "green.png"))
    members = {
        "city.json": json.dumps(document).encode(),
        "red.png": png((255, 0, 0)),
        "green.png": png((0, 255, 0)),
    }
    result = publisher.publish(archive(tmp_path / "city.zip", members))
    assert validated(root, result.collection.directory / "3dtiles") == {}


@pytest.mark.clients
@pytest.mark.parametrize("name", ["delft.json", "rotterdam_subset.json", "3dbag_b2.city.jsonl"])
def test_the_glb_validator_finds_no_error_in_cities(
    publisher: Any, sample_data: Path, root: Path, name: str
) -> None:
    result = publisher.publish(
        sample_data / "cityjson" / name, reading={"crs": "EPSG:7415"}, scene={"vertical": 43.3}
    )
    folder = result.collection.directory / "3dtiles"
    assert check_tileset(folder) == []
    assert validated(root, folder) == {}
