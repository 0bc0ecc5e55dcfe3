"""The npm packages that the pages load in the browser, served from a local folder (node_modules or a copy of it).

Only the packages and sub-folders listed here are ever served, about 15 MB of the whole tree. An address may carry the
version (`cesium@1.145.0/Build/...`): such an address never changes its content, so browsers keep it for good.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from server.pages.assets import Asset, find_asset


@dataclass(frozen=True, slots=True)
class VendorPackage:
    """One allowed package: what of it may be served, and the module that a bare import of `name` loads.

    An entry of `paths` that ends in "/" allows everything below it; any other allows one file.
    """

    name: str
    entry: str
    paths: tuple[str, ...]


PACKAGES: tuple[VendorPackage, ...] = (
    VendorPackage(
        "cesium",
        "Build/Cesium/index.js",
        (
            "Build/Cesium/index.js",
            "Build/Cesium/Assets/",
            "Build/Cesium/ThirdParty/",
            "Build/Cesium/Workers/",
            "Build/Cesium/Widgets/",
        ),
    ),
    VendorPackage(
        "maplibre-gl",
        "dist/maplibre-gl.mjs",
        (
            "dist/maplibre-gl.mjs",
            "dist/maplibre-gl-shared.mjs",
            "dist/maplibre-gl-worker.mjs",
            "dist/maplibre-gl.css",
        ),
    ),
    VendorPackage("echarts", "dist/echarts.esm.min.mjs", ("dist/echarts.esm.min.mjs",)),
    VendorPackage("lit", "index.js", ("index.js", "html.js", "directives/")),
    VendorPackage("lit-html", "lit-html.js", ("lit-html.js", "is-server.js", "directive.js", "directives/")),
    VendorPackage("lit-element", "lit-element.js", ("lit-element.js",)),
    VendorPackage("@lit/reactive-element", "reactive-element.js", ("reactive-element.js", "css-tag.js")),
)
_BY_NAME = {package.name: package for package in PACKAGES}


@dataclass(frozen=True, slots=True)
class VendorFiles:
    """The packages found in `folder`; without a folder none is found and the pages do without maps."""

    folder: Path | None
    versions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, folder: Path | None) -> VendorFiles:
        """Note the version of every allowed package in `folder`."""
        versions: dict[str, str] = {}
        for package in PACKAGES if folder else ():
            assert folder is not None
            manifest = folder / package.name / "package.json"
            if manifest.is_file():
                versions[package.name] = str(json.loads(manifest.read_text(encoding="utf-8"))["version"])
        return cls(folder, MappingProxyType(versions))

    def missing(self) -> tuple[str, ...]:
        """What the pages need and the folder lacks, as `package/path`; empty when all is there."""
        return tuple(
            f"{package.name}/{path}"
            for package in PACKAGES
            for path in (*package.paths, package.entry)
            if self.folder is None or not (self.folder / package.name / path).exists()
        )

    def address(self, name: str, path: str | None = None) -> str:
        """The versioned address below `/vendor/` of a file (default: the entry module) of an allowed package."""
        package = _BY_NAME[name]
        version = self.versions.get(name)
        return f"{name}@{version}/{path or package.entry}" if version else f"{name}/{path or package.entry}"

    def find(self, path: str) -> Asset | None:
        """The file at `{package}[@{version}]/{path}`; None for anything not allowed, not there, or of another version."""
        name, rest = _split(path)
        name, at, version = _cut_version(name)
        package = _BY_NAME.get(name)
        if self.folder is None or package is None or (at and version != self.versions.get(name)):
            return None
        allowed = any(
            rest == entry or (entry.endswith("/") and rest.startswith(entry)) for entry in package.paths
        )
        return find_asset(self.folder / package.name, rest, immutable=bool(at)) if allowed else None


def _split(path: str) -> tuple[str, str]:
    """Package name (with its scope) and the path inside it."""
    parts = path.split("/")
    count = 2 if path.startswith("@") else 1
    return "/".join(parts[:count]), "/".join(parts[count:])


def _cut_version(name: str) -> tuple[str, str, str]:
    scope = "@" if name.startswith("@") else ""
    bare, at, version = name.removeprefix("@").partition("@")
    return scope + bare, at, version
