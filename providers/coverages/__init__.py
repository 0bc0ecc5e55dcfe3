"""Coverages read from Cloud Optimized GeoTIFF, and the OGC API - Coverages plugin."""
