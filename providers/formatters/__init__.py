"""Encodings of features beside GeoJSON."""
