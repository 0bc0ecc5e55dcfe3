"""Styled Layer Descriptor 1.0 (OGC 02-070) and 1.1 with Symbology Encoding (05-078r4, 05-077r4), from and to the inner model."""
