"""Point clouds as OGC resources: filters and places of points, items, statistics, rasters, profiles."""
