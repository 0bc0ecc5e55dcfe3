"""An SLD document as a style of ours."""

from __future__ import annotations

from dataclasses import replace
from xml.etree.ElementTree import Element

from tiles.errors import StyleError
from tiles.maps.sld.elements import child, children, local, number, parse_xml, text
from tiles.maps.sld.filters import read_filter
from tiles.maps.sld.rasters import read_raster_symbolizer
from tiles.maps.sld.symbolizers import SymbolizerReader
from tiles.maps.style_branches import Notes, combinations
from tiles.maps.style_filters import all_of
from tiles.maps.style_model import RasterStyle, Rule, Style, Symbol

_ROOTS = ("StyledLayerDescriptor", "UserStyle", "FeatureTypeStyle", "CoverageStyle")


def read_sld(document: str) -> tuple[Style, tuple[str, ...]]:
    """The style, and notes on all that is not drawn as it says. Raises StyleError."""
    root = parse_xml(document)
    if local(root) not in _ROOTS:
        raise StyleError(f"the root of an SLD document is {', '.join(_ROOTS)}; found {local(root)[:60]!r}")
    reader = _Reader(Notes())
    if local(root) == "StyledLayerDescriptor":
        for layer in children(root, "NamedLayer", "UserLayer"):
            reader.layer(layer)
    elif local(root) == "UserStyle":
        reader.user_style(root, "")
    else:
        reader.feature_type_style(root, "")
    if reader.raster is not None and reader.passes:
        reader.notes.add("rules of features beside a raster are not drawn")
        reader.passes = []
    if reader.raster is None and not reader.passes:
        raise StyleError(
            "the SLD draws nothing that can be drawn here: " + ("; ".join(reader.notes.all()) or "no rule")
        )
    return Style(reader.title, tuple(reader.passes), reader.raster), reader.notes.all()


class _Reader:
    """Collects the passes of a document, one a FeatureTypeStyle."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.passes: list[tuple[Rule, ...]] = []
        self.raster: RasterStyle | None = None
        self.title: tuple[tuple[str, str], ...] = ()
        self._symbolizers = SymbolizerReader(notes)

    def layer(self, element: Element) -> None:
        name = text(element, "Name") or text(element, "Description", "Title")
        styles = list(children(element, "UserStyle"))
        chosen = [one for one in styles if text(one, "IsDefault") in ("1", "true")] or styles
        for one in children(element, "NamedStyle"):
            self.notes.add(
                f"layer {name[:60]!r}: the named style {text(one, 'Name')[:60]!r} is not looked up"
            )
        for one in styles:
            if one is not chosen[0]:
                self.notes.add(
                    f"layer {name[:60]!r}: only its default style is drawn, not {text(one, 'Name')[:60]!r}"
                )
        for one in chosen[:1]:
            self.user_style(one, name)

    def user_style(self, element: Element, layer: str) -> None:
        title = text(element, "Title") or text(element, "Description", "Title") or text(element, "Name")
        if title and not self.title:
            self.title = (("en", title[:200]),)
        for one in children(element, "FeatureTypeStyle", "CoverageStyle"):
            self.feature_type_style(one, layer)

    def feature_type_style(self, element: Element, layer: str) -> None:
        if child(element, "Transformation") is not None:
            self.notes.add("Transformation is not done")
        for one in children(element, "VendorOption"):
            self.notes.add(f"FeatureTypeStyle: vendor option {one.get('name')!r} is not known here")
        rules: list[Rule] = []
        for number_, rule in enumerate(children(element, "Rule")):
            rules += self._rule(rule, layer, number_)
        if rules:
            self.passes.append(tuple(rules))

    def _rule(self, element: Element, layer: str, index: int) -> list[Rule]:
        name = text(element, "Name") or text(element, "Title") or text(element, "Description", "Title")
        place = name[:60] or f"rule {index}"
        try:
            filter_element = child(element, "Filter")
            filter_ = None if filter_element is None else read_filter(filter_element)
        except StyleError as error:
            self.notes.add(f"{place}: {error}; the rule is not drawn")
            return []
        low, high = text(element, "MinScaleDenominator"), text(element, "MaxScaleDenominator")
        title = text(element, "Title") or text(element, "Description", "Title")
        base = Rule(
            symbols=(),
            name=name[:200],
            filter=filter_,
            otherwise=child(element, "ElseFilter") is not None,
            min_scale=(number(low, "MinScaleDenominator") or None) if low else None,
            max_scale=number(high, "MaxScaleDenominator") if high else None,
            title=(("en", title[:200]),) if title and title != name else (),
            layer=layer,
        )
        return self._expanded(element, base, place)

    def _expanded(self, element: Element, base: Rule, place: str) -> list[Rule]:
        """The rule: all symbolizers without branches in one, each of the others in rules of its own."""

        plain: list[Symbol] = []
        branched: list[Rule] = []
        for one in children(element):
            if local(one) == "RasterSymbolizer":
                self.raster = self._raster(one, base, place)
                continue
            if not local(one).endswith("Symbolizer"):
                continue
            found = self._symbolizers.read(one)
            if found is None:
                self.notes.add(f"{place}: {local(one)} is not drawn")
                continue
            properties, build = found
            made = combinations(properties)
            if len(made) == 1:
                plain += build(made[0].values)
                continue
            if base.otherwise:
                self.notes.add(
                    f"{place}: values that depend on features in an ElseFilter rule are drawn alike"
                )
                plain += build(made[0].values)
                continue
            for combination in made:
                symbols = tuple(build(combination.values))
                branched.append(
                    replace(base, symbols=symbols, filter=all_of(base.filter, combination.filter))
                )
        drawn = [replace(base, symbols=tuple(plain))] if plain or not branched else []
        return [
            rule
            for rule in (*drawn, *branched)
            if rule.symbols or (rule.filter is not None and rule in drawn)
        ]

    def _raster(self, element: Element, rule: Rule, place: str) -> RasterStyle | None:
        if self.raster is not None:
            self.notes.add(f"{place}: a second RasterSymbolizer is not drawn")
            return self.raster
        if rule.min_scale or rule.max_scale or rule.filter is not None:
            self.notes.add(f"{place}: a raster is drawn alike at all scales")
        return read_raster_symbolizer(element, self.notes)
