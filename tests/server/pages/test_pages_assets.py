"""Our assets and the npm packages: what is served, how it may be cached, and what is never served."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from server.pages import Pages, PageSettings
from server.pages.assets import IMMUTABLE, REVALIDATE
from server.pages.vendor import PACKAGES, VendorFiles
from server.registry.catalogue import Catalogue


@pytest.fixture
def vendor_folder(tmp_path: Path) -> Path:
    """A folder like node_modules with one file per allowed path, and files around them that are not allowed."""
    folder = tmp_path / "packages"
    for package in PACKAGES:
        home = folder / package.name
        home.mkdir(parents=True)
        (home / "package.json").write_text('{"version": "1.2.3"}')
        for path in (*package.paths, package.entry):
            file = home / path / "inside.js" if path.endswith("/") else home / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("export {};")
    (folder / "cesium" / "Source").mkdir()
    (folder / "cesium" / "Source" / "Cesium.js").write_text("export {};")
    (folder / "other").mkdir()
    (folder / "other" / "index.js").write_text("export {};")
    (tmp_path / "secret.js").write_text("secret")
    (folder / "cesium/Build/Cesium/Assets/away.js").symlink_to(tmp_path / "secret.js")
    (folder / "cesium/Build/Cesium/Assets/.hidden.js").write_text("secret")
    (folder / "cesium/Build/Cesium/Assets/notes.txt").write_text("no page loads this")
    return folder


def test_a_versioned_address_is_kept_for_good_and_a_plain_one_is_asked_again(vendor_folder: Path) -> None:
    files = VendorFiles.of(vendor_folder)
    versioned = files.find("cesium@1.2.3/Build/Cesium/index.js")
    plain = files.find("cesium/Build/Cesium/index.js")
    assert versioned is not None
    assert plain is not None
    assert versioned.cache_control == IMMUTABLE
    assert plain.cache_control == REVALIDATE
    assert versioned.etag == plain.etag
    assert versioned.media_type == "text/javascript; charset=utf-8"
    assert (versioned.size, versioned.compressible) == (10, True)
    scoped = files.find("@lit/reactive-element@1.2.3/reactive-element.js")
    assert scoped is not None
    assert scoped.file.name == "reactive-element.js"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "cesium",
        "cesium/",
        "cesium/Build/Cesium/",
        "cesium/Build/Cesium/Assets",
        "cesium/package.json",
        "cesium/Source/Cesium.js",
        "cesium@9.9.9/Build/Cesium/index.js",
        "cesium@/Build/Cesium/index.js",
        "other/index.js",
        "cesium/Build/Cesium/Assets/../../../Source/Cesium.js",
        "cesium/Build/Cesium/Assets/../../../../../secret.js",
        "cesium/Build/Cesium/Assets/..\\inside.js",
        "cesium/Build/Cesium/Assets//etc/passwd.js",
        "cesium/Build/Cesium/Assets/inside.js\0",
        "cesium/Build/Cesium/Assets/away.js",
        "cesium/Build/Cesium/Assets/.hidden.js",
        "cesium/Build/Cesium/Assets/notes.txt",
        "../secret.js",
        "/secret.js",
        "@lit",
        "@lit/reactive-element",
    ],
)
def test_nothing_else_is_served(vendor_folder: Path, path: str) -> None:
    assert VendorFiles.of(vendor_folder).find(path) is None


def test_what_is_missing_is_named(vendor_folder: Path) -> None:
    assert VendorFiles.of(vendor_folder).missing() == ()
    (vendor_folder / "lit-html" / "lit-html.js").unlink()
    assert "lit-html/lit-html.js" in VendorFiles.of(vendor_folder).missing()
    without = Pages(PageSettings(vendor_dir=None))
    assert "cesium/Build/Cesium/index.js" in without.missing_vendor_files()
    assert without.vendor("cesium/Build/Cesium/index.js") is None


def test_the_repository_has_all_the_pages_load(pages: Pages) -> None:
    assert pages.missing_vendor_files() == ()


def test_static_addresses_carry_a_digest_of_all_assets(pages: Pages) -> None:
    plain = pages.static("js/portal.js")
    assert plain is not None
    assert plain.cache_control == REVALIDATE
    digest = pages._frame.static.digest
    kept = pages.static(f"{digest}/js/portal.js")
    assert kept is not None
    assert (kept.cache_control, kept.file) == (IMMUTABLE, plain.file)
    for path in (
        "",
        digest,
        f"{digest}/",
        f"{digest}/../frame.py",
        "../frame.py",
        "000000000000/js/portal.js",
    ):
        assert pages.static(path) is None


def test_every_import_of_our_scripts_is_a_script_of_ours_or_in_the_import_map(pages: Pages) -> None:
    folder = pages._frame.static.folder / "js"
    for script in folder.glob("*.js"):
        for name in re.findall(r"""(?:from |import\()["']([^"']+)["']""", script.read_text(encoding="utf-8")):
            if name.startswith("./"):
                assert (folder / name).is_file(), (script.name, name)
            else:
                assert f'"{name}"' in pages._frame.import_map, (script.name, name)


@pytest.mark.parametrize("scene", [False, True])
def test_the_policy_loads_from_here_alone_and_evaluates_nothing(
    pages: Pages, catalogue: Catalogue, ask: Any, scene: bool
) -> None:
    headers = pages.headers(scene=scene)
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert "'unsafe-eval'" not in headers["Content-Security-Policy"]
    assert "unsafe-inline" not in policy["script-src"]
    assert "http" not in headers["Content-Security-Policy"]
    assert ("'wasm-unsafe-eval'" in policy["script-src"]) is scene
    assert ("blob:" in policy["worker-src"]) is scene
    page = pages.portal(ask("/"), catalogue, list(catalogue.collections.values()))
    inline = re.findall(r'<script type="importmap">(.*?)</script>', page, re.DOTALL)
    expected = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
    assert f"'sha256-{expected}'" in policy["script-src"]
