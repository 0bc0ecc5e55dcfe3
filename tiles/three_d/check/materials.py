"""Materials, textures, images and samplers of a glTF asset (glTF 2.0, clauses 3.8 and 3.9)."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, UnidentifiedImageError

from tiles.three_d.check.findings import FileFindings
from tiles.three_d.check.glb import Gltf, is_index, object_of

_MODES = {"OPAQUE", "MASK", "BLEND"}
_FILTERS = {"magFilter": {9728, 9729}, "minFilter": {9728, 9729, 9984, 9985, 9986, 9987}}
_WRAPS = {33071, 33648, 10497}
_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}
_SOURCES = {"EXT_texture_webp": "image/webp", "KHR_texture_basisu": "image/ktx2"}
_KTX2 = b"\xabKTX 20\xbb\r\n\x1a\n"


def check_materials(gltf: Gltf, findings: FileFindings) -> None:
    """Every material's numbers and references; every image is decoded."""
    images = [
        _check_image(gltf, number, image, findings) for number, image in enumerate(gltf.list_of("images"))
    ]
    for number, sampler in enumerate(gltf.list_of("samplers")):
        for name, allowed in _FILTERS.items():
            findings.require(
                sampler.get(name) in {None, *allowed},
                "gltf-sampler",
                f"sampler {number}: {name} {sampler.get(name)!r}",
            )
        for name in ("wrapS", "wrapT"):
            right = sampler.get(name) in {None, *_WRAPS}
            findings.require(right, "gltf-sampler", f"sampler {number}: {name} {sampler.get(name)!r}")
    for number, texture in enumerate(gltf.list_of("textures")):
        _check_texture(gltf, number, texture, images, findings)
    for number, material in enumerate(gltf.list_of("materials")):
        _check_material(gltf, number, material, findings)


def texture_coordinates(material: dict[str, Any]) -> set[int]:
    """The sets of texture coordinates (TEXCOORD_n) that a material's textures need."""
    used = set()
    for texture in _textures_of(material):
        moved = object_of(object_of(texture, "extensions"), "KHR_texture_transform").get("texCoord")
        used.add(int(texture.get("texCoord", 0) if moved is None else moved))
    return used


def _textures_of(material: dict[str, Any]) -> list[dict[str, Any]]:
    """All texture references below a material, those of extensions too."""
    found, waiting = [], [material]
    while waiting:
        one = waiting.pop()
        for name, value in one.items():
            if isinstance(value, dict):
                if name.endswith("Texture") and "index" in value:
                    found.append(value)
                elif name != "extras":
                    waiting.append(value)
    return found


def _check_material(gltf: Gltf, number: int, material: dict[str, Any], findings: FileFindings) -> None:
    where = f"material {number}"
    mode = material.get("alphaMode", "OPAQUE")
    findings.require(mode in _MODES, "gltf-material", f"{where}: alphaMode {mode!r}")
    pbr = object_of(material, "pbrMetallicRoughness")
    colour = pbr.get("baseColorFactor", [1.0] * 4)
    right = isinstance(colour, list) and len(colour) == 4 and all(_unit(one) for one in colour)
    findings.require(right, "gltf-material", f"{where}: baseColorFactor {colour}, needed are 4 of 0 to 1")
    for name in ("metallicFactor", "roughnessFactor"):
        findings.require(_unit(pbr.get(name, 1.0)), "gltf-material", f"{where}: {name} {pbr.get(name)!r}")
    for texture in _textures_of(material):
        known = is_index(texture.get("index"), len(gltf.list_of("textures")))
        findings.require(known, "gltf-material", f"{where} points to texture {texture.get('index')!r}")


def _unit(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= 1.0


def _check_texture(
    gltf: Gltf, number: int, texture: dict[str, Any], images: list[str | None], findings: FileFindings
) -> None:
    sampler = texture.get("sampler")
    known = sampler is None or is_index(sampler, len(gltf.list_of("samplers")))
    findings.require(known, "gltf-texture", f"texture {number} points to sampler {sampler!r}")
    sources: list[tuple[Any, str | None]] = [(texture["source"], None)] if "source" in texture else []
    extensions = object_of(texture, "extensions")
    sources += [
        (object_of(extensions, name).get("source"), kind)
        for name, kind in _SOURCES.items()
        if name in extensions
    ]
    findings.require(bool(sources), "gltf-texture", f"texture {number} has no image")
    for source, kind in sources:
        if findings.require(
            is_index(source, len(images)), "gltf-texture", f"texture {number} points to image {source!r}"
        ):
            core = kind is None and images[source] in _SOURCES.values()
            other = kind is not None and images[source] not in (None, kind)
            findings.require(
                not core and not other,
                "gltf-texture",
                f"texture {number} uses an image of {images[source]} as {kind or 'PNG or JPEG'}",
            )


def _check_image(gltf: Gltf, number: int, image: dict[str, Any], findings: FileFindings) -> str | None:
    """Decode an image; gives its media type as found, None where it cannot be read."""
    where, stated, uri = f"image {number}", image.get("mimeType"), image.get("uri")
    content = gltf.resolve(uri) if isinstance(uri, str) else gltf.view(image.get("bufferView"))
    if content is None:
        findings.add("gltf-image", f"{where} ({str(uri)[:80]}) cannot be read")
        return None
    if content.startswith(_KTX2):
        found = "image/ktx2"
    else:
        try:
            with Image.open(io.BytesIO(content)) as picture:
                picture.load()
                found = next(
                    (kind for kind, name in _FORMATS.items() if name == picture.format), str(picture.format)
                )
        except (
            UnidentifiedImageError,
            OSError,
            SyntaxError,
            ValueError,
            Image.DecompressionBombError,
        ) as error:
            findings.add("gltf-image", f"{where} cannot be decoded: {str(error)[:100]}")
            return None
    needed = stated is not None or uri is not None
    findings.require(needed, "gltf-image", f"{where} says no mimeType")
    findings.require(
        stated in (None, found) and (found in _FORMATS or found == "image/ktx2"),
        "gltf-image",
        f"{where} says {stated}, is {found}",
    )
    findings.count("images")
    return found
