"""Mosaics of COPC files: one layout for all tiles, an overview of all, and edits that leave untouched tiles as they are."""
