"""The checker on single contents: every fault put into a good glTF asset is found, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import DracoPy
import numpy as np
import pytest

from tiles.three_d.check import check_content_bytes, inspect_content
from tiles.three_d.check.volumes import Volume

IDENTITY = [0.0, 0.0, 0.0, 1.0]


def rules(content: bytes, volume: Volume | None = None) -> set[str]:
    return {finding.rule for finding in check_content_bytes(content, volume)}


def primitive(asset: Any) -> dict[str, Any]:
    return asset.document["meshes"][0]["primitives"][0]  # type: ignore[no-any-return]


def accessor(asset: Any, name: str) -> dict[str, Any]:
    return asset.document["accessors"][primitive(asset)["attributes"][name]]  # type: ignore[no-any-return]


def table(asset: Any) -> dict[str, Any]:
    return asset.document["extensions"]["EXT_structural_metadata"]["propertyTables"][0]  # type: ignore[no-any-return]


def property_of(asset: Any, name: str) -> dict[str, Any]:
    schema = asset.document["extensions"]["EXT_structural_metadata"]["schema"]
    return schema["classes"]["roof"]["properties"][name]  # type: ignore[no-any-return]


def overwrite(asset: Any, view: int, content: bytes, at: int = 0) -> None:
    start = asset.document["bufferViews"][view]["byteOffset"] + at
    asset.binary[start : start + len(content)] = content


def overwrite_attribute(asset: Any, name: str, values: Any, kind: str = "<f4") -> None:
    overwrite(asset, accessor(asset, name)["bufferView"], np.asarray(values, kind).tobytes())


def overwrite_column(asset: Any, name: str, content: bytes, which: str = "values") -> None:
    overwrite(asset, table(asset)["properties"][name][which], content)


def test_a_good_asset_has_no_finding(asset: Any) -> None:
    report = inspect_content(asset.glb())
    assert (report.findings, report.remarks) == ((), ())
    assert report.counts["features"] == 2
    assert report.counts["triangles"] == 4
    assert report.counts["images"] == 1
    assert report.summary() == "no fault in 2 features, 4 triangles, 1 images in 1 files (0.0 MB)"


def change(where: str, value: Any) -> Callable[[Any], None]:
    """Sets a member of the document; numbers in the path are places in lists."""

    def put(asset: Any) -> None:
        *path, last = where.split(".")
        owner: Any = asset.document
        for step in path:
            owner = owner[int(step)] if isinstance(owner, list) else owner[step]
        if isinstance(owner, list):
            owner[int(last)] = value
        else:
            owner[last] = value

    return put


GEOMETRY: list[tuple[str, Callable[[Any], None], str]] = [
    ("NaN", lambda a: overwrite_attribute(a, "POSITION", [np.nan]), "gltf-positions"),
    ("NaN normal", lambda a: overwrite_attribute(a, "NORMAL", [np.nan]), "gltf-attributes"),
    ("NaN coordinate", lambda a: overwrite_attribute(a, "TEXCOORD_0", [np.inf]), "gltf-attributes"),
    ("long normal", lambda a: overwrite_attribute(a, "NORMAL", [0, 2, 0]), "gltf-normals"),
    ("id beyond", lambda a: overwrite_attribute(a, "_FEATURE_ID_0", [9], "<u2"), "features-range"),
    ("mode", lambda a: primitive(a).update(mode=9), "gltf-primitive"),
    ("float indices", lambda a: primitive(a).update(indices=0), "gltf-indices"),
    ("no position", lambda a: primitive(a)["attributes"].pop("POSITION"), "gltf-attributes"),
    ("odd name", lambda a: primitive(a)["attributes"].update(SHADE=1), "gltf-attributes"),
    ("min", lambda a: accessor(a, "POSITION").update(min=[0, 0, 1]), "gltf-accessor-bounds"),
    ("min of two", lambda a: accessor(a, "POSITION").update(min=[0, 0]), "gltf-accessor-bounds"),
    ("count 0", lambda a: accessor(a, "NORMAL").update(count=0), "gltf-accessor"),
    ("vec2 positions", lambda a: accessor(a, "POSITION").update(type="VEC2"), "gltf-attributes"),
    ("stride", change("bufferViews.0.byteStride", 10), "gltf-buffer-view"),
    ("target", change("bufferViews.0.target", 34963), "gltf-buffer-view"),
    ("view beyond", change("bufferViews.0.byteLength", 10**6), "gltf-buffer-view"),
    ("version", change("asset.version", "1.0"), "gltf-asset"),
    ("scene", change("scene", 4), "gltf-node"),
    ("matrix of 9", change("nodes.0.matrix", [1.0] * 9), "gltf-node"),
    (
        "matrix and scale",
        change("nodes.0", {"mesh": 0, "matrix": np.eye(4).ravel().tolist(), "scale": [1, 1, 1]}),
        "gltf-node",
    ),
    ("NaN translation", change("nodes.0.translation", [0, None, 0]), "gltf-node"),
    ("undeclared", change("extensionsUsed", ["EXT_mesh_features"]), "gltf-extensions"),
    ("unknown", change("extensionsRequired", ["KHR_unheard_of"]), "gltf-extensions"),
    (
        "flat",
        lambda a: (
            overwrite_attribute(a, "POSITION", np.zeros(18)),
            accessor(a, "POSITION").update(min=[0] * 3, max=[0] * 3),
        ),
        "gltf-degenerate",
    ),
]

MATERIALS: list[tuple[str, Callable[[Any], None], str]] = [
    ("material", lambda a: primitive(a).update(material=3), "gltf-material"),
    ("texture", change("materials.0.pbrMetallicRoughness.baseColorTexture.index", 2), "gltf-material"),
    ("coordinates", change("materials.0.pbrMetallicRoughness.baseColorTexture.texCoord", 1), "gltf-material"),
    ("colour", change("materials.0.pbrMetallicRoughness.baseColorFactor", [1, 1, 2, 1]), "gltf-material"),
    ("roughness", change("materials.0.pbrMetallicRoughness.roughnessFactor", -1), "gltf-material"),
    ("alpha", change("materials.0.alphaMode", "GLASS"), "gltf-material"),
    ("no image", change("textures.0", {}), "gltf-texture"),
    ("image", change("textures.0.source", 5), "gltf-texture"),
    ("sampler", change("textures.0.sampler", 5), "gltf-texture"),
    ("filter", change("samplers.0.magFilter", 9987), "gltf-sampler"),
    ("wrap", change("samplers.0.wrapS", 1), "gltf-sampler"),
    ("broken image", lambda a: overwrite(a, a.document["images"][0]["bufferView"], b"\0" * 40), "gltf-image"),
    (
        "cut image",
        lambda a: overwrite(a, a.document["images"][0]["bufferView"], b"\0" * 20, at=40),
        "gltf-image",
    ),
    ("kind of image", change("images.0.mimeType", "image/jpeg"), "gltf-image"),
    ("no kind", change("images.0", {"bufferView": 5}), "gltf-image"),
    ("image out of the tileset", change("images.0", {"uri": "../../secret.png"}), "gltf-image"),
    ("data URI", change("images.0", {"uri": "data:image/png;base64,@@"}), "gltf-image"),
]

METADATA: list[tuple[str, Callable[[Any], None], str]] = [
    ("class", lambda a: table(a).update({"class": "tree"}), "metadata-class"),
    ("count", lambda a: table(a).update(count=0), "metadata-table"),
    ("rows", lambda a: table(a).update(count=3), "metadata-values"),
    ("required", lambda a: table(a)["properties"].pop("name"), "metadata-property"),
    ("unknown", lambda a: table(a)["properties"].update(colour={"values": 0}), "metadata-property"),
    ("no view", lambda a: table(a)["properties"].update(flat={"values": 99}), "metadata-values"),
    ("utf-8", lambda a: overwrite_column(a, "name", b"\xff"), "metadata-text"),
    (
        "cut character",
        lambda a: overwrite_column(a, "name", np.array([0, 4], "<u4").tobytes(), "stringOffsets"),
        "metadata-text",
    ),
    (
        "offsets fall",
        lambda a: overwrite_column(a, "tags", np.array([0, 2, 1], "<u2").tobytes(), "stringOffsets"),
        "metadata-offsets",
    ),
    (
        "offsets end",
        lambda a: overwrite_column(a, "name", np.array([0, 6, 9], "<u4").tobytes(), "stringOffsets"),
        "metadata-offsets",
    ),
    (
        "array offsets",
        lambda a: overwrite_column(a, "slopes", b"\x00\x01\x04", "arrayOffsets"),
        "metadata-values",
    ),
    (
        "offset type",
        lambda a: table(a)["properties"]["slopes"].update(arrayOffsetType="UINT32"),
        "metadata-offsets",
    ),
    ("not in enum", lambda a: overwrite_column(a, "cover", b"\x02\x00"), "metadata-enum"),
    ("no enum", lambda a: property_of(a, "cover").update(enumType="none"), "metadata-enum"),
    (
        "above max",
        lambda a: overwrite_column(a, "height", np.array([4.5, 51.0], "<f8").tobytes()),
        "metadata-bounds",
    ),
    ("table's max", lambda a: table(a)["properties"]["height"].update(max=40.0), "metadata-bounds"),
    ("scaled max", lambda a: table(a)["properties"]["share"].update(max=1.0), "metadata-bounds"),
    ("noData apart", lambda a: property_of(a, "gap").pop("noData"), "metadata-bounds"),
    ("NaN", lambda a: overwrite_column(a, "slopes", np.array([np.nan], "<f4").tobytes()), "metadata-values"),
    ("type", lambda a: property_of(a, "flat").update(type="BIT"), "metadata-schema"),
    ("no component", lambda a: property_of(a, "height").pop("componentType"), "metadata-schema"),
    ("required and noData", lambda a: property_of(a, "gap").update(required=True), "metadata-schema"),
    ("normalized float", lambda a: property_of(a, "height").update(normalized=True), "metadata-schema"),
    ("scaled integer", lambda a: property_of(a, "gap").update(scale=2), "metadata-schema"),
    ("count of no array", lambda a: property_of(a, "height").update(count=2), "metadata-schema"),
    (
        "alignment",
        lambda a: a.document["bufferViews"][table(a)["properties"]["height"]["values"]].update(byteOffset=4),
        "metadata-alignment",
    ),
    (
        "no schema",
        lambda a: a.document["extensions"]["EXT_structural_metadata"].update(schema=[]),
        "metadata-schema",
    ),
]

FEATURES: list[tuple[str, dict[str, Any], str]] = [
    ("no count", {"attribute": 0}, "features-count"),
    ("few", {"attribute": 0, "featureCount": 1}, "features-range"),
    ("no attribute", {"attribute": 4, "featureCount": 2}, "features-attribute"),
    ("no table", {"attribute": 0, "featureCount": 2, "propertyTable": 1}, "features-table"),
    ("more than rows", {"attribute": 0, "featureCount": 3, "propertyTable": 0}, "features-table"),
    ("implicit", {"featureCount": 6, "propertyTable": 0}, "features-table"),
    ("texture", {"texture": {"index": 3}, "featureCount": 2}, "features-texture"),
    ("channel", {"texture": {"index": 0, "channels": [7]}, "featureCount": 2}, "features-texture"),
    (
        "texels",
        {"texture": {"index": 0, "channels": [0]}, "featureCount": 1, "propertyTable": 0},
        "features-range",
    ),
]


@pytest.mark.parametrize(
    ("put", "rule"),
    [pytest.param(put, rule, id=name) for name, put, rule in (*GEOMETRY, *MATERIALS, *METADATA)],
)
def test_faults_of_an_asset(put: Callable[[Any], None], rule: str, asset: Any) -> None:
    put(asset)
    assert rule in rules(asset.glb())


@pytest.mark.parametrize(
    ("entry", "rule"), [pytest.param(entry, rule, id=name) for name, entry, rule in FEATURES]
)
def test_faults_of_feature_ids(entry: dict[str, Any], rule: str, asset: Any) -> None:
    primitive(asset)["extensions"]["EXT_mesh_features"]["featureIds"] = [entry]
    assert rule in rules(asset.glb())


@pytest.mark.parametrize(
    "entry",
    [
        {"featureCount": 6},
        {"attribute": 0, "featureCount": 1, "nullFeatureId": 1, "propertyTable": 0},
        {"texture": {"index": 0, "channels": [0]}, "featureCount": 1},
    ],
)
def test_right_feature_ids(entry: dict[str, Any], asset: Any) -> None:
    primitive(asset)["extensions"]["EXT_mesh_features"]["featureIds"] = [entry]
    assert rules(asset.glb()) == set()


def test_webp_needs_its_extension(asset: Any, make_picture: Callable[..., bytes]) -> None:
    asset.document["images"].append(
        {"bufferView": asset.view(make_picture("WEBP")), "mimeType": "image/webp"}
    )
    asset.document["textures"][0] = {"source": 0, "extensions": {"EXT_texture_webp": {"source": 1}}}
    asset.use("EXT_texture_webp")
    assert rules(asset.glb()) == set()
    asset.document["textures"][0] = {"source": 1}
    assert rules(asset.glb()) == {"gltf-texture"}


def test_texture_transform_names_its_coordinates(asset: Any) -> None:
    texture = asset.document["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]
    texture["extensions"] = {"KHR_texture_transform": {"scale": [2, 2], "texCoord": 0}}
    asset.use("KHR_texture_transform")
    assert rules(asset.glb()) == set()
    texture["extensions"]["KHR_texture_transform"]["texCoord"] = 2
    assert rules(asset.glb()) == {"gltf-material"}


def test_sparse_accessors(asset: Any) -> None:
    """The third vertex is replaced; bounds are those of what comes out."""
    where, what = asset.view(np.array([2], "<u2").tobytes()), asset.view(np.array([8, 9, 2], "<f4").tobytes())
    position = accessor(asset, "POSITION")
    position["sparse"] = {
        "count": 1,
        "indices": {"bufferView": where, "componentType": 5123},
        "values": {"bufferView": what},
    }
    assert rules(asset.glb()) == {"gltf-accessor-bounds"}
    position["max"][1] = 9
    assert rules(asset.glb()) == set()
    overwrite(asset, where, b"\x09")
    assert "gltf-sparse" in rules(asset.glb())
    position["sparse"]["count"] = 50
    assert "gltf-sparse" in rules(asset.glb())


def quantized(asset: Any, kind: str, *, normalized: bool = False) -> None:
    steps = np.array([[0, 0, 0], [100, 0, 0], [100, 90, 50], [0, 90, 50], [100, 0, 99], [0, 0, 99]])
    number = asset.accessor(steps, kind, bounds=True, normalized=normalized)
    primitive(asset)["attributes"]["POSITION"] = number


def test_whole_number_positions_need_their_extension(asset: Any) -> None:
    quantized(asset, "i2")
    assert rules(asset.glb()) == {"gltf-extensions"}
    asset.use("KHR_mesh_quantization", required=True)
    assert rules(asset.glb()) == set()
    box = Volume("box", np.array([50.0, -49.5, 45.0, 50.1, 0, 0, 0, 49.6, 0, 0, 0, 45.1]))
    assert rules(asset.glb(), box) == set()
    quantized(asset, "i1", normalized=True)
    unit = Volume("box", np.array([0.5, -0.5, 0.5, 0.5, 0, 0, 0, 0.5, 0, 0, 0, 0.5]))
    assert rules(asset.glb(), unit) == set()
    assert rules(asset.glb(), Volume("sphere", np.array([0.0, 0.0, 0.0, 0.5]))) == {"volume-content"}


def instanced(asset: Any, **attributes: int) -> None:
    asset.use("EXT_mesh_gpu_instancing", "EXT_instance_features")
    asset.document["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": attributes}}


def test_instances_are_drawn_where_they_are(asset: Any) -> None:
    """Two roofs, the second turned by a quarter around the vertical axis, doubled, and 100 m east."""
    half = float(np.sqrt(0.5))
    instanced(
        asset,
        TRANSLATION=asset.accessor([[0, 0, 0], [100, 0, 0]]),
        ROTATION=asset.accessor([IDENTITY, [0, half, 0, half]]),
        SCALE=asset.accessor([[1, 1, 1], [2, 2, 2]]),
        _FEATURE_ID_0=asset.accessor([0, 1], "u2"),
    )
    extensions = asset.document["nodes"][0]["extensions"]
    extensions["EXT_instance_features"] = {
        "featureIds": [{"attribute": 0, "featureCount": 2, "propertyTable": 0}]
    }
    # x from 0 to 108, y (north) from -4 to 16, z from 0 to 6.
    whole = np.array([54.0, 6.0, 3.0, 54.0, 0, 0, 0, 10.0, 0, 0, 0, 3.0])
    report = inspect_content(asset.glb(), Volume("box", whole))
    assert report.findings == ()
    assert report.counts["instances"] == 2
    for axis, less in ((0, 53.9), (1, 9.9), (2, 2.9)):
        small = whole.copy()
        small[3 + 4 * axis] = less
        assert rules(asset.glb(), Volume("box", small)) == {"volume-content"}
    extensions["EXT_instance_features"]["featureIds"][0]["featureCount"] = 1
    assert rules(asset.glb()) == {"features-range"}


@pytest.mark.parametrize(
    "attributes",
    [
        {"TRANSLATION": ([[0, 0, 0], [1, 0, 0]], "f4"), "SCALE": ([[1, 1, 1]], "f4")},
        {"TRANSLATION": ([[0, 0], [1, 0]], "f4")},
        {"TRANSLATION": ([[0, 0, np.nan]], "f4")},
        {"ROTATION": ([[0, 0, 0, 2]], "f4")},
        {"SHEAR": ([[0, 0, 0]], "f4")},
        {},
    ],
)
def test_faults_of_instances(attributes: dict[str, Any], asset: Any) -> None:
    instanced(asset, **{name: asset.accessor(values, kind) for name, (values, kind) in attributes.items()})
    assert rules(asset.glb()) == {"gltf-instances"}


def test_many_instances_are_judged_by_their_outermost_vertices(asset: Any) -> None:
    places = np.column_stack((np.arange(200_000.0), np.zeros((200_000, 2))))
    instanced(asset, TRANSLATION=asset.accessor(places))
    box = np.array([100_004.0, -2.0, 1.5, 100_004.0, 0, 0, 0, 2.0, 0, 0, 0, 1.5])
    assert rules(asset.glb(), Volume("box", box)) == set()
    box[3] -= 0.5
    assert rules(asset.glb(), Volume("box", box)) == {"volume-content"}


def compressed(asset: Any, corners: Any, triangles: Any) -> None:
    """The primitive's positions and indices in Draco's form."""
    packed = DracoPy.encode(np.asarray(corners, np.float32), np.asarray(triangles, np.uint32).reshape(-1, 3))
    mesh = DracoPy.decode(packed)
    points, faces = len(mesh.points), len(mesh.faces)
    asset.use("KHR_draco_mesh_compression", required=True)
    made = primitive(asset)
    made["attributes"] = {"POSITION": made["attributes"]["POSITION"]}
    made["extensions"] = {
        "KHR_draco_mesh_compression": {
            "bufferView": asset.view(packed),
            "attributes": {"POSITION": mesh.attributes[0]["unique_id"]},
        }
    }
    del made["material"]
    accessor(asset, "POSITION").update(count=points)
    accessor(asset, "POSITION").pop("bufferView")
    indices = asset.document["accessors"][made["indices"]]
    indices.update(count=faces * 3)
    indices.pop("bufferView")


def test_draco_meshes_are_decoded(asset: Any) -> None:
    from_document = asset.document["extensions"]
    compressed(asset, np.array([[0, 0, 0], [8, 0, 0], [8, 3, 2], [0, 3, 2]]), [0, 1, 2, 0, 2, 3])
    del asset.document["extensions"], from_document
    asset.document["extensionsUsed"] = ["KHR_draco_mesh_compression"]
    report = inspect_content(
        asset.glb(), Volume("box", np.array([4.0, -1, 1.5, 4.1, 0, 0, 0, 1.1, 0, 0, 0, 1.6]))
    )
    assert report.findings == ()
    assert report.counts["triangles"] == 2
    accessor(asset, "POSITION")["count"] += 1
    assert "gltf-draco" in rules(asset.glb())
    accessor(asset, "POSITION")["count"] -= 1
    packed = primitive(asset)["extensions"]["KHR_draco_mesh_compression"]
    packed["attributes"] = {"POSITION": 77}
    assert "gltf-draco" in rules(asset.glb())
    overwrite(asset, packed["bufferView"], b"\0" * 12)
    assert "gltf-draco" in rules(asset.glb())


def test_bytes_that_are_nothing() -> None:
    assert rules(b"") == {"content-type"}
    assert rules(b"PK\x03\x04") == {"content-type"}
    assert rules(b"{") == {"glb-json"}
    assert rules(b"glTF" + b"\0" * 30) == {"glb-header"}


def test_random_changes_never_stop_the_checker(asset: Any) -> None:
    """Members of the JSON are replaced by other values, bytes by other bytes: findings, or none, but an answer."""
    random = np.random.default_rng(5)
    odd = [None, -1, 7, 1e308, "x", [], {}, True, [None], {"bufferView": "a"}, float(2**63)]
    good = asset.glb()
    for _ in range(300):
        content = bytearray(good)
        for place in random.integers(20, len(content), 3):
            content[place] = random.integers(0, 256)
        check_content_bytes(bytes(content))
    for _ in range(500):
        held = json.dumps(asset.document)
        spots = list(members(asset.document))
        owner, key = spots[random.integers(0, len(spots))]
        owner[key] = odd[random.integers(0, len(odd))]
        check_content_bytes(asset.glb())
        asset.document = json.loads(held)


def members(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON document below its top level that can be replaced."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inside in list(entries):
        if isinstance(inside, dict | list):
            yield from members(inside)
        yield value, key
