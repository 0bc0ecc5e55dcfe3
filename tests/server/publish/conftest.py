"""A data home with one tenant and one published collection, and a short way to publish more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from providers.features.store import FeatureStore
from server.publish import PublishRequest, PublishResult, ReadingOptions, SceneOptions, publish
from server.registry.catalogue import Collection, RepresentationKind
from server.registry.registry import Registry, open_registry
from server.settings import Settings, load_settings

DATA = Path(__file__).parents[2] / "data"


@dataclass(frozen=True)
class Publisher:
    """Publishes into a home of its own."""

    settings: Settings
    registry: Registry

    @property
    def home(self) -> Path:
        return self.settings.home

    def publish(
        self,
        *files: Path,
        collection: str = "blocks",
        reading: Mapping[str, Any] | None = None,
        scene: Mapping[str, Any] | None = None,
        callbacks: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> PublishResult:
        request = PublishRequest(
            files=files,
            tenant="beijing",
            id=collection,
            titles={"en": "Blocks", "zh": "街区"},
            reading=ReadingOptions(**(reading or {})),
            scene=SceneOptions(**(scene or {})),
            **options,
        )
        return publish(request, self.registry, self.settings, **(callbacks or {}))

    def collection(self, name: str = "blocks") -> Collection | None:
        return self.registry.collection("beijing", name)

    def store(self, result: PublishResult) -> FeatureStore:
        return FeatureStore(result.collection.path_of(RepresentationKind.FEATURES))

    def columns(self, result: PublishResult) -> dict[str, dict[str, Any]]:
        """Properties of every feature by its id."""
        found: dict[str, dict[str, Any]] = {}
        for part in self.store(result).slices():
            for index, name in enumerate(part.ids):
                found[name] = {key: values[index] for key, values in part.columns.items()}
        return found

    def leftovers(self) -> list[Path]:
        """What a publish must not leave: staging folders, and generations that no row names."""
        return [*(self.home / "staging").glob("*"), *self.registry.orphaned_generations()]


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    settings = load_settings((), {}, {"data.home": tmp_path / "home"})
    with open_registry(settings) as registry:
        registry.add_tenant("beijing", "Beijing", "北京")
        yield Publisher(settings, registry)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of small files made by tests/data/make.py."""
    return DATA
