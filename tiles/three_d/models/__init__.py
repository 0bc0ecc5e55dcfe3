"""Built-in models of trees and street furniture: small, in metres, x east, y north, z up, origin on the ground."""

from __future__ import annotations

from tiles.three_d.models.registry import MODELS, ModelType, model

__all__ = ["MODELS", "ModelType", "model"]
