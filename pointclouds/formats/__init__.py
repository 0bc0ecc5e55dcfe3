"""Points of other formats than LAS as sources: EPT, E57, PLY, text; and opening any of them."""
