"""OGC API - Records: the catalogue of the server's own collections."""
