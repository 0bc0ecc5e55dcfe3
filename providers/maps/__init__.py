"""The OGC API - Maps plugin over the renderers of `tiles`."""
