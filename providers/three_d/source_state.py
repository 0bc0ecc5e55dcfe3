"""What the first reading of a source found out and every later one must do alike: `<generation>/scene/source.json`.

The types of the columns, which of PROJ's ways leads to WGS 84, the ground where no one knows it. The builder's processes,
and those that make a tile after an edit, read it instead of all features.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

from providers.three_d.recipes import SCENE_FOLDER
from tiles.three_d.errors import ThreeDError
from tiles.three_d.schema import TableSchema

STATE_FILE = "source.json"


@dataclass(frozen=True, slots=True)
class SourceState:
    """`path` numbers the way of `tiles.three_d.placement.horizontal_paths`; `ground` (m) is that of places without a height."""

    schema: TableSchema
    path: int
    height_reference: str
    ground: float = 0.0

    def save(self, generation: Path) -> None:
        """Keep it, at once or not at all."""
        folder = generation / SCENE_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f"{STATE_FILE}.new"
        draft.write_bytes(
            orjson.dumps(
                {
                    "schema": self.schema.to_json(),
                    "path": self.path,
                    "height_reference": self.height_reference,
                    "ground": self.ground,
                }
            )
        )
        draft.replace(folder / STATE_FILE)

    @classmethod
    def read(cls, generation: Path) -> SourceState | None:
        """The state of a generation's source, None before its first reading. Raises ThreeDError where it is broken."""
        try:
            content = (generation / SCENE_FOLDER / STATE_FILE).read_bytes()
        except FileNotFoundError:
            return None
        try:
            document = orjson.loads(content)
            schema = TableSchema.from_json(document["schema"])
            return cls(schema, document["path"], document["height_reference"], document["ground"])
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise ThreeDError(
                f"{STATE_FILE} of the 3D tileset is broken ({error}); build it again with `chengtu build-3d`"
            ) from error
