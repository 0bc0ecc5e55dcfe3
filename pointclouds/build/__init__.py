"""Building a COPC: in memory where the points fit, out of core where they do not."""
