"""Seeding: making the tiles of an area before anyone asks for them, on many processes, resumable at any moment."""
