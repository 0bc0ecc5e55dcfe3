"""Edits as clients send them: features, merge patches and batches, checked against the schema of a collection.

`parse_feature`, `parse_merge_patch` and `parse_transaction` give `providers.features.source.Edit`, which every editable store
takes. What does not fit raises InvalidFeature with one JSON pointer for each fault.
"""

from providers.features.edits.faults import EditLimits
from providers.features.edits.payloads import parse_feature, parse_merge_patch, parse_transaction
from providers.features.edits.schema import receivable

__all__ = ["EditLimits", "parse_feature", "parse_merge_patch", "parse_transaction", "receivable"]
