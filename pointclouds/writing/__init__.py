"""Points of an answer as files and streams: LAS, LAZ, PLY, CSV, Arrow."""
