"""WFS 2.0 (OGC 09-025r2): the collections of a view as feature types, for desktop GIS and older partner software.

`routes` receives, `kvp` and `xml_request` understand, `capabilities`, `describe`, `stored_queries` and `features` answer. The
same parser of filters, the same `decide` and the same stores as OGC API - Features; nothing is kept of its own.
"""
