"""Streets, addresses and places of the extract as features with plain attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shapely.geometry.base import BaseGeometry

from server.demo.buildings import names_of
from server.demo.openstreetmap import Element, Extract
from server.demo.vector_files import Column

Feature = tuple[BaseGeometry, dict[str, Any]]

STREET_CLASSES: Mapping[str, tuple[str, str]] = {
    "primary": ("Primary road", "主干路"),
    "primary_link": ("Primary road link", "主干路匝道"),
    "secondary": ("Secondary road", "次干路"),
    "tertiary": ("Tertiary road", "支路"),
    "tertiary_link": ("Tertiary road link", "支路匝道"),
    "unclassified": ("Minor road", "普通道路"),
    "residential": ("Residential street", "居住区道路"),
    "service": ("Service road", "内部道路"),
    "pedestrian": ("Pedestrian street", "步行街"),
    "footway": ("Footway", "人行道"),
    "cycleway": ("Cycleway", "自行车道"),
    "path": ("Path", "小径"),
    "trail": ("Trail", "步道"),
    "steps": ("Steps", "台阶"),
    "platform": ("Platform", "站台"),
    "corridor": ("Indoor corridor", "室内通道"),
    "construction": ("Under construction", "在建道路"),
    "elevator": ("Elevator", "电梯"),
}
STREET_COLUMNS = (
    Column("osm_id", "str:24"),
    Column("name", "str:120"),
    Column("name_fi", "str:120"),
    Column("name_sv", "str:120"),
    Column("name_en", "str:120"),
    Column("highway", "str:30"),
    Column("class_title", "str:40"),
    Column("class_zh", "str:40"),
    Column("surface", "str:30"),
    Column("max_speed", "int"),
    Column("lanes", "int"),
    Column("oneway", "bool"),
    Column("lit", "bool"),
    Column("tunnel", "bool"),
    Column("bridge", "bool"),
    Column("layer", "int"),
    Column("length", "float"),
)
ADDRESS_COLUMNS = (
    Column("osm_id", "str:24"),
    Column("address", "str:160"),
    Column("street", "str:80"),
    Column("housenumber", "str:20"),
    Column("unit", "str:20"),
    Column("postcode", "str:10"),
    Column("city", "str:40"),
    Column("country", "str:2"),
    Column("source", "str:10"),
)
PLACE_COLUMNS = (
    Column("osm_id", "str:24"),
    Column("name", "str:120"),
    Column("name_fi", "str:120"),
    Column("name_sv", "str:120"),
    Column("name_en", "str:120"),
    Column("name_zh", "str:120"),
    Column("category", "str:20"),
    Column("kind", "str:40"),
    Column("kind_zh", "str:40"),
    Column("cuisine", "str:60"),
    Column("opening_hours", "str:200"),
    Column("wheelchair", "str:20"),
    Column("website", "str:200"),
    Column("phone", "str:40"),
    Column("street", "str:80"),
    Column("housenumber", "str:20"),
)
PLACE_CATEGORIES = ("amenity", "shop", "tourism", "office", "leisure", "historic")
# What stands in a street without being a destination is left out unless it has a name of its own.
_FURNITURE = frozenset(
    {
        "bench",
        "waste_basket",
        "waste_disposal",
        "vending_machine",
        "post_box",
        "bicycle_parking",
        "motorcycle_parking",
        "parking",
        "parking_entrance",
        "parking_space",
        "grit_bin",
        "clock",
        "life_ring",
        "life_boat",
        "telephone",
        "recycling",
        "fountain",
        "artwork",
        "information",
        "memorial",
        "yes",
    }
)
_KINDS_ZH: Mapping[str, str] = {
    "restaurant": "餐厅",
    "cafe": "咖啡馆",
    "fast_food": "快餐",
    "pub": "酒馆",
    "bar": "酒吧",
    "nightclub": "夜总会",
    "bank": "银行",
    "atm": "自动取款机",
    "toilets": "公共厕所",
    "taxi": "出租车站",
    "embassy": "大使馆",
    "bicycle_rental": "自行车租赁",
    "theatre": "剧院",
    "cinema": "电影院",
    "pharmacy": "药店",
    "library": "图书馆",
    "university": "大学",
    "school": "学校",
    "place_of_worship": "宗教场所",
    "post_office": "邮局",
    "clothes": "服装店",
    "supermarket": "超市",
    "convenience": "便利店",
    "hairdresser": "理发店",
    "books": "书店",
    "jewelry": "珠宝店",
    "shoes": "鞋店",
    "hotel": "酒店",
    "hostel": "旅舍",
    "museum": "博物馆",
    "gallery": "画廊",
    "artwork": "艺术品",
    "attraction": "景点",
    "information": "信息点",
    "park": "公园",
    "playground": "游乐场",
    "monument": "纪念碑",
    "memorial": "纪念物",
    "marketplace": "市场",
    "townhall": "市政厅",
    "fire_station": "消防站",
    "dentist": "牙科诊所",
    "clinic": "诊所",
    "doctors": "医生诊所",
}


def street_features(extract: Extract) -> Iterator[Feature]:
    """Every way with a `highway` tag; `length` in metres."""
    for element in extract.lines:
        tags = element.tags
        kind = tags.get("highway")
        if kind is None:
            continue
        title, chinese = STREET_CLASSES.get(kind, (kind.replace("_", " ").capitalize(), None))
        names = names_of(tags)
        del names["name_zh"]  # no street of the extract has one
        yield (
            element.geographic,
            {
                "osm_id": element.osm_id,
                **names,
                "highway": kind,
                "class_title": title,
                "class_zh": chinese,
                "surface": tags.get("surface"),
                "max_speed": _whole(tags.get("maxspeed")),
                "lanes": _whole(tags.get("lanes")),
                "oneway": _truth(tags.get("oneway")),
                "lit": _truth(tags.get("lit")),
                "tunnel": "tunnel" in tags and tags["tunnel"] != "no",
                "bridge": "bridge" in tags and tags["bridge"] != "no",
                "layer": _whole(tags.get("layer")) or 0,
                "length": round(element.planar.length, 2),
            },
        )


def address_features(extract: Extract) -> Iterator[Feature]:
    """Every element with a street and a house number, as a point; `source` says what kind of element it was."""
    for source, elements in (("point", extract.points), ("area", extract.areas)):
        for element in elements:
            tags = element.tags
            street, number = tags.get("addr:street"), tags.get("addr:housenumber")
            if not street or not number:
                continue
            unit = tags.get("addr:unit")
            place = " ".join(part for part in (tags.get("addr:postcode"), tags.get("addr:city")) if part)
            line = " ".join(part for part in (street, number, unit) if part)
            yield (
                element.geographic.representative_point(),
                {
                    "osm_id": element.osm_id,
                    "address": ", ".join(part for part in (line, place) if part),
                    "street": street,
                    "housenumber": number,
                    "unit": unit,
                    "postcode": tags.get("addr:postcode"),
                    "city": tags.get("addr:city"),
                    "country": (tags.get("addr:country") or "FI")[:2],
                    "source": source,
                },
            )


def place_features(extract: Extract) -> Iterator[Feature]:
    """Places one can go to: what has a name and one of `PLACE_CATEGORIES`, and unnamed services such as toilets."""
    for element in (*extract.points, *extract.areas):
        found = _category(element)
        if found is None:
            continue
        category, kind = found
        tags = element.tags
        yield (
            element.geographic.representative_point(),
            {
                "osm_id": element.osm_id,
                **names_of(tags),
                "category": category,
                "kind": kind,
                "kind_zh": _KINDS_ZH.get(kind),
                "cuisine": tags.get("cuisine"),
                "opening_hours": tags.get("opening_hours"),
                "wheelchair": tags.get("wheelchair"),
                "website": tags.get("website") or tags.get("contact:website"),
                "phone": tags.get("phone") or tags.get("contact:phone"),
                "street": tags.get("addr:street"),
                "housenumber": tags.get("addr:housenumber"),
            },
        )


def _category(element: Element[Any]) -> tuple[str, str] | None:
    """(category, kind) of a place; None for what is no destination."""
    for category in PLACE_CATEGORIES:
        kind = element.tags.get(category)
        if kind is None or kind == "no":
            continue
        named = "name" in element.tags
        if not named and (kind in _FURNITURE or category in ("office", "leisure", "historic", "shop")):
            continue
        return category, kind
    return None


def _whole(text: str | None) -> int | None:
    """A whole number, or None for what is none ("signals", "RU:urban", "1;2")."""
    try:
        return int(text or "")
    except ValueError:
        return None


def _truth(text: str | None) -> bool | None:
    return None if text is None else text in ("yes", "true", "1", "-1", "24/7", "automatic", "limited")
