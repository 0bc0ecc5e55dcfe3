"""OGC API - Environmental Data Retrieval (19-086r6) over rasters and time series."""
