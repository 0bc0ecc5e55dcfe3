"""Observations of sensors: the series store, its answers, and the OGC API - EDR plugin."""
