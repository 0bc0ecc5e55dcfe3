"""What to make of points: trees and street furniture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from server.publish.errors import OptionError

MODEL_SUFFIX = ".glb"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceOptions:
    """How points become models. Lengths are metres, headings degrees clockwise from north.

    `model` is a built-in model (`tiles.three_d.models.MODELS`) or the path of a .glb; None: none of its own. `model_field` has the
    kind of each point, `models` the model of a kind; a kind that is the name of a built-in model needs no entry.
    """

    model: str | None = None
    model_field: str | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    height_field: str | None = None
    width_field: str | None = None
    scale_field: str | None = None
    heading_field: str | None = None

    @property
    def asked(self) -> bool:
        """Whether points are to become models."""
        return self.model is not None or self.model_field is not None

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that are named."""
        named = (self.model_field, self.height_field, self.width_field, self.scale_field, self.heading_field)
        return tuple(name for name in named if name is not None)


def check_instances(options: InstanceOptions) -> None:
    """Refuse models that are neither built in nor a file. Raises OptionError."""
    from tiles.three_d.errors import UnknownModelError
    from tiles.three_d.models import model

    for name in (options.model, *options.models.values()):
        if name is None:
            continue
        if name.lower().endswith(MODEL_SUFFIX):
            if not Path(name).is_file():
                raise OptionError(f"There is no file {name} to take a model from.")
            continue
        try:
            model(name)
        except UnknownModelError as error:
            raise OptionError(f"{str(error)[0].upper()}{str(error)[1:]}.") from error
    if options.models and options.model_field is None:
        raise OptionError("--model-of says which value has which model; name the field with --model-field.")
