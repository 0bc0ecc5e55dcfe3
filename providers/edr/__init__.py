"""OGC API - Environmental Data Retrieval (19-086r6) over rasters and time series.

A request goes through `query.parse_query`, then `raster_queries.answer_raster` or `series_queries.answer_series`, then
`encoding.encode`.
"""
