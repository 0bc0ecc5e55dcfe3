"""Features: the embedded store, the query parser, and the pygeoapi provider over them."""
