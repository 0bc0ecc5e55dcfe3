"""pygeoapi plugins over stored data, and the stores they read."""
