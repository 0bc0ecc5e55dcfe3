"""`chengtu style`: kept, shown in every format, offered, chosen and removed; and what is refused, with what to do instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from server.cli import run

Command = Callable[..., tuple[int, str, str]]
RED = {
    "version": 8,
    "name": "Red",
    "sources": {},
    "layers": [{"id": "a", "type": "fill", "source": "x", "paint": {"fill-color": "#ff0000"}}],
}
RULE = "<Rule><PolygonSymbolizer><Fill>{}</Fill></PolygonSymbolizer></Rule>"
SLD_11 = f"""<StyledLayerDescriptor version="1.1.0" xmlns="http://www.opengis.net/sld" xmlns:se="http://www.opengis.net/se">
<NamedLayer><se:Name>plots</se:Name><UserStyle><se:FeatureTypeStyle>{
    RULE.format('<SvgParameter name="fill">#0000ff</SvgParameter>')
    .replace("</", "</se:")
    .replace("<", "<se:")
    .replace("<se:/se:", "</se:")
}</se:FeatureTypeStyle></UserStyle></NamedLayer></StyledLayerDescriptor>"""
AREAS = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"name": "a"},
            "geometry": {"type": "Polygon", "coordinates": [[[114, 22], [115, 22], [115, 23], [114, 22]]]},
        }
    ],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with tenant `demo` and its collection `plots`, which has a map."""
    folder = tmp_path_factory.mktemp("styles")
    file = folder / "plots.geojson"
    file.write_text(json.dumps(AREAS))
    at = ("--home", str(folder / "home"))
    assert run(["tenants", "add", "demo", "--title", "Demo", *at]) == 0
    assert run(["publish", str(file), "--tenant", "demo", "--id", "plots", "--title", "Plots", *at]) == 0
    return folder / "home"


@pytest.fixture
def command(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `chengtu style ARGUMENTS`: (exit code, standard output, standard error)."""
    monkeypatch.setenv("CHENGTU_DATA_HOME", str(home))

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(["style", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def red(tmp_path: Path) -> Path:
    file = tmp_path / "red.json"
    file.write_text(json.dumps(RED))
    return file


def listed(command: Command) -> dict[str, dict[str, str]]:
    return {one["style"]: one for one in json.loads(command("list", "--json")[1])}


def test_a_style_lives(command: Command, red: Path) -> None:
    code, out, said = command("put", "demo.red", str(red), "--title", "Red", "--collection", "plots")
    assert (code, out, said) == (0, "", "Added style demo.red (version 1).\n")
    assert listed(command)["demo.red"] == {
        "style": "demo.red",
        "title": "Red",
        "format": "maplibre",
        "version": "1",
        "collections": "plots",
    }
    assert json.loads(command("show", "demo.red")[1]) == RED
    for format_, part in (("sld-1.0", "CssParameter"), ("sld-1.1", "SvgParameter"), ("chengtu", "#ff0000")):
        code, text, _ = command("show", "demo.red", "--format", format_)
        assert (code, part in text) == (0, True)
    red.write_text(red.read_text().replace("ff0000", "ee0000"))
    assert command("put", "demo.red", str(red))[2] == "Replaced style demo.red (version 2).\n"
    assert (listed(command)["demo.red"]["title"], listed(command)["demo.red"]["collections"]) == (
        "Red",
        "plots",
    )
    assert command("put", "demo.red", str(red), "--any-collection", "--title", "Reds")[0] == 0
    assert (listed(command)["demo.red"]["title"], listed(command)["demo.red"]["collections"]) == ("Reds", "")

    assert command("set-default", "demo.plots", "red")[2] == "demo.plots is drawn in red now.\n"
    assert command("remove", "demo.red")[2] == "Removed style demo.red. It drew plots.\n"
    assert "demo.red" not in listed(command)
    for back in ((), ("default",)):
        assert "it was published with" in command("set-default", "demo.plots", *back)[2]


def test_a_list_is_of_all_or_of_a_tenant(command: Command) -> None:
    assert "buildings" in listed(command)
    assert command("list", "--tenant", "demo") == (0, "", "")


def test_a_style_may_take_the_place_of_an_installed_one(command: Command, red: Path) -> None:
    code, _, said = command("put", "demo.buildings", str(red))
    assert (code, "takes the place of the installation's style buildings" in said) == (0, True)
    assert command("remove", "demo.buildings")[0] == 0
    assert "buildings" in listed(command)


def test_an_installed_style_is_shown_and_what_is_lost_is_said(command: Command) -> None:
    code, text, said = command("show", "dem", "--format", "sld-1.0")
    assert code == 0
    assert text.startswith("<")
    assert all(line.startswith("Note: ") for line in said.splitlines())


def test_sld_tells_its_version_with_and_without_a_declaration(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "blue.sld"
    for text in (SLD_11, f"<?xml version='1.0'?>\n{SLD_11}"):
        file.write_text(text)
        assert command("put", "demo.blue", str(file))[0] == 0
        assert listed(command)["demo.blue"]["format"] == "sld-1.1"
        assert "#0000ff" in command("show", "demo.blue", "--format", "chengtu")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["list", "--tenant", "nope"], 1, "tenants: demo"),
        (["show", "nope"], 1, "chengtu style list"),
        (["show", "demo.nope"], 1, "chengtu style list"),
        (["show", "buildings", "--format", "qml"], 1, "known are maplibre, sld-1.0, sld-1.1, chengtu"),
        (["put", "red", "RED"], 1, "TENANT.STYLE"),
        (["put", "demo.Red", "RED"], 1, "a small letter a-z"),
        (["put", "demo.default", "RED"], 1, "default"),
        (["put", "nope.red", "RED"], 1, "chengtu tenants add nope"),
        (["put", "demo.red", "RED", "--collection", "nope"], 1, "chengtu collections --tenant demo"),
        (["put", "demo.red", "RED", "--collection", "plots", "--any-collection"], 1, "exclude each other"),
        (["put", "demo.red", "RED", "--format", "qml"], 1, "known are maplibre"),
        (["put", "demo.red", "RED", "--format", "sld-1.0"], 1, "red.json cannot be used"),
        (["put", "demo.red", "red.qml"], 2, "does not exist"),
        (["put", "demo.red", "QML"], 1, "--format"),
        (["put", "demo.red", "GBK"], 1, "not UTF-8"),
        (["remove", "red"], 1, "TENANT.STYLE"),
        (["remove", "demo.nope"], 1, "chengtu style list"),
        (["set-default", "plots", "red"], 1, "TENANT.COLLECTION"),
        (["set-default", "demo.nope", "buildings"], 1, "chengtu collections"),
        (["set-default", "demo.nope"], 1, "chengtu collections"),
        (["set-default", "demo.plots", "nope"], 1, "it has "),
        (["set-default", "demo.plots", "dem"], 1, "it has "),
    ],
)
def test_what_cannot_be_done_is_told_with_what_can(
    command: Command, red: Path, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    (tmp_path / "style.qml").write_text("<qgis/>")
    (tmp_path / "gbk.json").write_bytes("样式".encode("gbk"))
    files = {"RED": red, "QML": tmp_path / "style.qml", "GBK": tmp_path / "gbk.json"}
    found, out, said = command(*(str(files.get(one, one)) for one in arguments))
    assert (found, out) == (code, "")
    assert says in said
    assert "Traceback" not in said
    assert "demo.red" not in listed(command)


def test_nothing_is_made_where_no_home_is(tmp_path: Path, red: Path) -> None:
    at = ("--home", str(tmp_path / "none"))
    for arguments in (
        ("list",),
        ("show", "buildings"),
        ("put", "demo.red", str(red)),
        ("remove", "demo.red"),
        ("set-default", "demo.plots"),
    ):
        assert run(["style", *arguments, *at]) == 1
    assert not (tmp_path / "none").exists()
