"""Vector tiles made from a feature store."""
