"""Publishing the demo city: whatever of it is not there yet, and nothing that is."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from server.demo.datasets import DATASETS, Dataset, Material
from server.demo.descriptions import Description, Descriptions, read_descriptions
from server.demo.workshop import Workshop
from server.publish import PublishRequest, publish
from server.registry.registry import Registry, open_registry
from server.registry.staging import staging_folder
from server.settings import Settings

DEMO_VERSION = 2
"""To be raised when the code of this room makes other data of the same sources."""

Report = Callable[[str, float], None]
Warn = Callable[[str], None]

_log = logging.getLogger(__name__)


def _silent(_what: str, _fraction: float) -> None:
    """Report to nobody."""


def _logged(warning: str) -> None:
    """Warn whoever reads the log."""
    _log.warning("%s", warning)


def build_demo(
    settings: Settings,
    report: Report = _silent,
    descriptions: Path | None = None,
    datasets: tuple[Dataset, ...] = DATASETS,
    warn: Warn = _logged,
) -> list[str]:
    """Publish the demo's tenants and collections into `settings.home`; returns the qualified ids published by this call.

    Skips what is published and made of the same sources and descriptions, and collections that someone has published
    again since; goes on where an earlier call was stopped. `report` hears what is being done and the fraction of the whole,
    `warn` each sentence that publishing has for its publisher. `descriptions` is by default demo/collections.yml beside
    the folder of styles. Raises DemoError, PublishError and RegistryError.
    """
    texts = read_descriptions(descriptions or settings.styles_directory.parent / "demo" / "collections.yml")
    with open_registry(settings) as registry:
        _add_tenants(registry, texts, {one.tenant for one in datasets})
        ledger = _Ledger(settings.home / "demo.json")
        waiting = [
            one
            for one in datasets
            if not _is_there(registry, ledger, one, _fingerprint(one, texts.of(one.key)))
        ]
        published = []
        if waiting:
            # A folder that is removed on leaving, and swept by the next process where this one is killed.
            with staging_folder(settings.home) as folder:
                workshop = Workshop(folder / "demo")
                for number, dataset in enumerate(waiting):
                    step = _step(report, dataset, number, len(waiting))
                    step("making", 0.0)
                    request = _request(dataset, texts.of(dataset.key), dataset.make(workshop), registry)
                    result = publish(request, registry, settings, report=_halfway(step))
                    for warning in result.warnings:
                        warn(f"{dataset.tenant}.{dataset.id}: {warning}")
                    ledger.write(dataset.key, _fingerprint(dataset, texts.of(dataset.key)), result.generation)
                    published.append(result.collection.qualified_id)
    report("done", 1.0)
    return published


def _add_tenants(registry: Registry, texts: Descriptions, wanted: set[str]) -> None:
    present = {tenant.id for tenant in registry.list_tenants()}
    for tenant in sorted(wanted - present):
        titles = texts.tenants[tenant]
        registry.add_tenant(tenant, titles["en"], titles["zh"])


def _step(report: Report, dataset: Dataset, number: int, total: int) -> Report:
    def tell(stage: str, fraction: float) -> None:
        report(f"{dataset.key}: {stage}", (number + min(max(fraction, 0.0), 1.0)) / total)

    return tell


def _halfway(step: Report) -> Report:
    """Publishing is told as the second half of a dataset's share; how long its stages take is not known."""

    def tell(stage: str, _fraction: float) -> None:
        step(stage, 0.5)

    return tell


def _request(dataset: Dataset, text: Description, material: Material, registry: Registry) -> PublishRequest:
    return PublishRequest(
        files=(material.file,),
        tenant=dataset.tenant,
        id=dataset.id,
        titles=text.titles,
        descriptions=text.descriptions,
        keywords=text.keywords,
        attribution=text.attribution,
        licence=text.licence,
        licence_url=text.licence_url,
        simulated=text.simulated,
        replace=registry.collection(dataset.tenant, dataset.id) is not None,
        style=text.style,
        field_titles=text.field_titles,
        reading=material.reading,
        scene=material.scene,
        extra_representations=material.extra,
    )


def _is_there(registry: Registry, ledger: _Ledger, dataset: Dataset, fingerprint: str) -> bool:
    """Whether nothing is to be done: published by us from the same sources, or by someone else."""
    collection = registry.collection(dataset.tenant, dataset.id)
    if collection is None:
        return False
    ours = ledger.generation(dataset.key) == collection.generation
    return not ours or ledger.fingerprint(dataset.key) == fingerprint


def _fingerprint(dataset: Dataset, text: Description) -> str:
    """What the published form of a dataset depends on: source file, description, version of this code."""
    digest = hashlib.sha256(f"{DEMO_VERSION}\n{json.dumps(asdict(text), sort_keys=True)}\n".encode())
    if dataset.source is not None:
        digest.update(dataset.source().read_bytes())
    return digest.hexdigest()


class _Ledger:
    """Which generation the demo published last of each collection, and from what: `<home>/demo.json`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = self._read()

    def _read(self) -> dict[str, Mapping[str, object]]:
        try:
            entries = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}  # lost or damaged: what is published then counts as someone else's, and stays
        return entries if isinstance(entries, dict) else {}

    def generation(self, key: str) -> object:
        """The generation published last, or None."""
        return self._entries.get(key, {}).get("generation")

    def fingerprint(self, key: str) -> object:
        """What that generation was made of, or None."""
        return self._entries.get(key, {}).get("fingerprint")

    def write(self, key: str, fingerprint: str, generation: int) -> None:
        """Note one publish; the file is replaced as a whole."""
        self._entries[key] = {"fingerprint": fingerprint, "generation": generation}
        temporary = self._path.with_suffix(".json.part")
        temporary.write_text(json.dumps(self._entries, indent=1, sort_keys=True), encoding="utf-8")
        temporary.replace(self._path)
