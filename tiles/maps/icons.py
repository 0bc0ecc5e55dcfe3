"""Icons: SVG files of our own in a folder, known by the name of their file. Nothing else is ever drawn as an icon."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_LONGEST = 64


def is_icon_name(name: str) -> bool:
    """Whether this could be the name of an icon: small letters, digits and single hyphens."""
    return len(name) <= _LONGEST and _NAME.fullmatch(name) is not None


def icon_file(folder: str | Path | None, name: str) -> Path | None:
    """The file of an icon; None where there is no such icon."""
    if folder is None or not is_icon_name(name):
        return None
    file = Path(folder, f"{name}.svg")
    return file if file.is_file() else None


def icon_names(folder: Path) -> tuple[str, ...]:
    """The names of all icons of a folder."""
    return tuple(sorted(path.stem for path in folder.glob("*.svg") if is_icon_name(path.stem)))


@lru_cache(maxsize=512)
def icon_size(file: Path) -> tuple[float, float]:
    """Width and height an icon says it has (its viewBox, else 24 x 24)."""
    match = re.search(
        r'viewBox\s*=\s*"\s*[-\d.]+[\s,]+[-\d.]+[\s,]+([\d.]+)[\s,]+([\d.]+)',
        file.read_text(encoding="utf-8"),
    )
    width, height = (float(match[1]), float(match[2])) if match else (24.0, 24.0)
    return (width, height) if width > 0 and height > 0 else (24.0, 24.0)
