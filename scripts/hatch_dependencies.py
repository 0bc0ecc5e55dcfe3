"""Hatch metadata hook: a wheel depends on what requirements/runtime.in names, so the list is kept once."""

from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class CustomMetadataHook(MetadataHookInterface):
    """Fill `project.dependencies` from requirements/runtime.in (build tools left out)."""

    def update(self, metadata: dict) -> None:
        lines = (Path(self.root) / "requirements" / "runtime.in").read_text().splitlines()
        wanted = [line for line in lines if line and not line.startswith("#")]
        metadata["dependencies"] = [line for line in wanted if line not in ("hatchling", "editables")]
