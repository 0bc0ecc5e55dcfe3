"""The keys of rules, filters and symbols as objects. docs/reference/styles.md describes them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

from tiles.errors import StyleError
from tiles.maps import style_keys as keys
from tiles.maps.icons import is_icon_name
from tiles.maps.style_filters import (
    MAXIMUM_DEPTH,
    AnyOf,
    Comparison,
    Filter,
    GeometryIs,
    Like,
    Not,
    OneOf,
    Present,
    all_of,
    negation,
    within_bounds,
)
from tiles.maps.style_keys import KeyReader
from tiles.maps.style_model import (
    MAXIMUM_ZOOM,
    Anchor,
    FieldText,
    IconSymbol,
    LabelSymbol,
    LineSymbol,
    PointSymbol,
    PolygonSymbol,
    Rule,
    Shape,
    Symbol,
    TextPart,
    drawable_dashes,
)

_MAXIMUM_SCALE = 1e12
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def read_passes(value: Any, place: str) -> tuple[tuple[Rule, ...], ...]:
    """Lists of rules. Raises StyleError."""
    return keys.list_of(read_rules, 1, 64)(value, place)


def read_rules(value: Any, place: str) -> tuple[Rule, ...]:
    """A list of rules. Raises StyleError."""
    return keys.list_of(_read_rule, 1, 256 if place.endswith("]") else 64)(value, place)


def _read_rule(value: Any, place: str) -> Rule:
    reader = KeyReader(value, place)
    scale = keys.number(0, _MAXIMUM_SCALE)
    rule = Rule(
        symbols=reader.take("symbols", keys.list_of(_read_symbol, 1, 8)),
        name=reader.take("name", keys.text, ""),
        filter=all_of(reader.take("where", _read_where, None), reader.take("filter", _read_filter, None)),
        otherwise=reader.take("otherwise", keys.flag, False),
        min_zoom=reader.take("min_zoom", keys.whole(0, MAXIMUM_ZOOM), 0),
        max_zoom=reader.take("max_zoom", keys.whole(0, MAXIMUM_ZOOM), MAXIMUM_ZOOM),
        min_scale=reader.take("min_scale", scale, None),
        max_scale=reader.take("max_scale", scale, None),
        title=reader.take("title", keys.titles, ()),
        layer=reader.take("layer", keys.text, ""),
    )
    reader.finish()
    if rule.otherwise and rule.filter is not None:
        raise StyleError(f"{place} has both where (or filter) and otherwise: give one of them")
    if rule.min_zoom > rule.max_zoom:
        raise StyleError(f"{place}: min_zoom {rule.min_zoom} lies above max_zoom {rule.max_zoom}")
    if rule.min_scale is not None and rule.max_scale is not None and rule.min_scale >= rule.max_scale:
        raise StyleError(f"{place}: min_scale {rule.min_scale:g} must lie below max_scale {rule.max_scale:g}")
    return rule


# --- filters -------------------------------------------------------------------------------------------------------------


def _read_where(value: Any, place: str) -> Filter | None:
    if not isinstance(value, Mapping) or not value:
        raise StyleError(f"{place} must map fields to what they must be, found {value!r:.80}")
    return all_of(
        *(
            _read_condition(keys.text(field, place), wanted, f"{place}.{field}")
            for field, wanted in value.items()
        )
    )


def _read_condition(field: str, wanted: Any, place: str) -> Filter | None:
    if isinstance(wanted, Mapping):
        reader = KeyReader(wanted, place)
        exists = reader.take("exists", keys.flag, True)
        minimum = reader.take("min", keys.number(-1e15, 1e15), None)
        maximum = reader.take("max", keys.number(-1e15, 1e15), None)
        reader.finish()
        if not exists:
            raise StyleError(
                f"{place}.exists can only be true; features without the field come to the rule otherwise"
            )
        low = None if minimum is None else Comparison(field, ">=", minimum)
        high = None if maximum is None else Comparison(field, "<", maximum)
        return all_of(low, high) or Present(field)
    values = wanted if isinstance(wanted, list | tuple) else [wanted]
    if not 0 < len(values) <= 200 or not all(isinstance(item, str | int | float | bool) for item in values):
        raise StyleError(
            f"{place} must be a value, a list of 1 to 200 values, or min and max; found {wanted!r:.80}"
        )
    return OneOf(field, tuple(values))


def _read_filter(value: Any, place: str) -> Filter:
    found = _filter(value, place, 0)
    try:
        within_bounds(found)
    except StyleError as error:
        raise StyleError(f"{place}: {error}") from error
    return found


def _filter(value: Any, place: str, depth: int) -> Filter:
    if depth > MAXIMUM_DEPTH:
        raise StyleError(f"{place} is nested deeper than {MAXIMUM_DEPTH} levels")
    if not isinstance(value, Mapping) or not value:
        raise StyleError(f"{place} must be one of all, any, not, geometry, field; found {value!r:.80}")
    if "field" in value:
        return _field_filter(value, place)
    if len(value) != 1:
        raise StyleError(f"{place} must have one key of all, any, not, geometry, or the key field")
    [(kind, part)] = value.items()
    if kind == "not":
        return negation(_filter(part, f"{place}.not", depth + 1))
    if kind == "geometry":
        return GeometryIs(keys.choice("point", "line", "polygon")(part, f"{place}.geometry"))  # type: ignore[arg-type]  # checked by choice
    if kind not in ("all", "any"):
        raise StyleError(f"{place}: {kind!r} is unknown; allowed are all, any, not, geometry, field")
    parts = keys.list_of(lambda one, where: _filter(one, where, depth + 1), 0, 200)(part, f"{place}.{kind}")
    if kind == "any":
        return AnyOf(parts)
    return all_of(*parts) or Not(AnyOf(()))


def _field_filter(value: Mapping[str, Any], place: str) -> Filter:
    reader = KeyReader(value, place)
    field = reader.take("field", keys.text)
    tests: list[Filter] = []
    for name, operator in _OPERATORS.items():
        wanted = reader.take(name, _scalar, None)
        if wanted is not None:
            tests.append(Comparison(field, operator, wanted))  # type: ignore[arg-type]  # the table holds operators
    values = reader.take("in", keys.list_of(_scalar, 1, 200), None)
    like = reader.take("like", keys.text, None)
    exists = reader.take("exists", keys.flag, None)
    reader.finish()
    if values is not None:
        tests.append(OneOf(field, values))
    if like is not None:
        tests.append(Like(field, like))
    if exists is not None:
        tests.append(Present(field) if exists else Not(Present(field)))
    found = all_of(*tests)
    if found is None:
        raise StyleError(
            f"{place} asks nothing of {field!r}; allowed are {', '.join(_OPERATORS)}, in, like, exists"
        )
    return found


_OPERATORS = {"equal": "=", "not_equal": "!=", "below": "<", "at_most": "<=", "above": ">", "at_least": ">="}
OPERATOR_KEYS = {operator: name for name, operator in _OPERATORS.items()}


def _scalar(value: Any, place: str) -> str | int | float | bool:
    if not isinstance(value, str | int | float | bool) or (isinstance(value, float) and math.isnan(value)):
        raise StyleError(f"{place} must be a text, a number, or true or false; found {value!r:.80}")
    return value


# --- symbols -------------------------------------------------------------------------------------------------------------


def _read_symbol(value: Any, place: str) -> Symbol:
    if not isinstance(value, Mapping) or len(value) != 1:
        raise StyleError(f"{place} must be one of {', '.join(_SYMBOLS)} with its keys, found {value!r:.80}")
    [(kind, content)] = value.items()
    if kind not in _SYMBOLS:
        raise StyleError(f"{place}: symbol {kind!r} is unknown; allowed are {', '.join(_SYMBOLS)}")
    build, required, optional = _SYMBOLS[kind]
    reader = KeyReader(content, f"{place}.{kind}")
    arguments = {key: reader.take(key, convert) for key, convert in required.items()}
    missing = object()
    for key, convert in optional.items():
        found = reader.take(key, convert, missing)
        if found is not missing:
            arguments[key] = found
    reader.finish()
    if build is LabelSymbol and not (arguments.get("field") or arguments.get("text")):
        raise StyleError(f"{place}.label.field is missing (or text)")
    return build(**arguments)


def _icon(value: Any, place: str) -> str:
    if not isinstance(value, str) or not is_icon_name(value):
        raise StyleError(
            f"{place} must be the name of an icon, small letters, digits and hyphens; found {value!r:.80}"
        )
    return value


def _text_parts(value: Any, place: str) -> tuple[TextPart, ...]:
    """Text in which {field} stands for a field's value, and {a|b} for that of the first of them that is there."""
    template = keys.text(value, place)
    parts: list[TextPart] = []
    position = 0
    for match in _PLACEHOLDER.finditer(template):
        parts += [template[position : match.start()]] if match.start() > position else []
        names = tuple(match[1].split("|"))
        if not all(names):
            raise StyleError(f"{place} has an empty name of a field in {match[0]!r}")
        parts.append(FieldText(names))
        position = match.end()
    rest = template[position:]
    return (*parts, rest) if rest else tuple(parts)


type _Converters = dict[str, Callable[[Any, str], Any]]
_opacity = keys.scaled(0, 1)
_anchor = keys.choice(*get_args(Anchor.__value__))
_rotation = keys.number(-360, 360)
_dash_lengths = keys.list_of(keys.number(0, 100), 2, 8)


def _dashes(value: Any, place: str) -> tuple[float, ...]:
    return drawable_dashes(_dash_lengths(value, place))


_SYMBOLS: dict[str, tuple[Callable[..., Symbol], _Converters, _Converters]] = {
    "polygon": (PolygonSymbol, {"fill": keys.colour}, {"opacity": _opacity, "pattern": _icon}),
    "line": (
        LineSymbol,
        {"stroke": keys.colour},
        {
            "width": keys.scaled(0, 100),
            "opacity": _opacity,
            "dash": _dashes,
            "cap": keys.choice("butt", "round", "square"),
            "join": keys.choice("miter", "round", "bevel"),
            "offset": keys.scaled(-100, 100),
        },
    ),
    "point": (
        PointSymbol,
        {"fill": keys.colour},
        {
            "size": keys.scaled(0, 200),
            "stroke": keys.colour,
            "stroke_width": keys.number(0, 20),
            "opacity": _opacity,
            "shape": keys.choice(*get_args(Shape.__value__)),
            "rotation": _rotation,
        },
    ),
    "icon": (
        IconSymbol,
        {"icon": _icon},
        {
            "size": keys.scaled(1, 200),
            "opacity": _opacity,
            "rotation": _rotation,
            "anchor": _anchor,
            "overlap": keys.flag,
        },
    ),
    "label": (
        LabelSymbol,
        {},
        {
            "field": keys.text,
            "text": _text_parts,
            "fill": keys.colour,
            "size": keys.scaled(4, 72),
            "halo": keys.colour,
            "halo_width": keys.number(0, 10),
            "placement": keys.choice("point", "line"),
            "spacing": keys.number(0, 5000),
            "offset": keys.number(-100, 100),
            "offset_x": keys.number(-100, 100),
            "anchor": _anchor,
            "rotation": _rotation,
            "opacity": _opacity,
            "wrap": keys.number(0, 1000),
            "overlap": keys.flag,
        },
    ),
}
